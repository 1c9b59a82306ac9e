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
import type { Speculation } from './speculation.ts'
import { MXCSR_DAZ, partOf, type Width } from './sse-float-routines.ts'

/** The six masks and PE set; rounding, FTZ and DAZ zero. The other flags do not matter. */
const ORDINARY_BITS = 0xffe0
const ORDINARY = 0x1fa0

export const isOrdinaryControl = (mxcsr: number): boolean => (mxcsr & ORDINARY_BITS) === ORDINARY
/** 1 (i32) where rounding to nearest with a precision exception leaves MXCSR as it is. */
export function isOrdinary(c: Code): Expr {
  return c.load('i32', c.i32(0), L.MXCSR).and(ORDINARY_BITS).eq(ORDINARY)
}
/** The same in recompiled code, where it may be known; else recompiled code asks for it. */
export function isOrdinaryHere(u: Meaning): Expr {
  const { speculation } = u
  if (!speculation) return isOrdinary(u)
  requireOrdinary(u, speculation)
  return u.i32(1)
}
export function requireOrdinary(u: Meaning, speculation: Speculation): void {
  if (speculation.isOrdinary) return
  u.if(isOrdinary(u).eqz(), () => speculation.leave())
  speculation.noteOrdinary()
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
  readonly always: Expr
  and(a: Expr, b: Expr): Expr
  or(a: Expr, b: Expr): Expr
  /** `condition ? a : b` for each lane. */
  select(condition: Expr, a: Expr, b: Expr): Expr
  /** All lanes true: i32. */
  all(condition: Expr): Expr
  /** Nonzero (i32) where the exponent of a lane is one of the largest or the smallest. */
  mayBeUnusual(a: Expr, which: keyof typeof UNUSUAL): Expr
  isZero(a: Expr): Expr
}

/**
 * Exponents in the upper half of a float: adding `carry` brings those at both ends, and only those, below the bits of `mask`.
 * An operand is unusual as zero, denormal, infinity or NaN; a result also next to these.
 */
const UNUSUAL = {
  operand: { 32: [0x00800000, 0x7f000000], 64: [0x00100000, 0x7fe00000] },
  result: { 32: [0x01000000, 0x7e000000], 64: [0x00200000, 0x7fc00000] },
} as const satisfies Record<string, Record<Width, readonly [carry: number, mask: number]>>

/** Floats as f32 or f64. */
export function scalarFloats(u: Meaning, width: Width): Floats {
  return {
    width,
    apply: (operation, a, b) => (operation === 'sqrt' ? b.sqrt() : a[operation](b)),
    compare: (operation, a, b) => a[operation](b),
    abs: (a) => a.abs(),
    constant: (value) => (width === 32 ? u.f32(value) : u.f64(value)),
    always: u.i32(1),
    and: (a, b) => a.and(b),
    or: (a, b) => a.or(b),
    select: (condition, a, b) => u.select(condition, a, b),
    all: (condition) => condition,
    mayBeUnusual: (a, which) => {
      const bits = toBits(width, a)
      const [carry, mask] = UNUSUAL[which][width]
      return (width === 32 ? bits : bits.shrU(32)).wrap().add(carry).and(mask).eqz()
    },
    isZero: (a) => a.eq(0),
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
    always: u.v128(new Array(16).fill(0xff)),
    and: (a, b) => a.simd('v128.and', b),
    or: (a, b) => a.simd('v128.or', b),
    select: (condition, a, b) => a.simd('v128.bitselect', b, condition),
    all: (condition) => condition.simdMixed('i8x16.all_true'),
    isZero: (a) => packedFloats(u, width).compare('eq', a, packedFloats(u, width).constant(0)),
    mayBeUnusual: (a, which) => {
      const [carry, mask] = UNUSUAL[which][width]
      const lanes = width === 32 ? 'i32x4' : 'i64x2'
      const exponent = a.simd(`${lanes}.add`, upperWords(u, width, carry))
      const large = exponent.simd('v128.and', upperWords(u, width, mask))
      return large.simd(`${lanes}.eq`, u.zero('v128')).simdMixed('v128.any_true')
    },
  }
}
/** A word in the upper half of each lane. */
function upperWords(u: Code, width: Width, word: number): Expr {
  const bytes = [word, word >>> 8, word >>> 16, word >>> 24].map((byte) => byte & 0xff)
  const lane = width === 32 ? bytes : [0, 0, 0, 0, ...bytes]
  return u.v128(Array.from({ length: 16 }, (_, i) => lane[i % lane.length]!))
}

/** Neither NaN nor denormal; infinities are allowed. */
export function isPlain(f: Floats, a: Expr): Expr {
  return f.or(f.compare('ge', f.abs(a), f.constant(SMALLEST[f.width])), f.isZero(a))
}
/** Neither NaN nor infinite nor so small that it may have been rounded up to a normal number. */
export function isSafeResult(f: Floats, result: Expr): Expr {
  const magnitude = f.abs(result)
  const above = f.compare('gt', magnitude, f.constant(SMALLEST[f.width]))
  return f.and(above, f.compare('lt', magnitude, f.constant(Number.POSITIVE_INFINITY)))
}

/** A native result of plain operands, and where it is x86's. */
export interface Native {
  readonly result: Expr
  /** What must be plain. */
  readonly operands: readonly Expr[]
  /** The result is rounded: MXCSR must be ordinary, and the result safe or a zero that is exact here. */
  readonly rounded?: { readonly isExactZero: () => Expr }
}
/** 1 (i32) where native results are x86's. */
export function areExact(u: Code, f: Floats, natives: readonly Native[]): Expr {
  const exact = natives.map(({ result, operands, rounded }) => {
    const plain = operands.map((operand) => isPlain(f, operand)).reduce((a, b) => f.and(a, b))
    if (!rounded) return f.all(plain)
    const zero = f.and(f.isZero(result), rounded.isExactZero())
    return f.all(f.and(plain, f.or(isSafeResult(f, result), zero)))
  })
  const all = exact.reduce((a, b) => a.and(b))
  return natives[0]!.rounded ? all.and(isOrdinary(u)) : all
}
/** Leaves the instruction where native results may not be x86's; from here on they are known to be plain. */
export function requireExact(
  u: Meaning,
  speculation: Speculation,
  f: Floats,
  natives: readonly Native[],
): void {
  for (const { result, operands, rounded } of natives) {
    if (rounded) requireOrdinary(u, speculation)
    for (const operand of operands) requirePlain(u, speculation, f, operand)
    if (rounded) requireSafe(u, speculation, f, result, rounded.isExactZero)
    if (result.type !== 'i32') speculation.notePlain(result, f.width)
  }
}
function requireSafe(
  u: Meaning,
  speculation: Speculation,
  f: Floats,
  result: Expr,
  isExactZero: () => Expr,
): void {
  u.if(f.mayBeUnusual(result, 'result'), () => {
    const zero = f.and(f.isZero(result), isExactZero())
    // Another lane may be what it should.
    const isExact = result.type === 'v128' ? f.or(isSafeResult(f, result), zero) : zero
    u.if(f.all(isExact).eqz(), () => speculation.leave())
  })
}
/** Leaves the instruction where a float is a NaN or a denormal. */
export function requirePlain(u: Meaning, speculation: Speculation, f: Floats, value: Expr): void {
  if (speculation.isPlain(value, f.width)) return
  u.if(f.mayBeUnusual(value, 'operand'), () => {
    // Zeros and infinities are their own doubles. No more than this in the way of what is usual: it costs registers there.
    const isSpecial = f.compare('eq', value, f.apply('add', value, value))
    const isStillPlain = value.type === 'v128' ? isPlain(f, value) : isSpecial
    u.if(f.all(isStillPlain).eqz(), () => speculation.leave())
  })
  speculation.notePlain(value, f.width)
}

/** 1 (i32) where a float is plain; recompiled code asks for it. */
export function isPlainHere(u: Meaning, f: Floats, value: Expr): Expr {
  if (!u.speculation) return f.all(isPlain(f, value))
  requirePlain(u, u.speculation, f, value)
  return u.i32(1)
}

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
  const { speculation } = u
  if (speculation) {
    u.if(isNative.eqz(), () => speculation.leave())
    return [...native()]
  }
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
  const { speculation } = u
  if (speculation) {
    u.if(isNative.eqz(), () => speculation.leave())
    return native()
  }
  return u.choose(type, isNative, native, () => {
    const result = exact()
    u.exitOnFault()
    return result
  })
}
