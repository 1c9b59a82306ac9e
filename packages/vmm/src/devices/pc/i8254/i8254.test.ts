import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../../../clock/manual-clock.ts'
import { I8254, PIT_FREQUENCY } from './i8254.ts'

function setup() {
  const clock = new ManualClock()
  const rises: number[] = []
  let level = false
  const irq = {
    set: (asserted: boolean) => {
      if (asserted && !level) rises.push(clock.now())
      level = asserted
    },
  }
  const pit = new I8254({ irq, clock: clock.queue })
  let ticks = 0
  /** Moves to the middle of a later tick. */
  const step = (count: number) => {
    ticks += count
    clock.advance(((ticks + 0.5) * 1e9) / PIT_FREQUENCY - clock.now())
  }
  step(0)
  const out = (port: number, value: number) => pit.portWrite(port, 1, value)
  /** The status of a counter: OUT in bit 7, null count in bit 6. */
  const status = (counter: number) => {
    out(3, 0xe0 | (2 << counter))
    return pit.portRead(counter)
  }
  const output = (counter: number) => status(counter) >> 7
  const count = (counter: number) => {
    out(3, counter << 6)
    return pit.portRead(counter) | (pit.portRead(counter) << 8)
  }
  const program = (counter: number, mode: number, value: number, bcd = 0) => {
    out(3, (counter << 6) | 0x30 | (mode << 1) | bcd)
    out(counter, value & 0xff)
    out(counter, value >> 8)
  }
  /** OUT over the next ticks, starting now, as a string of 0 and 1. */
  const wave = (counter: number, length: number) => {
    let text = ''
    for (let i = 0; i < length; i++) {
      text += output(counter)
      step(1)
    }
    return text
  }
  const gate2 = (value: boolean) => pit.portB.portWrite(0, 1, value ? 1 : 0)
  return { clock, pit, rises, step, out, status, output, count, program, wave, gate2, level: () => level }
}

describe('8254', () => {
  it('mode 0: OUT rises N + 1 clocks after the count is written', () => {
    const { program, wave } = setup()
    program(0, 0, 4)
    assert.equal(wave(0, 8), '00000111')
  })
  it('mode 0: the first of two bytes stops the count and lowers OUT', () => {
    const { program, out, output, step } = setup()
    program(0, 0, 2)
    step(5)
    assert.equal(output(0), 1)
    out(0, 3)
    assert.equal(output(0), 0)
    step(100)
    assert.equal(output(0), 0)
  })
  it('mode 0: a low gate pauses the count', () => {
    const { program, count, gate2, step } = setup()
    gate2(true)
    program(2, 0, 100)
    step(11)
    assert.equal(count(2), 90)
    gate2(false)
    step(50)
    assert.equal(count(2), 90)
    gate2(true)
    step(10)
    assert.equal(count(2), 80)
  })
  it('mode 0: the count goes on through 0xffff', () => {
    const { program, count, step } = setup()
    program(0, 0, 2)
    step(4)
    assert.equal(count(0), 0xffff)
  })
  it('mode 1: a rising gate makes one pulse of N clocks, and a second one during it prolongs it', () => {
    const { program, gate2, step, wave } = setup()
    program(2, 1, 3)
    assert.equal(wave(2, 3), '111')
    gate2(true)
    assert.equal(wave(2, 6), '100011')
    gate2(false)
    gate2(true)
    step(2)
    gate2(false)
    gate2(true)
    assert.equal(wave(2, 5), '00001')
  })
  it('mode 2: OUT is low for the last clock of each N', () => {
    const { program, wave } = setup()
    program(0, 2, 3)
    assert.equal(wave(0, 10), '1110110110')
  })
  it('mode 2: a new count is used after the current period', () => {
    const { program, out, step, wave } = setup()
    program(0, 2, 4)
    step(2)
    out(0, 2)
    out(0, 0)
    assert.equal(wave(0, 8), '11010101')
  })
  it('mode 2: a low gate raises OUT, a rising gate starts the period anew', () => {
    const { program, gate2, output, step, wave } = setup()
    gate2(true)
    program(2, 2, 3)
    step(3)
    assert.equal(output(2), 0)
    gate2(false)
    assert.equal(output(2), 1)
    step(20)
    gate2(true)
    assert.equal(wave(2, 5), '11101')
  })
  it('mode 3: an even count is high for half of the clocks', () => {
    const { program, wave } = setup()
    program(0, 3, 4)
    assert.equal(wave(0, 10), '1110011001')
  })
  it('mode 3: an odd count is high one clock longer than low', () => {
    const { program, wave } = setup()
    program(0, 3, 5)
    assert.equal(wave(0, 11), '11110011100')
  })
  it('mode 3: counts down by two', () => {
    const { program, count, step } = setup()
    program(0, 3, 1000)
    step(11)
    assert.equal(count(0), 980)
    step(500)
    assert.equal(count(0), 980)
  })
  it('mode 4: one low clock N + 1 clocks after the write', () => {
    const { program, wave } = setup()
    program(0, 4, 3)
    assert.equal(wave(0, 8), '11110111')
  })
  it('mode 5: the gate triggers the strobe', () => {
    const { program, gate2, wave } = setup()
    program(2, 5, 3)
    assert.equal(wave(2, 6), '111111')
    gate2(true)
    assert.equal(wave(2, 7), '1111011')
  })
  it('treats modes 6 and 7 as 2 and 3, and a count of 0 as 65536', () => {
    const { program, status, count, step } = setup()
    program(0, 6, 0)
    assert.equal(status(0) & 0x0e, 0x04)
    step(2)
    assert.equal(count(0), 0xffff)
  })
  it('counts in BCD', () => {
    const { program, count, step } = setup()
    program(0, 2, 0x1000, 1)
    step(2)
    assert.equal(count(0), 0x0999)
  })
  it('latches a count until it is read, ignoring further latch commands', () => {
    const { program, pit, out, step } = setup()
    program(0, 2, 0x1234)
    step(1)
    out(3, 0)
    step(5)
    out(3, 0)
    assert.equal(pit.portRead(0) | (pit.portRead(0) << 8), 0x1234)
    assert.equal(pit.portRead(0), 0x2f)
  })
  it('reads only the byte that the access mode names', () => {
    const { out, pit, step } = setup()
    out(3, 0x24)
    out(0, 0x12)
    step(1)
    assert.equal(pit.portRead(0), 0x12)
    assert.equal(pit.portRead(0), 0x12)
  })
  it('read-back gives status before count, with null count until the load', () => {
    const { program, pit, out, step, status } = setup()
    program(0, 2, 500)
    assert.equal(status(0), 0x80 | 0x40 | 0x34)
    step(1)
    out(3, 0xc2)
    assert.equal(pit.portRead(0), 0x80 | 0x34)
    assert.equal(pit.portRead(0) | (pit.portRead(0) << 8), 500)
  })
  it('interrupts once in mode 0', () => {
    const { program, rises, step, level } = setup()
    program(0, 0, 1000)
    step(5000)
    assert.equal(rises.length, 1)
    assert.equal(Math.floor((rises[0] * PIT_FREQUENCY) / 1e9), 1001)
    assert.equal(level(), true)
  })
  it('interrupts at 1193182 / N Hz in modes 2 and 3', () => {
    for (const mode of [2, 3]) {
      const { program, rises, clock } = setup()
      program(0, mode, 11932) // 99.99983 Hz
      rises.length = 0
      clock.advance(1e9)
      assert.equal(rises.length, 99)
    }
  })
  it('does not make up for periods that were missed', () => {
    const { program, rises, clock } = setup()
    program(0, 2, 2)
    rises.length = 0
    clock.skip(1e9)
    clock.queue.runDue()
    assert.equal(rises.length, 1)
    assert.ok(clock.queue.next() > clock.now())
  })
  it('shows OUT2 and the refresh toggle at port B', () => {
    const { program, pit, step, clock, gate2 } = setup()
    gate2(true)
    program(2, 0, 100)
    assert.equal(pit.portB.portRead(0, 1) & 0x2f, 0x01)
    step(102)
    assert.equal(pit.portB.portRead(0, 1) & 0x2f, 0x21)
    const before = pit.portB.portRead(0, 1) & 0x10
    clock.advance(15_085)
    assert.notEqual(pit.portB.portRead(0, 1) & 0x10, before)
  })
  it('continues from a saved state', () => {
    const { program, pit, step } = setup()
    program(0, 2, 1000)
    step(500)
    const other = setup()
    other.step(500)
    other.pit.restore(structuredClone(pit.save()))
    assert.equal(other.count(0), 501)
    other.rises.length = 0
    other.step(600)
    assert.equal(other.rises.length, 1)
  })
})
