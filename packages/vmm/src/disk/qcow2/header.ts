// qcow2, "Header", "Header extensions", "Feature name table".

import { corrupt, DiskError } from '../errors.ts'
import { decodeUtf8 } from '../utf8.ts'
import {
  Geometry,
  MAX_CLUSTER_BITS,
  MAX_L1_ENTRIES,
  MAX_REFCOUNT_ORDER,
  MAX_REFCOUNT_TABLE_BYTES,
  MIN_CLUSTER_BITS,
} from './geometry.ts'

const MAGIC = 0x5146_49fb

/** Where the fields are. */
export const FIELD = {
  magic: 0,
  version: 4,
  backingOffset: 8,
  backingSize: 16,
  clusterBits: 20,
  size: 24,
  cryptMethod: 32,
  l1Size: 36,
  l1Offset: 40,
  refcountTableOffset: 48,
  refcountTableClusters: 56,
  snapshotCount: 60,
  snapshotsOffset: 64,
  incompatible: 72,
  compatible: 80,
  autoclear: 88,
  refcountOrder: 96,
  headerLength: 100,
  compressionType: 104,
} as const

export const V2_LENGTH = 72
export const V3_LENGTH = 104

export const INCOMPATIBLE = {
  dirty: 1,
  corrupt: 2,
  externalData: 4,
  compressionType: 8,
  extendedL2: 16,
} as const
const READABLE = INCOMPATIBLE.dirty | INCOMPATIBLE.corrupt | INCOMPATIBLE.compressionType
export const COMPATIBLE = { lazyRefcounts: 1 } as const

export const EXTENSION = {
  end: 0,
  backingFormat: 0xe279_2aca,
  featureNames: 0x6803_f857,
  bitmaps: 0x2385_2875,
} as const

export type CompressionType = 'zlib' | 'zstd'
export const COMPRESSION_TYPES: readonly CompressionType[] = ['zlib', 'zstd']

const MAX_BACKING_NAME = 1023
const MAX_SNAPSHOTS = 65536

export interface HeaderExtension {
  type: number
  data: Uint8Array
}

/** How an image names what lies under it; `format` is missing where the image does not say. */
export interface BackingReference {
  readonly name: string
  readonly format?: string
}

export interface Qcow2Header {
  version: 2 | 3
  geometry: Geometry
  size: number
  l1Size: number
  l1Offset: number
  refcountTableOffset: number
  refcountTableClusters: number
  snapshotCount: number
  snapshotsOffset: number
  dirty: boolean
  corrupt: boolean
  lazyRefcounts: boolean
  /** Some auto-clear bit is set. */
  autoclear: boolean
  compression: CompressionType
  backing: BackingReference | undefined
  extensions: readonly HeaderExtension[]
}

export function isQcow2(start: Uint8Array): boolean {
  return start.length >= 4 && viewOf(start).getUint32(FIELD.magic) === MAGIC
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A 64-bit field that is an offset or a size. What is not exact as a number lies outside every file. */
export function readU64(view: DataView, offset: number): number {
  return view.getUint32(offset) * 2 ** 32 + view.getUint32(offset + 4)
}

export function writeU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, Math.floor(value / 2 ** 32))
  view.setUint32(offset + 4, value % 2 ** 32)
}

/** The size of the first cluster, which holds all of the header; `start` is the first 104 bytes or less. */
export function firstClusterSize(start: Uint8Array): number {
  if (!isQcow2(start)) throw new DiskError('TV_DISK_FORMAT', 'This is no qcow2 image.')
  if (start.length < V2_LENGTH) throw corrupt('the header is cut off')
  const version = viewOf(start).getUint32(FIELD.version)
  if (version !== 2 && version !== 3) throw unsupported(`version ${version}`)
  const bits = viewOf(start).getUint32(FIELD.clusterBits)
  if (bits < MIN_CLUSTER_BITS || bits > MAX_CLUSTER_BITS) throw unsupported(`clusters of 2^${bits} bytes`)
  return 2 ** bits
}

/** Parses the first cluster, or as much of it as the file has. */
export function parseHeader(cluster: Uint8Array): Qcow2Header {
  firstClusterSize(cluster)
  const view = viewOf(cluster)
  const version = view.getUint32(FIELD.version) as 2 | 3
  const length = version === 2 ? V2_LENGTH : headerLength(view)
  const extensions = parseExtensions(cluster, length)
  const features = version === 2 ? NO_FEATURES : parseFeatures(view, length, extensions)
  const order = version === 2 ? 4 : view.getUint32(FIELD.refcountOrder)
  if (order > MAX_REFCOUNT_ORDER) throw unsupported(`refcount order ${order}`)
  if (view.getUint32(FIELD.cryptMethod) !== 0) throw unsupported('encryption')
  const header: Qcow2Header = {
    version,
    geometry: new Geometry(view.getUint32(FIELD.clusterBits), order),
    size: readU64(view, FIELD.size),
    l1Size: view.getUint32(FIELD.l1Size),
    l1Offset: readU64(view, FIELD.l1Offset),
    refcountTableOffset: readU64(view, FIELD.refcountTableOffset),
    refcountTableClusters: view.getUint32(FIELD.refcountTableClusters),
    snapshotCount: view.getUint32(FIELD.snapshotCount),
    snapshotsOffset: readU64(view, FIELD.snapshotsOffset),
    ...features,
    backing: parseBacking(cluster, extensions),
    extensions,
  }
  checkLimits(header)
  return header
}

type Features = Pick<Qcow2Header, 'dirty' | 'corrupt' | 'lazyRefcounts' | 'autoclear' | 'compression'>

const NO_FEATURES: Features = {
  dirty: false,
  corrupt: false,
  lazyRefcounts: false,
  autoclear: false,
  compression: 'zlib',
}

function headerLength(view: DataView): number {
  if (view.byteLength < V3_LENGTH) throw corrupt('the header is cut off')
  const length = view.getUint32(FIELD.headerLength)
  if (length < V3_LENGTH || length % 8 !== 0 || length > view.byteLength) {
    throw corrupt(`the header has a length of ${length}`)
  }
  return length
}

function parseFeatures(view: DataView, length: number, extensions: readonly HeaderExtension[]): Features {
  const high = view.getUint32(FIELD.incompatible)
  const low = view.getUint32(FIELD.incompatible + 4)
  const unknown = lowestBit(high, low & ~READABLE)
  if (unknown !== undefined) throw unsupported(featureName(unknown, extensions))
  const type = length > FIELD.compressionType ? view.getUint8(FIELD.compressionType) : 0
  if (((low & INCOMPATIBLE.compressionType) !== 0) !== (type !== 0)) {
    throw corrupt('the compression type contradicts the feature bits')
  }
  const compression = COMPRESSION_TYPES[type]
  if (!compression) throw unsupported(`compression type ${type}`)
  return {
    dirty: (low & INCOMPATIBLE.dirty) !== 0,
    corrupt: (low & INCOMPATIBLE.corrupt) !== 0,
    lazyRefcounts: (view.getUint32(FIELD.compatible + 4) & COMPATIBLE.lazyRefcounts) !== 0,
    autoclear: view.getUint32(FIELD.autoclear) !== 0 || view.getUint32(FIELD.autoclear + 4) !== 0,
    compression,
  }
}

function lowestBit(high: number, low: number): number | undefined {
  for (let bit = 0; bit < 64; bit++) {
    if (((bit < 32 ? low >>> bit : high >>> (bit - 32)) & 1) !== 0) return bit
  }
  return undefined
}

const NAMES: Readonly<Record<number, string>> = { 2: 'external data files', 4: 'extended L2 entries' }
const NAME_ENTRY = 48

/** Our own name of an incompatible feature, the image's, or its number. */
function featureName(bit: number, extensions: readonly HeaderExtension[]): string {
  if (NAMES[bit]) return NAMES[bit]
  const table = extensions.find(({ type }) => type === EXTENSION.featureNames)?.data ?? new Uint8Array()
  for (let at = 0; at + NAME_ENTRY <= table.length; at += NAME_ENTRY) {
    if (table[at] !== 0 || table[at + 1] !== bit) continue
    const name = decodeUtf8(table.subarray(at + 2, at + NAME_ENTRY)).replace(/[^\x20-\x7e]+/g, '')
    if (name) return `the feature "${name}"`
  }
  return `incompatible feature bit ${bit}`
}

function parseExtensions(cluster: Uint8Array, start: number): HeaderExtension[] {
  const view = viewOf(cluster)
  const extensions: HeaderExtension[] = []
  const backingOffset = readU64(view, FIELD.backingOffset)
  const end = backingOffset === 0 ? cluster.length : Math.min(backingOffset, cluster.length)
  for (let at = start; at + 8 <= end; ) {
    const type = view.getUint32(at)
    const length = view.getUint32(at + 4)
    if (type === EXTENSION.end) break
    if (length > end - at - 8) throw corrupt('a header extension leaves the first cluster')
    extensions.push({ type, data: cluster.slice(at + 8, at + 8 + length) })
    at += 8 + Math.ceil(length / 8) * 8
  }
  return extensions
}

function parseBacking(
  cluster: Uint8Array,
  extensions: readonly HeaderExtension[],
): BackingReference | undefined {
  const view = viewOf(cluster)
  const offset = readU64(view, FIELD.backingOffset)
  if (offset === 0) return undefined
  const length = view.getUint32(FIELD.backingSize)
  if (length > MAX_BACKING_NAME) throw corrupt('the name of the backing file is too long')
  if (offset + length > cluster.length) throw corrupt('the name of the backing file leaves the first cluster')
  const name = decodeUtf8(cluster.subarray(offset, offset + length))
  const format = extensions.find(({ type }) => type === EXTENSION.backingFormat)
  return format ? { name, format: decodeUtf8(format.data) } : { name }
}

function checkLimits(header: Qcow2Header): void {
  const { geometry, size, l1Size, l1Offset, refcountTableOffset, refcountTableClusters } = header
  if (!Number.isSafeInteger(size))
    throw new DiskError('TV_DISK_LIMIT', `A disk of ${size} bytes is too large.`)
  if (l1Size > MAX_L1_ENTRIES) throw new DiskError('TV_DISK_LIMIT', 'The L1 table is larger than 32 MiB.')
  if (l1Size < geometry.l1EntriesOf(size)) throw corrupt('the L1 table is too small for the disk')
  if (refcountTableClusters * geometry.clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
    throw new DiskError('TV_DISK_LIMIT', 'The refcount table is larger than 8 MiB.')
  }
  if (header.snapshotCount > MAX_SNAPSHOTS)
    throw new DiskError('TV_DISK_LIMIT', 'There are over 65536 snapshots.')
  for (const offset of [
    l1Offset,
    refcountTableOffset,
    header.snapshotCount > 0 ? header.snapshotsOffset : 0,
  ]) {
    if (!geometry.isAligned(offset)) throw corrupt('a table does not begin at a cluster')
  }
}

export function unsupported(what: string): DiskError {
  return new DiskError('TV_DISK_UNSUPPORTED', `The qcow2 image uses ${what}, which is not supported.`)
}

/** The fields that a commit changes, from `size` to the end of version 2: one small write, which happens or does not. */
export function changingFields(header: Qcow2Header): { offset: number; bytes: Uint8Array } {
  const bytes = new Uint8Array(V2_LENGTH)
  const view = viewOf(bytes)
  writeU64(view, FIELD.size, header.size)
  view.setUint32(FIELD.l1Size, header.l1Size)
  writeU64(view, FIELD.l1Offset, header.l1Offset)
  writeU64(view, FIELD.refcountTableOffset, header.refcountTableOffset)
  view.setUint32(FIELD.refcountTableClusters, header.refcountTableClusters)
  view.setUint32(FIELD.snapshotCount, header.snapshotCount)
  writeU64(view, FIELD.snapshotsOffset, header.snapshotsOffset)
  return { offset: FIELD.size, bytes: bytes.subarray(FIELD.size) }
}

/**
 * The header's area with the changing fields, without dirty and auto-clear bits, and without the extensions that only
 * an auto-clear bit makes true. The name of the backing file stays where it is.
 */
export function cleanHeader(cluster: Uint8Array, header: Qcow2Header): Uint8Array {
  const bytes = cluster.slice()
  const view = viewOf(bytes)
  const fields = changingFields(header)
  bytes.set(fields.bytes, fields.offset)
  if (header.version === 2) return bytes
  view.setUint32(FIELD.incompatible + 4, view.getUint32(FIELD.incompatible + 4) & ~INCOMPATIBLE.dirty)
  writeU64(view, FIELD.autoclear, 0)
  const start = view.getUint32(FIELD.headerLength)
  const before = extensionsLength(header.extensions)
  bytes.fill(0, start, start + before)
  writeExtensions(
    bytes.subarray(start),
    header.extensions.filter(({ type }) => type !== EXTENSION.bitmaps),
  )
  return bytes
}

export function extensionsLength(extensions: readonly HeaderExtension[]): number {
  return extensions.reduce((sum, { data }) => sum + 8 + Math.ceil(data.length / 8) * 8, 0)
}

export function writeExtensions(target: Uint8Array, extensions: readonly HeaderExtension[]): void {
  const view = viewOf(target)
  let at = 0
  for (const { type, data } of extensions) {
    view.setUint32(at, type)
    view.setUint32(at + 4, data.length)
    target.set(data, at + 8)
    at += 8 + Math.ceil(data.length / 8) * 8
  }
}

export const HEADER_MAGIC = MAGIC
