import { DiskError } from '../errors.ts'

export const MIN_CLUSTER_BITS = 9
export const MAX_CLUSTER_BITS = 21
export const MAX_REFCOUNT_ORDER = 6

/** QEMU's limits, which images elsewhere keep to: 32 MiB of L1 table, 8 MiB of refcount table. */
export const MAX_L1_ENTRIES = (32 << 20) / 8
export const MAX_REFCOUNT_TABLE_BYTES = 8 << 20

/** What follows from the sizes in a header. Clusters of the file are counted as `cluster`, offsets are bytes. */
export class Geometry {
  readonly clusterBits: number
  readonly clusterSize: number
  /** Guest clusters that one L2 table maps. */
  readonly l2Entries: number
  readonly refcountOrder: number
  /** Clusters of the file that one refcount block counts. */
  readonly blockEntries: number
  readonly maxRefcount: number
  /** The bit of a compressed cluster's descriptor, counted in its upper half, at which the number of sectors begins. */
  readonly sectorsShift: number

  constructor(clusterBits: number, refcountOrder: number) {
    this.clusterBits = clusterBits
    this.clusterSize = 2 ** clusterBits
    this.l2Entries = this.clusterSize / 8
    this.refcountOrder = refcountOrder
    this.blockEntries = (this.clusterSize * 8) / 2 ** refcountOrder
    this.maxRefcount = Math.min(2 ** (2 ** refcountOrder) - 1, Number.MAX_SAFE_INTEGER)
    this.sectorsShift = 62 - (clusterBits - 8) - 32
  }

  clustersOf(bytes: number): number {
    return Math.ceil(bytes / this.clusterSize)
  }

  /** L1 entries that a disk of `size` bytes needs. */
  l1EntriesOf(size: number): number {
    const entries = Math.ceil(size / (this.clusterSize * this.l2Entries))
    if (entries > MAX_L1_ENTRIES) {
      throw new DiskError(
        'TV_DISK_LIMIT',
        `Clusters of ${this.clusterSize} bytes are too small for a disk of ${size} bytes.`,
      )
    }
    return entries
  }

  isAligned(offset: number): boolean {
    return offset % this.clusterSize === 0
  }
}
