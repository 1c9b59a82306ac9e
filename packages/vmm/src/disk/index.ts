export {
  type BlockBackend,
  type Buffers,
  type Completion,
  checkWritable,
  type RandomAccessFile,
} from './block-backend.ts'
export { CachedDisk, type CacheOptions } from './cached-disk.ts'
export { DiskError, type DiskErrorCode } from './errors.ts'
export { MemoryFile } from './memory-file.ts'
export { MemoryOverlay } from './memory-overlay.ts'
export { NbdDisk } from './nbd/nbd-disk.ts'
export type { NbdStream } from './nbd/nbd-stream.ts'
export { type CompressionCodec, type CompressionCodecs, zstdFrameLength } from './qcow2/compression.ts'
export { type CreateQcow2Options, createQcow2 } from './qcow2/create.ts'
export { type BackingReference, isQcow2 } from './qcow2/header.ts'
export { Qcow2Disk, type Qcow2Options } from './qcow2/qcow2-disk.ts'
export type { Snapshot as DiskSnapshot } from './qcow2/snapshot-table.ts'
export type { SnapshotOptions as DiskSnapshotOptions } from './qcow2/snapshots.ts'
export { RawDisk } from './raw.ts'
export { ReadOnlyDisk } from './read-only.ts'
export { ThrottledDisk, type ThrottleOptions } from './throttled-disk.ts'
