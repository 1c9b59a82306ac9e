/**
 * FMA: products and sums that are rounded once.
 *
 * One routine for each width does the lanes of 128 bits. Where MXCSR is ordinary (float-lanes.ts) it computes natively and
 * exactly, and looks whether the numbers were such that this holds; else each lane goes through soft float.
 *
 * Singles are computed as doubles: their product is exact, and the sum, rounded to odd, still tells the second rounding
 * which way to go. Doubles are computed as sums of two doubles each, the last but one of them rounded to odd.
 * S. Boldo, G. Melquiond, "Emulation of a FMA and Correctly Rounded Sums: Proved Algorithms Using Rounding to Odd".
 */
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { type Floats, isOrdinary, isPlain, isSafeResult, packedFloats } from './float-lanes.ts'
import type { Instruction } from './instruction.ts'
import type { Operand } from './meaning.ts'
import { beginPart, commitPart, partOf, type Width } from './sse-float-routines.ts'
import { avx, type Halves, LANES, low64 } from './vector.ts'

/** In the first argument of `multiplyAdd…`, for lane i: bit 2i negates the product, bit 2i + 1 the addend; then the lanes. */
const COUNT_SHIFT = 20
const EACH = 0x55
const EVEN = 0x11
const NEGATE_PRODUCT = 1
const NEGATE_ADDEND = 2

type Order = '132' | '213' | '231'
/** Which of destination, VEX.vvvv and ModRM.rm are multiplied, and which is added. */
const ORDERS: Record<Order, readonly [number, number, number]> = {
  132: [0, 2, 1],
  213: [1, 0, 2],
  231: [1, 2, 0],
}
/** Mnemonic, opcode with 132, negations of all lanes. */
const OPERATIONS: readonly (readonly [string, number, number])[] = [
  ['fmadd', 0x98, 0],
  ['fmsub', 0x9a, EACH * NEGATE_ADDEND],
  ['fnmadd', 0x9c, EACH * NEGATE_PRODUCT],
  ['fnmsub', 0x9e, EACH * (NEGATE_PRODUCT | NEGATE_ADDEND)],
]
const ALTERNATING: readonly (readonly [string, number, number])[] = [
  ['fmaddsub', 0x96, EVEN * NEGATE_ADDEND],
  ['fmsubadd', 0x97, (EACH - EVEN) * NEGATE_ADDEND],
]

const hex = (n: number): string => n.toString(16).toUpperCase()
const opcodeOf = (base: number, order: Order): string => hex(base + { 132: 0, 213: 0x10, 231: 0x20 }[order])
const inOrder = <T>(order: Order, all: readonly T[]): T[] => ORDERS[order].map((i) => all[i]!)

function packed(
  mnemonic: string,
  opcode: number,
  negations: number,
  order: Order,
  width: Width,
): Instruction {
  const encoding = `66.0F38.W${width === 32 ? 0 : 1} ${opcodeOf(opcode, order)} /r`
  const forms = [
    { bytes: `VEX.128.${encoding}`, operands: ['Vx', 'Hx', 'Wx'] },
    { bytes: `VEX.256.${encoding}`, operands: ['Vqq', 'Hqq', 'Wqq'] },
  ]
  return avx('fma', `v${mnemonic}${order}${width === 32 ? 'ps' : 'pd'}`, forms, (u, dst, first, src) => {
    const last = u.readHalves(src!)
    const [a, b, c] = inOrder<Halves>(order, [u.readHalves(dst!), u.readHalves(first!), last])
    const operation = negations | ((128 / width) << COUNT_SHIFT)
    const results = last.map((_, i) => {
      const part = operation | partOf(i, last.length)
      return u.routine(`multiplyAdd${width}`, part, a![i]!, b![i]!, c![i]!)
    })
    u.exitOnFault()
    u.writeHalves(dst!, results)
  })
}

function scalar(
  mnemonic: string,
  opcode: number,
  negations: number,
  order: Order,
  width: Width,
): Instruction {
  const type = width === 32 ? 'ss' : 'sd'
  const bytes = `VEX.LIG.66.0F38.W${width === 32 ? 0 : 1} ${opcodeOf(opcode + 1, order)} /r`
  const form = { bytes, operands: [`V${type}`, `H${type}`, `W${type}`] }
  return avx('fma', `v${mnemonic}${order}${type}`, [form], (u, dst, first, src) => {
    const read = (operand: Operand): Expr => low64(u, u.readLow(operand))
    const last = read(src!)
    const [a, b, c] = inOrder(order, [read(dst!), read(first!), last])
    const result = u.routine(`multiplyAdd${width}`, negations | (1 << COUNT_SHIFT), a!, b!, c!)
    u.exitOnFault()
    u.writeLow(dst!, result.lane('i64x2', 0))
    u.clearUpperHalf(dst!)
  })
}

// ---- the routines ----

/** Lanes whose bit of `bits` is set, as masks of their signs. */
function signs(c: Code, width: Width, bits: Expr, first: number): Expr {
  const lanes = Array.from({ length: 16 }, () => 0)
  const tops = [...lanes]
  for (let i = 0; i < 128 / width; i++) {
    lanes[(i * width) / 8] = first << (2 * i)
    tops[((i + 1) * width) / 8 - 1] = 0x80
  }
  const constant = c.v128(lanes)
  const shape = width === 32 ? 'i32x4' : 'i64x2'
  const chosen = bits.and(0xff).simdMixed('i32x4.splat').simd('v128.and', constant)
  return chosen.simd(`${shape}.eq`, constant).simd('v128.and', c.v128(tops))
}

/** An exact sum of two doubles as their rounded sum and its error. */
function twoSum(f: Floats, a: Expr, b: Expr): readonly [sum: Expr, error: Expr] {
  const sum = f.apply('add', a, b)
  const rest = f.apply('sub', sum, a)
  const error = f.apply('add', f.apply('sub', a, f.apply('sub', sum, rest)), f.apply('sub', b, rest))
  return [sum, error]
}
/** A sum rounded to odd: where it is inexact its last bit is set. */
function oddSum(c: Code, f: Floats, a: Expr, b: Expr): Expr {
  const [sum, error] = twoSum(f, a, b)
  const one = c.i64(1).simdMixed('i64x2.splat')
  const inexact = f.compare('eq', error, f.constant(0)).simd('v128.not')
  const even = sum.simd('v128.and', one).simd('i64x2.eq', c.zero('v128'))
  // Away from zero where the error has the sum's sign, else towards it.
  const toward = sum.simd('v128.xor', error).simdMixed('i64x2.shr_s', 63)
  const step = toward.simd('v128.or', one)
  return sum.simd('i64x2.add', step.simd('v128.and', inexact).simd('v128.and', even))
}

interface Native {
  readonly result: Expr
  /** Lanes where that is what rounding once gives, with nothing but PE to report. */
  readonly exact: Expr
}

function nativeSingles(c: Code, [a, b, addend]: readonly Expr[]): Native {
  const [f, wide] = [packedFloats(c, 32), packedFloats(c, 64)]
  const upper = (x: Expr): Expr => x.shuffle(x, [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7])
  const half = (pick: (x: Expr) => Expr): Expr => {
    const [x, y, z] = [a!, b!, addend!].map((value) => pick(value).simd('f64x2.promote_low_f32x4'))
    return oddSum(c, wide, wide.apply('mul', x!, y!), z!)
  }
  const [low, high] = [half((x) => x), half(upper)]
  const demoted = [low, high].map((sum) => sum.simd('f32x4.demote_f64x2_zero'))
  const result = demoted[0]!.withLane('i64x2', 1, demoted[1]!.lane('i64x2', 0))
  const zeros = [low, high].map((sum) => wide.isZero(sum))
  // A mask of each double becomes one of a single.
  const zero = zeros[0]!.shuffle(zeros[1]!, [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27])
  const plain = [a!, b!, addend!].map((value) => isPlain(f, value)).reduce((x, y) => f.and(x, y))
  return { result, exact: f.and(plain, f.or(isSafeResult(f, result), zero)) }
}

/** Below this nothing overflows, above its inverse nothing is lost. */
const LIMIT = 2 ** 400

function nativeDoubles(c: Code, [a, b, addend]: readonly Expr[]): Native {
  const f = packedFloats(c, 64)
  const [high, low] = exactProduct(f, a!, b!)
  const [t, tError] = twoSum(f, addend!, low)
  const [v, vError] = twoSum(f, high, t)
  const result = f.apply('add', v, oddSum(c, f, tError, vError))
  const inRange = (x: Expr): Expr => {
    const magnitude = f.abs(x)
    const above = f.compare('ge', magnitude, f.constant(1 / LIMIT))
    return f.or(f.and(above, f.compare('le', magnitude, f.constant(LIMIT))), f.isZero(x))
  }
  const operands = [a!, b!, addend!].map(inRange).reduce((x, y) => f.and(x, y))
  return { result, exact: operands.simd('v128.andnot', f.isZero(result)) }
}
/** A product of doubles as its rounded value and the error. T. J. Dekker, "A Floating-Point Technique for Extending the Available Precision". */
function exactProduct(f: Floats, a: Expr, b: Expr): readonly [Expr, Expr] {
  const mul = (x: Expr, y: Expr): Expr => f.apply('mul', x, y)
  const sub = (x: Expr, y: Expr): Expr => f.apply('sub', x, y)
  const add = (x: Expr, y: Expr): Expr => f.apply('add', x, y)
  const split = (x: Expr): readonly [Expr, Expr] => {
    const scaled = mul(x, f.constant(2 ** 27 + 1))
    const head = sub(scaled, sub(scaled, x))
    return [head, sub(x, head)]
  }
  const [[aHigh, aLow], [bHigh, bLow]] = [split(a), split(b)]
  const product = mul(a, b)
  const crossed = add(add(sub(mul(aHigh, bHigh), product), mul(aHigh, bLow)), mul(aLow, bHigh))
  return [product, add(crossed, mul(aLow, bLow))]
}

/** multiplyAdd{n}(operations, a, b, c) → v128; the caller looks at FAULT. */
function buildMultiplyAdd(c: Code, width: Width, known: (name: string) => Callable): void {
  const operations = c.param(0)
  const [a, b, addend] = [c.param(1), c.param(2), c.param(3)]
  beginPart(c, operations)
  c.if(isOrdinary(c), () => {
    const flipped = [
      a.simd('v128.xor', signs(c, width, operations, NEGATE_PRODUCT)),
      b,
      addend.simd('v128.xor', signs(c, width, operations, NEGATE_ADDEND)),
    ]
    const { result, exact } = (width === 32 ? nativeSingles : nativeDoubles)(c, flipped)
    c.if(exact.simdMixed('i8x16.all_true'), () => {
      commitPart(c, operations, known)
      c.return(result)
    })
  })
  for (const [i, value] of [a, b, addend].entries()) c.store('v128', c.i32(LANES + i * 16), value)
  const control = c.call(known('sseControl'))
  const i = c.variable('i32', 0)
  const [load, store] = width === 32 ? (['i64_32u', 'i64_32'] as const) : (['i64', 'i64'] as const)
  c.while(
    () => i.get().ltU(operations.shrU(COUNT_SHIFT)),
    () => {
      const at = i.get().mul(width / 8)
      const negations = operations.shrU(i.get().shl(1)).and(3)
      const lanes = [0, 16, 32].map((offset) => c.load(load, at, LANES + offset))
      const value = c.call(known(`float${width}MultiplyAdd`), negations, ...lanes, control)
      c.store(store, at, value, LANES + 48)
      i.set(i.get().add(1))
    },
  )
  commitPart(c, operations, known)
  c.return(c.load('v128', c.i32(LANES + 48)))
}

export function fmaRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const known = (name: string): Callable => routines.get(name)!
  for (const width of [32, 64] as const) {
    const name = `multiplyAdd${width}`
    const build = (c: Code): void => buildMultiplyAdd(c, width, known)
    routines.set(name, module.func(name, ['i32', 'v128', 'v128', 'v128'], ['v128'], build))
  }
}

export const FMA: readonly Instruction[] = (['132', '213', '231'] as const).flatMap((order) =>
  ([32, 64] as const).flatMap((width) => [
    ...[...OPERATIONS, ...ALTERNATING].map((row) => packed(...row, order, width)),
    ...OPERATIONS.map((row) => scalar(...row, order, width)),
  ]),
)
