/** Counts each chunk as this much more than its bytes: small ones cost memory too. */
const CHUNK_COST = 200
/** Acknowledged chunks are forgotten when there are so many. */
const COMPACT_AT = 64

/** Bytes for the guest, from the first that it has not acknowledged on. Holds the chunks as they came. */
export class SendQueue {
  #chunks: Uint8Array[] = []
  #head = 0
  /** Acknowledged bytes of the first chunk. */
  #skip = 0
  #length = 0
  /** Where `slice` found the end of its last range, so that the next one, which follows it, need not search. */
  #cursor = { chunk: 0, start: 0 }

  get length(): number {
    return this.#length
  }

  /** What it holds of the host's memory, about. */
  get cost(): number {
    return this.#length + (this.#chunks.length - this.#head) * CHUNK_COST
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#chunks.push(bytes)
    this.#length += bytes.length
  }

  /** Adds views of `count` bytes from `offset` on to `parts`. */
  slice(offset: number, count: number, parts: Uint8Array[]): void {
    let { chunk, start } = this.#cursor
    if (start > offset) {
      chunk = this.#head
      start = -this.#skip
    }
    let remaining = count
    while (remaining > 0) {
      const bytes = this.#chunks[chunk]
      const from = Math.max(0, offset - start)
      if (from < bytes.length) {
        const length = Math.min(bytes.length - from, remaining)
        parts.push(bytes.subarray(from, from + length))
        remaining -= length
        if (remaining === 0) break
      }
      start += bytes.length
      chunk++
    }
    this.#cursor = { chunk, start }
  }

  /** Forgets the first `count` bytes. */
  drop(count: number): void {
    this.#length -= count
    let left = count + this.#skip
    while (this.#head < this.#chunks.length && left >= this.#chunks[this.#head].length) {
      left -= this.#chunks[this.#head].length
      this.#chunks[this.#head++] = EMPTY
    }
    this.#skip = left
    if (this.#head >= COMPACT_AT || this.#head === this.#chunks.length) {
      this.#chunks = this.#chunks.slice(this.#head)
      this.#head = 0
    }
    this.#cursor = { chunk: this.#head, start: -this.#skip }
  }

  clear(): void {
    this.#chunks = []
    this.#head = this.#skip = this.#length = 0
    this.#cursor = { chunk: 0, start: 0 }
  }
}

const EMPTY = new Uint8Array(0)
