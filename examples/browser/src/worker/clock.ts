/** By how much a clock that stands still is moved on at each look, in nanoseconds. */
const STEP = 50

/**
 * A machine's clock, in nanoseconds: it stands at 0 until `start`, so that downloads take none of the guest's time.
 *
 * Browsers round theirs, to 100 µs and to more, and a processor whose time stands still meanwhile is none that a
 * kernel knows. Looking takes longer than a step, so this one is never far ahead, and waits for the other where it was.
 */
export class MachineClock {
  readonly #now: () => number
  #origin: number | undefined
  #last = 0

  /** `now` gives milliseconds from any origin. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  start(): void {
    this.#origin = this.#now()
  }

  now(): number {
    if (this.#origin === undefined) return 0
    this.#last = Math.max((this.#now() - this.#origin) * 1e6, this.#last + STEP)
    return this.#last
  }
}
