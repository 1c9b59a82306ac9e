import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../../../clock/manual-clock.ts'
import { Uart16550 } from './uart16550.ts'

function setup() {
  const clock = new ManualClock()
  const sent: number[] = []
  let line = false
  let edges = 0
  let rooms = 0
  const uart = new Uart16550({
    irq: {
      set: (asserted) => {
        if (asserted && !line) edges++
        line = asserted
      },
    },
    clock: clock.queue,
    output: { write: (byte) => sent.push(byte) },
    onRoom: () => rooms++,
  })
  const write = (offset: number, value: number) => uart.portWrite(offset, 1, value)
  const read = (offset: number) => uart.portRead(offset)
  const text = (s: string) => uart.receive(new TextEncoder().encode(s))
  /** FIFOs with a trigger level of 8, DTR, RTS, OUT2, divisor 1. */
  const open = (ier = 0) => {
    write(3, 0x83)
    write(0, 1)
    write(1, 0)
    write(3, 0x03)
    write(2, 0x87)
    write(4, 0x0b)
    write(1, ier)
  }
  return {
    clock,
    edges: () => edges,
    line: () => line,
    open,
    read,
    rooms: () => rooms,
    sent,
    text,
    uart,
    write,
  }
}

const CHARACTER_NS = (10 * 16 * 1e9) / 1_843_200

describe('16550A', () => {
  it('sends a byte and is empty again', () => {
    const { read, sent, write } = setup()
    write(0, 0x41)
    assert.deepEqual(sent, [0x41])
    assert.equal(read(5), 0x60)
  })
  it('reaches the divisor latch through DLAB, and the scratch register always', () => {
    const { read, sent, write } = setup()
    write(3, 0x80)
    write(0, 0x34)
    write(1, 0x12)
    write(7, 0x5a)
    assert.deepEqual([read(0), read(1), read(7)], [0x34, 0x12, 0x5a])
    write(3, 0)
    assert.equal(read(1), 0)
    assert.deepEqual(sent, [])
  })
  it('says FIFOs in IIR only when they are enabled', () => {
    const { read, write } = setup()
    assert.equal(read(2), 0x01)
    write(2, 0x01)
    assert.equal(read(2), 0xc1)
  })
  it('interrupts for an empty THR when that is enabled; reading IIR clears it, a sent byte sets it again', () => {
    const { edges, line, open, read, write } = setup()
    open(0x02)
    assert.equal(line(), true)
    assert.equal(read(2), 0xc2)
    assert.equal(line(), false)
    assert.equal(read(2), 0xc1)
    write(0, 0x41)
    assert.equal(line(), true)
    assert.equal(edges(), 2)
  })
  it('makes an edge for each byte while the THR interrupt is pending', () => {
    const { edges, open, write } = setup()
    open(0x02)
    write(0, 1)
    write(0, 2)
    assert.equal(edges(), 3)
  })
  it('keeps the line low while OUT2 is off', () => {
    const { line, open, write } = setup()
    open(0x02)
    write(4, 0x03)
    assert.equal(line(), false)
    write(4, 0x0b)
    assert.equal(line(), true)
  })
  it('interrupts at the trigger level and until the FIFO is below it', () => {
    const { line, open, read, text } = setup()
    open(0x01)
    text('1234567')
    assert.equal(line(), false)
    text('8')
    assert.equal(read(2), 0xc4)
    assert.equal(read(0), 0x31)
    assert.equal(line(), false)
  })
  it('knows all trigger levels', () => {
    for (const [i, level] of [1, 4, 8, 14].entries()) {
      const { line, open, text, write } = setup()
      open(0x01)
      write(2, 0x01 | (i << 6))
      text('x'.repeat(level - 1))
      assert.equal(line(), false, `below ${level}`)
      text('x')
      assert.equal(line(), true, `at ${level}`)
    }
  })
  it('times out after four character times below the trigger level', () => {
    const { clock, line, open, read, text } = setup()
    open(0x01)
    text('ab')
    clock.advance(3.9 * CHARACTER_NS)
    assert.equal(line(), false)
    clock.advance(0.2 * CHARACTER_NS)
    assert.equal(read(2), 0xcc)
    read(0)
    assert.equal(line(), false)
    clock.advance(4.1 * CHARACTER_NS)
    assert.equal(read(2), 0xcc)
    read(0)
    clock.advance(1e9)
    assert.equal(read(2), 0xc1)
    assert.equal(clock.queue.next(), Infinity)
  })
  it('orders its sources: line status, received data, THR empty, modem status', () => {
    const { read, text, write } = setup()
    write(4, 0x1b) // loopback
    write(1, 0x0f)
    write(0, 1)
    write(0, 2) // overrun without FIFOs
    write(4, 0x19)
    assert.equal(read(2), 0x06)
    assert.equal(read(5), 0x63)
    assert.equal(read(2), 0x04)
    assert.equal(read(0), 2)
    assert.equal(read(2), 0x02)
    assert.equal(read(2), 0x00)
    read(6)
    assert.equal(read(2), 0x01)
    text('')
  })
  it('keeps input in the queue until the guest listens, and loses nothing', () => {
    const { open, read, rooms, text } = setup()
    const long = 'The quick brown fox jumps over the lazy dog'
    text(long)
    assert.equal(read(5) & 1, 0)
    open()
    let got = ''
    while (read(5) & 1) got += String.fromCharCode(read(0))
    assert.equal(got, long)
    assert.equal(rooms(), 1)
  })
  it('loses nothing when a guest clears the FIFOs between the receive interrupt and RTS', () => {
    const { read, text, write } = setup()
    text('first')
    write(4, 0x09) // DTR, OUT2
    write(1, 0x05)
    write(2, 0x01)
    write(2, 0x81)
    assert.equal(read(5) & 1, 0)
    write(4, 0x0b)
    let got = ''
    while (read(5) & 1) got += String.fromCharCode(read(0))
    assert.equal(got, 'first')
  })
  it('waits while a guest that listened has RTS off, and listens by interrupt alone to one without DTR', () => {
    const { open, read, text, write } = setup()
    open(0x01)
    write(4, 0x09)
    text('x')
    assert.equal(read(5) & 1, 0)
    write(4, 0x0b)
    assert.equal(read(0), 0x78)
    write(4, 0x08)
    text('y')
    assert.equal(read(0), 0x79)
  })
  it('takes no more input than its queue holds', () => {
    const { uart } = setup()
    assert.equal(uart.receive(new Uint8Array(70_000)), 65_536)
    assert.equal(uart.receive(new Uint8Array(10)), 0)
  })
  it('clears the receiver FIFO by FCR bit 1', () => {
    const { open, read, text, write } = setup()
    open()
    text('abc')
    write(2, 0x83)
    assert.equal(read(5) & 1, 0)
  })
  it('loops data and modem lines back', () => {
    const { read, sent, write } = setup()
    write(4, 0x10)
    read(6)
    for (const [mcr, msr] of [
      [0x11, 0x20],
      [0x12, 0x10],
      [0x14, 0x40],
      [0x18, 0x80],
    ]) {
      write(4, mcr)
      assert.equal(read(6) & 0xf0, msr)
    }
    write(0, 0xa5)
    assert.equal(read(0), 0xa5)
    assert.deepEqual(sent, [])
  })
  it('reports deltas of the modem lines once, RI at its trailing edge only', () => {
    const { read, write } = setup()
    write(4, 0x10)
    read(6)
    write(4, 0x14)
    assert.equal(read(6), 0x40)
    write(4, 0x10)
    assert.equal(read(6), 0x04)
    assert.equal(read(6), 0x00)
  })
  it('continues from a saved state', () => {
    const { open, text, uart } = setup()
    open(0x01)
    text('12345678901234567890')
    const other = setup()
    other.uart.restore(structuredClone(uart.save()))
    assert.equal(other.line(), true)
    let got = ''
    while (other.read(5) & 1) got += String.fromCharCode(other.read(0))
    assert.equal(got, '12345678901234567890')
  })
})
