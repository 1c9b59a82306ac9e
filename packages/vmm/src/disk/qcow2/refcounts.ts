// qcow2, "Host cluster management".

import { assert } from '../../errors.ts'
import type { RandomAccessFile } from '../block-backend.ts'
import { corrupt, DiskError } from '../errors.ts'
import type { ClusterRange, Clusters } from './clusters.ts'
import { type Geometry, MAX_REFCOUNT_TABLE_BYTES } from './geometry.ts'
import { readU64, viewOf, writeU64 } from './header.ts'
import { RefcountBlock } from './refcount-block.ts'

const CACHE_BYTES = 4 << 20
const MIN_BLOCKS = 8
/** Of blocks that wait for a commit. Only snapshots of huge disks come near. */
const MAX_DIRTY_BYTES = 256 << 20

/**
 * The refcounts as the next commit will leave them. The blocks and the table of the last commit stay untouched in the
 * file: what has changed moves to clusters that were free, and the header then points there.
 */
export class Refcounts {
  readonly #file: RandomAccessFile
  readonly #geometry: Geometry
  readonly #clusters: Clusters
  /** Offsets of the blocks, 0 for none. */
  #table: Float64Array
  /** Where the table is, in clusters. */
  #place: ClusterRange
  readonly #blocks = new Map<number, RefcountBlock>()
  readonly #loads = new Map<number, Promise<void>>()
  /** Blocks that have moved since the last commit. */
  readonly #moved = new Set<number>()
  #tableMoved = false
  readonly #capacity: number
  /** Told of each cluster that is of no use after the next commit. */
  readonly #freed: (cluster: number) => void

  constructor(options: {
    file: RandomAccessFile
    geometry: Geometry
    clusters: Clusters
    table: Float64Array
    place: ClusterRange
    freed: (cluster: number) => void
  }) {
    this.#file = options.file
    this.#geometry = options.geometry
    this.#clusters = options.clusters
    this.#table = options.table
    this.#place = options.place
    this.#freed = options.freed
    this.#capacity = Math.max(MIN_BLOCKS, CACHE_BYTES / options.geometry.clusterSize)
  }

  static parseTable(bytes: Uint8Array): Float64Array {
    const view = viewOf(bytes)
    return Float64Array.from({ length: bytes.length / 8 }, (_, index) => {
      const offset = readU64(view, 8 * index)
      return offset - (offset % 512)
    })
  }

  get place(): ClusterRange {
    return this.#place
  }

  blockOf(cluster: number): number {
    return Math.floor(cluster / this.#geometry.blockEntries)
  }

  /** The block, when it is in memory. */
  peek(index: number): RefcountBlock | undefined {
    const block = this.#blocks.get(index)
    if (block) block.used = true
    return block
  }

  /** Whether there is such a block; where there is none all counts are 0. */
  has(index: number): boolean {
    return this.#blocks.has(index) || (index < this.#table.length && this.#table[index] !== 0)
  }

  /** The block must be used before the next `await`: later the cache may have let it go. */
  async load(index: number): Promise<RefcountBlock> {
    for (;;) {
      const block = this.peek(index)
      if (block) return block
      let loading = this.#loads.get(index)
      if (!loading) {
        loading = this.#read(index).finally(() => this.#loads.delete(index))
        this.#loads.set(index, loading)
      }
      await loading
    }
  }

  async get(cluster: number): Promise<number> {
    const index = this.blockOf(cluster)
    if (!this.has(index)) return 0
    const block = this.peek(index) ?? (await this.load(index))
    return block.get(cluster % this.#geometry.blockEntries)
  }

  /** Adds to a count. A count below 0 stays at 0: the image said less than it holds. */
  async adjust(cluster: number, delta: number): Promise<void> {
    const index = this.blockOf(cluster)
    let block = this.peek(index)
    while (!block) {
      await this.load(index)
      block = this.peek(index)
    }
    const at = cluster % this.#geometry.blockEntries
    const before = block.get(at)
    const after = Math.max(0, before + delta)
    if (after > this.#geometry.maxRefcount) {
      throw new DiskError('TV_DISK_LIMIT', 'A cluster would have more references than the image can count.')
    }
    if (after === before) return
    block.set(at, after)
    if (after === 0) this.#freed(cluster)
  }

  /** Finds places for all that has changed; afterwards only `write` is left to do. */
  async moveChanged(): Promise<void> {
    for (;;) {
      const changed = [...this.#blocks].filter(([index, block]) => block.dirty && !this.#moved.has(index))
      for (const [index] of changed) await this.#moveBlock(index)
      if (changed.length > 0 || (this.#moved.size > 0 && !this.#tableFits())) await this.#moveTable()
      else return
    }
  }

  /** The blocks and the table, for the file. */
  writes(): { offset: number; bytes: Uint8Array }[] {
    if (this.#moved.size === 0) return []
    const { clusterSize } = this.#geometry
    const bytes = new Uint8Array(this.#place.count * clusterSize)
    const view = viewOf(bytes)
    this.#table.forEach((offset, index) => {
      if (offset !== 0) writeU64(view, 8 * index, offset)
    })
    const blocks = [...this.#blocks].filter(([, block]) => block.dirty)
    return [
      { offset: this.#place.first * clusterSize, bytes },
      ...blocks.map(([index, block]) => ({ offset: this.#table[index], bytes: block.bytes })),
    ]
  }

  /** The header points to what `writes` gave. */
  committed(): void {
    for (const block of this.#blocks.values()) block.dirty = false
    this.#moved.clear()
    this.#tableMoved = false
    this.#evict()
  }

  async #read(index: number): Promise<void> {
    const { clusterSize, refcountOrder } = this.#geometry
    const bytes = new Uint8Array(clusterSize)
    const offset = index < this.#table.length ? this.#table[index] : 0
    if (offset !== 0) {
      if (!this.#geometry.isAligned(offset)) throw corrupt('a refcount block does not begin at a cluster')
      await this.#file.read(offset, [bytes])
    } else this.#growTable(index + 1)
    const block = new RefcountBlock(bytes, refcountOrder)
    if (this.#blocks.size >= this.#capacity) this.#evict()
    this.#blocks.set(index, block)
  }

  #growTable(entries: number): void {
    if (entries <= this.#table.length) return
    if (8 * entries > MAX_REFCOUNT_TABLE_BYTES) {
      throw new DiskError('TV_DISK_LIMIT', 'The refcount table would be larger than 8 MiB.')
    }
    const perCluster = this.#geometry.clusterSize / 8
    const table = new Float64Array(Math.ceil(entries / perCluster) * perCluster)
    table.set(this.#table)
    this.#table = table
  }

  #evict(): void {
    let dirty = 0
    for (const [index, block] of this.#blocks) {
      if (this.#blocks.size < this.#capacity) return
      if (block.dirty) {
        dirty++
        continue
      }
      this.#blocks.delete(index)
      if (!block.used) continue
      block.used = false
      this.#blocks.set(index, block)
    }
    if (dirty * this.#geometry.clusterSize > MAX_DIRTY_BYTES) {
      throw new DiskError('TV_DISK_LIMIT', 'The disk is too large for this change at once.')
    }
  }

  async #moveBlock(index: number): Promise<void> {
    const cluster = await this.#clusters.takeForMetadata()
    const before = this.#table[index]
    this.#table[index] = cluster * this.#geometry.clusterSize
    this.#moved.add(index)
    this.#clusters.changeMetadata(before, this.#table[index])
    await this.adjust(cluster, 1)
    if (before !== 0) await this.adjust(before / this.#geometry.clusterSize, -1)
  }

  #tableFits(): boolean {
    return this.#tableMoved && this.#table.length * 8 <= this.#place.count * this.#geometry.clusterSize
  }

  async #moveTable(): Promise<void> {
    if (this.#tableFits()) return
    const before = this.#place
    const count = Math.max(1, this.#geometry.clustersOf(8 * this.#table.length))
    const first = await this.#clusters.takeContiguous(count)
    assert(count * this.#geometry.clusterSize >= 8 * this.#table.length, 'the refcount table fits its place')
    this.#clusters.changeMetadataRange(before, { first, count })
    this.#place = { first, count }
    this.#tableMoved = true
    for (let i = 0; i < count; i++) await this.adjust(first + i, 1)
    for (let i = 0; i < before.count; i++) await this.adjust(before.first + i, -1)
  }
}
