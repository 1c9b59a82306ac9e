/** Single bits, bit scans, counts and CRC-32C. */
import type { Expr } from '../wasm/code.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'

function bitForms(opcode: string, number: number, lockable: boolean): Form[] {
  return [
    { bytes: `0F ${opcode} /r`, operands: ['Ev', 'Gv'], lockable, access: 'bit' },
    { bytes: `0F BA /${number}`, operands: ['Ev', 'Ib'], lockable, access: 'bit' },
  ]
}

type Change = (value: Expr, mask: Expr) => Expr

function bitTest(mnemonic: string, opcode: string, number: number, change?: Change): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2A, "BT—Bit Test", "BTC", "BTR", "BTS"',
    forms: bitForms(opcode, number, change !== undefined),
    modeSensitive: true,
    meaning: (u, base, offset) => {
      const bits = base!.size * 8
      const index = u.read(offset!)
      const mask = u.i64(1).shl(index.and(bits - 1))
      const carry = (value: Expr) =>
        value
          .shrU(index.and(bits - 1))
          .and(1)
          .wrap()
      if (base!.kind === 'register') {
        const value = u.read(base!)
        u.routine('replaceCf', carry(value))
        if (change) u.write(base!, change(value, mask))
        return
      }
      const address = bitAddress(u, base!, offset!, index, change !== undefined)
      if (change) u.probeWrite(address, base!.size)
      const value = u.loadMemory(address, base!.size)
      if (change) u.storeMemory(address, base!.size, change(value, mask))
      u.routine('replaceCf', carry(value))
    },
  })
}

/** A bit offset in a register reaches memory around the operand: the word that holds the bit is accessed. */
function bitAddress(u: Meaning, base: Operand, offset: Operand, index: Expr, write: boolean): Expr {
  const { size } = base
  const start = u.address(base)
  const words = offset.kind === 'immediate' ? u.i64(0) : index.shrS(Math.log2(size * 8)).mul(size)
  const address = start.add(words)
  if (u.long) return address
  const wrapped = u.select(u.memoryAddressIs16(), address.and(0xffff), address.and(0xffffffff))
  return u.segmentAddress(u.memorySegment(), wrapped, size, write)
}

const BT = bitTest('bt', 'A3', 4)
const BTS = bitTest('bts', 'AB', 5, (value, mask) => value.or(mask))
const BTR = bitTest('btr', 'B3', 6, (value, mask) => value.and(mask.not()))
const BTC = bitTest('btc', 'BB', 7, (value, mask) => value.xor(mask))

/** ZF says whether the source is zero; then the destination stays. The other flags are undefined. */
function bitScan(mnemonic: string, opcode: string, scan: (u: Meaning, value: Expr) => Expr): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2A, "BSF—Bit Scan Forward", "BSR—Bit Scan Reverse"',
    forms: [{ bytes: `0F ${opcode} /r`, operands: ['Gv', 'Ev'] }],
    meaning: (u, dst, src) => {
      const value = u.readUnsigned(src!)
      u.flagsPartial(u.i64(0), u.signExtend(value, src!.size))
      u.if(value.ne(0), () => u.write(dst!, scan(u, value)))
    },
  })
}
const BSF = bitScan('bsf', 'BC', (_u, value) => value.ctz())
const BSR = bitScan('bsr', 'BD', (u, value) => u.i64(63).sub(value.clz()))

const POPCNT = instruction({
  mnemonic: 'popcnt',
  spec: 'SDM Vol. 2B, "POPCNT—Return the Count of Number of Bits Set to 1"',
  forms: [{ bytes: 'F3 0F B8 /r', operands: ['Gv', 'Ev'] }],
  feature: 'popcnt',
  meaning: (u, dst, src) => {
    const value = u.readUnsigned(src!)
    u.flagsExplicit(value.eqz().extendU().shl(6))
    u.write(dst!, value.popcnt())
  },
})

const CRC32 = instruction({
  mnemonic: 'crc32',
  spec: 'SDM Vol. 2A, "CRC32—Accumulate CRC32 Value"',
  forms: [
    { bytes: 'F2 0F 38 F0 /r', operands: ['Gy', 'Eb'] },
    { bytes: 'F2 0F 38 F1 /r', operands: ['Gy', 'Ev'] },
  ],
  feature: 'sse4.2',
  meaning: (u, dst, src) => {
    const data = u.readUnsigned(src!)
    u.write(dst!, u.routine('crc32c', u.readUnsigned(dst!), data, src!.size * 8))
  },
})

export const BIT: readonly Instruction[] = [BT, BTS, BTR, BTC, BSF, BSR, POPCNT, CRC32]
