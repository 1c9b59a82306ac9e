import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SlicePacer } from './slice-pacer.ts'

/** Instructions per nanosecond. */
const SPEED = 0.13

/**
 * The budget for 2 ms after a second of slices, the first with a whole budget, the others to a deadline. The clock is
 * rounded to `resolution` ns and rises by a little meanwhile.
 */
function budgetAfter(sliceTime: number, resolution: number): number {
  const pacer = new SlicePacer()
  let time = 0
  let last = 0
  const clock = () => (last = Math.max(Math.floor(time / resolution) * resolution, last + 1))
  while (time < 1e9) {
    const before = clock()
    const budget = pacer.budget(time < 1e8 ? Infinity : sliceTime)
    time += budget / SPEED
    pacer.measured(budget, clock() - before)
  }
  return pacer.budget(Infinity)
}

describe('slice pacer', () => {
  for (const resolution of [1, 1e5, 1e6]) {
    for (const sliceTime of [20e3, 150e3, 2e6]) {
      it(`finds the speed in slices of ${sliceTime / 1e3} µs by a clock of ${resolution / 1e3} µs`, () => {
        const ratio = budgetAfter(sliceTime, resolution) / (2e6 * SPEED)
        assert.ok(ratio > 0.6 && ratio < 1.5, `${ratio}`)
      })
    }
  }
})
