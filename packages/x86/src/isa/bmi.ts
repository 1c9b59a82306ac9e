/** BMI1, BMI2, LZCNT, TZCNT and MOVBE: bits and bytes of general registers. */
import type { Callable, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'

/** An instruction that VEX encodes on general registers. */
function vex(
  feature: 'bmi1' | 'bmi2',
  mnemonic: string,
  form: Form,
  meaning: Instruction['meaning'],
): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2, "${mnemonic.toUpperCase()}"`,
    forms: [form],
    feature,
    meaning: (u, ...operands) => {
      u.requireVex()
      meaning(u, ...operands)
    },
  })
}

/** Writes a result with SF and ZF as it says, CF as given, OF = 0; AF and PF are undefined. */
function writeWithFlags(u: Meaning, dst: Operand, value: Expr, carry?: Expr): void {
  const result = u.signExtend(value, dst.size)
  u.flagsPartial(carry ? carry.extendU() : u.i64(0), result)
  u.write(dst, result)
}

const ANDN = vex(
  'bmi1',
  'andn',
  { bytes: 'VEX.LZ.0F38 F2 /r', operands: ['Gy', 'By', 'Ey'] },
  (u, dst, a, b) => writeWithFlags(u, dst!, u.read(a!).not().and(u.read(b!))),
)

/** The bits from `from` on; none where that is past the end. */
const bitsFrom = (u: Meaning, value: Expr, from: Expr): Expr =>
  u.select(from.gtU(63), u.i64(0), value.shrU(from))
/** The bits below `count`. */
const bitsBelow = (u: Meaning, value: Expr, count: Expr): Expr =>
  u.select(count.gtU(63), value, value.and(u.i64(1).shl(count).sub(1)))

const BEXTR = vex(
  'bmi1',
  'bextr',
  { bytes: 'VEX.LZ.0F38 F7 /r', operands: ['Gy', 'Ey', 'By'] },
  (u, dst, src, control) => {
    const value = u.readUnsigned(src!)
    const range = u.readUnsigned(control!)
    const field = bitsFrom(u, value, range.and(0xff))
    writeWithFlags(u, dst!, bitsBelow(u, field, range.shrU(8).and(0xff)))
  },
)
const BZHI = vex(
  'bmi2',
  'bzhi',
  { bytes: 'VEX.LZ.0F38 F5 /r', operands: ['Gy', 'Ey', 'By'] },
  (u, dst, src, index) => {
    const value = u.readUnsigned(src!)
    const count = u.readUnsigned(index!).and(0xff)
    writeWithFlags(u, dst!, bitsBelow(u, value, count), count.gtU(dst!.size * 8 - 1))
  },
)

/** The lowest set bit: alone, the mask up to it, or the rest without it. */
function lowestBit(
  mnemonic: string,
  number: number,
  compute: (value: Expr) => Expr,
  carry: (value: Expr) => Expr,
): Instruction {
  const form = { bytes: `VEX.LZ.0F38 F3 /${number}`, operands: ['By', 'Ey'] }
  return vex('bmi1', mnemonic, form, (u, dst, src) => {
    const value = u.read(src!)
    writeWithFlags(u, dst!, compute(value), carry(value))
  })
}
const BLSR = lowestBit(
  'blsr',
  1,
  (value) => value.and(value.sub(1)),
  (value) => value.eqz(),
)
const BLSMSK = lowestBit(
  'blsmsk',
  2,
  (value) => value.xor(value.sub(1)),
  (value) => value.eqz(),
)
const BLSI = lowestBit(
  'blsi',
  3,
  (value) => value.and(value.neg()),
  (value) => value.ne(0),
)

/** High and low half of the product with RDX; the high one wins where both are the same register. */
const MULX = vex(
  'bmi2',
  'mulx',
  { bytes: 'VEX.LZ.F2.0F38 F6 /r', operands: ['Gy', 'By', 'Ey'] },
  (u, high, low, src) => {
    const { size } = high!
    const b = u.readUnsigned(src!)
    const a = u.gpr(2, size)
    const product = a.mul(b)
    u.write(low!, product)
    u.write(high!, size === 8 ? u.routine('mulHighU', a, b) : product.shrU(32))
  },
)

function scatter(mnemonic: 'pdep' | 'pext', prefix: string): Instruction {
  const form = { bytes: `VEX.LZ.${prefix}.0F38 F5 /r`, operands: ['Gy', 'By', 'Ey'] }
  return vex('bmi2', mnemonic, form, (u, dst, value, mask) => {
    const chosen = u.readUnsigned(mask!)
    u.write(dst!, u.routine(mnemonic, u.readUnsigned(value!), chosen))
  })
}

const RORX = vex(
  'bmi2',
  'rorx',
  { bytes: 'VEX.LZ.F2.0F3A F0 /r', operands: ['Gy', 'Ey', 'Ib'] },
  (u, dst, src, count) => {
    const value = u.readUnsigned(src!)
    const by = u.immediate8(count!).extendU()
    const narrow = (): Expr => value.or(value.shl(32)).shrU(by.and(31))
    u.write(dst!, dst!.size === 8 ? value.rotr(by) : narrow())
  },
)

/** Shifts that change no flag, by a count in any register. */
function shift(
  mnemonic: string,
  prefix: string,
  compute: (u: Meaning, src: Operand, count: (size: number) => Expr) => Expr,
): Instruction {
  const form = { bytes: `VEX.LZ.${prefix}.0F38 F7 /r`, operands: ['Gy', 'Ey', 'By'] }
  return vex('bmi2', mnemonic, form, (u, dst, src, by) => {
    const count = (size: number): Expr => u.readUnsigned(by!).and(size * 8 - 1)
    u.write(dst!, compute(u, src!, count))
  })
}
const SHLX = shift('shlx', '66', (u, src, count) => u.readUnsigned(src).shl(count(src.size)))
const SHRX = shift('shrx', 'F2', (u, src, count) => u.readUnsigned(src).shrU(count(src.size)))
const SARX = shift('sarx', 'F3', (u, src, count) => u.read(src).shrS(count(src.size)))

/** Zero bits at one end: CF says that there are only such, ZF that there is none; the other flags are undefined. */
function countZeros(
  mnemonic: 'tzcnt' | 'lzcnt',
  feature: string,
  opcode: string,
  count: (value: Expr, bits: number) => Expr,
): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2, "${mnemonic.toUpperCase()}—Count the Number of ${mnemonic === 'tzcnt' ? 'Trailing' : 'Leading'} Zero Bits"`,
    forms: [{ bytes: `F3 0F ${opcode} /r`, operands: ['Gv', 'Ev'] }],
    feature,
    meaning: (u, dst, src) => {
      const value = u.readUnsigned(src!)
      const bits = src!.size * 8
      const zeros = u.select(value.eqz(), u.i64(bits), count(value, bits))
      u.flagsPartial(value.eqz().extendU(), zeros)
      u.write(dst!, zeros)
    },
  })
}
const TZCNT = countZeros('tzcnt', 'bmi1', 'BC', (value) => value.ctz())
const LZCNT = countZeros('lzcnt', 'lzcnt', 'BD', (value, bits) => value.clz().sub(64 - bits))

/** Bytes in the opposite order. */
export function reverseBytes(value: Expr, size: number): Expr {
  const even = 0x00ff00ff00ff00ffn
  const swap16 = value.and(even).shl(8).or(value.shrU(8).and(even))
  if (size === 2) return swap16
  const low = 0x0000ffff0000ffffn
  const swap32 = swap16.and(low).shl(16).or(swap16.shrU(16).and(low))
  return size === 8 ? swap32.rotl(32) : swap32
}
const MOVBE = instruction({
  mnemonic: 'movbe',
  spec: 'SDM Vol. 2B, "MOVBE—Move Data After Swapping Bytes"',
  forms: [
    { bytes: '0F 38 F0 /r', operands: ['Gv', 'Mv'], access: 'r' },
    { bytes: '0F 38 F1 /r', operands: ['Mv', 'Gv'], access: 'w' },
  ],
  feature: 'movbe',
  meaning: (u, dst, src) => u.write(dst!, reverseBytes(u.readUnsigned(src!), src!.size)),
})

/** pdep(value, mask) and pext(value, mask): one turn for each bit of the mask. */
export function bmiRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const define = (name: string, turn: (state: { value: Expr; bit: Expr; lowest: Expr }) => [Expr, Expr]) => {
    const callable = module.func(name, ['i64', 'i64'], ['i64'], (c) => {
      const value = c.variable('i64', c.param(0))
      const mask = c.variable('i64', c.param(1))
      const bit = c.variable('i64', 1)
      const result = c.variable('i64', 0)
      c.while(
        () => mask.get().ne(0),
        () => {
          const left = mask.get()
          const [at, chosen] = turn({ value: value.get(), bit: bit.get(), lowest: left.and(left.neg()) })
          result.set(result.get().or(c.select(chosen.ne(0), at, 0)))
          bit.set(bit.get().shl(1))
          mask.set(left.and(left.sub(1)))
        },
      )
      c.return(result.get())
    })
    routines.set(name, callable)
  }
  define('pdep', ({ value, bit, lowest }) => [lowest, value.and(bit)])
  define('pext', ({ value, bit, lowest }) => [bit, value.and(lowest)])
}

export const BMI: readonly Instruction[] = [
  ANDN,
  BEXTR,
  BLSI,
  BLSMSK,
  BLSR,
  BZHI,
  MULX,
  scatter('pdep', 'F2'),
  scatter('pext', 'F3'),
  RORX,
  SARX,
  SHLX,
  SHRX,
  TZCNT,
  LZCNT,
  MOVBE,
]
