import type { Clock, Timer, TimerClock } from './clock.ts'

interface Entry extends Timer {
  readonly callback: () => void
}

/** The machine's one queue of deadlines. A machine has a dozen timers at most, so a sorted array is the fastest heap. */
export class DeadlineQueue implements TimerClock {
  readonly #clock: Clock
  readonly #onEarlier: () => void
  #entries: Entry[] = []

  /** `onEarlier` is called when a new deadline comes before all others: a running slice may now be too long. */
  constructor(clock: Clock, onEarlier: () => void = () => {}) {
    this.#clock = clock
    this.#onEarlier = onEarlier
  }

  now(): number {
    return this.#clock.now()
  }

  at(deadline: number, callback: () => void): Timer {
    const entry = { deadline, callback }
    let index = this.#entries.length
    while (index > 0 && this.#entries[index - 1].deadline > deadline) index--
    this.#entries.splice(index, 0, entry)
    if (index === 0) this.#onEarlier()
    return entry
  }

  cancel(timer: Timer | undefined): void {
    const index = this.#entries.indexOf(timer as Entry)
    if (index >= 0) this.#entries.splice(index, 1)
  }

  /** The earliest deadline, or Infinity. */
  next(): number {
    return this.#entries.length > 0 ? this.#entries[0].deadline : Infinity
  }

  /**
   * Calls what is due at the time of entry. A callback that sets a deadline in the past waits for the next call,
   * so a guest cannot hold the loop here.
   */
  runDue(): void {
    const now = this.now()
    let due = 0
    while (due < this.#entries.length && this.#entries[due].deadline <= now) due++
    if (due === 0) return
    for (const entry of this.#entries.slice(0, due)) {
      const index = this.#entries.indexOf(entry)
      if (index < 0) continue // cancelled by an earlier callback
      this.#entries.splice(index, 1)
      entry.callback()
    }
  }
}
