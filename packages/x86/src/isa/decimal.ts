/** Decimal adjustments, outside 64-bit mode. */
import { EXCEPTION } from '../state/registers.ts'
import type { Expr } from '../wasm/code.ts'
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning } from './meaning.ts'

function decimal(mnemonic: string, opcode: string, meaning: (u: Meaning) => void): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2A, "${mnemonic.toUpperCase()}"`,
    forms: [{ bytes: opcode, operands: [], modes: 'no64' }],
    meaning,
  })
}

/** DAA and DAS: 6 and 60h added or subtracted where a digit is out of range. */
function adjustPacked(u: Meaning, sign: 1 | -1): void {
  const al = u.gpr(0, 1)
  const oldCarry = u.flag('C').extendU()
  const lowDigit = al.and(15).gtU(9).or(u.flag('A')).extendU()
  const highDigit = al.gtU(0x99).extendU().or(oldCarry)
  const adjust = lowDigit.mul(6).add(highDigit.mul(0x60))
  const result = u.signExtend(sign === 1 ? al.add(adjust) : al.sub(adjust), 1)
  // DAS also borrows when the low digit's 6 does not fit.
  const carry = sign === 1 ? highDigit : highDigit.or(lowDigit.and(al.ltU(6).extendU()))
  u.flagsPartial(carry.or(lowDigit.shl(4)), result)
  u.setGpr(0, 1, result)
}

/** AAA and AAS: AL's digit out of range is carried to AH. */
function adjustUnpacked(u: Meaning, sign: 1 | -1): void {
  const ax = u.gpr(0, 2)
  const adjust = ax.and(15).gtU(9).or(u.flag('A')).ne(0)
  const step = 0x106
  const adjusted = sign === 1 ? ax.add(step) : ax.sub(step)
  const result = u.select(adjust, adjusted, ax).and(0xff0f)
  const bit = adjust.extendU()
  u.flagsPartial(bit.or(bit.shl(4)), u.signExtend(result, 1))
  u.setGpr(0, 2, result)
}

const zeroFlags = (u: Meaning, result: Expr): void => u.flagsLogic(u.signExtend(result, 1))

export const DECIMAL: readonly Instruction[] = [
  decimal('daa', '27', (u) => adjustPacked(u, 1)),
  decimal('das', '2F', (u) => adjustPacked(u, -1)),
  decimal('aaa', '37', (u) => adjustUnpacked(u, 1)),
  decimal('aas', '3F', (u) => adjustUnpacked(u, -1)),
  instruction({
    mnemonic: 'aam',
    spec: 'SDM Vol. 2A, "AAM—ASCII Adjust AX After Multiply"',
    forms: [{ bytes: 'D4', operands: ['Ib'], modes: 'no64' }],
    meaning: (u, base) => {
      const divisor = u.readUnsigned(base!)
      u.if(divisor.eqz(), () => u.raise(EXCEPTION.DE))
      const al = u.gpr(0, 1)
      const low = al.remU(divisor)
      u.setGpr(0, 2, al.divU(divisor).shl(8).or(low))
      zeroFlags(u, low)
    },
  }),
  instruction({
    mnemonic: 'aad',
    spec: 'SDM Vol. 2A, "AAD—ASCII Adjust AX Before Division"',
    forms: [{ bytes: 'D5', operands: ['Ib'], modes: 'no64' }],
    meaning: (u, base) => {
      const low = u
        .gpr(0, 1)
        .add(u.highByte(0).mul(u.readUnsigned(base!)))
        .and(0xff)
      u.setGpr(0, 2, low)
      zeroFlags(u, low)
    },
  }),
]
