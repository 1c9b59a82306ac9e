import { SECOND } from '../alarms.ts'
import { NetworkError } from '../errors.ts'

export interface Rate {
  readonly bytesPerSecond: number
  /** Bytes that may pass at once after a pause; 64 KiB if absent. */
  readonly burst?: number
}

const DEFAULT_BURST = 0x1_0000

/** Lets bytes through at a rate. A frame that is larger than what is left goes into debt, so that every frame can pass. */
export class TokenBucket {
  readonly #now: () => number
  readonly #rate: number
  readonly #burst: number
  #tokens: number
  #updated: number

  constructor({ bytesPerSecond, burst = DEFAULT_BURST }: Rate, now: () => number) {
    if (!(bytesPerSecond > 0 && burst > 0 && Number.isFinite(bytesPerSecond + burst))) {
      throw new NetworkError('TV_NETWORK_LIMIT', `${bytesPerSecond} bytes per second is no rate.`)
    }
    this.#now = now
    this.#rate = bytesPerSecond
    this.#burst = burst
    this.#tokens = burst
    this.#updated = now()
  }

  /** Nanoseconds until the next frame may pass. */
  delay(): number {
    const now = this.#now()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#updated) / SECOND) * this.#rate)
    this.#updated = now
    return this.#tokens > 0 ? 0 : ((1 - this.#tokens) / this.#rate) * SECOND
  }

  take(bytes: number): void {
    this.#tokens -= bytes
  }
}
