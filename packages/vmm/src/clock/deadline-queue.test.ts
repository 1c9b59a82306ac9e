import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from './manual-clock.ts'

describe('deadline queue', () => {
  it('calls timers in the order of their deadlines, at their time', () => {
    const clock = new ManualClock()
    const seen: string[] = []
    clock.queue.at(20, () => seen.push(`b@${clock.now()}`))
    clock.queue.at(10, () => seen.push(`a@${clock.now()}`))
    clock.queue.at(20, () => seen.push(`c@${clock.now()}`))
    clock.advance(15)
    assert.deepEqual(seen, ['a@10'])
    assert.equal(clock.queue.next(), 20)
    clock.advance(15)
    assert.deepEqual(seen, ['a@10', 'b@20', 'c@20'])
    assert.equal(clock.queue.next(), Infinity)
  })
  it('does not call a timer that an earlier one cancelled', () => {
    const clock = new ManualClock()
    const seen: string[] = []
    const timer = clock.queue.at(10, () => seen.push('cancelled'))
    clock.queue.at(5, () => clock.queue.cancel(timer))
    clock.skip(20)
    clock.queue.runDue()
    assert.deepEqual(seen, [])
  })
  it('leaves a timer that is set again in the past for the next round', () => {
    const clock = new ManualClock()
    let calls = 0
    const again = () => {
      calls++
      clock.queue.at(0, again)
    }
    again()
    clock.queue.runDue()
    assert.equal(calls, 2)
  })
})
