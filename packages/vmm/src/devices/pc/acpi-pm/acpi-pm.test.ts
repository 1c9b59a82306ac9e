import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../../../clock/manual-clock.ts'
import { AcpiPm } from './acpi-pm.ts'

function setup() {
  const clock = new ManualClock()
  let sci = false
  let offs = 0
  const pm = new AcpiPm({
    sci: { set: (asserted) => (sci = asserted) },
    clock: clock.queue,
    onSoftOff: () => offs++,
  })
  return { clock, offs: () => offs, pm, sci: () => sci }
}

describe('ACPI fixed hardware', () => {
  it('counts 3.579545 MHz in 32 bits', () => {
    const { clock, pm } = setup()
    clock.advance(1e9)
    assert.equal(pm.portRead(8, 4), 3_579_545)
    clock.advance(1.2e12)
    assert.equal(pm.portRead(8, 4), (1201 * 3_579_545) % 2 ** 32)
  })
  it('is always in ACPI mode', () => {
    const { pm } = setup()
    pm.portWrite(4, 2, 0)
    assert.equal(pm.portRead(4, 2), 1)
  })
  it('raises the SCI for the power button only while that is enabled, until its status is cleared by 1', () => {
    const { pm, sci } = setup()
    pm.pressPowerButton()
    assert.equal(sci(), false)
    assert.equal(pm.portRead(0, 2), 0x100)
    pm.portWrite(2, 2, 0x100)
    assert.equal(sci(), true)
    pm.portWrite(0, 2, 0x001)
    assert.equal(sci(), true)
    pm.portWrite(0, 2, 0x100)
    assert.equal(sci(), false)
    assert.equal(pm.portRead(0, 2), 0)
  })
  it('takes byte writes at their place', () => {
    const { pm } = setup()
    pm.portWrite(3, 1, 0x01)
    assert.equal(pm.portRead(2, 2), 0x100)
    assert.equal(pm.portRead(0, 4), 0x0100_0000)
  })
  it('ends the machine by SLP_EN with the type of S5 only', () => {
    const { offs, pm } = setup()
    pm.portWrite(4, 2, (5 << 10) | 1)
    pm.portWrite(4, 2, (1 << 13) | (3 << 10))
    assert.equal(offs(), 0)
    pm.portWrite(4, 2, (1 << 13) | (5 << 10))
    assert.equal(offs(), 1)
    assert.equal(pm.portRead(4, 2) & 0x2000, 0)
  })
  it('interrupts when the top bit of the timer changes and TMR_EN is set', () => {
    const { clock, pm, sci } = setup()
    pm.portWrite(2, 2, 1)
    clock.advance((2 ** 31 / 3_579_545) * 1e9 - 1000)
    assert.equal(sci(), false)
    clock.advance(2000)
    assert.equal(sci(), true)
    assert.equal(pm.portRead(0, 2), 1)
  })
  it('continues from a saved state', () => {
    const { pm } = setup()
    pm.portWrite(2, 2, 0x100)
    pm.pressPowerButton()
    const other = setup()
    other.pm.restore(structuredClone(pm.save()))
    assert.equal(other.sci(), true)
  })
})
