import { KernelError } from '../errors.ts'

/** Little-endian reads of a file that may end anywhere: beyond the end is `TV_KERNEL_TRUNCATED`. */
export class Binary {
  readonly bytes: Uint8Array
  readonly #view: DataView

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get length(): number {
    return this.bytes.length
  }

  has(offset: number, length: number): boolean {
    return isInside(this.length, offset, length)
  }

  #check(offset: number, length: number): number {
    checkRange(this.length, offset, length)
    return offset
  }

  u8(offset: number): number {
    return this.#view.getUint8(this.#check(offset, 1))
  }

  u16(offset: number): number {
    return this.#view.getUint16(this.#check(offset, 2), true)
  }

  u32(offset: number): number {
    return this.#view.getUint32(this.#check(offset, 4), true)
  }

  /** A 64-bit field as a number; addresses beyond 2^53 lose bits, and fit nowhere anyway. */
  u64(offset: number): number {
    return Number(this.#view.getBigUint64(this.#check(offset, 8), true))
  }

  slice(offset: number, length: number): Uint8Array {
    this.#check(offset, length)
    return this.bytes.subarray(offset, offset + length)
  }
}

function isInside(size: number, offset: number, length: number): boolean {
  return Number.isSafeInteger(offset + length) && offset >= 0 && length >= 0 && offset + length <= size
}

/** Throws where a range is not inside a file of `size` bytes. */
export function checkRange(size: number, offset: number, length: number): void {
  if (isInside(size, offset, length)) return
  throw new KernelError(
    'TV_KERNEL_TRUNCATED',
    `The kernel file ends at ${size} bytes, in the middle of what it describes.`,
  )
}
