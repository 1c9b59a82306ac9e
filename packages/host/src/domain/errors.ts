import { TypevisorError } from '@typevisor/vmm'

export type DomainErrorCode =
  | 'TV_ENGINE_UNKNOWN'
  | 'TV_FILE_NOT_FOUND'
  | 'TV_FILE_UNREADABLE'
  | 'TV_INITRD_FORMAT'
  | 'TV_INITRD_CORRUPT'

/** A domain that cannot be made of what was asked for. */
export class DomainError extends TypevisorError {
  constructor(code: DomainErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options)
  }
}
