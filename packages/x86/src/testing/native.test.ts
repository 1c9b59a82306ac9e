import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { NativeCpu, whyNotNative } from './native.ts'
import {
  CODE_ADDRESS,
  DATA_ADDRESS,
  FLAG,
  FX,
  get64,
  gprOffset,
  type Mode,
  newRecord,
  OFFSET,
  STOP_SYSTEM_CALL,
  STOP_TIMEOUT,
  type StateRecord,
  set64,
} from './state-record.ts'

const reason = whyNotNative()

describe('the native harness', { skip: reason && `not on this host: it ${reason}` }, () => {
  const cpu = reason ? undefined : new NativeCpu()
  after(() => cpu?.[Symbol.dispose]())

  function run(
    code: readonly number[],
    registers: Readonly<Record<number, number>>,
    mode: Mode = 64,
  ): StateRecord {
    const input = newRecord()
    const outcome = newRecord()
    const { view, bytes } = input
    set64(view, OFFSET.rip, CODE_ADDRESS)
    view.setUint32(OFFSET.mode, mode, true)
    view.setUint16(FX.control, 0x37f, true)
    view.setUint32(FX.mxcsr, 0x1f80, true)
    set64(view, gprOffset(4), DATA_ADDRESS + 4096)
    for (const [register, value] of Object.entries(registers)) set64(view, gprOffset(Number(register)), value)
    bytes.fill(0xcc, OFFSET.code, OFFSET.data)
    bytes.set(code, OFFSET.code)
    cpu!.run(bytes, outcome.bytes, 1)
    return outcome
  }
  const stop = ({ view }: StateRecord): number => view.getUint32(OFFSET.stop, true)
  const flags = ({ view }: StateRecord): number => view.getUint32(OFFSET.rflags, true)
  const rip = ({ view }: StateRecord): number => get64(view, OFFSET.rip) - CODE_ADDRESS

  it('sets OF, SF and AF but not CF when 0x7f + 1 overflows a byte', () => {
    const outcome = run([0x00, 0xc8], { 0: 0x7f, 1: 1 })
    assert.equal(outcome.view.getUint8(gprOffset(0)), 0x80)
    assert.equal(flags(outcome), FLAG.OF | FLAG.SF | FLAG.AF)
    assert.equal(stop(outcome), 3)
    assert.equal(rip(outcome), 3)
  })

  it('reports #DE at the division, not behind it', () => {
    const outcome = run([0x90, 0xf7, 0xf1], { 1: 0 })
    assert.equal(stop(outcome), 0)
    assert.equal(rip(outcome), 1)
  })

  it('reports the first byte that is not mapped when a store runs out of the data area', () => {
    const outcome = run([0x48, 0x89, 0x07], { 7: DATA_ADDRESS + 0x2000 - 3 })
    assert.equal(stop(outcome), 14)
    assert.equal(get64(outcome.view, OFFSET.cr2), DATA_ADDRESS + 0x2000)
    assert.equal(outcome.view.getUint32(OFFSET.errorCode, true), 6)
  })

  it('reports a store to the code page as a protection violation', () => {
    const outcome = run([0x88, 0x07], { 7: CODE_ADDRESS })
    assert.equal(stop(outcome), 14)
    assert.equal(outcome.view.getUint32(OFFSET.errorCode, true), 7)
  })

  const compatibility = { skip: !cpu?.modes().includes(32) && 'this kernel runs no 32-bit code' }

  it('runs DAA in compatibility mode and refuses it in 64-bit mode', compatibility, () => {
    assert.equal(run([0x27], { 0: 0x0a }, 32).view.getUint8(gprOffset(0)), 0x10)
    assert.equal(stop(run([0x27], {})), 6)
  })

  it('stops an endless loop', () => assert.equal(stop(run([0xeb, 0xfe], {})), STOP_TIMEOUT))

  it('lets no system call through', () => assert.equal(stop(run([0x0f, 0x05], { 0: 39 })), STOP_SYSTEM_CALL))

  it('lets no system call of compatibility mode through', compatibility, () => {
    assert.equal(stop(run([0xcd, 0x80], { 0: 20 }, 32)), STOP_SYSTEM_CALL)
  })

  it('goes on with the next case after the stack pointer, FS and the flags were ruined', () => {
    const ruin = [0xbc, 1, 0, 0, 0, 0x31, 0xc0, 0x8e, 0xe0, 0xfd, 0x0f, 0x0b]
    assert.equal(stop(run(ruin, {})), 6)
    assert.equal(stop(run([0x90], {})), 3)
  })
})
