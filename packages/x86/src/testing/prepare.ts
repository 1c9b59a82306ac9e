/** What instructions need of the state beyond their operands, so that most cases do more than fault. */
import type { OperandSize } from './form.ts'
import type { Random } from './random.ts'
import {
  CODE_ADDRESS,
  DATA_ADDRESS,
  DATA_BYTES,
  FLAG,
  gprOffset,
  type Mode,
  OFFSET,
  PAGE_BYTES,
  type StateRecord,
} from './state-record.ts'
import { writeInteger } from './values.ts'

export const RAX = 0
export const RCX = 1
export const RDX = 2
export const RBX = 3
export const RSP = 4
export const RBP = 5
export const RSI = 6
export const RDI = 7

/** The part of a case generator that preparing uses. */
export interface Preparation {
  readonly random: Random
  readonly record: StateRecord
  readonly mode: Mode
  readonly inSequence: boolean
  put(register: number, value: number): void
  pin(register: number): void
  isPinned(register: number): boolean
  isPointer(register: number): boolean
  registerValue(register: number): number
}

const STRING = /^(movs|cmps|scas|lods|stos)[bwdq]?$/

/** Sets what an instruction reads without naming it. Runs before its operands are chosen. */
export function prepare(c: Preparation, mnemonic: string): void {
  const { random } = c
  if (STRING.test(mnemonic)) {
    prepareString(c, mnemonic)
    return
  }
  if (mnemonic === 'xlat' || mnemonic === 'xlatb')
    c.put(RBX, DATA_ADDRESS + random.between(0, DATA_BYTES - 200))
  else if (mnemonic.startsWith('maskmov'))
    c.put(RDI, DATA_ADDRESS + random.between(0, DATA_BYTES + (random.oneIn(8) ? 8 : -16)))
  // Whether bytes that are masked off can fault depends on the implementation.
  else if (mnemonic === 'vmaskmovdqu') c.put(RDI, DATA_ADDRESS + random.between(0, DATA_BYTES - 16))
  else if (mnemonic === 'leave' || mnemonic === 'enter') {
    if (!random.oneIn(12)) c.put(RBP, DATA_ADDRESS + random.between(256, DATA_BYTES - 16))
  } else if (mnemonic.startsWith('loop') || mnemonic.includes('cxz')) c.put(RCX, random.below(3))
  else if (mnemonic.startsWith('ret')) writeStack(c, CODE_ADDRESS + random.between(64, 250))
  else if (mnemonic.startsWith('popf')) prepareFlags(c)
  else if (/^i?div$/.test(mnemonic) && c.inSequence) c.put(RDX, 0)
  else if (/^v?pcmp[ei]str[im]/.test(mnemonic) && !random.oneIn(8)) {
    c.put(RAX, random.between(0, 20))
    c.put(RDX, random.between(0, 20))
  } else if (mnemonic.startsWith('cmpxchg')) {
    for (const register of [RAX, RDX, RCX, RBX]) c.pin(register)
  }
}

/** A POPF that sets TF or AC is a case of its own, not every second one. */
function prepareFlags(c: Preparation): void {
  const word = stackOffset(c)
  if (word === undefined || c.random.oneIn(4)) return
  const { view } = c.record
  view.setUint32(word, view.getUint32(word, true) & ~(FLAG.TF | FLAG.AC | FLAG.NT), true)
}

/** Offset in the record of the top of the stack, where it lies in the data area and is known. */
function stackOffset(c: Preparation): number | undefined {
  const at = c.registerValue(RSP) - DATA_ADDRESS
  return c.inSequence || at < 0 || at > DATA_BYTES - 8 ? undefined : OFFSET.data + at
}

function writeStack(c: Preparation, value: number): void {
  const at = stackOffset(c)
  if (at === undefined || c.random.oneIn(16)) return
  c.record.view.setUint32(at, value, true)
  c.record.view.setUint32(at + 4, 0, true)
}

/** Addresses inside the area, sometimes running out of it; few repetitions; comparisons that hold for a while. */
function prepareString(c: Preparation, mnemonic: string): void {
  const { random } = c
  const near = (): number => {
    if (!c.inSequence && random.oneIn(10))
      return DATA_ADDRESS + random.pick([0, 5, PAGE_BYTES - 3, DATA_BYTES - 9, DATA_BYTES - 1])
    return DATA_ADDRESS + random.between(160, DATA_BYTES - 160)
  }
  const [source, destination] = [near(), near()]
  c.put(RSI, source)
  c.put(RDI, random.oneIn(6) ? source + random.between(-9, 9) : destination)
  c.put(RCX, random.below(random.oneIn(4) ? 18 : 5))
  if (c.inSequence) return
  const { view } = c.record
  if (random.oneIn(2)) view.setUint32(OFFSET.rflags, view.getUint32(OFFSET.rflags, true) | FLAG.DF, true)
  if (!/^(cmps|scas)/.test(mnemonic) || random.oneIn(3)) return
  const fill = random.below(256)
  for (const register of [RSI, RDI]) fillAround(c, c.registerValue(register) - DATA_ADDRESS, fill)
  c.record.bytes.fill(fill, gprOffset(RAX), gprOffset(RAX) + 8)
}

function fillAround(c: Preparation, offset: number, fill: number): void {
  const reach = c.random.between(1, 80)
  const low = Math.max(0, offset - reach)
  const high = Math.min(DATA_BYTES, offset + reach)
  c.record.bytes.fill(fill, OFFSET.data + low, OFFSET.data + high)
}

/** Operands of an instruction, for values that depend on each other. */
export interface ChosenOperands {
  readonly memory: { readonly address: number; readonly bytes: number } | undefined
  readonly reg: number
  readonly rm: number
}

/** Adjusts operand values that depend on each other. Runs after the operands are chosen; not in sequences. */
export function adjust(c: Preparation, mnemonic: string, size: OperandSize, chosen: ChosenOperands): void {
  if (/^i?div$/.test(mnemonic)) {
    adjustDivision(c, mnemonic)
    return
  }
  if (mnemonic === 'cmpxchg') {
    adjustCompare(c, chosen, [RAX], 8)
    return
  }
  if (mnemonic === 'cmpxchg8b' || mnemonic === 'cmpxchg16b') {
    adjustCompare(c, chosen, [RAX, RDX], size === 8 ? 8 : 4)
    return
  }
  if (/^(jmp|call)$/.test(mnemonic)) {
    adjustTarget(c, chosen)
    return
  }
  if (mnemonic === 'bound') {
    adjustBounds(c, size, chosen)
    return
  }
  if (/^(v?ldmxcsr|fxrstor)$/.test(mnemonic)) adjustMxcsr(c, mnemonic, chosen)
}

/** Quotients that fit are rare among random dividends. */
function adjustDivision(c: Preparation, mnemonic: string): void {
  const { random, record } = c
  if (random.oneIn(3)) return
  const at = gprOffset(RDX)
  const signed = mnemonic === 'idiv' && random.oneIn(2)
  if (!c.isPinned(RDX)) {
    record.bytes.fill(signed ? 0xff : 0, at, at + 8)
    if (random.oneIn(2)) record.bytes[at] = random.below(256)
  }
  // The byte form divides AX.
  if (!c.isPinned(RAX) && random.oneIn(2)) record.bytes[gprOffset(RAX) + 1] = random.below(8)
}

function adjustCompare(
  c: Preparation,
  { memory, rm }: ChosenOperands,
  registers: readonly number[],
  bytes: number,
): void {
  const { random, record } = c
  if (random.oneIn(2)) return
  for (const [i, register] of registers.entries()) {
    const to = gprOffset(register)
    if (memory) {
      const from = memory.address - DATA_ADDRESS + i * bytes
      if (from < 0 || from + bytes > DATA_BYTES) return
      record.bytes.copyWithin(OFFSET.data + from, to, to + bytes)
    } else if (rm >= 0) record.bytes.copyWithin(to, gprOffset(rm), gprOffset(rm) + 8)
  }
}

function adjustTarget(c: Preparation, { memory, rm }: ChosenOperands): void {
  const { random, record } = c
  if (random.oneIn(10)) return
  const target = CODE_ADDRESS + random.between(32, 250)
  if (memory) {
    const at = memory.address - DATA_ADDRESS
    if (at < 0 || at > DATA_BYTES - 8) return
    record.view.setUint32(OFFSET.data + at, target, true)
    record.view.setUint32(OFFSET.data + at + 4, 0, true)
  } else if (rm >= 0 && rm !== RSP) c.put(rm, target)
}

/** Bounds around the index, or touching it. */
function adjustBounds(c: Preparation, size: OperandSize, { memory, reg }: ChosenOperands): void {
  const at = (memory?.address ?? 0) - DATA_ADDRESS
  if (at < 0 || at + 2 * size > DATA_BYTES || c.random.oneIn(3)) return
  const { view } = c.record
  const write = (offset: number, value: number): void =>
    size === 2 ? view.setInt16(offset, value, true) : view.setInt32(offset, value, true)
  const index = size === 2 ? view.getInt16(gprOffset(reg), true) : view.getInt32(gprOffset(reg), true)
  write(OFFSET.data + at, index - c.random.below(3))
  write(OFFSET.data + at + size, index + c.random.below(3))
}

/** Reserved bits of MXCSR fault; sometimes they should not. */
function adjustMxcsr(c: Preparation, mnemonic: string, { memory }: ChosenOperands): void {
  if (!memory || c.random.oneIn(6)) return
  const at = memory.address - DATA_ADDRESS + (mnemonic === 'fxrstor' ? 24 : 0)
  if (at < 0 || at > DATA_BYTES - 4) return
  c.record.view.setUint16(OFFSET.data + at + 2, 0, true)
}

/** A register operand's value for segment loads: null, the flat selectors, others. */
export function writeSelector(c: Preparation, offset: number): void {
  if (c.random.oneIn(6)) {
    writeInteger(c.random, c.record.view, offset, 2)
    return
  }
  c.record.view.setUint16(offset, c.random.pick([0, 1, 3, 0x2b, 0x2b, 0x2b, 0x23, 0x33]), true)
}
