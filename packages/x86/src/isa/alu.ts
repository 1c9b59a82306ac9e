/** Integer arithmetic and logic. */
import type { Expr } from '../wasm/code.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'

/** The nine encodings that ADD, OR, ADC, SBB, AND, SUB, XOR and CMP share. */
function aluForms(number: number, access: 'r' | 'w'): Form[] {
  const opcode = (low: number) => (number * 8 + low).toString(16).toUpperCase().padStart(2, '0')
  const lockable = access === 'w'
  return [
    { bytes: `${opcode(0)} /r`, operands: ['Eb', 'Gb'], lockable, access },
    { bytes: `${opcode(1)} /r`, operands: ['Ev', 'Gv'], lockable, access },
    { bytes: `${opcode(2)} /r`, operands: ['Gb', 'Eb'], access: 'r' },
    { bytes: `${opcode(3)} /r`, operands: ['Gv', 'Ev'], access: 'r' },
    { bytes: opcode(4), operands: ['AL', 'Ib'] },
    { bytes: opcode(5), operands: ['rAX', 'Iz'] },
    { bytes: `80 /${number}`, operands: ['Eb', 'Ib'], lockable, access },
    { bytes: `81 /${number}`, operands: ['Ev', 'Iz'], lockable, access },
    { bytes: `82 /${number}`, operands: ['Eb', 'Ib'], lockable, access, modes: 'no64' },
    { bytes: `83 /${number}`, operands: ['Ev', 'Ib'], lockable, access },
  ]
}

/** CF, AF and OF of a + b + carry, at their places, from the carries themselves. */
export function carryBits(a: Expr, b: Expr, result: Expr): Expr {
  const carry = a.and(b).or(a.or(b).and(result.not())).shrU(63)
  const overflow = a.xor(result).and(b.xor(result)).shrU(63)
  return carry.or(a.xor(b).xor(result).and(0x10)).or(overflow.shl(11))
}
/** The same for a − b − borrow. */
export function borrowBits(a: Expr, b: Expr, result: Expr): Expr {
  const borrow = a.not().and(b).or(a.not().or(b).and(result)).shrU(63)
  const overflow = a.xor(b).and(a.xor(result)).shrU(63)
  return borrow.or(a.xor(b).xor(result).and(0x10)).or(overflow.shl(11))
}

type Binary = (u: Meaning, a: Expr, b: Expr, size: number) => Expr

function alu(mnemonic: string, number: number, compute: Binary, access: 'r' | 'w' = 'w'): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2, "${mnemonic.toUpperCase()}"`,
    forms: aluForms(number, access),
    meaning: (u, dst, src) => {
      const b = u.read(src!)
      const a = access === 'w' ? u.readForWrite(dst!) : u.read(dst!)
      const result = compute(u, a, b, dst!.size)
      if (access === 'w') u.write(dst!, result)
    },
  })
}

const logic =
  (combine: (a: Expr, b: Expr) => Expr): Binary =>
  (u, a, b) => {
    const result = combine(a, b)
    u.flagsLogic(result)
    return result
  }

export const ADD = alu('add', 0, (u, a, b, size) => {
  const result = u.signExtend(a.add(b), size)
  u.flagsAdd(a, b, result)
  return result
})
export const OR = alu(
  'or',
  1,
  logic((a, b) => a.or(b)),
)
export const ADC = alu('adc', 2, (u, a, b, size) => {
  const result = u.signExtend(a.add(b).add(u.flag('C').extendU()), size)
  u.flagsPartial(carryBits(a, b, result), result)
  return result
})
export const SBB = alu('sbb', 3, (u, a, b, size) => {
  const result = u.signExtend(a.sub(b).sub(u.flag('C').extendU()), size)
  u.flagsPartial(borrowBits(a, b, result), result)
  return result
})
export const AND = alu(
  'and',
  4,
  logic((a, b) => a.and(b)),
)
const subtract: Binary = (u, a, b, size) => {
  const result = u.signExtend(a.sub(b), size)
  u.flagsSub(a, b, result)
  return result
}
export const SUB = alu('sub', 5, subtract)
export const XOR = alu(
  'xor',
  6,
  logic((a, b) => a.xor(b)),
)
export const CMP = alu('cmp', 7, subtract, 'r')

export const TEST = instruction({
  mnemonic: 'test',
  spec: 'SDM Vol. 2B, "TEST—Logical Compare"',
  forms: [
    { bytes: '84 /r', operands: ['Eb', 'Gb'], access: 'r' },
    { bytes: '85 /r', operands: ['Ev', 'Gv'], access: 'r' },
    { bytes: 'A8', operands: ['AL', 'Ib'] },
    { bytes: 'A9', operands: ['rAX', 'Iz'] },
    { bytes: 'F6 /0', operands: ['Eb', 'Ib'], access: 'r' },
    { bytes: 'F6 /1', operands: ['Eb', 'Ib'], access: 'r' },
    { bytes: 'F7 /0', operands: ['Ev', 'Iz'], access: 'r' },
    { bytes: 'F7 /1', operands: ['Ev', 'Iz'], access: 'r' },
  ],
  meaning: (u, dst, src) => u.flagsLogic(u.read(dst!).and(u.read(src!))),
})

function unaryForms(opcode: string, number: number): Form[] {
  const wide = (Number.parseInt(opcode, 16) + 1).toString(16).toUpperCase()
  return [
    { bytes: `${opcode} /${number}`, operands: ['Eb'], lockable: true },
    { bytes: `${wide} /${number}`, operands: ['Ev'], lockable: true },
  ]
}

function incrementOrDecrement(mnemonic: string, number: number, step: 1 | -1): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2A, "INC—Increment by 1", "DEC—Decrement by 1"',
    forms: [
      ...unaryForms('FE', number),
      { bytes: `${(0x40 + number * 8).toString(16)}+r`, operands: ['Zv'], modes: 'no64' },
    ],
    meaning: (u, dst) => {
      const a = u.readForWrite(dst!)
      const carry = u.flag('C').extendU()
      const result = u.signExtend(a.add(step), dst!.size)
      const overflow = (step === 1 ? a.not().and(result) : a.and(result.not())).shrU(63)
      u.flagsPartial(carry.or(a.xor(result).and(0x10)).or(overflow.shl(11)), result)
      u.write(dst!, result)
    },
  })
}
export const INC = incrementOrDecrement('inc', 0, 1)
export const DEC = incrementOrDecrement('dec', 1, -1)

export const NOT = instruction({
  mnemonic: 'not',
  spec: 'SDM Vol. 2B, "NOT—One\'s Complement Negation"',
  forms: unaryForms('F6', 2),
  meaning: (u, dst) => u.write(dst!, u.readForWrite(dst!).not()),
})

export const NEG = instruction({
  mnemonic: 'neg',
  spec: 'SDM Vol. 2B, "NEG—Two\'s Complement Negation"',
  forms: unaryForms('F6', 3),
  meaning: (u, dst) => {
    const a = u.readForWrite(dst!)
    const result = u.signExtend(a.neg(), dst!.size)
    u.flagsSub(u.i64(0), a, result)
    u.write(dst!, result)
  },
})

export const CMPXCHG = instruction({
  mnemonic: 'cmpxchg',
  spec: 'SDM Vol. 2A, "CMPXCHG—Compare and Exchange"',
  forms: [
    { bytes: '0F B0 /r', operands: ['Eb', 'Gb'], lockable: true },
    { bytes: '0F B1 /r', operands: ['Ev', 'Gv'], lockable: true },
  ],
  meaning: (u, dst, src) => {
    const { size } = dst!
    const source = u.read(src!)
    const old = u.readForWrite(dst!)
    const accumulator = u.gprSigned(0, size)
    u.flagsSub(accumulator, old, u.signExtend(accumulator.sub(old), size))
    const equal = accumulator.eq(old)
    // The destination is written either way; a 32-bit accumulator changes (and is extended) only when they differ.
    if (dst!.kind === 'memory') u.write(dst!, u.select(equal, source, old))
    else u.if(equal, () => u.write(dst!, source))
    u.if(equal.eqz(), () => u.setGpr(0, size, old))
  },
})

export const XADD = instruction({
  mnemonic: 'xadd',
  spec: 'SDM Vol. 2D, "XADD—Exchange and Add"',
  forms: [
    { bytes: '0F C0 /r', operands: ['Eb', 'Gb'], lockable: true },
    { bytes: '0F C1 /r', operands: ['Ev', 'Gv'], lockable: true },
  ],
  meaning: (u, dst, src) => {
    const b = u.read(src!)
    const a = u.readForWrite(dst!)
    const result = u.signExtend(a.add(b), dst!.size)
    u.flagsAdd(a, b, result)
    u.write(src!, a)
    u.write(dst!, result)
  },
})

/** Compares and exchanges two halves of 4 or 8 bytes. */
function compareExchangeHalves(u: Meaning, dst: Operand, half: 4 | 8): void {
  const address = u.address(dst)
  if (half === 8) u.checkAligned(address)
  u.probeWrite(address, half * 2)
  const low = u.loadMemory(address, half)
  const high = u.loadMemory(address.add(half), half)
  const equal = low.eq(u.gpr(0, half)).and(high.eq(u.gpr(2, half)))
  const others = u.arithmeticFlags().and(~0x40)
  u.flagsExplicit(others.or(equal.extendU().shl(6)))
  // Where they differ, the old value is written back.
  u.storeMemory(address, half, u.select(equal, u.gpr(3), low))
  u.storeMemory(address.add(half), half, u.select(equal, u.gpr(1), high))
  u.if(equal.eqz(), () => {
    u.setGpr(0, half, low)
    u.setGpr(2, half, high)
  })
}

/** REX.W chooses 16 bytes; 16- and 32-bit operand sizes are both 8 bytes. */
export const CMPXCHG8B = instruction({
  mnemonic: 'cmpxchg8b',
  spec: 'SDM Vol. 2A, "CMPXCHG8B/CMPXCHG16B—Compare and Exchange Bytes"',
  forms: [{ bytes: '0F C7 /1', operands: ['Mq'], sized: true, lockable: true, access: 'w' }],
  meaning: (u, dst) => compareExchangeHalves(u, dst!, u.variant.size === 8 ? 8 : 4),
})

export const ALU: readonly Instruction[] = [
  ADD,
  OR,
  ADC,
  SBB,
  AND,
  SUB,
  XOR,
  CMP,
  TEST,
  INC,
  DEC,
  NOT,
  NEG,
  CMPXCHG,
  XADD,
  CMPXCHG8B,
]
