const TARGET_NS = 2e6
/** A little less, so that a slice that came out short still gives way. */
const YIELD_NS = 1.5e6
const MIN_INSTRUCTIONS = 1_000
const MAX_INSTRUCTIONS = 50_000_000
/** What was seen in less time says too little: hosts round their clocks, browsers to 0.1 ms and more. */
const MEASURE_NS = 1e6
/**
 * How far one measurement moves the rate: code that is new may be twenty times slower than what ran before, and slices as much too long.
 */
const SLOWER = 3 / 4
const FASTER = 1 / 4
/** A first guess: 20 million instructions per second. */
const FIRST_RATE = 0.02

/** Sizes slices: about 2 ms of processor time, shorter where a deadline is near, by the speed seen so far. */
export class SlicePacer {
  /** Instructions per nanosecond. */
  #rate = FIRST_RATE
  #sinceYield = 0
  #measuredInstructions = 0
  #measuredTime = 0

  /** How many instructions to run when the next deadline is `untilDeadline` ns away. */
  budget(untilDeadline: number): number {
    const time = Math.min(TARGET_NS, Math.max(untilDeadline, 0))
    return Math.min(Math.max(Math.ceil(time * this.#rate), MIN_INSTRUCTIONS), MAX_INSTRUCTIONS)
  }

  /** How long so many instructions should take, in ns. */
  duration(instructions: number): number {
    return instructions / this.#rate
  }

  /** A slice used its whole budget. Short ones are taken together. */
  measured(instructions: number, elapsed: number): void {
    this.#measuredInstructions += instructions
    this.#measuredTime += elapsed
    if (this.#measuredTime < MEASURE_NS) return
    const rate = this.#measuredInstructions / this.#measuredTime
    const step = rate < this.#rate ? SLOWER : FASTER
    this.#rate += (Math.min(rate, this.#rate * 4) - this.#rate) * step
    this.#measuredInstructions = 0
    this.#measuredTime = 0
  }

  /** Whether the event loop should have its turn after another `elapsed` ns of processor time. */
  turnIsOver(elapsed: number): boolean {
    this.#sinceYield += elapsed
    if (this.#sinceYield < YIELD_NS) return false
    this.#sinceYield = 0
    return true
  }
}
