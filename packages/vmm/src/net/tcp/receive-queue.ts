import { copyFrame, type Frame } from '../frame.ts'
import type { ByteStream } from '../host-network.ts'
import { CHUNK, type ChunkPool } from './chunk-pool.ts'
import { advance, distance } from './sequence.ts'

/** Writes that the stream may hold while what comes is still gathered for the next: a guest that sends single bytes. */
const WRITES_LIMIT = 16
/** Less than this is written from a buffer of its own size, so that few bytes do not hold 64 KiB. */
const COPY_BELOW = CHUNK / 4
/** Pieces that wait for what comes before them. */
const OUT_OF_ORDER_LIMIT = 64

interface Piece {
  readonly sequence: number
  readonly bytes: Uint8Array
}

/**
 * Bytes from the guest on their way to the host: gathered in chunks, written to the stream, counted until the stream
 * has let go of them. What came too early waits, and is within the window, so there is never more than that.
 */
export class ReceiveQueue {
  readonly #pool: ChunkPool
  readonly #stream: ByteStream
  readonly #onReleased: () => void
  #chunk: Uint8Array<ArrayBuffer> | undefined
  #filled = 0
  #written = 0
  #writes = 0
  #early: Piece[] = []

  constructor(pool: ChunkPool, stream: ByteStream, onReleased: () => void) {
    this.#pool = pool
    this.#stream = stream
    this.#onReleased = onReleased
  }

  /** Bytes in order that the stream still holds, or is yet to get. */
  get pending(): number {
    return this.#written + this.#filled
  }

  get hasEarly(): boolean {
    return this.#early.length > 0
  }

  append(frame: Frame, offset: number, length: number): void {
    let from = offset
    let left = length
    while (left > 0) {
      this.#chunk ??= this.#pool.take()
      const count = Math.min(left, CHUNK - this.#filled)
      copyFrame(frame, from, count, this.#chunk, this.#filled)
      this.#filled += count
      from += count
      left -= count
      if (this.#filled === CHUNK) this.#write(this.#chunk, CHUNK)
    }
  }

  /** Gives the stream what has been gathered, unless it is busy; before the end it must be `all`. */
  flush(all = false): void {
    const chunk = this.#chunk
    if (chunk === undefined || (this.#writes >= WRITES_LIMIT && !all)) return
    const length = this.#filled
    if (length >= COPY_BELOW) return this.#write(chunk, length)
    const few = new Uint8Array(chunk.subarray(0, length))
    this.#takeChunk()
    this.#pool.give(chunk)
    if (length > 0) this.#writeOut(few, undefined)
  }

  #write(chunk: Uint8Array<ArrayBuffer>, length: number): void {
    this.#takeChunk()
    this.#writeOut(length === CHUNK ? chunk : chunk.subarray(0, length), chunk)
  }

  #takeChunk(): void {
    this.#chunk = undefined
    this.#filled = 0
  }

  #writeOut(bytes: Uint8Array, chunk: Uint8Array<ArrayBuffer> | undefined): void {
    this.#written += bytes.length
    this.#writes++
    this.#stream.write(bytes, () => {
      this.#written -= bytes.length
      this.#writes--
      if (chunk) this.#pool.give(chunk)
      if (this.#writes < WRITES_LIMIT && this.#filled > 0) this.flush()
      this.#onReleased()
    })
  }

  /** Keeps a piece for later, if there is room for one more and all such pieces stay below `limit` bytes. */
  keepEarly(sequence: number, frame: Frame, offset: number, length: number, limit: number): void {
    const held = this.#early.reduce((sum, { bytes }) => sum + bytes.length, 0)
    if (this.#early.length >= OUT_OF_ORDER_LIMIT || held + length > limit) return
    if (this.#early.some((piece) => piece.sequence === sequence && piece.bytes.length >= length)) return
    const bytes = new Uint8Array(length)
    copyFrame(frame, offset, length, bytes)
    this.#early.push({ sequence, bytes })
    this.#early.sort((a, b) => distance(a.sequence, b.sequence))
  }

  /** Appends the early pieces that `next` has reached, and gives the sequence number behind them. */
  takeEarly(next: number): number {
    let at = next
    while (this.#early.length > 0 && distance(this.#early[0].sequence, at) <= 0) {
      const { sequence, bytes } = this.#early.shift()!
      const known = distance(at, sequence)
      if (known >= bytes.length) continue
      this.append({ parts: [bytes], length: bytes.length }, known, bytes.length - known)
      at = advance(sequence, bytes.length)
    }
    return at
  }

  clear(): void {
    if (this.#chunk) this.#pool.give(this.#chunk)
    this.#takeChunk()
    this.#early = []
  }
}
