import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../../../clock/manual-clock.ts'
import { Mc146818 } from './mc146818.ts'

const MIB = 1024 * 1024

function setup(time = '2024-02-28T23:59:58Z', memory = { lowBytes: 512 * MIB, highBytes: 0 }) {
  const clock = new ManualClock(Date.parse(time))
  let line = false
  let edges = 0
  const irq = {
    set: (asserted: boolean) => {
      if (asserted && !line) edges++
      line = asserted
    },
  }
  const rtc = new Mc146818({ irq, clock: clock.queue, wall: clock.wall, memory })
  const read = (index: number) => {
    rtc.portWrite(0, 1, index)
    return rtc.portRead(1)
  }
  const write = (index: number, value: number) => {
    rtc.portWrite(0, 1, index)
    rtc.portWrite(1, 1, value)
  }
  const time8 = () => [0x32, 9, 8, 7, 4, 2, 0].map((i) => read(i).toString(16).padStart(2, '0')).join(' ')
  return { clock, edges: () => edges, line: () => line, read, rtc, time: time8, write }
}

const SECOND = 1e9

describe('MC146818', () => {
  it('shows the wall clock in BCD and goes over a leap day', () => {
    const { clock, read, time } = setup()
    assert.equal(time(), '20 24 02 28 23 59 58')
    assert.equal(read(6), 4) // Wednesday
    clock.advance(2 * SECOND)
    assert.equal(time(), '20 24 02 29 00 00 00')
  })
  it('shows binary and 12 hours where register B says so', () => {
    const { read, write } = setup()
    write(11, 0x04)
    assert.equal(read(0), 58)
    assert.equal(read(4), 0x80 | 11)
    write(11, 0x00)
    assert.equal(read(4), 0x91)
  })
  it('stands still while SET is 1 and runs on from what was written', () => {
    const { clock, time, write } = setup()
    write(11, 0x82)
    write(4, 0x12)
    write(0, 0x00)
    clock.advance(5 * SECOND)
    assert.equal(time(), '20 24 02 28 12 59 00')
    write(11, 0x02)
    clock.advance(5 * SECOND)
    assert.equal(time(), '20 24 02 28 12 59 05')
  })
  it('survives any garbage in the time registers', () => {
    const { clock, read, write } = setup()
    for (const value of [0xff, 0xc0, 0x00]) {
      for (const index of [0, 2, 4, 6, 7, 8, 9, 0x32]) write(index, value)
      write(11, 0xff)
      write(11, 0x72)
      clock.advance(2 * SECOND)
      read(12)
    }
  })
  it('announces an update in its last 244 microseconds', () => {
    const { clock, read } = setup()
    clock.advance(SECOND - 250_000)
    assert.equal(read(10), 0x26)
    clock.advance(10_000)
    assert.equal(read(10), 0xa6)
    clock.advance(240_000)
    assert.equal(read(10), 0x26)
  })
  it('interrupts after each update when UIE is set, and only after register C was read', () => {
    const { clock, edges, line, read, write } = setup()
    write(11, 0x12)
    clock.advance(0.999 * SECOND)
    assert.equal(line(), false)
    clock.advance(0.001 * SECOND)
    assert.equal(line(), true)
    clock.advance(3 * SECOND)
    assert.equal(edges(), 1)
    assert.equal(read(12) & 0x90, 0x90)
    assert.equal(line(), false)
    assert.equal(read(12), 0)
    clock.advance(SECOND)
    assert.equal(edges(), 2)
  })
  it('interrupts at the alarm, with every-one bytes', () => {
    const { clock, line, read, write } = setup()
    write(1, 0x05)
    write(3, 0xff)
    write(5, 0xc0)
    write(11, 0x22)
    clock.advance(6 * SECOND)
    assert.equal(line(), false)
    clock.advance(SECOND)
    assert.equal(line(), true)
    assert.equal(read(12) & 0xa0, 0xa0)
  })
  it('interrupts periodically at the rate of RS', () => {
    for (const [rs, hertz] of [
      [1, 256],
      [2, 128],
      [6, 1024],
      [15, 2],
    ]) {
      const { clock, edges, read, write } = setup()
      write(10, 0x20 | rs)
      write(11, 0x42)
      for (let i = 0; i < 2 * hertz; i++) {
        clock.advance(SECOND / hertz)
        assert.equal(read(12) & 0xc0, 0xc0)
      }
      assert.equal(edges(), 2 * hertz)
    }
  })
  it('sets flags for those who poll, without a timer', () => {
    const { clock, line, read } = setup()
    read(12)
    clock.advance(SECOND)
    assert.equal(read(12), 0x50)
    assert.equal(line(), false)
    assert.equal(clock.queue.next(), Infinity)
  })
  it('has the memory size in its RAM', () => {
    const { read } = setup('2024-01-01T00:00:00Z', { lowBytes: 3072 * MIB, highBytes: 1024 * MIB })
    const word = (i: number) => read(i) | (read(i + 1) << 8)
    assert.equal(word(0x15), 640)
    assert.equal(word(0x17), 0xffff)
    assert.equal(word(0x30), 0xffff)
    assert.equal(word(0x34), (3072 - 16) * 16)
    assert.equal(word(0x5b), 1024 * 16)
  })
  it('keeps other bytes, and register D says valid', () => {
    const { read, write } = setup()
    write(0x0f, 0x0a)
    write(13, 0)
    assert.deepEqual([read(0x0f), read(13)], [0x0a, 0x80])
  })
  it('continues from a saved state', () => {
    const { rtc, write } = setup()
    write(4, 0x05)
    write(11, 0x12)
    const other = setup()
    other.rtc.restore(structuredClone(rtc.save()))
    assert.equal(other.time(), '20 24 02 28 05 59 58')
    other.clock.advance(SECOND)
    assert.equal(other.line(), true)
  })
})
