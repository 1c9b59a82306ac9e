/**
 * When WebAssembly's floating point is x86's.
 *
 * Both round to nearest as IEEE 754 says, and differ in what MXCSR asks for and reports: other roundings, flags,
 * NaNs, denormals. So an instruction first computes natively and then looks whether that was all: MXCSR is *ordinary*
 * (nearest, no DAZ or FTZ, every exception masked) and its precision flag already set, and operands and result are
 * normal numbers or harmless zeros. Then nothing is lost, and nothing is left to report. Anything else goes to
 * sse-float-routines.ts. QEMU's soft-float has the same idea for its host's FPU.
 */
import * as L from '../state/layout.ts'
import type { Code, Expr } from '../wasm/code.ts'
import type { LaneShape, SimdOp } from '../wasm/opcodes.ts'
import type { Meaning } from './meaning.ts'
import { MXCSR_DAZ, partOf, type Width } from './sse-float-routines.ts'

/** The six masks and PE set; rounding, FTZ and DAZ zero. The other flags do not matter. */
const ORDINARY_BITS = 0xffe0
const ORDINARY = 0x1fa0

/** 1 (i32) where rounding to nearest with a precision exception leaves MXCSR as it is. */
export function isOrdinary(c: Code): Expr {
  return c.load('i32', c.i32(0), L.MXCSR).and(ORDINARY_BITS).eq(ORDINARY)
}
/** 1 (i32) where denormal operands stay what they are. */
export function keepsDenormals(u: Meaning): Expr {
  return u.state('i32', L.MXCSR).and(MXCSR_DAZ).eqz()
}

/** The smallest normal number, and the positions of lanes. */
export const SMALLEST: Record<Width, number> = { 32: 2 ** -126, 64: 2 ** -1022 }
export const SHAPE: Record<Width, LaneShape & ('f32x4' | 'f64x2')> = { 32: 'f32x4', 64: 'f64x2' }

/**
 * Floats of a scalar or of all lanes, with the few operations that the conditions need. Truths are i32 of 0 or 1, or
 * masks of lanes.
 */
export interface Floats {
  readonly width: Width
  /** The native operation. */
  apply(operation: 'add' | 'sub' | 'mul' | 'div' | 'sqrt', a: Expr, b: Expr): Expr
  compare(operation: 'eq' | 'lt' | 'le' | 'gt' | 'ge', a: Expr, b: Expr): Expr
  abs(a: Expr): Expr
  constant(value: number): Expr
  and(a: Expr, b: Expr): Expr
  or(a: Expr, b: Expr): Expr
  /** `condition ? a : b` for each lane. */
  select(condition: Expr, a: Expr, b: Expr): Expr
  /** All lanes true: i32. */
  all(condition: Expr): Expr
}

/** Floats as f32 or f64. */
export function scalarFloats(u: Meaning, width: Width): Floats {
  return {
    width,
    apply: (operation, a, b) => (operation === 'sqrt' ? b.sqrt() : a[operation](b)),
    compare: (operation, a, b) => a[operation](b),
    abs: (a) => a.abs(),
    constant: (value) => (width === 32 ? u.f32(value) : u.f64(value)),
    and: (a, b) => a.and(b),
    or: (a, b) => a.or(b),
    select: (condition, a, b) => u.select(condition, a, b),
    all: (condition) => condition,
  }
}
/** Floats as lanes of a vector. */
export function packedFloats(u: Code, width: Width): Floats {
  const shape = SHAPE[width] as 'f32x4' | 'f64x2'
  return {
    width,
    apply: (operation, a, b) =>
      operation === 'sqrt' ? b.simd(`${shape}.sqrt`) : a.simd(`${shape}.${operation}` as SimdOp, b),
    compare: (operation, a, b) => a.simd(`${shape}.${operation}` as SimdOp, b),
    abs: (a) => a.simd(`${shape}.abs`),
    constant: (value) =>
      width === 32 ? u.f32(value).simdMixed('f32x4.splat') : u.f64(value).simdMixed('f64x2.splat'),
    and: (a, b) => a.simd('v128.and', b),
    or: (a, b) => a.simd('v128.or', b),
    select: (condition, a, b) => a.simd('v128.bitselect', b, condition),
    all: (condition) => condition.simdMixed('i8x16.all_true'),
  }
}

/** Neither NaN nor denormal; infinities are allowed. */
export function isPlain(f: Floats, a: Expr): Expr {
  const zero = f.compare('eq', a, f.constant(0))
  return f.or(f.compare('ge', f.abs(a), f.constant(SMALLEST[f.width])), zero)
}
/** Neither NaN nor infinite nor so small that it may have been rounded up to a normal number. */
export function isSafeResult(f: Floats, result: Expr): Expr {
  const magnitude = f.abs(result)
  const above = f.compare('gt', magnitude, f.constant(SMALLEST[f.width]))
  return f.and(above, f.compare('lt', magnitude, f.constant(Number.POSITIVE_INFINITY)))
}
export const isZero = (f: Floats, a: Expr): Expr => f.compare('eq', a, f.constant(0))

/** A scalar's bits (zero-extended in i64) as a float, and back. */
export function fromBits(width: Width, bits: Expr): Expr {
  return width === 32 ? bits.wrap().convert('f32ReinterpretI32') : bits.convert('f64ReinterpretI64')
}
export function toBits(width: Width, value: Expr): Expr {
  return width === 32 ? value.convert('i32ReinterpretF32').extendU() : value.convert('i64ReinterpretF64')
}

/**
 * The native results of all halves of a vector, or those of an exact routine, which sees a lane of any of them that
 * raises before a register is written. `exact` gets the number of the half, and what `partOf` says of it.
 */
export function chooseHalves(
  u: Meaning,
  isNative: Expr,
  native: () => readonly Expr[],
  exact: (half: number, part: number) => Expr,
  count: number,
): Expr[] {
  const results = Array.from({ length: count }, () => u.variable('v128'))
  u.if(
    isNative,
    () => {
      for (const [i, value] of native().entries()) results[i]!.set(value)
    },
    () => {
      for (const [i, result] of results.entries()) result.set(exact(i, partOf(i, count)))
      u.exitOnFault()
    },
  )
  return results.map((result) => result.get())
}

/** The native result, or that of an exact routine, which may raise. */
export function chooseResult(
  u: Meaning,
  type: 'i64' | 'v128' | 'i32',
  isNative: Expr,
  native: () => Expr,
  exact: () => Expr,
): Expr {
  return u.choose(type, isNative, native, () => {
    const result = exact()
    u.exitOnFault()
    return result
  })
}
