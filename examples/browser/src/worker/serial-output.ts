import type { ByteSink } from '@typevisor/vmm'

const CHUNK = 0x1_0000
/** Between two pieces: painting takes time from the guest. What somebody does on the screen shall be smooth. */
const INTERVAL_MS = 250
const INTERVAL_TYPING_MS = 16
/** So long after a key somebody types. */
const TYPING_MS = 2_000
/** So much may be on the way to the screen before the machine is held back. */
const LIMIT = 4 * CHUNK

/** Gathers a guest's bytes and hands them on now and then; knows how much is not on the screen yet. */
export class SerialOutput implements ByteSink {
  readonly #send: (bytes: Uint8Array<ArrayBuffer>) => void
  readonly #buffer = new Uint8Array(CHUNK)
  #length = 0
  #pending = 0
  #lastFlush = -Infinity
  #lastKey = -Infinity
  #scheduled = false
  #congestion: PromiseWithResolvers<void> | undefined

  constructor(send: (bytes: Uint8Array<ArrayBuffer>) => void) {
    this.#send = send
  }

  write(byte: number): void {
    this.#buffer[this.#length++] = byte
    if (this.#length === CHUNK) this.flush()
    else this.#schedule()
  }

  flush(): void {
    if (this.#length === 0) return
    this.#lastFlush = performance.now()
    this.#pending += this.#length
    this.#send(this.#buffer.slice(0, this.#length))
    this.#length = 0
  }

  /** Somebody has typed. */
  typed(): void {
    this.#lastKey = performance.now()
  }

  /** So many bytes came to the screen. */
  shown(bytes: number): void {
    this.#pending -= bytes
    if (this.#pending > LIMIT) return
    this.#congestion?.resolve()
    this.#congestion = undefined
  }

  /** While the screen is behind: a promise for its catching up. */
  congestion(): Promise<void> | undefined {
    if (this.#pending <= LIMIT) return undefined
    this.#congestion ??= Promise.withResolvers()
    return this.#congestion.promise
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    const now = performance.now()
    const interval = now < this.#lastKey + TYPING_MS ? INTERVAL_TYPING_MS : INTERVAL_MS
    const wait = Math.max(this.#lastFlush + interval - now, 0)
    setTimeout(() => {
      this.#scheduled = false
      this.flush()
    }, wait)
  }
}
