import type { Buffers, Completion } from '../block-backend.ts'
import { DiskError } from '../errors.ts'

/** A connection, in both directions. */
export interface NbdStream {
  /** What arrives, in pieces of any size, until the other side ends. */
  readonly incoming: AsyncIterable<Uint8Array>
  /** Sends the pieces in order. They may be used again when it is done; then there is room for more. */
  write(pieces: Buffers): Completion
  close(): void
}

/** Reads exact numbers of bytes from a stream. */
export class ByteReader {
  readonly #pieces: AsyncIterator<Uint8Array>
  #piece: Uint8Array = new Uint8Array()

  constructor(incoming: AsyncIterable<Uint8Array>) {
    this.#pieces = incoming[Symbol.asyncIterator]()
  }

  async bytes(length: number): Promise<DataView> {
    const bytes = new Uint8Array(length)
    await this.into([bytes])
    return new DataView(bytes.buffer)
  }

  /** Fills the buffers. */
  async into(buffers: Buffers): Promise<void> {
    for (const buffer of buffers) {
      for (let done = 0; done < buffer.length; ) {
        while (this.#piece.length === 0) await this.#next()
        const part = this.#piece.subarray(0, buffer.length - done)
        buffer.set(part, done)
        this.#piece = this.#piece.subarray(part.length)
        done += part.length
      }
    }
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; ) {
      while (this.#piece.length === 0) await this.#next()
      const part = Math.min(left, this.#piece.length)
      this.#piece = this.#piece.subarray(part)
      left -= part
    }
  }

  async #next(): Promise<void> {
    const { done, value } = await this.#pieces.next()
    if (done) throw new DiskError('TV_NBD_DISCONNECTED', 'The NBD server has ended the connection.')
    this.#piece = value
  }
}
