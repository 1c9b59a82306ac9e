import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MILLISECOND, SECOND } from '../alarms.ts'
import { RoundTrip } from './round-trip.ts'

describe('the retransmission timer', () => {
  it('begins at a second, follows what it measures, and is not below 200 ms', () => {
    const trip = new RoundTrip()
    assert.equal(trip.timeout, SECOND)
    trip.start(100, 0)
    trip.acknowledged(100, 300 * MILLISECOND)
    assert.equal(trip.timeout, 900 * MILLISECOND)
    for (let sequence = 200; sequence < 5000; sequence += 100) {
      trip.start(sequence, 0)
      trip.acknowledged(sequence, MILLISECOND)
    }
    assert.equal(trip.timeout, 200 * MILLISECOND)
  })
  it('doubles each time that it runs out, up to a minute, until something is acknowledged', () => {
    const trip = new RoundTrip()
    trip.backOff()
    assert.equal(trip.timeout, 2 * SECOND)
    for (let count = 0; count < 10; count++) trip.backOff()
    assert.equal(trip.timeout, 60 * SECOND)
    trip.acknowledged(1, 0)
    assert.equal(trip.timeout, SECOND)
  })
  it('does not time what was sent twice', () => {
    const trip = new RoundTrip()
    trip.start(100, 0)
    trip.sentAgain()
    trip.acknowledged(100, 50 * SECOND)
    assert.equal(trip.timeout, SECOND)
  })
})
