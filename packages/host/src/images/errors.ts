import { TypevisorError } from '@typevisor/vmm'

export type ImageErrorCode =
  | 'TV_IMAGE_UNKNOWN'
  | 'TV_IMAGE_NOT_BUILT'
  | 'TV_IMAGE_CORRUPT'
  | 'TV_IMAGE_NO_APT'
  | 'TV_IMAGE_NO_SPACE'
  | 'TV_IMAGE_NETWORK'
  | 'TV_IMAGE_PACKAGE'
  | 'TV_IMAGE_CACHE'
  | 'TV_IMAGE_INTERRUPTED'

/** An image that cannot be made, found or removed. */
export class ImageError extends TypevisorError {
  constructor(code: ImageErrorCode, message: string, options?: { cause?: unknown }) {
    super(code, message, options)
  }
}
