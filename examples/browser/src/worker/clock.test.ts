import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MachineClock } from './clock.ts'

describe("a machine's clock in a browser", () => {
  it('stands at 0 until the machine starts', () => {
    let milliseconds = 5000
    const clock = new MachineClock(() => milliseconds)
    assert.equal(clock.now(), 0)
    clock.start()
    milliseconds += 2
    assert.equal(clock.now(), 2e6)
  })
  it('rises while the browser rounds, and is right again when the browser looks anew', () => {
    let milliseconds = 0
    const clock = new MachineClock(() => milliseconds)
    clock.start()
    const readings = Array.from({ length: 100 }, () => clock.now())
    assert.ok(readings.every((reading, i) => i === 0 || reading > readings[i - 1]))
    assert.ok(readings[99] < 1e4)
    milliseconds = 0.1
    assert.equal(clock.now(), 1e5)
  })
})
