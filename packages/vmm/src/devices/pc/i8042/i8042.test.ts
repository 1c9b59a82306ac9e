import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { I8042 } from './i8042.ts'

function setup() {
  let line = false
  let edges = 0
  let resets = 0
  const kbc = new I8042({
    irq: {
      set: (asserted) => {
        if (asserted && !line) edges++
        line = asserted
      },
    },
    onReset: () => resets++,
  })
  const command = (value: number) => kbc.portWrite(4, 1, value)
  const data = (value: number) => kbc.portWrite(0, 1, value)
  const answers = () => {
    const bytes: number[] = []
    while (kbc.portRead(4) & 1) bytes.push(kbc.portRead(0))
    return bytes
  }
  return { answers, command, data, edges: () => edges, kbc, line: () => line, resets: () => resets }
}

describe('i8042', () => {
  it('passes its self test and the interface test', () => {
    const { answers, command } = setup()
    command(0xaa)
    assert.deepEqual(answers(), [0x55])
    command(0xab)
    assert.deepEqual(answers(), [0x00])
  })
  it('keeps its command byte', () => {
    const { answers, command, data } = setup()
    command(0x60)
    data(0x47)
    command(0x20)
    assert.deepEqual(answers(), [0x67]) // the auxiliary interface stays disabled
  })
  it('resets the machine by 0xfe, and by bit 0 of the output port', () => {
    const { command, data, resets } = setup()
    command(0xff)
    assert.equal(resets(), 0)
    command(0xfe)
    assert.equal(resets(), 1)
    command(0xd1)
    data(0x02)
    assert.equal(resets(), 2)
  })
  it('has a keyboard that resets and says its ID', () => {
    const { answers, data } = setup()
    data(0xff)
    assert.deepEqual(answers(), [0xfa, 0xaa])
    data(0xf2)
    assert.deepEqual(answers(), [0xfa, 0xab, 0x83])
  })
  it('takes parameters and asks for unknown commands again', () => {
    const { answers, data } = setup()
    data(0xed)
    data(0x07)
    data(0xf0)
    data(0x00)
    data(0x01)
    assert.deepEqual(answers(), [0xfa, 0xfa, 0xfa, 0xfa, 0x02, 0xfe])
  })
  it('makes one interrupt for each byte when they are enabled', () => {
    const { answers, command, data, edges, line } = setup()
    data(0xee)
    assert.equal(line(), false)
    answers()
    command(0x60)
    data(0x01)
    data(0xf2)
    answers()
    assert.equal(edges(), 3)
    assert.equal(line(), false)
  })
  it('does not grow when nobody reads', () => {
    const { answers, data } = setup()
    for (let i = 0; i < 1000; i++) data(0xee)
    assert.equal(answers().length, 16)
  })
  it('continues from a saved state', () => {
    const { data, kbc } = setup()
    data(0xf2)
    const other = setup()
    other.kbc.restore(structuredClone(kbc.save()))
    assert.deepEqual(other.answers(), [0xfa, 0xab, 0x83])
  })
})
