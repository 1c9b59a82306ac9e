/**
 * String comparisons of SSE4.2. SDM Vol. 2A, "Imm8 Control Byte Operation for PCMPESTRI / PCMPESTRM / PCMPISTRI / PCMPISTRM".
 *
 * One routine computes the result bits of all four instructions from two vectors, two lengths and the control byte.
 */
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { LANES, vector } from './vector.ts'

/** Where the routine finds its operands: the first (a set, ranges or a needle), and the second, which is searched. */
const FIRST = LANES
const SECOND = LANES + 16

/** Elements of one size: their lanes, how many, and how one is loaded. */
const BYTES = { lanes: 'i8x16', count: 16, kind: 'i32_8u', log2: 0, sign: 0x80 } as const
const WORDS = { lanes: 'i16x8', count: 8, kind: 'i32_16u', log2: 1, sign: 0x8000 } as const

/** stringLength(base, control): elements before the first that is zero. */
function defineLength(module: ModuleBuilder): Callable {
  return module.func('stringLength', ['i32', 'i32'], ['i32'], (c) => {
    const value = c.load('v128', c.param(0))
    const zero = c.zero('v128')
    const bytes = value.simd('i8x16.eq', zero).simdMixed('i8x16.bitmask').or(0x10000).ctz()
    const words = value.simd('i16x8.eq', zero).simdMixed('i16x8.bitmask').or(0x100).ctz()
    c.return(c.select(c.param(1).and(1), words, bytes))
  })
}

interface Strings {
  readonly control: Expr
  readonly firstLength: Expr
  readonly secondLength: Expr
}

/** The comparison that the control byte asks for, a bit for each element of the second: IntRes1. */
function compareElements(
  c: Code,
  { lanes, count, kind, log2, sign }: typeof BYTES | typeof WORDS,
  { control, firstLength, secondLength }: Strings,
): Expr {
  const ones = (bits: Expr) => c.i32(1).shl(bits).sub(1)
  const all = (1 << count) - 1
  const valid = ones(secondLength)
  const second = c.load('v128', c.i32(0), SECOND)
  const everywhere = (value: Expr) => value.simdMixed(`${lanes}.splat`)
  const first = (i: Expr) => everywhere(c.load(kind, i.shl(log2), FIRST))
  const bitsOf = (lanesOf: Expr) => lanesOf.simdMixed(`${lanes}.bitmask`)
  const i = c.variable('i32', 0)
  const forEach = (end: Expr, body: (i: Expr) => void) =>
    c.while(
      () => i.get().ltU(end),
      () => {
        body(i.get())
        i.set(i.get().add(1))
      },
    )
  const found = c.variable('v128', c.zero('v128'))
  const result = c.variable('i32', all)
  const add = (lanesOf: Expr) => found.set(found.get().simd('v128.or', lanesOf))
  /** Any element of the second that equals one of the first. */
  const equalAny = () => {
    forEach(firstLength, (i) => add(second.simd(`${lanes}.eq`, first(i))))
    result.set(bitsOf(found.get()).and(valid))
  }
  /** Elements of the second inside a range of the first, whose elements are pairs of bounds. */
  const ranges = () => {
    // Unsigned ones are ordered as signed ones are with the other sign.
    const bias = everywhere(c.select(control.and(2), c.i32(0), sign))
    const value = second.simd('v128.xor', bias)
    forEach(firstLength.shrU(1), (i) => {
      const [low, high] = [i.shl(1), i.shl(1).add(1)].map((at) => first(at).simd('v128.xor', bias))
      const isOutside = value.simd(`${lanes}.lt_s`, low!).simd('v128.or', value.simd(`${lanes}.gt_s`, high!))
      add(isOutside.simd(`${lanes}.eq`, c.zero('v128')))
    })
    result.set(bitsOf(found.get()).and(valid))
  }
  /** Equal at the same place; past both ends counts as equal. */
  const equalEach = () => {
    const equal = bitsOf(second.simd(`${lanes}.eq`, c.load('v128', c.i32(0), FIRST)))
    const inFirst = ones(firstLength)
    result.set(equal.and(inFirst).and(valid).or(inFirst.or(valid).xor(all)))
  }
  /** Places of the second where the first begins; it may go on past the register's end. */
  const equalOrdered = () =>
    forEach(firstLength, (i) => {
      const equal = bitsOf(second.simd(`${lanes}.eq`, first(i)))
      result.set(result.get().and(equal.and(valid).or(~all).shrU(i)))
    })
  c.switch(control.shrU(2).and(3), [equalAny, ranges, equalEach], equalOrdered)
  return result.get()
}

/** compareStrings(control, length of the first, length of the second): IntRes2. */
function defineCompare(module: ModuleBuilder): Callable {
  return module.func('compareStrings', ['i32', 'i32', 'i32'], ['i32'], (c) => {
    const strings = { control: c.param(0), firstLength: c.param(1), secondLength: c.param(2) }
    const { control, secondLength } = strings
    const isWords = control.and(1)
    const result = c.choose(
      'i32',
      isWords,
      () => compareElements(c, WORDS, strings),
      () => compareElements(c, BYTES, strings),
    )
    const all = c.select(isWords, c.i32(0xff), 0xffff)
    // Polarity: all results are negated, or those of valid elements only.
    const valid = c.i32(1).shl(secondLength).sub(1)
    const negated = c.select(control.and(0x20), valid, all)
    c.return(c.select(control.and(0x10), result.xor(negated), result).and(all))
  })
}

export function sseStringRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  routines.set('stringLength', defineLength(module))
  routines.set('compareStrings', defineCompare(module))
}

/** PCMPESTRM and PCMPISTRM write XMM0. */
const MASK: Operand = { kind: 'register', file: 'xmm', size: 16, field: 0 }

/** A length in EAX or EDX (RAX, RDX with REX.W): its absolute value, at most the number of elements. */
function explicitLength(u: Meaning, register: number, count: Expr): Expr {
  const value = u.gprSigned(register, u.variant.size === 8 ? 8 : 4)
  const magnitude = u.select(value.ltS(0), value.neg(), value)
  const limit = count.extendU()
  return u.select(magnitude.gtU(limit), limit, magnitude).wrap()
}

function compare(
  u: Meaning,
  dst: Operand,
  src: Operand,
  choice: Operand,
  explicit: boolean,
  index: boolean,
): void {
  const second = u.readVector(src, { aligned: false })
  u.store('v128', u.i32(FIRST), u.readVector(dst))
  u.store('v128', u.i32(SECOND), second)
  const control = u.immediate8(choice)
  const count = u.select(control.and(1), u.i32(8), 16)
  const firstLength = explicit ? explicitLength(u, 0, count) : u.routine('stringLength', FIRST, control)
  const secondLength = explicit ? explicitLength(u, 2, count) : u.routine('stringLength', SECOND, control)
  const result = u.routine('compareStrings', control, firstLength, secondLength)
  const high = control.and(0x40)
  if (index) {
    const least = result.ctz()
    const greatest = u.i32(31).sub(result.clz())
    u.setGpr(1, 4, u.select(result, u.select(high, greatest, least), count).extendU())
  } else {
    u.store('v128', u.i32(0), u.select(high, expandMask(u, result, control), bitMask(u, result)), L.XMM)
  }
  const carry = result.ne(0)
  const zero = secondLength.ltU(count).shl(6)
  const sign = firstLength.ltU(count).shl(7)
  const overflow = result.and(1).shl(11)
  u.flagsExplicit(carry.or(zero).or(sign).or(overflow).extendU())
}

const bitMask = (u: Meaning, result: Expr): Expr => u.zero('v128').withLane('i64x2', 0, result.extendU())

/** One whole byte or word of ones for each result bit. */
function expandMask(u: Meaning, result: Expr, control: Expr): Expr {
  const bits = [1, 2, 4, 8, 16, 32, 64, 128]
  const order = u.v128([...new Array(8).fill(0), ...new Array(8).fill(1)])
  const spread = result.simdMixed('i16x8.splat').simd('i8x16.swizzle', order)
  const byteBits = u.v128([...bits, ...bits])
  const bytes = spread.simd('v128.and', byteBits).simd('i8x16.eq', byteBits)
  const wordBits = u.v128(bits.flatMap((bit) => [bit, 0]))
  const words = result
    .and(0xff)
    .simdMixed('i16x8.splat')
    .simd('v128.and', wordBits)
    .simd('i16x8.eq', wordBits)
  return u.select(control.and(1), words, bytes)
}

function stringCompare(mnemonic: string, opcode: string, explicit: boolean, index: boolean): Instruction[] {
  const row = {
    extension: 'sse4.2',
    mnemonic,
    bytes: `66 0F 3A ${opcode} /r`,
    operands: ['Vx', 'Wx', 'Ib'],
    ...(explicit && { sized: true }),
  } as const
  return vector(row, (u, v, dst, src, choice) => {
    compare(u, dst, src!, choice!, explicit, index)
    if (!index) v.finish(MASK)
  })
}

export const SSE_STRING: readonly Instruction[] = [
  ...stringCompare('pcmpestrm', '60', true, false),
  ...stringCompare('pcmpestri', '61', true, true),
  ...stringCompare('pcmpistrm', '62', false, false),
  ...stringCompare('pcmpistri', '63', false, true),
]
