import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DebugConsole } from '../debug-console/debug-console.ts'
import { DebugExit } from '../debug-exit/debug-exit.ts'
import { ResetControl } from './reset-control.ts'

describe('reset control', () => {
  it('resets on a rising edge of bit 2 of 0xCF9', () => {
    let resets = 0
    const { resetControl } = new ResetControl({ onReset: () => resets++ })
    resetControl.portWrite(0, 1, 0x02)
    assert.equal(resets, 0)
    resetControl.portWrite(0, 1, 0x06)
    assert.equal(resets, 1)
    assert.equal(resetControl.portRead(0, 1), 0x06)
  })
  it('resets on a rising edge of bit 0 of port 0x92', () => {
    let resets = 0
    const { portA } = new ResetControl({ onReset: () => resets++ })
    assert.equal(portA.portRead(0, 1), 0x02)
    portA.portWrite(0, 1, 0x00)
    portA.portWrite(0, 1, 0x01)
    portA.portWrite(0, 1, 0x01)
    assert.equal(resets, 1)
  })
})

describe('debug ports', () => {
  it('the console gives out what is written and reads 0xe9', () => {
    const bytes: number[] = []
    const console = new DebugConsole({ output: { write: (byte) => bytes.push(byte) } })
    console.portWrite(0, 1, 0x21)
    assert.deepEqual(bytes, [0x21])
    assert.equal(console.portRead(), 0xe9)
  })
  it('the exit status is (value << 1) | 1', () => {
    const statuses: number[] = []
    const exit = new DebugExit({ onExit: (status) => statuses.push(status) })
    for (const value of [0, 0x10, 0x7fff_ffff]) exit.portWrite(0, 4, value)
    assert.deepEqual(statuses, [1, 0x21, 0xffff_ffff])
  })
})
