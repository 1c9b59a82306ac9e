/** Operations on binary32 and binary64, as SSE does them. Values are bit patterns, zero-extended to i64. */
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { ARITHMETIC_DIVIDE_BY_ZERO, ARITHMETIC_INVALID } from './arithmetic.ts'
import {
  AT_CLASS,
  AT_EXPONENT,
  AT_HIGH,
  AT_LOW,
  AT_SIGN,
  at,
  BINARY16,
  BINARY32,
  BINARY64,
  CLASS_INFINITY,
  CLASS_NORMAL,
  CLASS_QNAN,
  CLASS_SNAN,
  CLASS_ZERO,
  CONTROL_DAZ,
  CONTROL_FTZ,
  CONTROL_NO_PRECISION,
  exponentOnes,
  type Format,
  IE,
  PE,
  put32,
  put64,
  ROUND_DOWN,
  ROUND_UP,
  raise,
  shiftRightSticky,
  ZE,
} from './unpacked.ts'

/** Orders as `float{n}Compare` returns them. */
export const LESS = 0
export const EQUAL = 1
export const GREATER = 2
export const UNORDERED = 3

const kindOf = (c: Code, slot: number): Expr => at(c, 'i32', slot + AT_CLASS)

/** The default NaN: negative and quiet. */
const defaultNan = (format: Format): bigint => (format.bits === 32 ? 0xffc00000n : -(2n ** 51n))
const quietBit = (format: Format): bigint => 1n << BigInt(format.precision - 2)

interface Pieces {
  readonly unpack: Callable
  readonly pack: Callable
}

/** Unpacks both operands; where one is a NaN the function returns it, quieted. */
function unpackBoth(c: Code, format: Format, { unpack }: Pieces): void {
  const [a, b, control] = [c.param(0), c.param(1), c.param(2)]
  const before = at(c, 'i32', L.SF_FLAGS)
  c.call(unpack, a, L.SF_A, control)
  c.call(unpack, b, L.SF_B, control)
  const [kindA, kindB] = [kindOf(c, L.SF_A), kindOf(c, L.SF_B)]
  c.if(kindA.geU(CLASS_QNAN).or(kindB.geU(CLASS_QNAN)), () => {
    // A NaN comes before a denormal operand.
    const signaling = kindA.eq(CLASS_SNAN).or(kindB.eq(CLASS_SNAN))
    put32(c, L.SF_FLAGS, before.or(signaling))
    c.return(c.select(kindA.geU(CLASS_QNAN), a, b).or(quietBit(format)))
  })
}
function unpackOne(c: Code, format: Format, { unpack }: Pieces, control: Expr): void {
  c.call(unpack, c.param(0), L.SF_A, control)
  const kind = kindOf(c, L.SF_A)
  c.if(kind.geU(CLASS_QNAN), () => {
    raise(c, kind.eq(CLASS_SNAN))
    c.return(c.param(0).or(quietBit(format)))
  })
}

function defineBinary(
  module: ModuleBuilder,
  name: string,
  format: Format,
  pieces: Pieces,
  compute: (c: Code) => Expr,
): Callable {
  return module.func(name, ['i64', 'i64', 'i32'], ['i64'], (c) => {
    const before = at(c, 'i32', L.SF_FLAGS)
    unpackBoth(c, format, pieces)
    const outcome = compute(c)
    c.if(outcome.eq(ARITHMETIC_DIVIDE_BY_ZERO), () => put32(c, L.SF_FLAGS, before.or(ZE)))
    c.if(outcome.eq(ARITHMETIC_INVALID), () => {
      put32(c, L.SF_FLAGS, before.or(IE))
      c.return(defaultNan(format))
    })
    c.return(c.call(pieces.pack, c.param(2)))
  })
}

/** roundInteger(control): SF_A, normal with an exponent below 64, to an integer magnitude; raises PE. */
export function defineRoundInteger(module: ModuleBuilder): Callable {
  return module.func('sfRoundInteger', ['i32'], ['i64'], (c) => {
    const control = c.param(0)
    const hi = c.variable('i64', at(c, 'i64', L.SF_A + AT_HIGH))
    const lo = c.variable('i64', 0)
    shiftRightSticky(c, hi, lo, c.i32(63).sub(at(c, 'i32', L.SF_A + AT_EXPONENT)))
    const sign = at(c, 'i32', L.SF_A + AT_SIGN)
    const rest = lo.get()
    const half = c.i64(-(2n ** 63n))
    const mode = control.and(3)
    const inexact = rest.ne(0)
    const nearest = rest.gtU(half).or(rest.eq(half).and(hi.get().and(1).ne(0)))
    const directed = c.select(mode.eq(ROUND_DOWN), sign, c.select(mode.eq(ROUND_UP), sign.eqz(), 0))
    const up = c.select(mode.eqz(), nearest, directed.and(inexact))
    put32(c, L.SF_ROUNDED_UP, up)
    c.if(inexact.and(control.and(CONTROL_NO_PRECISION).eqz()), () => raise(c, PE))
    c.return(hi.get().add(up.extendU()))
  })
}

/** Integer of 32 or 64 bits, or the integer indefinite with IE. Denormals are no exception here. */
function defineToInteger(
  module: ModuleBuilder,
  name: string,
  pieces: Pieces,
  roundInteger: Callable,
  bits: 32 | 64,
): Callable {
  return module.func(name, ['i64', 'i32'], ['i64'], (c) => {
    const indefinite = bits === 32 ? 0x80000000n : -(2n ** 63n)
    const before = at(c, 'i32', L.SF_FLAGS)
    c.call(pieces.unpack, c.param(0), L.SF_A, c.param(1))
    put32(c, L.SF_FLAGS, before)
    const kind = kindOf(c, L.SF_A)
    c.if(kind.eq(CLASS_ZERO), () => c.return(0))
    const tooLarge = kind.ne(CLASS_NORMAL).or(at(c, 'i32', L.SF_A + AT_EXPONENT).geS(bits))
    const refuse = () => {
      put32(c, L.SF_FLAGS, before.or(IE))
      c.return(indefinite)
    }
    c.if(tooLarge, refuse)
    const magnitude = c.call(roundInteger, c.param(1))
    const sign = at(c, 'i32', L.SF_A + AT_SIGN)
    const limit = c.i64(bits === 32 ? 0x7fffffffn : 2n ** 63n - 1n).add(sign.extendU())
    c.if(magnitude.gtU(limit), refuse)
    const value = c.select(sign, magnitude.neg(), magnitude)
    c.return(bits === 32 ? value.and(0xffffffff) : value)
  })
}

function defineFromInteger(module: ModuleBuilder, name: string, pieces: Pieces, bits: 32 | 64): Callable {
  return module.func(name, ['i64', 'i32'], ['i64'], (c) => {
    const value = bits === 32 ? c.param(0).extend32S() : c.param(0)
    const negative = value.ltS(0)
    const magnitude = c.select(negative, value.neg(), value)
    put32(c, L.SF_R + AT_SIGN, negative)
    put32(c, L.SF_R + AT_CLASS, c.select(magnitude.eqz(), c.i32(CLASS_ZERO), CLASS_NORMAL))
    const zeros = magnitude.clz()
    put32(c, L.SF_R + AT_EXPONENT, c.i32(63).sub(zeros.wrap()))
    put64(c, L.SF_R + AT_HIGH, magnitude.shl(zeros))
    put64(c, L.SF_R + AT_LOW, 0)
    c.return(c.call(pieces.pack, c.param(1)))
  })
}

/**
 * multiplyAdd{n}(negations, a, b, c, control): a · b + c, rounded once. Negations: 1 of the product, 2 of c. Of several NaNs
 * the first comes out. SDM Vol. 1, "FMA Instruction Operand Order and Arithmetic Behavior".
 */
function defineMultiplyAdd(
  module: ModuleBuilder,
  name: string,
  format: Format,
  pieces: Pieces,
  multiplyAdd: Callable,
): Callable {
  return module.func(name, ['i32', 'i64', 'i64', 'i64', 'i32'], ['i64'], (c) => {
    const control = c.param(4)
    const before = at(c, 'i32', L.SF_FLAGS)
    const operands = [L.SF_A, L.SF_B, L.SF_C].map((slot, i) => {
      const bits = c.param(i + 1)
      c.call(pieces.unpack, bits, slot, control)
      return { bits, kind: kindOf(c, slot) }
    })
    const isAny = (test: (kind: Expr) => Expr): Expr =>
      operands.map(({ kind }) => test(kind)).reduce((a, b) => a.or(b))
    c.if(
      isAny((kind) => kind.geU(CLASS_QNAN)),
      () => {
        put32(c, L.SF_FLAGS, before.or(isAny((kind) => kind.eq(CLASS_SNAN))))
        const [a, b, addend] = operands
        const later = c.select(b!.kind.geU(CLASS_QNAN), b!.bits, addend!.bits)
        c.return(c.select(a!.kind.geU(CLASS_QNAN), a!.bits, later).or(quietBit(format)))
      },
    )
    c.if(c.call(multiplyAdd, c.param(0), control), () => {
      put32(c, L.SF_FLAGS, before.or(IE))
      c.return(defaultNan(format))
    })
    c.return(c.call(pieces.pack, control))
  })
}

/** Copies SF_A to SF_R. */
export function copyOperand(c: Code): void {
  c.copyMemory(c.i32(L.SF_R), c.i32(L.SF_A), c.i32(32))
}

function defineConvert(
  module: ModuleBuilder,
  name: string,
  from: Format,
  to: Format,
  unpack: Callable,
  pack: Callable,
): Callable {
  return module.func(name, ['i64', 'i32'], ['i64'], (c) => {
    c.call(unpack, c.param(0), L.SF_A, c.param(1))
    const kind = kindOf(c, L.SF_A)
    c.if(kind.geU(CLASS_QNAN), () => {
      raise(c, kind.eq(CLASS_SNAN))
      const sign = c
        .param(0)
        .shrU(from.bits - 1)
        .shl(to.bits - 1)
      const fraction = at(c, 'i64', L.SF_A + AT_HIGH)
        .shl(1)
        .shrU(65 - to.precision)
      const ones = BigInt(exponentOnes(to)) << BigInt(to.precision - 1)
      c.return(sign.or(ones).or(fraction).or(quietBit(to)))
    })
    copyOperand(c)
    c.return(c.call(pack, c.param(1)))
  })
}

/** To an integral value; denormals are no exception here. */
function defineRoundFloat(
  module: ModuleBuilder,
  name: string,
  format: Format,
  pieces: Pieces,
  roundInteger: Callable,
): Callable {
  return module.func(name, ['i64', 'i32'], ['i64'], (c) => {
    const control = c.param(1)
    const before = at(c, 'i32', L.SF_FLAGS)
    unpackOne(c, format, pieces, control)
    put32(c, L.SF_FLAGS, before)
    const [kind, sign] = [
      kindOf(c, L.SF_A),
      c
        .param(0)
        .shrU(format.bits - 1)
        .shl(format.bits - 1),
    ]
    c.if(kind.eq(CLASS_ZERO), () => c.return(sign))
    const whole = at(c, 'i32', L.SF_A + AT_EXPONENT).geS(format.precision - 1)
    c.if(kind.eq(CLASS_INFINITY).or(whole), () => c.return(c.param(0)))
    const magnitude = c.call(roundInteger, control)
    c.if(magnitude.eqz(), () => c.return(sign))
    const zeros = magnitude.clz()
    put32(c, L.SF_R + AT_CLASS, CLASS_NORMAL)
    put32(c, L.SF_R + AT_SIGN, at(c, 'i32', L.SF_A + AT_SIGN))
    put32(c, L.SF_R + AT_EXPONENT, c.i32(63).sub(zeros.wrap()))
    put64(c, L.SF_R + AT_HIGH, magnitude.shl(zeros))
    put64(c, L.SF_R + AT_LOW, 0)
    c.return(c.call(pieces.pack, control))
  })
}

/** sfCompare(): order of SF_A and SF_B, which are no NaNs. */
export function defineCompareNumbers(module: ModuleBuilder): Callable {
  return module.func('sfCompare', [], ['i32'], (c) => {
    const field = (slot: number, offset: number) => at(c, 'i32', slot + offset)
    const [kindA, kindB] = [kindOf(c, L.SF_A), kindOf(c, L.SF_B)]
    const [signA, signB] = [field(L.SF_A, AT_SIGN), field(L.SF_B, AT_SIGN)]
    c.if(kindA.or(kindB).eqz(), () => c.return(EQUAL))
    c.if(kindA.eqz(), () => c.return(c.select(signB, c.i32(GREATER), LESS)))
    c.if(kindB.eqz(), () => c.return(c.select(signA, c.i32(LESS), GREATER)))
    c.if(signA.ne(signB), () => c.return(c.select(signA, c.i32(LESS), GREATER)))
    const smaller = c.select(signA, c.i32(GREATER), LESS)
    const larger = c.i32(GREATER).sub(smaller)
    c.if(kindA.ne(kindB), () => c.return(c.select(kindA.ltU(kindB), smaller, larger)))
    c.if(kindA.eq(CLASS_INFINITY), () => c.return(EQUAL))
    const [expA, expB] = [field(L.SF_A, AT_EXPONENT), field(L.SF_B, AT_EXPONENT)]
    c.if(expA.ne(expB), () => c.return(c.select(expA.ltS(expB), smaller, larger)))
    const [a, b] = [at(c, 'i64', L.SF_A + AT_HIGH), at(c, 'i64', L.SF_B + AT_HIGH)]
    c.if(a.eq(b), () => c.return(EQUAL))
    c.return(c.select(a.ltU(b), smaller, larger))
  })
}

function defineCompare(
  module: ModuleBuilder,
  name: string,
  { unpack }: Pieces,
  compareNumbers: Callable,
): Callable {
  return module.func(name, ['i64', 'i64', 'i32', 'i32'], ['i32'], (c) => {
    const before = at(c, 'i32', L.SF_FLAGS)
    c.call(unpack, c.param(0), L.SF_A, c.param(3))
    c.call(unpack, c.param(1), L.SF_B, c.param(3))
    const [kindA, kindB] = [kindOf(c, L.SF_A), kindOf(c, L.SF_B)]
    c.if(kindA.geU(CLASS_QNAN).or(kindB.geU(CLASS_QNAN)), () => {
      const signaling = kindA.eq(CLASS_SNAN).or(kindB.eq(CLASS_SNAN))
      put32(c, L.SF_FLAGS, before.or(signaling.or(c.param(2).eqz())))
      c.return(UNORDERED)
    })
    c.return(c.call(compareNumbers))
  })
}

/** MIN and MAX return the second operand for NaNs and for two zeros. */
function defineMinMax(
  module: ModuleBuilder,
  name: string,
  format: Format,
  pieces: Pieces,
  compareNumbers: Callable,
  order: number,
): Callable {
  return module.func(name, ['i64', 'i64', 'i32'], ['i64'], (c) => {
    const before = at(c, 'i32', L.SF_FLAGS)
    c.call(pieces.unpack, c.param(0), L.SF_A, c.param(2))
    c.call(pieces.unpack, c.param(1), L.SF_B, c.param(2))
    const [kindA, kindB] = [kindOf(c, L.SF_A), kindOf(c, L.SF_B)]
    const flushed = (bits: Expr, kind: Expr): Expr => {
      const signOnly = bits.and(1n << BigInt(format.bits - 1))
      return c.select(kind.eqz().and(c.param(2).and(CONTROL_DAZ).ne(0)), signOnly, bits)
    }
    c.if(kindA.geU(CLASS_QNAN).or(kindB.geU(CLASS_QNAN)), () => {
      put32(c, L.SF_FLAGS, before.or(IE))
      c.return(flushed(c.param(1), kindB))
    })
    const isFirst = c.call(compareNumbers).eq(order)
    c.return(flushed(c.select(isFirst, c.param(0), c.param(1)), c.select(isFirst, kindA, kindB)))
  })
}

/** Halves that are denormal are numbers like others: no exception, and DAZ does not matter. */
function defineFromHalf(module: ModuleBuilder, convert: Callable): Callable {
  return module.func('float16To32', ['i64', 'i32'], ['i64'], (c) => {
    const before = at(c, 'i32', L.SF_FLAGS)
    const result = c.call(convert, c.param(0), c.param(1).and(~CONTROL_DAZ))
    put32(c, L.SF_FLAGS, before.or(at(c, 'i32', L.SF_FLAGS).and(IE)))
    c.return(result)
  })
}

/** Registers the operations of both formats; `core` are the routines of float/arithmetic.ts by name. */
export function defineFormats(
  module: ModuleBuilder,
  routines: Map<string, Callable>,
  core: Record<
    'add' | 'multiply' | 'divide' | 'squareRoot' | 'multiplyAdd' | 'roundInteger' | 'compare',
    Callable
  >,
): void {
  const piecesOf = (bits: 16 | 32 | 64): Pieces => ({
    unpack: routines.get(`unpack${bits}`)!,
    pack: routines.get(`pack${bits}`)!,
  })
  for (const format of [BINARY32, BINARY64]) {
    const { bits } = format
    const pieces = piecesOf(bits)
    const define = (name: string, callable: Callable) => routines.set(name, callable)
    const binary = (name: string, compute: (c: Code) => Expr) =>
      define(`float${bits}${name}`, defineBinary(module, `float${bits}${name}`, format, pieces, compute))
    binary('Add', (c) => c.call(core.add, 0, c.param(2)))
    binary('Sub', (c) => c.call(core.add, 1, c.param(2)))
    binary('Mul', (c) => c.call(core.multiply))
    binary('Div', (c) => c.call(core.divide))
    const fused = `float${bits}MultiplyAdd`
    define(fused, defineMultiplyAdd(module, fused, format, pieces, core.multiplyAdd))
    define(
      `float${bits}Sqrt`,
      module.func(`float${bits}Sqrt`, ['i64', 'i32'], ['i64'], (c) => {
        const before = at(c, 'i32', L.SF_FLAGS)
        unpackOne(c, format, pieces, c.param(1))
        c.if(c.call(core.squareRoot), () => {
          put32(c, L.SF_FLAGS, before.or(IE))
          c.return(defaultNan(format))
        })
        c.return(c.call(pieces.pack, c.param(1)))
      }),
    )
    for (const width of [32, 64] as const) {
      const to = `float${bits}ToInt${width}`
      define(to, defineToInteger(module, to, pieces, core.roundInteger, width))
      const from = `int${width}ToFloat${bits}`
      define(from, defineFromInteger(module, from, pieces, width))
    }
    define(
      `float${bits}Round`,
      defineRoundFloat(module, `float${bits}Round`, format, pieces, core.roundInteger),
    )
    define(`float${bits}Compare`, defineCompare(module, `float${bits}Compare`, pieces, core.compare))
    define(`float${bits}Min`, defineMinMax(module, `float${bits}Min`, format, pieces, core.compare, LESS))
    define(`float${bits}Max`, defineMinMax(module, `float${bits}Max`, format, pieces, core.compare, GREATER))
  }
  const [half, single, double] = [piecesOf(16), piecesOf(32), piecesOf(64)]
  const fromHalf = defineConvert(module, 'float16To32Raw', BINARY16, BINARY32, half.unpack, single.pack)
  const toHalf = defineConvert(module, 'float32To16Raw', BINARY32, BINARY16, single.unpack, half.pack)
  routines.set('float16To32', defineFromHalf(module, fromHalf))
  routines.set(
    'float32To16',
    module.func('float32To16', ['i64', 'i32'], ['i64'], (c) =>
      c.return(c.call(toHalf, c.param(0), c.param(1).and(~CONTROL_FTZ))),
    ),
  )
  routines.set(
    'float32To64',
    defineConvert(module, 'float32To64', BINARY32, BINARY64, single.unpack, double.pack),
  )
  routines.set(
    'float64To32',
    defineConvert(module, 'float64To32', BINARY64, BINARY32, double.unpack, single.pack),
  )
}
