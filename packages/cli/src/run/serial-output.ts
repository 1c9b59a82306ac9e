import { once } from 'node:events'
import type { Writable } from 'node:stream'

const CHUNK = 0x1_0000

const nothing = () => {}

/** Gathers a guest's bytes and writes them on when the event loop turns, in few pieces. */
export class SerialOutput {
  readonly #streams: readonly Writable[]
  readonly #buffer = new Uint8Array(CHUNK)
  #length = 0
  #scheduled = false

  constructor(...streams: Writable[]) {
    this.#streams = streams
  }

  write(byte: number): void {
    this.#buffer[this.#length++] = byte
    if (this.#length === CHUNK) this.flush()
    else this.#schedule()
  }

  flush(): void {
    if (this.#length === 0) return
    const chunk = this.#buffer.slice(0, this.#length)
    this.#length = 0
    for (const stream of this.#streams) if (!stream.destroyed) stream.write(chunk)
  }

  /** While a stream takes no more: a promise for its having room. */
  congestion(): Promise<void> | undefined {
    const full = this.#streams.find((stream) => stream.writableNeedDrain && !stream.destroyed)
    return full && Promise.race([once(full, 'drain'), once(full, 'close')]).then(nothing, nothing)
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.flush()
    })
  }
}
