import type { Timer, TimerClock } from '../clock/clock.ts'

export const MILLISECOND = 1e6
export const SECOND = 1e9
/** Alarms that are due within this of each other ring together. */
const GRAIN = MILLISECOND

/** A moment at which something is called, unless it is moved. */
export class Alarm {
  due = Infinity
  readonly ring: () => void
  constructor(ring: () => void) {
    this.ring = ring
  }
}

/**
 * Thousands of alarms over one timer of the machine's. Setting one that is not the next costs a store; a ring looks
 * through all. An alarm that is moved away leaves the timer as it is, which then finds nothing due.
 */
export class Alarms {
  readonly #clock: TimerClock
  readonly #armed = new Set<Alarm>()
  #timer: Timer | undefined

  constructor(clock: TimerClock) {
    this.#clock = clock
  }

  now(): number {
    return this.#clock.now()
  }

  /** `alarm` rings once, `delay` ns from now. */
  set(alarm: Alarm, delay: number): void {
    alarm.due = this.#clock.now() + delay
    this.#armed.add(alarm)
    if (this.#timer === undefined || alarm.due < this.#timer.deadline) this.#arm(alarm.due)
  }

  clear(alarm: Alarm): void {
    if (alarm.due === Infinity) return
    alarm.due = Infinity
    this.#armed.delete(alarm)
  }

  close(): void {
    this.#clock.cancel(this.#timer)
    this.#timer = undefined
    this.#armed.clear()
  }

  #arm(due: number): void {
    this.#clock.cancel(this.#timer)
    this.#timer = this.#clock.at(due, () => this.#ring())
  }

  #ring(): void {
    this.#timer = undefined
    const limit = this.#clock.now() + GRAIN
    const due = [...this.#armed].filter((alarm) => alarm.due <= limit)
    for (const alarm of due) {
      if (alarm.due > limit) continue // moved by an earlier one
      this.clear(alarm)
      alarm.ring()
    }
    let next = Infinity
    for (const alarm of this.#armed) next = Math.min(next, alarm.due)
    const armed = this.#timer as Timer | undefined
    if (next < (armed?.deadline ?? Infinity)) this.#arm(next)
  }
}
