/** Multiplication and division. */
import { EXCEPTION } from '../state/registers.ts'
import type { Expr } from '../wasm/code.ts'
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'

/** CF = OF = `overflow`; the other flags are undefined, and Intel's CPUs give them from the low half. */
function multiplyFlags(u: Meaning, overflow: Expr, low: Expr): void {
  const bit = overflow.extendU()
  u.flagsPartial(bit.or(bit.shl(11)), low)
}

/** RDX:RAX = RAX × operand, or AX = AL × operand. */
function multiply(mnemonic: string, number: number, signed: boolean): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2, "MUL—Unsigned Multiply", "IMUL—Signed Multiply"',
    forms: [
      { bytes: `F6 /${number}`, operands: ['Eb'], access: 'r' },
      { bytes: `F7 /${number}`, operands: ['Ev'], access: 'r' },
    ],
    meaning: (u, src) => {
      const { size } = src!
      const read = (v: Operand) => (signed ? u.read(v) : u.readUnsigned(v))
      const b = read(src!)
      const a = signed ? u.gprSigned(0, size) : u.gpr(0, size)
      const product = a.mul(b)
      if (size === 1) {
        const overflow = signed ? u.signExtend(product, 1).ne(product) : product.shrU(8).ne(0)
        u.setGpr(0, 2, product)
        return multiplyFlags(u, overflow, u.signExtend(product, 1))
      }
      const low = u.signExtend(product, size)
      const high = size === 8 ? u.routine(signed ? 'mulHighS' : 'mulHighU', a, b) : product.shrS(size * 8)
      const overflow = signed ? high.ne(low.shrS(63)) : u.zeroExtend(high, size).ne(0)
      u.setGpr(0, size, product)
      u.setGpr(2, size, high)
      multiplyFlags(u, overflow, low)
    },
  })
}
export const MUL = multiply('mul', 4, false)
const IMUL_ONE = multiply('imul', 5, true)

function multiplyInto(u: Meaning, dst: Operand, a: Expr, b: Expr): void {
  const { size } = dst
  const product = a.mul(b)
  const low = u.signExtend(product, size)
  const overflow = size === 8 ? u.routine('mulHighS', a, b).ne(low.shrS(63)) : low.ne(product)
  multiplyFlags(u, overflow, low)
  u.write(dst, low)
}

export const IMUL = instruction({
  mnemonic: 'imul',
  spec: 'SDM Vol. 2A, "IMUL—Signed Multiply"',
  forms: [
    ...IMUL_ONE.forms,
    { bytes: '0F AF /r', operands: ['Gv', 'Ev'], access: 'r' },
    { bytes: '69 /r', operands: ['Gv', 'Ev', 'Iz'], access: 'r' },
    { bytes: '6B /r', operands: ['Gv', 'Ev', 'Ib'], access: 'r' },
  ],
  meaning: (u, first, second, third) => {
    if (!second) return IMUL_ONE.meaning(u, first!)
    if (third) return multiplyInto(u, first!, u.read(second), u.read(third))
    multiplyInto(u, first!, u.read(first!), u.read(second))
  },
})

/** AL, AH or RAX, RDX = quotient, remainder of RDX:RAX (or AX) by the operand. */
function divide(mnemonic: string, number: number, signed: boolean): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2, "DIV—Unsigned Divide", "IDIV—Signed Divide"',
    forms: [
      { bytes: `F6 /${number}`, operands: ['Eb'], access: 'r' },
      { bytes: `F7 /${number}`, operands: ['Ev'], access: 'r' },
    ],
    meaning: (u, src) => {
      const { size } = src!
      const divisor = signed ? u.read(src!) : u.readUnsigned(src!)
      u.if(divisor.eqz(), () => u.raise(EXCEPTION.DE))
      if (size === 8) return divide64(u, divisor, signed)
      const dividend = dividendOf(u, size, signed)
      if (signed && size === 4)
        u.if(dividend.eq(-(2n ** 63n)).and(divisor.eq(-1)), () => u.raise(EXCEPTION.DE))
      const quotient = signed ? dividend.divS(divisor) : dividend.divU(divisor)
      const fits = signed
        ? u.signExtend(quotient, size).eq(quotient)
        : u.zeroExtend(quotient, size).eq(quotient)
      u.if(fits.eqz(), () => u.raise(EXCEPTION.DE))
      const remainder = dividend.sub(quotient.mul(divisor))
      u.setGpr(0, size, quotient)
      if (size === 1) u.setHighByte(0, remainder)
      else u.setGpr(2, size, remainder)
    },
  })
}

function dividendOf(u: Meaning, size: number, signed: boolean): Expr {
  if (size === 1) return signed ? u.gprSigned(0, 2) : u.gpr(0, 2)
  const all = u
    .gpr(2, size)
    .shl(size * 8)
    .or(u.gpr(0, size))
  return signed ? u.signExtend(all, size * 2) : all
}

/** 128 by 64 bits: routines work on magnitudes. */
function divide64(u: Meaning, divisor: Expr, signed: boolean): void {
  const [low, high] = [u.gpr(0), u.gpr(2)]
  if (!signed) {
    u.if(high.geU(divisor), () => u.raise(EXCEPTION.DE))
    const quotient = u.routine('divide128', high, low, divisor)
    u.setGpr(0, 8, quotient)
    return u.setGpr(2, 8, low.sub(quotient.mul(divisor)))
  }
  const negative = high.ltS(0)
  const absLow = u.select(negative, low.neg(), low)
  const absHigh = u.select(negative, high.not().add(low.eqz().extendU()), high)
  const absDivisor = u.select(divisor.ltS(0), divisor.neg(), divisor)
  u.if(absHigh.geU(absDivisor), () => u.raise(EXCEPTION.DE))
  const magnitude = u.routine('divide128', absHigh, absLow, absDivisor)
  const negativeQuotient = negative.ne(divisor.ltS(0))
  const limit = negativeQuotient.extendU().add(0x7fffffffffffffffn)
  u.if(magnitude.gtU(limit), () => u.raise(EXCEPTION.DE))
  const quotient = u.select(negativeQuotient, magnitude.neg(), magnitude)
  u.setGpr(0, 8, quotient)
  u.setGpr(2, 8, low.sub(quotient.mul(divisor)))
}
export const DIV = divide('div', 6, false)
export const IDIV = divide('idiv', 7, true)

export const MULTIPLY: readonly Instruction[] = [MUL, IMUL, DIV, IDIV]
