export const CHUNK = 0x1_0000
/** Chunks that are kept for the next use. */
const KEPT = 32

/** Buffers of 64 KiB between guest and socket, used again and again: they stay in the cache, and need no clearing. */
export class ChunkPool {
  readonly #free: Uint8Array<ArrayBuffer>[] = []

  take(): Uint8Array<ArrayBuffer> {
    return this.#free.pop() ?? new Uint8Array(CHUNK)
  }

  give(chunk: Uint8Array<ArrayBuffer>): void {
    if (this.#free.length < KEPT) this.#free.push(chunk)
  }
}
