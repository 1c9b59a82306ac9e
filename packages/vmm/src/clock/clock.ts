/** Guest time: nanoseconds since the machine was made, monotonic, as a double. */
export interface Clock {
  now(): number
}

/** A callback that is due at a deadline. Devices hold it only to cancel it. */
export interface Timer {
  readonly deadline: number
}

/** Clock and deadlines together: what a device with a timer is given. */
export interface TimerClock extends Clock {
  /** Calls `callback` once, as soon after `deadline` (ns) as the run loop comes by. */
  at(deadline: number, callback: () => void): Timer
  cancel(timer: Timer | undefined): void
}

/** Milliseconds since 1970-01-01 UTC, as the host (or a test, or a replay) says. */
export interface WallClock {
  now(): number
}
