import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { I8259Pair } from './i8259.ts'

function pair({ icw4 = 0x01 } = {}): I8259Pair {
  const pics = new I8259Pair(() => {})
  for (const [chip, base, icw3] of [
    [pics.master, 0x20, 0x04],
    [pics.slave, 0x28, 0x02],
  ] as const) {
    chip.portWrite(0, 1, 0x11)
    for (const icw of [base, icw3, icw4]) chip.portWrite(1, 1, icw)
  }
  return pics
}

const raise = (pics: I8259Pair, irq: number) => pics.line(irq).set(true)
const lower = (pics: I8259Pair, irq: number) => pics.line(irq).set(false)
const pulse = (pics: I8259Pair, irq: number) => {
  lower(pics, irq)
  raise(pics, irq)
}
const isr = (chip: I8259Pair['master']) => {
  chip.portWrite(0, 1, 0x0b)
  return chip.portRead(0)
}
const irr = (chip: I8259Pair['master']) => {
  chip.portWrite(0, 1, 0x0a)
  return chip.portRead(0)
}
const EOI = 0x20

describe('8259A', () => {
  it('requests nothing before the initialization sequence is complete', () => {
    const pics = pair()
    pics.master.portWrite(0, 1, 0x11)
    raise(pics, 0)
    assert.equal(pics.intr, false)
    for (const icw of [0x40, 4, 1]) pics.master.portWrite(1, 1, icw)
    assert.equal(pics.acknowledge(), 0x40)
  })
  it('skips ICW3 when ICW1 says single, and ICW4 when it is not announced', () => {
    const pics = pair()
    pics.master.portWrite(0, 1, 0x12)
    pics.master.portWrite(1, 1, 0x60)
    pics.master.portWrite(1, 1, 0xfe) // OCW1
    assert.equal(pics.master.portRead(1), 0xfe)
    raise(pics, 0)
    assert.equal(pics.acknowledge(), 0x60)
  })
  it('ICW1 clears the mask', () => {
    const pics = pair()
    pics.master.portWrite(1, 1, 0xff)
    pics.master.portWrite(0, 1, 0x11)
    for (const icw of [0x20, 4, 1]) pics.master.portWrite(1, 1, icw)
    assert.equal(pics.master.portRead(1), 0)
  })
  it('serves IR0 before IR1 and holds back lower levels until the EOI', () => {
    const pics = pair()
    raise(pics, 1)
    raise(pics, 0)
    assert.equal(pics.acknowledge(), 0x20)
    assert.equal(pics.intr, false)
    pics.master.portWrite(0, 1, EOI)
    assert.equal(pics.acknowledge(), 0x21)
  })
  it('lets a higher level interrupt a lower one in service', () => {
    const pics = pair()
    raise(pics, 5)
    pics.acknowledge()
    raise(pics, 3)
    assert.equal(pics.acknowledge(), 0x23)
    assert.equal(isr(pics.master), 0x28)
    pics.master.portWrite(0, 1, EOI)
    assert.equal(isr(pics.master), 0x20)
  })
  it('holds a masked request in the IRR and delivers it when unmasked', () => {
    const pics = pair()
    pics.master.portWrite(1, 1, 0x10)
    raise(pics, 4)
    assert.equal(pics.intr, false)
    assert.equal(irr(pics.master), 0x10)
    pics.master.portWrite(1, 1, 0)
    assert.equal(pics.acknowledge(), 0x24)
  })
  it('needs a new edge for a second interrupt', () => {
    const pics = pair()
    raise(pics, 4)
    pics.acknowledge()
    pics.master.portWrite(0, 1, EOI)
    assert.equal(pics.intr, false)
    pulse(pics, 4)
    assert.equal(pics.intr, true)
  })
  it('answers IR7 without an ISR bit when the line fell before the acknowledge', () => {
    const pics = pair()
    raise(pics, 4)
    lower(pics, 4)
    assert.equal(pics.intr, false)
    assert.equal(pics.acknowledge(), 0x27)
    assert.equal(isr(pics.master), 0)
  })
  it('keeps requesting on a level-triggered line until the line falls', () => {
    const pics = pair()
    pics.master.edgeLevelControl.portWrite(0, 1, 0x20)
    raise(pics, 5)
    assert.equal(pics.acknowledge(), 0x25)
    pics.master.portWrite(0, 1, EOI)
    assert.equal(pics.intr, true)
    lower(pics, 5)
    assert.equal(pics.intr, false)
  })
  it('does not let IRQ 0, 1, 2, 8 and 13 be level-triggered', () => {
    const pics = pair()
    pics.master.edgeLevelControl.portWrite(0, 1, 0xff)
    pics.slave.edgeLevelControl.portWrite(0, 1, 0xff)
    assert.equal(pics.master.edgeLevelControl.portRead(0, 1), 0xf8)
    assert.equal(pics.slave.edgeLevelControl.portRead(0, 1), 0xde)
  })
  it('sets an ISR bit in both chips for a slave interrupt', () => {
    const pics = pair()
    raise(pics, 9)
    assert.equal(pics.acknowledge(), 0x29)
    assert.equal(isr(pics.master), 0x04)
    assert.equal(isr(pics.slave), 0x02)
  })
  it('delivers a second slave request after the EOI to both', () => {
    const pics = pair()
    raise(pics, 8)
    raise(pics, 12)
    assert.equal(pics.acknowledge(), 0x28)
    pics.slave.portWrite(0, 1, EOI)
    pics.master.portWrite(0, 1, EOI)
    assert.equal(pics.acknowledge(), 0x2c)
  })
  it('gives the slave vector 15 when a slave request is withdrawn at the last moment', () => {
    const pics = pair()
    raise(pics, 9)
    pics.slave.portWrite(1, 1, 0x00)
    assert.equal(pics.slave.acknowledge(), 0x29)
    assert.equal(pics.slave.acknowledge(), 0x2f)
  })
  it('specific EOI ends just the level that it names', () => {
    const pics = pair()
    raise(pics, 5)
    pics.acknowledge()
    raise(pics, 3)
    pics.acknowledge()
    pics.master.portWrite(0, 1, 0x65)
    assert.equal(isr(pics.master), 0x08)
  })
  it('automatic EOI leaves nothing in service', () => {
    const pics = pair({ icw4: 0x03 })
    raise(pics, 3)
    pics.acknowledge()
    assert.equal(isr(pics.master), 0)
    raise(pics, 4)
    assert.equal(pics.acknowledge(), 0x24)
  })
  it('rotates priority on a non-specific EOI', () => {
    const pics = pair()
    raise(pics, 3)
    pics.acknowledge()
    pics.master.portWrite(0, 1, 0xa0)
    pulse(pics, 3)
    raise(pics, 4)
    assert.equal(pics.acknowledge(), 0x24)
  })
  it('set priority makes the level after it the highest', () => {
    const pics = pair()
    pics.master.portWrite(0, 1, 0xc4)
    raise(pics, 0)
    raise(pics, 5)
    assert.equal(pics.acknowledge(), 0x25)
  })
  it('rotates in automatic EOI mode once that is set', () => {
    const pics = pair({ icw4: 0x03 })
    pics.master.portWrite(0, 1, 0x80)
    raise(pics, 0)
    assert.equal(pics.acknowledge(), 0x20)
    pulse(pics, 0)
    raise(pics, 1)
    assert.equal(pics.acknowledge(), 0x21)
  })
  it('special mask mode lets lower levels through while a masked one is in service', () => {
    const pics = pair()
    raise(pics, 3)
    pics.acknowledge()
    raise(pics, 6)
    assert.equal(pics.intr, false)
    pics.master.portWrite(1, 1, 0x08)
    pics.master.portWrite(0, 1, 0x68)
    assert.equal(pics.acknowledge(), 0x26)
  })
  it('poll reads the level with bit 7 and acknowledges it, then 0', () => {
    const pics = pair()
    raise(pics, 6)
    pics.master.portWrite(0, 1, 0x0c)
    assert.equal(pics.master.portRead(0), 0x86)
    assert.equal(isr(pics.master), 0x40)
    pics.master.portWrite(0, 1, 0x0c)
    assert.equal(pics.master.portRead(0), 0)
  })
  it('continues from a saved state', () => {
    const pics = pair()
    raise(pics, 9)
    const copy = new I8259Pair(() => {})
    copy.slave.restore(structuredClone(pics.slave.save()))
    copy.master.restore(structuredClone(pics.master.save()))
    assert.equal(copy.acknowledge(), 0x29)
    assert.throws(() => copy.master.restore({ ...copy.master.save(), version: 2 as 1 }), {
      code: 'TV_SNAPSHOT_VERSION',
    })
  })
})
