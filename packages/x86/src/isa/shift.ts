/** Shifts and rotates. */
import type { Expr } from '../wasm/code.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'

function shiftForms(number: number): Form[] {
  return [
    { bytes: `C0 /${number}`, operands: ['Eb', 'Ib'] },
    { bytes: `C1 /${number}`, operands: ['Ev', 'Ib'] },
    { bytes: `D0 /${number}`, operands: ['Eb', '1'] },
    { bytes: `D1 /${number}`, operands: ['Ev', '1'] },
    { bytes: `D2 /${number}`, operands: ['Eb', 'CL'] },
    { bytes: `D3 /${number}`, operands: ['Ev', 'CL'] },
  ]
}

/** The count as the CPU uses it: modulo 32, or 64 for 64-bit operands. */
function maskedCount(u: Meaning, count: Operand, size: number): Expr {
  return u.readUnsigned(count).and(size === 8 ? 63 : 31)
}

interface Shifted {
  readonly result: Expr
  /** CF as an i64, 0 or 1. */
  readonly carry: Expr
  /** OF as an i64, 0 or 1; the manual defines it for counts of 1. */
  readonly overflow: Expr
}
/** Computes a shift whose count is not zero. `a` is sign-extended, `wide` zero-extended. */
type Shift = (u: Meaning, a: Expr, wide: Expr, count: Expr, size: number) => Shifted

function shift(mnemonic: string, number: number, compute: Shift): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2B, "SAL/SAR/SHL/SHR—Shift"',
    forms: mnemonic === 'shl' ? [...shiftForms(4), ...shiftForms(6)] : shiftForms(number),
    meaning: (u, dst, countOperand) => {
      const { size } = dst!
      const count = maskedCount(u, countOperand!, size)
      const a = u.readForWrite(dst!)
      const { result, carry, overflow } = compute(u, a, u.zeroExtend(a, size), count, size)
      const isShift = count.ne(0)
      u.if(isShift, () => u.flagsPartial(carry.or(overflow.shl(11)), result))
      // A count of zero writes the old value, which still clears the upper half of a 32-bit destination.
      u.write(dst!, u.select(isShift, result, a))
    },
  })
}

const sign = (value: Expr): Expr => value.shrU(63)

export const SHL = shift('shl', 4, (u, a, wide, count, size) => {
  const result = u.signExtend(a.shl(count), size)
  const carry = wide
    .shl(count.sub(1))
    .shrU(size * 8 - 1)
    .and(1)
  return { result, carry, overflow: sign(result).xor(carry) }
})
export const SHR = shift('shr', 5, (u, a, wide, count, size) => ({
  result: u.signExtend(wide.shrU(count), size),
  carry: wide.shrU(count.sub(1)).and(1),
  overflow: sign(a),
}))
export const SAR = shift('sar', 7, (u, a, _wide, count) => ({
  result: a.shrS(count),
  carry: a.shrS(count.sub(1)).and(1),
  overflow: u.i64(0),
}))

/** Rotates change CF and OF only. */
function rotate(mnemonic: string, number: number, compute: Shift): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2B, "RCL/RCR/ROL/ROR—Rotate"',
    forms: shiftForms(number),
    meaning: (u, dst, countOperand) => {
      const { size } = dst!
      const count = maskedCount(u, countOperand!, size)
      const a = u.readForWrite(dst!)
      const { result, carry, overflow } = compute(u, a, u.zeroExtend(a, size), count, size)
      const isShift = count.ne(0)
      u.if(isShift, () => u.routine('replaceCfOf', carry.wrap(), overflow.wrap()))
      u.write(dst!, u.select(isShift, result, a))
    },
  })
}

const topBit = (value: Expr, size: number): Expr => value.shrU(size * 8 - 1).and(1)

export const ROL = rotate('rol', 0, (_u, _a, wide, count, size) => {
  const bits = size * 8
  const by = count.and(bits - 1)
  const result = size === 8 ? wide.rotl(by) : wide.shl(by).or(wide.shrU(by.neg().and(bits - 1)))
  return { result, carry: result.and(1), overflow: topBit(result, size).xor(result.and(1)) }
})
export const ROR = rotate('ror', 1, (_u, _a, wide, count, size) => {
  const bits = size * 8
  const by = count.and(bits - 1)
  const result = size === 8 ? wide.rotr(by) : wide.shrU(by).or(wide.shl(by.neg().and(bits - 1)))
  const top = topBit(result, size)
  return { result, carry: top, overflow: top.xor(result.shrU(size * 8 - 2).and(1)) }
})

/** RCL and RCR rotate through CF: size × 8 + 1 bits, in 64 bits where that fits. */
function rotateThroughCarry(u: Meaning, wide: Expr, count: Expr, size: number, left: boolean): Shifted {
  const bits = size * 8
  const carryIn = u.flag('C').extendU()
  if (size === 8) return rotate65(u, wide, count, carryIn, left)
  const all = wide.or(carryIn.shl(bits))
  const by = size === 4 ? count : count.remU(bits + 1)
  const other = u.i64(bits + 1).sub(by)
  const rotated = left ? all.shl(by).or(all.shrU(other)) : all.shrU(by).or(all.shl(other))
  const carry = rotated.shrU(bits).and(1)
  const top = topBit(rotated, size)
  return { result: rotated, carry, overflow: left ? top.xor(carry) : top.xor(rotated.shrU(bits - 2).and(1)) }
}

function rotate65(u: Meaning, a: Expr, count: Expr, carryIn: Expr, left: boolean): Shifted {
  const beyond = u.i64(65).sub(count)
  // A shift by 64 would be a shift by 0 in WebAssembly.
  const wrapped = u.select(count.eq(1), u.i64(0), left ? a.shrU(beyond) : a.shl(beyond))
  const result = left
    ? a
        .shl(count)
        .or(carryIn.shl(count.sub(1)))
        .or(wrapped)
    : a
        .shrU(count)
        .or(carryIn.shl(u.i64(64).sub(count)))
        .or(wrapped)
  const carry = left ? a.shrU(u.i64(64).sub(count)).and(1) : a.shrU(count.sub(1)).and(1)
  const top = result.shrU(63)
  return { result, carry, overflow: left ? top.xor(carry) : top.xor(result.shrU(62).and(1)) }
}

export const RCL = rotate('rcl', 2, (u, _a, wide, count, size) =>
  rotateThroughCarry(u, wide, count, size, true),
)
export const RCR = rotate('rcr', 3, (u, _a, wide, count, size) =>
  rotateThroughCarry(u, wide, count, size, false),
)

function doubleShift(mnemonic: string, opcode: number, left: boolean): Instruction {
  const hex = (n: number) => n.toString(16).toUpperCase()
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2B, "SHLD—Double Precision Shift Left", "SHRD—Double Precision Shift Right"',
    forms: [
      { bytes: `0F ${hex(opcode)} /r`, operands: ['Ev', 'Gv', 'Ib'] },
      { bytes: `0F ${hex(opcode + 1)} /r`, operands: ['Ev', 'Gv', 'CL'] },
    ],
    meaning: (u, dst, src, countOperand) => {
      const { size } = dst!
      const bits = size * 8
      const count = maskedCount(u, countOperand!, size)
      const source = u.readUnsigned(src!)
      const a = u.readForWrite(dst!)
      const wide = u.zeroExtend(a, size)
      const isShift = count.ne(0)
      const { value, carry } =
        size === 2
          ? doubleShift16(wide, source, count, left)
          : left
            ? {
                value: wide.shl(count).or(source.shrU(u.i64(bits).sub(count))),
                carry: wide.shrU(u.i64(bits).sub(count)).and(1),
              }
            : {
                value: wide.shrU(count).or(source.shl(u.i64(bits).sub(count))),
                carry: wide.shrU(count.sub(1)).and(1),
              }
      const result = u.signExtend(value, size)
      u.if(isShift, () => {
        const overflow = sign(result).xor(sign(a))
        u.flagsPartial(carry.or(overflow.shl(11)), result)
      })
      u.write(dst!, u.select(isShift, result, a))
    },
  })
}

/** Counts above 16 go on with the destination's own bits, as Intel's CPUs do. */
function doubleShift16(wide: Expr, source: Expr, count: Expr, left: boolean): { value: Expr; carry: Expr } {
  if (left) {
    const all = wide.shl(32).or(source.shl(16)).or(wide)
    return { value: all.shl(count).shrU(32), carry: all.shl(count).shrU(48).and(1) }
  }
  const all = wide.shl(32).or(source.shl(16)).or(wide)
  return { value: all.shrU(count), carry: all.shrU(count.sub(1)).and(1) }
}
export const SHLD = doubleShift('shld', 0xa4, true)
export const SHRD = doubleShift('shrd', 0xac, false)

export const SHIFT: readonly Instruction[] = [SHL, SHR, SAR, ROL, ROR, RCL, RCR, SHLD, SHRD]
