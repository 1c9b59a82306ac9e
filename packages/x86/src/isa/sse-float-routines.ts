/**
 * What SSE's floating point does where the fast paths of its instructions cannot: lane by lane through the exact
 * routines of float/, then the exception flags in MXCSR, or #XM with the destination unchanged.
 * SDM Vol. 1, "SIMD Floating-Point Exceptions".
 *
 * `sseCommit` ends each of these routines: a handler that called one has to look at FAULT.
 */
import {
  CONTROL_DAZ,
  CONTROL_FTZ,
  CONTROL_NO_PRECISION,
  CONTROL_UNMASKED_OVERFLOW,
  CONTROL_UNMASKED_UNDERFLOW,
  DE,
  IE,
  ROUND_ZERO,
  ZE,
} from '../float/unpacked.ts'
import * as L from '../state/layout.ts'
import { CR4_OSXMMEXCPT, EXCEPTION } from '../state/registers.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { LANES } from './vector.ts'

export type Width = 32 | 64

/** Lane operations of `ssePacked…` and `sseScalar…`, by number; packed ones take four bits for each lane. */
export const OPERATIONS = ['Add', 'Sub', 'Mul', 'Div', 'Min', 'Max', 'Sqrt'] as const
export type Operation = (typeof OPERATIONS)[number]

/** Conversions of one value, by number. Floats come zero-extended, integers sign-extended. */
export const CONVERSIONS = [
  'float32ToInt32',
  'float64ToInt32',
  'float32ToInt64',
  'float64ToInt64',
  'int32ToFloat32',
  'int64ToFloat32',
  'int64ToFloat64',
  'float32To64',
  'float64To32',
  'float32Round',
  'float64Round',
  'float16To32',
  'float32To16',
] as const
export type Conversion = (typeof CONVERSIONS)[number]

/** In the second argument of the conversion routines: the rounding is this, whatever MXCSR says. */
export const OWN_ROUNDING = 0x100
export const TRUNCATE = OWN_ROUNDING | ROUND_ZERO
export { CONTROL_NO_PRECISION }

/** In the first argument of a routine for one half of several: flags of earlier halves stay, or later ones follow. */
const KEEP_FLAGS = 1 << 16
const DEFER_COMMIT = 1 << 17
export const partOf = (half: number, count: number): number =>
  (half > 0 ? KEEP_FLAGS : 0) | (half < count - 1 ? DEFER_COMMIT : 0)

export const MXCSR_DAZ = 1 << 6
const MXCSR_OM = 1 << 10
const MXCSR_UM = 1 << 11
const MXCSR_FTZ = 1 << 15
const A = LANES
const B = LANES + 16
const RESULT = LANES + 32

const at = (c: Code, offset: number): Expr => c.load('i32', c.i32(0), offset)
const put = (c: Code, offset: number, value: Expr | number): void => c.store('i32', c.i32(0), value, offset)

/** sseControl() → i32: MXCSR as `control` of the exact routines. */
function buildControl(c: Code): void {
  const mxcsr = at(c, L.MXCSR)
  const daz = c.select(mxcsr.and(MXCSR_DAZ), c.i32(CONTROL_DAZ), 0)
  // Unmasked underflow is reported, not flushed.
  const flush = c.select(mxcsr.and(MXCSR_FTZ), c.i32(CONTROL_FTZ), 0)
  const underflow = c.select(mxcsr.and(MXCSR_UM), flush, CONTROL_UNMASKED_UNDERFLOW)
  const overflow = c.select(mxcsr.and(MXCSR_OM), c.i32(0), CONTROL_UNMASKED_OVERFLOW)
  c.return(mxcsr.shrU(13).and(3).or(daz).or(underflow).or(overflow))
}

/**
 * sseCommit(): the flags in SF_FLAGS to MXCSR, #XM (#UD without CR4.OSXMMEXCPT) where one of them is unmasked. What is
 * found before computing (IE, DE, ZE) comes first: unmasked, it keeps the rest from happening.
 */
function buildCommit(c: Code): void {
  const flags = at(c, L.SF_FLAGS)
  const mxcsr = at(c, L.MXCSR)
  const unmasked = mxcsr.shrU(7).not()
  const before = flags.and(IE | DE | ZE)
  const seen = c.select(before.and(unmasked), before, flags)
  put(c, L.MXCSR, mxcsr.or(seen))
  c.if(seen.and(unmasked), () => {
    const vector = c.select(at(c, L.CR4).and(CR4_OSXMMEXCPT), c.i32(EXCEPTION.XM), EXCEPTION.UD)
    put(c, L.FAULT, vector.add(1))
    put(c, L.FAULT_ERROR, 0)
  })
}

type Known = (name: string) => Callable

/** lane{n}(operation, a, b) → i64. */
function buildLane(c: Code, width: Width, known: Known): void {
  const [operation, a, b] = [c.param(0), c.param(1), c.param(2)]
  const control = c.call(known('sseControl'))
  const run = (name: Operation) => () => {
    const callee = known(`float${width}${name}`)
    c.return(name === 'Sqrt' ? c.call(callee, b, control) : c.call(callee, a, b, control))
  }
  c.switch(operation, OPERATIONS.map(run), () => c.unreachable())
}

/** Begins and ends the work on one half of a vector; `part` says where it stands among the halves. */
export function beginPart(c: Code, part: Expr): void {
  c.if(part.and(KEEP_FLAGS).eqz(), () => put(c, L.SF_FLAGS, 0))
}
export function commitPart(c: Code, part: Expr, known: Known): void {
  c.if(part.and(DEFER_COMMIT).eqz(), () => c.call(known('sseCommit')))
}

/** ssePacked{n}(operations, a, b) → v128: an operation for each lane. */
function buildPacked(c: Code, width: Width, known: Known): void {
  putOperands(c, c.param(1), c.param(2))
  const load = width === 32 ? 'i64_32u' : 'i64'
  const bytes = width / 8
  beginPart(c, c.param(0))
  eachLane(c, 16 / bytes, (i) => {
    const offset = i.mul(bytes)
    const operation = c.param(0).shrU(i.shl(2)).and(15)
    const value = c.call(known(`lane${width}`), operation, c.load(load, offset, A), c.load(load, offset, B))
    c.store(width === 32 ? 'i64_32' : 'i64', offset, value, RESULT)
  })
  commitPart(c, c.param(0), known)
  c.return(c.load('v128', c.i32(RESULT)))
}

function putOperands(c: Code, a: Expr, b: Expr): void {
  c.store('v128', c.i32(A), a)
  c.store('v128', c.i32(B), b)
}
function eachLane(c: Code, count: number | Expr, body: (i: Expr) => void): void {
  const i = c.variable('i32', 0)
  c.while(
    () => i.get().ltU(count),
    () => {
      body(i.get())
      i.set(i.get().add(1))
    },
  )
}

/**
 * The relations that make each of the predicates 0 to 15 true, four bits each: less 1, equal 2, greater 4, unordered 8.
 * Predicates 16 to 31 are the same but for what is quiet. SDM Vol. 2A, "CMPPD": "Comparison Predicate for CMPPD and CMPPS".
 */
export const RELATIONS: bigint = [2, 1, 3, 8, 13, 14, 12, 7, 10, 9, 11, 0, 5, 6, 4, 15].reduce(
  (all, bits, i) => all | (BigInt(bits) << BigInt(i * 4)),
  0n,
)

/** compare{n}(predicate, a, b) → i64: all ones or zero. */
function buildCompareLane(c: Code, width: Width, known: Known): void {
  const predicate = c.param(0)
  // EQ, UNORD and their opposites are quiet, the orders are not; with bit 4 it is the other way round.
  const quiet = predicate.add(1).and(2).eqz().xor(predicate.shrU(4).and(1))
  const control = c.call(known('sseControl'))
  const relation = c.call(known(`float${width}Compare`), c.param(1), c.param(2), quiet, control)
  const relations = c.i64(RELATIONS).shrU(predicate.and(15).shl(2).extendU())
  c.return(c.i64(0).sub(relations.shrU(relation.extendU()).and(1)))
}

/** sseCompare{n}(predicate, a, b) → v128, comparing `lanes` lanes. */
function buildCompare(c: Code, width: Width, known: Known): void {
  const bytes = width / 8
  putOperands(c, c.param(1), c.param(2))
  beginPart(c, c.param(0))
  const load = width === 32 ? 'i64_32u' : 'i64'
  eachLane(c, c.param(3), (i) => {
    const offset = i.mul(bytes)
    const callee = known(`compare${width}`)
    const mask = c.call(callee, c.param(0).and(31), c.load(load, offset, A), c.load(load, offset, B))
    c.store(width === 32 ? 'i64_32' : 'i64', offset, mask, RESULT)
  })
  commitPart(c, c.param(0), known)
  c.return(c.load('v128', c.i32(RESULT)))
}

/** sseOrder{n}(a, b, quiet) → i32: what COMIS and UCOMIS find, as `float{n}Compare`. */
function buildOrder(c: Code, width: Width, known: Known): void {
  put(c, L.SF_FLAGS, 0)
  const callee = known(`float${width}Compare`)
  const relation = c.call(callee, c.param(0), c.param(1), c.param(2), c.call(known('sseControl')))
  c.call(known('sseCommit'))
  c.return(relation)
}

/** convertLane(conversion, control, value) → i64. */
function buildConvertLane(c: Code, known: Known): void {
  const [conversion, own, value] = [c.param(0), c.param(1), c.param(2)]
  const mxcsr = c.call(known('sseControl'))
  const rounding = c.select(own.and(OWN_ROUNDING), own.and(3), mxcsr.and(3))
  const control = mxcsr.and(~3).or(rounding).or(own.and(CONTROL_NO_PRECISION))
  const run = (name: Conversion) => () => c.return(c.call(known(name), value, control))
  c.switch(conversion, CONVERSIONS.map(run), () => c.unreachable())
}

/** sseConvert(conversion, control, value) → i64. */
function buildConvert(c: Code, known: Known): void {
  put(c, L.SF_FLAGS, 0)
  const result = c.call(known('convertLane'), c.param(0), c.param(1), c.param(2))
  c.call(known('sseCommit'))
  c.return(result)
}

/** sseConvertPacked(conversion, control, value, shape) → v128; see `packedShape`. Lanes not written are zero. */
function buildConvertPacked(c: Code, known: Known): void {
  const shape = c.param(3)
  const [from, to, count] = [shape.and(15), shape.shrU(4).and(15), shape.shrU(8).and(15)]
  const signed = shape.shrU(12)
  c.store('v128', c.i32(A), c.param(2))
  c.store('v128', c.i32(RESULT), c.zero('v128'))
  beginPart(c, c.param(1))
  eachLane(c, count, (i) => {
    const offset = i.mul(from)
    const narrow = c.select(signed, c.load('i64_32s', offset, A), c.load('i64_32u', offset, A))
    const whole = c.select(from.eq(8), c.load('i64', offset, A), narrow)
    const value = c.select(from.eq(2), narrow.and(0xffff), whole)
    const result = c.call(known('convertLane'), c.param(0), c.param(1), value)
    const target = i.mul(to)
    // Lanes are written lowest first: what a narrow one writes too much is overwritten, or beyond the last zero.
    c.if(
      to.eq(8),
      () => c.store('i64', target, result, RESULT),
      () => c.store('i64_32', target, result, RESULT),
    )
  })
  commitPart(c, c.param(1), known)
  c.return(c.load('v128', c.i32(RESULT)))
}
/** How `sseConvertPacked` walks: bytes of a lane before and after, and how many lanes. */
export function packedShape(from: 2 | 4 | 8, to: 2 | 4 | 8, count: number, signed = false): number {
  return from | (to << 4) | (count << 8) | (signed ? 1 << 12 : 0)
}

/** The routines of SSE's floating point; needs those of float/. */
export function sseFloatRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const known: Known = (name) => {
    const callable = routines.get(name)
    if (!callable) throw new Error(`no routine ${name}`)
    return callable
  }
  const define = (
    name: string,
    params: readonly ('i32' | 'i64' | 'v128')[],
    results: readonly ('i32' | 'i64' | 'v128')[],
    build: (c: Code) => void,
  ) => routines.set(name, module.func(name, params, results, build))
  define('sseControl', [], ['i32'], buildControl)
  define('sseCommit', [], [], buildCommit)
  for (const n of [32, 64] as const) {
    define(`lane${n}`, ['i32', 'i64', 'i64'], ['i64'], (c) => buildLane(c, n, known))
    define(`compare${n}`, ['i32', 'i64', 'i64'], ['i64'], (c) => buildCompareLane(c, n, known))
    define(`sseScalar${n}`, ['i32', 'i64', 'i64'], ['i64'], (c) => {
      put(c, L.SF_FLAGS, 0)
      const result = c.call(known(`lane${n}`), c.param(0), c.param(1), c.param(2))
      c.call(known('sseCommit'))
      c.return(result)
    })
    define(`ssePacked${n}`, ['i32', 'v128', 'v128'], ['v128'], (c) => buildPacked(c, n, known))
    define(`sseCompare${n}`, ['i32', 'v128', 'v128', 'i32'], ['v128'], (c) => buildCompare(c, n, known))
    define(`sseOrder${n}`, ['i64', 'i64', 'i32'], ['i32'], (c) => buildOrder(c, n, known))
  }
  define('convertLane', ['i32', 'i32', 'i64'], ['i64'], (c) => buildConvertLane(c, known))
  define('sseConvert', ['i32', 'i32', 'i64'], ['i64'], (c) => buildConvert(c, known))
  define('sseConvertPacked', ['i32', 'i32', 'v128', 'i32'], ['v128'], (c) => buildConvertPacked(c, known))
}
