import type { Clock, WallClock } from './clock.ts'
import { DeadlineQueue } from './deadline-queue.ts'

/** A clock that only moves when it is told to: for tests and replay. */
export class ManualClock implements Clock {
  readonly queue: DeadlineQueue
  readonly wall: WallClock
  #now = 0

  constructor(epochMilliseconds = 0) {
    this.queue = new DeadlineQueue(this)
    this.wall = { now: () => epochMilliseconds + this.#now / 1e6 }
  }

  now(): number {
    return this.#now
  }

  /** Moves forward by `nanoseconds`, stopping at each deadline on the way. */
  advance(nanoseconds: number): void {
    const end = this.#now + nanoseconds
    while (this.queue.next() <= end) {
      this.#now = Math.max(this.#now, this.queue.next())
      this.queue.runDue()
    }
    this.#now = end
  }

  /** Moves forward without running timers, as when the host was busy. */
  skip(nanoseconds: number): void {
    this.#now += nanoseconds
  }
}
