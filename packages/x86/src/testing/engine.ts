/** What a test needs of an engine: run one case in user mode until its first exception. */

import { copyApproximate, copyX87, differences, sameOutcome, unifyNans, withinBounds } from './compare.ts'
import { newRecord, normalizeOutcome, type StateRecord } from './state-record.ts'
import { clearUndefined, type UndefinedResults } from './undefined-flags.ts'

export interface Engine {
  readonly name: string
  /**
   * Runs the case in `input` (see state-record.ts for the machine around it) and fills `outcome` in the same layout.
   * `outcome` may hold anything before; mode and everything marked `out` must be set, code and signal are ignored.
   */
  run(input: StateRecord, outcome: StateRecord): void
}

/** Checks engines against expected outcomes; reuses its buffers. */
export class Checker {
  readonly #engine: Engine
  readonly #actual = newRecord()
  readonly #expected = newRecord()

  constructor(engine: Engine) {
    this.#engine = engine
  }

  /** Runs a case; returns what differs from `expected`, nothing when all agrees. */
  check(input: StateRecord, expected: StateRecord, undefinedOnes: UndefinedResults): string[] {
    this.#engine.run(input, this.#actual)
    normalizeOutcome(this.#actual)
    return compareOutcomes(this.#actual, expected, this.#expected, undefinedOnes)
  }
}

/** What differs between two normalized outcomes; clears what is undefined in `actual`, uses `scratch`. */
export function compareOutcomes(
  actual: StateRecord,
  expected: StateRecord,
  scratch: StateRecord,
  undefinedOnes: UndefinedResults,
): string[] {
  scratch.bytes.set(expected.bytes)
  clearUndefined(actual, undefinedOnes)
  clearUndefined(scratch, undefinedOnes)
  if (undefinedOnes.anyNan) {
    unifyNans(actual)
    unifyNans(scratch)
  }
  if (undefinedOnes.outOfRange) copyX87(actual, scratch)
  if (undefinedOnes.approximate && withinBounds(actual, scratch)) copyApproximate(actual, scratch)
  return sameOutcome(actual, scratch) ? [] : differences(actual, scratch)
}
