import { TypevisorError } from '../errors.ts'

export type DiskErrorCode =
  | 'TV_DISK_FORMAT'
  | 'TV_DISK_CORRUPT'
  | 'TV_DISK_UNSUPPORTED'
  | 'TV_DISK_LIMIT'
  | 'TV_DISK_OPTION'
  | 'TV_DISK_RANGE'
  | 'TV_DISK_READ_ONLY'
  | 'TV_DISK_NO_SPACE'
  | 'TV_DISK_IO'
  | 'TV_DISK_NOT_FOUND'
  | 'TV_DISK_LOCKED'
  | 'TV_DISK_BACKING'
  | 'TV_DISK_SNAPSHOT'
  | 'TV_DISK_CLOSED'
  | 'TV_NBD_PROTOCOL'
  | 'TV_NBD_REFUSED'
  | 'TV_NBD_DISCONNECTED'

/** A disk that cannot be opened, read, written or changed as asked. */
export class DiskError extends TypevisorError {
  constructor(code: DiskErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options)
  }
}

/** The image contradicts its format, or itself. */
export function corrupt(what: string): DiskError {
  return new DiskError('TV_DISK_CORRUPT', `The disk image is damaged: ${what}.`)
}
