import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../../clock/manual-clock.ts'
import { ApicBus } from './apic-bus.ts'
import { LocalApic } from './local-apic.ts'

function setup({ enable = true } = {}) {
  const clock = new ManualClock()
  const log: string[] = []
  const bus = new ApicBus()
  const apic: LocalApic = new LocalApic({
    clock: clock.queue,
    pins: {
      onChange: () => {},
      send: (message, shorthand) => bus.send(message, shorthand, apic),
      endOfInterrupt: (vector) => log.push(`eoi ${vector}`),
      onBase: (base) => log.push(`base ${base?.toString(16)}`),
      onInit: () => log.push('init'),
      onStartup: (vector) => log.push(`startup ${vector}`),
      onNmi: () => log.push('nmi'),
    },
  })
  bus.attach(apic)
  const write = (offset: number, value: number) => apic.mmioWrite(offset, 4, value)
  const read = (offset: number) => apic.mmioRead(offset, 4) >>> 0
  if (enable) write(0xf0, 0x1ff)
  const fixed = (vector: number, level = false) =>
    bus.send({ destination: 0, logical: false, mode: 0, vector, level })
  return { apic, bus, clock, fixed, log, read, write }
}

const X2APIC = 0xfee0_0d00

describe('local APIC', () => {
  it('has the power-up state of the manual', () => {
    const { read, apic } = setup({ enable: false })
    assert.equal(read(0xf0), 0xff)
    assert.equal(read(0xe0), 0xffff_ffff)
    assert.equal(read(0x350), 0x1_0000)
    assert.equal(read(0x30) & 0xff, 0x14)
    assert.deepEqual(apic.readMsr(0x1b), { low: 0xfee0_0900, high: 0 })
  })
  it('does not accept fixed interrupts while it is software-disabled', () => {
    const { apic, fixed } = setup({ enable: false })
    fixed(0x40)
    assert.equal(apic.intr, false)
  })
  it('masks all LVT entries while it is software-disabled', () => {
    const { read, write } = setup()
    write(0x350, 0x700)
    write(0xf0, 0xff)
    assert.equal(read(0x350), 0x1_0700)
    write(0x350, 0x700)
    assert.equal(read(0x350), 0x1_0700)
  })
  it('moves a vector from IRR to ISR on acknowledge and drops it on EOI', () => {
    const { apic, fixed, read, write } = setup()
    fixed(0x41)
    assert.equal(read(0x220), 2)
    assert.equal(apic.intr, true)
    assert.equal(apic.acknowledge(), 0x41)
    assert.equal(read(0x220), 0)
    assert.equal(read(0x120), 2)
    write(0xb0, 0)
    assert.equal(read(0x120), 0)
  })
  it('delivers the highest vector first and holds back its own priority class', () => {
    const { apic, fixed } = setup()
    fixed(0x41)
    fixed(0x52)
    assert.equal(apic.acknowledge(), 0x52)
    assert.equal(apic.intr, false)
    fixed(0x53)
    assert.equal(apic.intr, false)
    fixed(0x61)
    assert.equal(apic.acknowledge(), 0x61)
  })
  it('holds back vectors up to the class of the task priority', () => {
    const { apic, fixed, read, write } = setup()
    write(0x80, 0x4f)
    fixed(0x4f)
    assert.equal(apic.intr, false)
    assert.equal(read(0xa0), 0x4f)
    apic.taskPriority = 3
    assert.equal(read(0x80), 0x30)
    assert.equal(apic.intr, true)
  })
  it('computes PPR from the higher of TPR and the vector in service', () => {
    const { apic, fixed, read, write } = setup()
    fixed(0x68)
    apic.acknowledge()
    write(0x80, 0x25)
    assert.equal(read(0xa0), 0x60)
    write(0x80, 0x71)
    assert.equal(read(0xa0), 0x71)
  })
  it('answers the spurious vector, without an ISR bit, when nothing is deliverable', () => {
    const { apic, fixed, read } = setup()
    fixed(0x31)
    apic.taskPriority = 15
    assert.equal(apic.acknowledge(), 0xff)
    assert.equal(read(0x110), 0)
  })
  it('broadcasts the EOI of a level-triggered interrupt only', () => {
    const { apic, fixed, log, write } = setup()
    fixed(0x41, true)
    apic.acknowledge()
    write(0xb0, 0)
    fixed(0x42)
    apic.acknowledge()
    write(0xb0, 0)
    assert.deepEqual(log, ['eoi 65'])
  })
  it('reports an illegal vector in ESR after a write to ESR', () => {
    const { fixed, read, write } = setup()
    fixed(0x0f)
    assert.equal(read(0x280), 0)
    write(0x280, 0)
    assert.equal(read(0x280), 0x40)
    write(0x280, 0)
    assert.equal(read(0x280), 0)
  })
  it('raises the error interrupt for a send of an illegal vector', () => {
    const { apic, read, write } = setup()
    write(0x370, 0xfe)
    write(0x300, 0x4_0005)
    write(0x280, 0)
    assert.equal(read(0x280), 0x20)
    assert.equal(apic.acknowledge(), 0xfe)
  })
  it('sends itself an IPI by shorthand and by its ID', () => {
    const { apic, write } = setup()
    write(0x300, 0x4_0055)
    assert.equal(apic.acknowledge(), 0x55)
    write(0x310, 0)
    write(0x300, 0x66)
    assert.equal(apic.acknowledge(), 0x66)
    write(0x310, 0x0100_0000)
    write(0x300, 0x77)
    assert.equal(apic.intr, false)
  })
  it('matches flat and cluster logical destinations', () => {
    const { apic, write } = setup()
    const logical = (destination: number) =>
      apic.matches({ destination, logical: true, mode: 0, vector: 0, level: false })
    write(0xd0, 0x0200_0000)
    assert.deepEqual([logical(2), logical(6), logical(1), logical(0xff)], [true, true, false, true])
    write(0xe0, 0)
    write(0xd0, 0x3200_0000)
    assert.deepEqual([logical(0x32), logical(0x36), logical(0x22), logical(0x31)], [true, true, false, false])
  })
  it('hands INIT, start-up and NMI to the core', () => {
    const { bus, log } = setup()
    for (const mode of [5, 6, 4] as const)
      bus.send({ destination: 0, logical: false, mode, vector: 9, level: false })
    assert.deepEqual(log, ['init', 'startup 9', 'nmi'])
  })
  it('accepts ExtINT when LINT0 says so, or when it is off the bus', () => {
    const { apic, write } = setup()
    assert.equal(apic.acceptsExtInt, false)
    write(0x350, 0x700)
    assert.equal(apic.acceptsExtInt, true)
    write(0x350, 0x1_0700)
    assert.equal(apic.acceptsExtInt, false)
    assert.equal(apic.writeMsr(0x1b, 0xfee0_0100, 0), true)
    assert.equal(apic.acceptsExtInt, true)
  })
  it('ignores writes that are not aligned words', () => {
    const { apic, read } = setup()
    apic.mmioWrite(0x80, 1, 0x20)
    apic.mmioWrite(0x84, 4, 0x20)
    assert.equal(read(0x80), 0)
  })
})

describe('local APIC timer', () => {
  it('counts down once in one-shot mode, by the divider', () => {
    const { apic, clock, read, write } = setup()
    write(0x320, 0x30)
    write(0x3e0, 0x3) // by 16
    write(0x380, 100)
    clock.advance(800)
    assert.equal(read(0x390), 50)
    clock.advance(799)
    assert.equal(apic.intr, false)
    clock.advance(1)
    assert.equal(apic.acknowledge(), 0x30)
    assert.equal(read(0x390), 0)
    clock.advance(10_000)
    assert.equal(apic.intr, false)
    assert.equal(clock.queue.next(), Infinity)
  })
  it('knows all dividers', () => {
    const { clock, read, write } = setup()
    const dividers = { 0: 2, 1: 4, 2: 8, 3: 16, 8: 32, 9: 64, 10: 128, 11: 1 }
    for (const [code, divider] of Object.entries(dividers)) {
      write(0x3e0, Number(code))
      write(0x380, 1000)
      clock.advance(divider * 10)
      assert.equal(read(0x390), 990, `divide by ${divider}`)
    }
  })
  it('repeats in periodic mode', () => {
    const { apic, clock, write } = setup()
    write(0x320, 0x2_0030)
    write(0x3e0, 0xb)
    write(0x380, 1000)
    for (let i = 0; i < 3; i++) {
      clock.advance(999)
      assert.equal(apic.intr, false)
      clock.advance(1)
      assert.equal(apic.acknowledge(), 0x30)
      write(0xb0, 0)
    }
  })
  it('drops periods that the host was too late for', () => {
    const { clock, write } = setup()
    write(0x320, 0x2_0030)
    write(0x3e0, 0xb)
    write(0x380, 10)
    clock.skip(1e9 + 5)
    clock.queue.runDue()
    assert.equal(clock.queue.next(), 1e9 + 10)
  })
  it('counts without interrupting while it is masked', () => {
    const { apic, clock, read, write } = setup()
    write(0x320, 0x1_0030)
    write(0x3e0, 0xb)
    write(0x380, 100)
    clock.advance(40)
    assert.equal(read(0x390), 60)
    clock.advance(60)
    assert.equal(apic.intr, false)
  })
  it('fires at the TSC deadline and reads 0 then', () => {
    const { apic, clock, write } = setup()
    write(0x320, 0x4_0030)
    assert.equal(apic.writeMsr(0x6e0, 5000, 0), true)
    assert.deepEqual(apic.readMsr(0x6e0), { low: 5000, high: 0 })
    clock.advance(4999)
    assert.equal(apic.intr, false)
    clock.advance(1)
    assert.equal(apic.intr, true)
    assert.deepEqual(apic.readMsr(0x6e0), { low: 0, high: 0 })
  })
  it('fires at once for a TSC deadline in the past, and not after it was disarmed with 0', () => {
    const { apic, clock, write } = setup()
    clock.advance(1000)
    write(0x320, 0x4_0030)
    apic.writeMsr(0x6e0, 2000, 0)
    apic.writeMsr(0x6e0, 0, 0)
    clock.advance(2000)
    assert.equal(apic.intr, false)
    apic.writeMsr(0x6e0, 1, 0)
    clock.advance(0)
    assert.equal(apic.intr, true)
  })
  it('ignores the deadline MSR in the other modes and the initial count in deadline mode', () => {
    const { apic, read, write } = setup()
    apic.writeMsr(0x6e0, 5000, 0)
    assert.deepEqual(apic.readMsr(0x6e0), { low: 0, high: 0 })
    write(0x320, 0x4_0030)
    write(0x380, 100)
    assert.equal(read(0x380), 0)
  })
  it('continues from a saved state', () => {
    const { apic, clock, write } = setup()
    write(0x320, 0x30)
    write(0x3e0, 0xb)
    write(0x380, 100)
    clock.advance(40)
    const state = structuredClone(apic.save())
    const other = setup()
    other.clock.advance(40)
    other.apic.restore(state)
    other.clock.advance(59)
    assert.equal(other.apic.intr, false)
    other.clock.advance(1)
    assert.equal(other.apic.acknowledge(), 0x30)
  })
})

describe('x2APIC', () => {
  it('faults on its MSRs before it is enabled', () => {
    const { apic } = setup()
    assert.equal(apic.readMsr(0x802), undefined)
    assert.equal(apic.writeMsr(0x80b, 0, 0), false)
  })
  it('allows only the state transitions of the manual', () => {
    const { apic } = setup()
    const off = 0xfee0_0100
    const xapic = 0xfee0_0900
    assert.equal(apic.writeMsr(0x1b, off | 0x400, 0), false)
    assert.equal(apic.writeMsr(0x1b, X2APIC, 0), true)
    assert.equal(apic.writeMsr(0x1b, xapic, 0), false)
    assert.equal(apic.writeMsr(0x1b, off, 0), true)
    assert.equal(apic.writeMsr(0x1b, X2APIC, 0), false)
    assert.equal(apic.writeMsr(0x1b, xapic, 0), true)
  })
  it('refuses reserved bits in IA32_APIC_BASE', () => {
    const { apic } = setup()
    assert.equal(apic.writeMsr(0x1b, 0xfee0_0901, 0), false)
    assert.equal(apic.writeMsr(0x1b, 0xfee0_0900, 0x8000_0000), false)
  })
  it('takes its page off the bus', () => {
    const { apic, log, read } = setup()
    apic.writeMsr(0x1b, X2APIC, 0)
    assert.deepEqual(log, ['base undefined'])
    assert.equal(read(0x20), 0xffff_ffff)
  })
  it('faults on reserved bits, read-only, write-only and missing registers', () => {
    const { apic } = setup()
    apic.writeMsr(0x1b, X2APIC, 0)
    assert.equal(apic.writeMsr(0x80b, 1, 0), false)
    assert.equal(apic.writeMsr(0x808, 0x100, 0), false)
    assert.equal(apic.writeMsr(0x808, 0, 1), false)
    assert.equal(apic.writeMsr(0x802, 0, 0), false)
    assert.equal(apic.readMsr(0x80b), undefined)
    assert.equal(apic.readMsr(0x83f), undefined)
    assert.equal(apic.readMsr(0x80e), undefined)
    assert.equal(apic.readMsr(0x831), undefined)
  })
  it('has 32-bit IDs and a read-only LDR that follows from the ID', () => {
    const { apic } = setup()
    apic.writeMsr(0x1b, X2APIC, 0)
    assert.deepEqual(apic.readMsr(0x802), { low: 0, high: 0 })
    assert.deepEqual(apic.readMsr(0x80d), { low: 1, high: 0 })
  })
  it('sends IPIs with one write of the ICR, and SELF IPI', () => {
    const { apic } = setup()
    apic.writeMsr(0x1b, X2APIC, 0)
    apic.writeMsr(0x80f, 0x1ff, 0)
    assert.equal(apic.writeMsr(0x830, 0x61, 0), true)
    assert.equal(apic.acknowledge(), 0x61)
    assert.equal(apic.writeMsr(0x80b, 0, 0), true)
    assert.equal(apic.writeMsr(0x830, 0x861, 1), true)
    assert.equal(apic.acknowledge(), 0x61)
    apic.writeMsr(0x80b, 0, 0)
    assert.equal(apic.writeMsr(0x83f, 0x62, 0), true)
    assert.equal(apic.acknowledge(), 0x62)
  })
})
