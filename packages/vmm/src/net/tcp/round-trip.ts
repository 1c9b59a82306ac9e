// RFC 6298, "Computing TCP's Retransmission Timer".

import { MILLISECOND, SECOND } from '../alarms.ts'

/** A wire of memory: far below the second that RFC 6298 asks for on the Internet. */
const SHORTEST = 200 * MILLISECOND
const LONGEST = 60 * SECOND

export class RoundTrip {
  #smoothed: number | undefined
  #variation = 0
  #backoff = 0
  #timed: { sequence: number; sent: number } | undefined

  get timeout(): number {
    const base = this.#smoothed === undefined ? SECOND : this.#smoothed + 4 * this.#variation
    return Math.min(Math.max(base, SHORTEST) * 2 ** this.#backoff, LONGEST)
  }

  /** Begins to time the segment that ends before `sequence`, unless one is timed. */
  start(sequence: number, now: number): void {
    this.#timed ??= { sequence, sent: now }
  }

  acknowledged(sequence: number, now: number): void {
    this.#backoff = 0
    if (!this.#timed || ((sequence - this.#timed.sequence) | 0) < 0) return
    this.#measure(now - this.#timed.sent)
    this.#timed = undefined
  }

  /** Karn's algorithm: what was sent twice is not timed. */
  sentAgain(): void {
    this.#timed = undefined
  }

  /** The timer has run out. */
  backOff(): void {
    this.#timed = undefined
    this.#backoff++
  }

  #measure(sample: number): void {
    if (this.#smoothed === undefined) {
      this.#smoothed = sample
      this.#variation = sample / 2
      return
    }
    this.#variation += (Math.abs(this.#smoothed - sample) - this.#variation) / 4
    this.#smoothed += (sample - this.#smoothed) / 8
  }
}
