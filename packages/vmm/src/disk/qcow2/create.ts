import { checkSectors, type RandomAccessFile } from '../block-backend.ts'
import { DiskError } from '../errors.ts'
import { encodeUtf8 } from '../utf8.ts'
import { Geometry, MAX_CLUSTER_BITS, MAX_REFCOUNT_ORDER, MIN_CLUSTER_BITS } from './geometry.ts'
import {
  type BackingReference,
  COMPATIBLE,
  COMPRESSION_TYPES,
  type CompressionType,
  EXTENSION,
  extensionsLength,
  FIELD,
  HEADER_MAGIC,
  INCOMPATIBLE,
  V2_LENGTH,
  V3_LENGTH,
  viewOf,
  writeExtensions,
  writeU64,
} from './header.ts'
import { RefcountBlock } from './refcount-block.ts'

export interface CreateQcow2Options {
  size: number
  version?: 2 | 3
  /** 512 bytes to 2 MiB; 64 KiB where nothing is said. */
  clusterSize?: number
  refcountBits?: 1 | 2 | 4 | 8 | 16 | 32 | 64
  lazyRefcounts?: boolean
  compression?: CompressionType
  /** Named as the image will find it: relative to its own folder, mostly. */
  backing?: BackingReference
}

/** With the compression type and its padding. */
const HEADER_LENGTH = V3_LENGTH + 8

/** Makes the file a new, empty image, whatever it was before. */
export async function createQcow2(file: RandomAccessFile, options: CreateQcow2Options): Promise<void> {
  const layout = layOut(options)
  const { geometry, tableClusters, blockClusters, l1First, l1Clusters } = layout
  const header = writeHeader(options, layout)
  const table = new Uint8Array(tableClusters * geometry.clusterSize)
  const blocks = new Uint8Array(blockClusters * geometry.clusterSize)
  for (let index = 0; index < blockClusters; index++) {
    writeU64(viewOf(table), 8 * index, (1 + tableClusters + index) * geometry.clusterSize)
    const at = index * geometry.clusterSize
    const block = new RefcountBlock(blocks.subarray(at, at + geometry.clusterSize), geometry.refcountOrder)
    const first = index * geometry.blockEntries
    const used = Math.min(l1First + l1Clusters - first, geometry.blockEntries)
    for (let i = 0; i < used; i++) block.set(i, 1)
  }
  await file.truncate(0)
  await file.write(geometry.clusterSize, [table, blocks])
  await file.truncate((l1First + l1Clusters) * geometry.clusterSize)
  await file.write(0, [header])
  await file.sync()
}

interface Layout {
  geometry: Geometry
  tableClusters: number
  blockClusters: number
  l1Entries: number
  l1First: number
  l1Clusters: number
}

/** Header, refcount table, refcount blocks, L1 table, in this order. */
function layOut({ size, version = 3, clusterSize = 65536, refcountBits = 16 }: CreateQcow2Options): Layout {
  checkSectors(size)
  const clusterBits = Math.log2(clusterSize)
  const order = Math.log2(refcountBits)
  if (!isWithin(clusterBits, MIN_CLUSTER_BITS, MAX_CLUSTER_BITS)) {
    throw option(`clusters of ${clusterSize} bytes; they are a power of two from 512 to 2 MiB`)
  }
  if (!isWithin(order, 0, MAX_REFCOUNT_ORDER)) throw option(`refcounts of ${refcountBits} bits`)
  if (version === 2 && refcountBits !== 16) throw option('refcounts of other than 16 bits in version 2')
  const geometry = new Geometry(clusterBits, order)
  const l1Entries = geometry.l1EntriesOf(size)
  const l1Clusters = geometry.clustersOf(8 * l1Entries)
  let blockClusters = 0
  let tableClusters = 1
  for (let total = -1; total !== 1 + tableClusters + blockClusters + l1Clusters; ) {
    total = 1 + tableClusters + blockClusters + l1Clusters
    blockClusters = Math.ceil(total / geometry.blockEntries)
    tableClusters = Math.max(1, geometry.clustersOf(8 * blockClusters))
  }
  return {
    geometry,
    tableClusters,
    blockClusters,
    l1Entries,
    l1First: 1 + tableClusters + blockClusters,
    l1Clusters,
  }
}

function isWithin(value: number, least: number, most: number): boolean {
  return Number.isInteger(value) && value >= least && value <= most
}

function option(what: string): DiskError {
  return new DiskError('TV_DISK_OPTION', `A qcow2 image cannot have ${what}.`)
}

function writeHeader(options: CreateQcow2Options, layout: Layout): Uint8Array {
  const { version = 3, compression = 'zlib', lazyRefcounts = false, backing, size } = options
  const { geometry } = layout
  if (version === 2 && (compression !== 'zlib' || lazyRefcounts))
    throw option('features of version 3 in version 2')
  const cluster = new Uint8Array(geometry.clusterSize)
  const view = viewOf(cluster)
  view.setUint32(FIELD.magic, HEADER_MAGIC)
  view.setUint32(FIELD.version, version)
  view.setUint32(FIELD.clusterBits, geometry.clusterBits)
  writeU64(view, FIELD.size, size)
  view.setUint32(FIELD.l1Size, layout.l1Entries)
  writeU64(view, FIELD.l1Offset, layout.l1First * geometry.clusterSize)
  writeU64(view, FIELD.refcountTableOffset, geometry.clusterSize)
  view.setUint32(FIELD.refcountTableClusters, layout.tableClusters)
  if (version === 3) {
    const type = COMPRESSION_TYPES.indexOf(compression)
    view.setUint32(FIELD.incompatible + 4, type === 0 ? 0 : INCOMPATIBLE.compressionType)
    view.setUint32(FIELD.compatible + 4, lazyRefcounts ? COMPATIBLE.lazyRefcounts : 0)
    view.setUint32(FIELD.refcountOrder, geometry.refcountOrder)
    view.setUint32(FIELD.headerLength, HEADER_LENGTH)
    view.setUint8(FIELD.compressionType, type)
  }
  if (backing) writeBacking(cluster, version === 2 ? V2_LENGTH : HEADER_LENGTH, backing)
  return cluster
}

function writeBacking(cluster: Uint8Array, start: number, { name, format }: BackingReference): void {
  const extensions = format ? [{ type: EXTENSION.backingFormat, data: encodeUtf8(format) }] : []
  const offset = start + extensionsLength(extensions) + 8
  const bytes = encodeUtf8(name)
  if (bytes.length === 0 || bytes.length > 1023 || offset + bytes.length > cluster.length) {
    throw option(`a backing file whose name has ${bytes.length} bytes`)
  }
  writeExtensions(cluster.subarray(start), extensions)
  const view = viewOf(cluster)
  writeU64(view, FIELD.backingOffset, offset)
  view.setUint32(FIELD.backingSize, bytes.length)
  cluster.set(bytes, offset)
}
