/** A record of fixed size, filled field by field, little-endian. */
export class ByteWriter {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly #view: DataView

  constructor(length: number) {
    this.bytes = new Uint8Array(length)
    this.#view = new DataView(this.bytes.buffer)
  }

  u8(offset: number, value: number): this {
    this.#view.setUint8(offset, value)
    return this
  }

  u16(offset: number, value: number): this {
    this.#view.setUint16(offset, value, true)
    return this
  }

  u32(offset: number, value: number): this {
    this.#view.setUint32(offset, value, true)
    return this
  }

  u64(offset: number, value: number): this {
    this.#view.setBigUint64(offset, BigInt(value), true)
    return this
  }

  ascii(offset: number, text: string): this {
    for (let i = 0; i < text.length; i++) this.bytes[offset + i] = text.charCodeAt(i)
    return this
  }

  set(offset: number, bytes: Uint8Array): this {
    this.bytes.set(bytes, offset)
    return this
  }
}

/** A C string: UTF-8 with a zero byte. */
export function cString(text: string): Uint8Array {
  const encoded = utf8(text)
  const bytes = new Uint8Array(encoded.length + 1)
  bytes.set(encoded)
  return bytes
}

/** UTF-8 without a host's TextEncoder. */
function utf8(text: string): number[] {
  return [...encodeURIComponent(text.toWellFormed()).matchAll(/%([0-9A-F]{2})|(.)/gs)].map(([, hex, char]) =>
    hex ? Number.parseInt(hex, 16) : char.charCodeAt(0),
  )
}
