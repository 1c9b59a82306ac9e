/** A growing byte buffer with the integer encodings of WebAssembly's binary format. */
export class ByteWriter {
  #bytes = new Uint8Array(256)
  length = 0

  #grow(extra: number): void {
    if (this.length + extra <= this.#bytes.length) return
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + extra))
    larger.set(this.#bytes.subarray(0, this.length))
    this.#bytes = larger
  }

  u8(value: number): void {
    if (this.length === this.#bytes.length) this.#grow(1)
    this.#bytes[this.length++] = value
  }

  bytes(source: Uint8Array): void {
    this.#grow(source.length)
    this.#bytes.set(source, this.length)
    this.length += source.length
  }

  /** Unsigned LEB128 of a value below 2^32. */
  u32(value: number): void {
    let rest = value >>> 0
    while (rest >= 0x80) {
      this.u8((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.u8(rest)
  }

  /** Signed LEB128 of a safe integer. */
  s53(value: number): void {
    let rest = value
    for (;;) {
      const low = ((rest % 128) + 128) % 128
      rest = (rest - low) / 128
      const done = (rest === 0 && low < 64) || (rest === -1 && low >= 64)
      this.u8(done ? low : low | 0x80)
      if (done) return
    }
  }

  /** Signed LEB128 of a 64-bit integer. */
  s64(value: bigint): void {
    let rest = BigInt.asIntN(64, value)
    for (;;) {
      const low = Number(rest & 0x7fn)
      rest >>= 7n
      const done = (rest === 0n && low < 64) || (rest === -1n && low >= 64)
      this.u8(done ? low : low | 0x80)
      if (done) return
    }
  }

  f64(value: number): void {
    this.bytes(new Uint8Array(new Float64Array([value]).buffer))
  }

  f32(value: number): void {
    this.bytes(new Uint8Array(new Float32Array([value]).buffer))
  }

  name(text: string): void {
    this.u32(text.length)
    for (let i = 0; i < text.length; i++) this.u8(text.charCodeAt(i))
  }

  /** Overwrites one byte that was written before. */
  patch(at: number, value: number): void {
    this.#bytes[at] = value
  }

  at(position: number): number {
    return this.#bytes[position]!
  }

  view(): Uint8Array {
    return this.#bytes.subarray(0, this.length)
  }
}
