import { DiskError } from './errors.ts'

/**
 * What an operation returns: a promise, or undefined when it is done already. So a device may complete a request within
 * the guest's own access, without a turn of the event loop. A failure is thrown or rejected; `await` in `try` sees both.
 */
export type Completion = Promise<void> | undefined

/** Pieces of memory that one request scatters to or gathers from, in order. */
export type Buffers = readonly Uint8Array[]

/**
 * A disk as a device sees it. Requests may overlap in time: those in flight together have no order, and what has
 * completed is seen by what begins later. Only `flush` makes completed writes survive the host's crash. Until a request
 * completes its buffers belong to it.
 */
export interface BlockBackend {
  /** In bytes; not always a multiple of 512. */
  readonly size: number
  readonly readOnly: boolean
  read(offset: number, buffers: Buffers): Completion
  write(offset: number, buffers: Buffers): Completion
  flush(): Completion
  /** The content is of no use any more: it then reads as before, or as zeros. */
  discard(offset: number, length: number): Completion
  /** Reads as zeros from now on; `mayUnmap` allows to give the space back. */
  writeZeroes(offset: number, length: number, mayUnmap: boolean): Completion
  resize(size: number): Promise<void>
  /** Flushes and lets go of files; nothing may be in flight. */
  close(): Promise<void>
}

/** All that image formats need of a file. Offsets and sizes are bytes. */
export interface RandomAccessFile {
  readonly readOnly: boolean
  size(): number
  /** Fills the buffers, with zeros beyond the end of the file. */
  read(offset: number, buffers: Buffers): Completion
  /** Writes beyond the end extend the file; what lies between reads as zeros. */
  write(offset: number, buffers: Buffers): Completion
  truncate(size: number): Completion
  /** What has been written is on stable storage afterwards. */
  sync(): Completion
  close(): Promise<void>
}

/** Refuses a request that leaves the disk. */
export function checkRange(offset: number, length: number, size: number): void {
  if (offset >= 0 && length >= 0 && offset + length <= size) return
  throw new DiskError(
    'TV_DISK_RANGE',
    `The request ${offset}+${length} is not within a disk of ${size} bytes.`,
  )
}

export function checkWritable(disk: { readonly readOnly: boolean }): void {
  if (disk.readOnly) throw new DiskError('TV_DISK_READ_ONLY', 'The disk is opened for reading only.')
}

/** Refuses a size that is no whole number of bytes, or larger than numbers are exact. */
export function checkSize(size: number): void {
  if (Number.isSafeInteger(size) && size >= 0) return
  throw new DiskError('TV_DISK_OPTION', `A disk cannot have ${size} bytes.`)
}

const SECTOR = 512

/** For formats that count in sectors. */
export function checkSectors(size: number): void {
  checkSize(size)
  if (size % SECTOR === 0) return
  throw new DiskError('TV_DISK_OPTION', `A disk of this format has a multiple of 512 bytes, not ${size}.`)
}
