import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ApicMessage } from '../local-apic/message.ts'
import { IoApic } from './io-apic.ts'

function setup() {
  const messages: ApicMessage[] = []
  const ioApic = new IoApic({ deliver: (message) => messages.push(message) })
  const write = (index: number, value: number) => {
    ioApic.mmioWrite(0, 4, index)
    ioApic.mmioWrite(0x10, 4, value)
  }
  const read = (index: number) => {
    ioApic.mmioWrite(0, 4, index)
    return ioApic.mmioRead(0x10, 4) >>> 0
  }
  return { ioApic, messages, write, read }
}

describe('I/O APIC', () => {
  it('says 24 pins, all masked after reset', () => {
    const { read } = setup()
    assert.equal((read(1) >> 16) & 0xff, 23)
    for (let pin = 0; pin < 24; pin++) assert.equal(read(0x10 + 2 * pin), 0x1_0000)
  })
  it('keeps its ID in bits 27:24', () => {
    const { read, write } = setup()
    write(0, 0xff00_0000)
    assert.equal(read(0), 0x0f00_0000)
  })
  it('sends an edge once, and not while the line stays high', () => {
    const { ioApic, messages, write } = setup()
    write(0x18, 0x31)
    write(0x19, 0x0200_0000)
    ioApic.setLine(4, true)
    ioApic.setLine(4, true)
    assert.deepEqual(messages, [{ destination: 2, logical: false, mode: 0, vector: 0x31, level: false }])
    ioApic.setLine(4, false)
    ioApic.setLine(4, true)
    assert.equal(messages.length, 2)
  })
  it('drops an edge on a masked pin', () => {
    const { ioApic, messages, write } = setup()
    write(0x18, 0x1_0031)
    ioApic.setLine(4, true)
    write(0x18, 0x31)
    assert.equal(messages.length, 0)
  })
  it('sends a level once until EOI, and again if the line is still high', () => {
    const { ioApic, messages, read, write } = setup()
    write(0x22, 0x8041)
    ioApic.setLine(9, true)
    assert.equal(messages.length, 1)
    assert.equal(messages[0].level, true)
    assert.equal(read(0x22), 0xc041)
    ioApic.setLine(9, false)
    ioApic.setLine(9, true)
    assert.equal(messages.length, 1)
    ioApic.endOfInterrupt(0x41)
    assert.equal(messages.length, 2)
    ioApic.setLine(9, false)
    ioApic.mmioWrite(0x40, 4, 0x41)
    assert.equal(messages.length, 2)
    assert.equal(read(0x22), 0x8041)
  })
  it('sends a level that was masked when it is unmasked', () => {
    const { ioApic, messages, write } = setup()
    write(0x22, 0x1_8041)
    ioApic.setLine(9, true)
    assert.equal(messages.length, 0)
    write(0x22, 0x8041)
    assert.equal(messages.length, 1)
  })
  it('does not let software write remote IRR', () => {
    const { read, write } = setup()
    write(0x22, 0xc041)
    assert.equal(read(0x22), 0x8041)
  })
  it('reports ExtINT only while its pin is unmasked and asserted', () => {
    const { ioApic, messages, write } = setup()
    ioApic.setLine(0, true)
    assert.equal(ioApic.extInt, false)
    write(0x10, 0x700)
    assert.equal(ioApic.extInt, true)
    ioApic.setLine(0, false)
    assert.equal(ioApic.extInt, false)
    assert.equal(messages.length, 0)
  })
  it('continues from a saved state', () => {
    const { ioApic, write } = setup()
    write(0x22, 0x8041)
    ioApic.setLine(9, true)
    const other = setup()
    other.ioApic.restore(structuredClone(ioApic.save()))
    other.ioApic.endOfInterrupt(0x41)
    assert.equal(other.messages.length, 1)
  })
})
