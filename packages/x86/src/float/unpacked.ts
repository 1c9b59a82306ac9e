/**
 * Floating-point numbers taken apart, and the one place that rounds.
 *
 * A number is a class, a sign, an exponent and a significand: value = ± significand / 2^63 · 2^exponent, where bit 63 of the
 * significand is set. Results have 64 more bits below (with a sticky last one), so that rounding is exact. All formats share
 * this; they differ in precision and exponent range. SDM Vol. 1, "Floating-Point Format"; IEEE 754-2008.
 */
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr, Variable } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { LoadKind } from '../wasm/opcodes.ts'

export const CLASS_ZERO = 0
export const CLASS_NORMAL = 1
export const CLASS_INFINITY = 2
export const CLASS_QNAN = 3
export const CLASS_SNAN = 4
/** 80-bit encodings that are no numbers. */
export const CLASS_INVALID = 5

/** Offsets in an unpacked number. */
export const AT_CLASS = 0
export const AT_SIGN = 4
export const AT_EXPONENT = 8
export const AT_HIGH = 16
export const AT_LOW = 24

/** Exceptions, at the places of MXCSR's and the x87 status word's flags. */
export const IE = 1
export const DE = 2
export const ZE = 4
export const OE = 8
export const UE = 16
export const PE = 32

/** Control: rounding mode in bits 0–1, then DAZ, FTZ, whether underflow is unmasked, no PE, whether overflow is unmasked. */
export const ROUND_NEAREST = 0
export const ROUND_DOWN = 1
export const ROUND_UP = 2
export const ROUND_ZERO = 3
export const CONTROL_DAZ = 4
export const CONTROL_FTZ = 8
export const CONTROL_UNMASKED_UNDERFLOW = 16
export const CONTROL_NO_PRECISION = 32
export const CONTROL_UNMASKED_OVERFLOW = 64

export interface Format {
  readonly bits: 16 | 32 | 64
  /** Bits of the significand with the integer bit. */
  readonly precision: number
  readonly bias: number
  /** Exponents of the smallest and largest normal numbers. */
  readonly emin: number
  readonly emax: number
}
export const BINARY16: Format = { bits: 16, precision: 11, bias: 15, emin: -14, emax: 15 }
export const BINARY32: Format = { bits: 32, precision: 24, bias: 127, emin: -126, emax: 127 }
export const BINARY64: Format = { bits: 64, precision: 53, bias: 1023, emin: -1022, emax: 1023 }

/** The exponent field of infinities and NaNs. */
export const exponentOnes = ({ bias }: Format): number => 2 * bias + 1

export const at = (c: Code, kind: LoadKind, offset: number): Expr => c.load(kind, c.i32(0), offset)
export const put32 = (c: Code, offset: number, value: Expr | number): void =>
  c.store('i32', c.i32(0), value, offset)
export const put64 = (c: Code, offset: number, value: Expr | number | bigint): void =>
  c.store('i64', c.i32(0), value, offset)
export const raise = (c: Code, flags: Expr | number): void =>
  put32(c, L.SF_FLAGS, at(c, 'i32', L.SF_FLAGS).or(flags))

const TOP = -(2n ** 63n)

/** hi:lo shifted right by `count` (i32, > 0), the lost bits ORed into the last. */
export function shiftRightSticky(c: Code, hi: Variable, lo: Variable, count: Expr): void {
  c.if(
    count.geU(128),
    () => {
      lo.set(hi.get().or(lo.get()).ne(0).extendU())
      hi.set(0)
    },
    () => {
      c.if(
        count.geU(64),
        () => {
          const by = count.sub(64).extendU()
          const h = hi.get()
          const lost = h.and(c.i64(1).shl(by).sub(1)).or(lo.get()).ne(0)
          lo.set(h.shrU(by).or(lost.extendU()))
          hi.set(0)
        },
        () => {
          c.if(count, () => {
            const by = count.extendU()
            const [h, l] = [hi.get(), lo.get()]
            const lost = l.and(c.i64(1).shl(by).sub(1)).ne(0)
            lo.set(
              l
                .shrU(by)
                .or(h.shl(c.i64(64).sub(by)))
                .or(lost.extendU()),
            )
            hi.set(h.shrU(by))
          })
        },
      )
    },
  )
}

/** Whether to round away from zero: `half` and `more` say how what is cut off compares with half a unit. */
function roundsUp(
  c: Code,
  mode: Expr,
  sign: Expr,
  odd: Expr,
  cut: { inexact: Expr; half: Expr; more: Expr },
): Expr {
  const nearest = cut.more.or(cut.half.and(odd))
  const directed = c.select(mode.eq(ROUND_DOWN), sign, c.select(mode.eq(ROUND_UP), sign.eqz(), 0))
  return c.select(mode.eqz(), nearest, directed.and(cut.inexact))
}

/** How what lies below `precision` bits of hi:lo compares with half a unit. */
function cutOff(c: Code, hi: Expr, lo: Expr, precision: Expr): { inexact: Expr; half: Expr; more: Expr } {
  const drop = c.i32(64).sub(precision)
  // With 64 bits of precision all that is cut off is `lo`; else its part of hi moves to the top.
  const head = c.select(drop, hi.shl(precision.extendU()), lo)
  const tail = c.select(drop, lo, c.i64(0))
  const inexact = head.or(tail).ne(0)
  const isHalf = head.eq(TOP)
  return { inexact, half: isHalf.and(tail.eqz()), more: head.gtU(TOP).or(isHalf.and(tail.ne(0))) }
}

export const ROUNDED_FINITE = 0
export const ROUNDED_INFINITY = 1

/**
 * sfRound(precision, emin, emax, control) rounds SF_R. Afterwards AT_HIGH has the significand: with bit 63 clear it is
 * denormal, at exponent emin. Returns ROUNDED_FINITE or ROUNDED_INFINITY; raises PE, UE and OE.
 */
export function defineRound(module: ModuleBuilder): Callable {
  return module.func('sfRound', ['i32', 'i32', 'i32', 'i32'], ['i32'], (c) => {
    const [precision, emin, emax, control] = [c.param(0), c.param(1), c.param(2), c.param(3)]
    const sign = at(c, 'i32', L.SF_R + AT_SIGN)
    const exponent = c.variable('i32', at(c, 'i32', L.SF_R + AT_EXPONENT))
    const hi = c.variable('i64', at(c, 'i64', L.SF_R + AT_HIGH))
    const lo = c.variable('i64', at(c, 'i64', L.SF_R + AT_LOW))
    const mode = control.and(3)
    const unit = c.i64(1).shl(c.i32(64).sub(precision).extendU())
    const keep = c.i64(0).sub(unit)
    const tiny = c.variable('i32', 0)
    const exactUnbounded = c.variable('i32', 0)
    put32(c, L.SF_ROUNDED_UP, 0)
    c.if(exponent.get().ltS(emin), () => {
      // Tiny unless rounding with an unbounded exponent would reach the smallest normal number.
      const cut = cutOff(c, hi.get(), lo.get(), precision)
      const up = roundsUp(c, mode, sign, hi.get().and(unit).ne(0), cut)
      const reaches = up.and(hi.get().and(keep).eq(keep)).and(exponent.get().eq(emin.sub(1)))
      tiny.set(reaches.eqz())
      exactUnbounded.set(cut.inexact.eqz())
      shiftRightSticky(c, hi, lo, emin.sub(exponent.get()))
      exponent.set(emin)
    })
    const cut = cutOff(c, hi.get(), lo.get(), precision)
    const inexact = cut.inexact
    const flushed = tiny
      .get()
      .and(control.and(CONTROL_FTZ).ne(0))
      .and(control.and(CONTROL_UNMASKED_UNDERFLOW).eqz())
    c.if(flushed, () => {
      raise(c, UE | PE)
      put64(c, L.SF_R + AT_HIGH, 0)
      put32(c, L.SF_R + AT_EXPONENT, emin)
      c.return(ROUNDED_FINITE)
    })
    const up = roundsUp(c, mode, sign, hi.get().and(unit).ne(0), cut)
    const kept = hi.get().and(keep)
    c.if(
      up,
      () => {
        put32(c, L.SF_ROUNDED_UP, 1)
        const sum = kept.add(unit)
        hi.set(sum)
        // A carry out of the top: the significand becomes one half of its value.
        c.if(sum.ltU(kept), () => {
          hi.set(TOP)
          exponent.set(exponent.get().add(1))
        })
      },
      () => hi.set(kept),
    )
    // Unmasked, precision is that of the result with an unbounded exponent.
    const unmasked = tiny.get().and(control.and(CONTROL_UNMASKED_UNDERFLOW).ne(0))
    const underflow = tiny.get().and(inexact).or(unmasked)
    const precise = inexact.eqz().or(unmasked.and(exactUnbounded.get()))
    raise(c, c.select(precise, c.i32(0), PE).or(c.select(underflow, c.i32(UE), 0)))
    put64(c, L.SF_R + AT_HIGH, hi.get())
    put32(c, L.SF_R + AT_EXPONENT, exponent.get())
    c.if(exponent.get().leS(emax), () => c.return(ROUNDED_FINITE))
    raise(c, c.select(control.and(CONTROL_UNMASKED_OVERFLOW), c.i32(OE), OE | PE))
    const toInfinity = c.select(
      mode.eqz(),
      c.i32(1),
      c.select(mode.eq(ROUND_DOWN), sign, c.select(mode.eq(ROUND_UP), sign.eqz(), 0)),
    )
    put32(c, L.SF_ROUNDED_UP, toInfinity)
    c.if(toInfinity, () => c.return(ROUNDED_INFINITY))
    put64(c, L.SF_R + AT_HIGH, keep)
    put32(c, L.SF_R + AT_EXPONENT, emax)
    c.return(ROUNDED_FINITE)
  })
}

/** Writes an unpacked number's fields. `slot` is a byte offset (i32). */
export function setNumber(
  c: Code,
  slot: Expr,
  fields: { kind: Expr | number; sign?: Expr; exponent?: Expr | number; high?: Expr | bigint },
): void {
  c.store('i32', slot, fields.kind, AT_CLASS)
  if (fields.sign !== undefined) c.store('i32', slot, fields.sign, AT_SIGN)
  if (fields.exponent !== undefined) c.store('i32', slot, fields.exponent, AT_EXPONENT)
  if (fields.high !== undefined) c.store('i64', slot, fields.high, AT_HIGH)
}

/** unpack{n}(bits, slot, control): a denormal raises DE, or is zero with DAZ. */
export function defineUnpack(module: ModuleBuilder, format: Format): Callable {
  const fractionBits = format.precision - 1
  const exponentMask = exponentOnes(format)
  return module.func(`unpack${format.bits}`, ['i64', 'i32', 'i32'], [], (c) => {
    const [bits, slot, control] = [c.param(0), c.param(1), c.param(2)]
    const sign = bits
      .shrU(format.bits - 1)
      .wrap()
      .and(1)
    const field = bits.shrU(fractionBits).wrap().and(exponentMask)
    const fraction = bits.shl(65 - format.precision)
    c.store('i32', slot, sign, AT_SIGN)
    c.store('i64', slot, 0, AT_LOW)
    c.if(field.eq(exponentMask), () => {
      const nan = c.select(fraction.ltS(0), c.i32(CLASS_QNAN), CLASS_SNAN)
      setNumber(c, slot, {
        kind: c.select(fraction.eqz(), c.i32(CLASS_INFINITY), nan),
        high: fraction.shrU(1).or(TOP),
      })
      c.return()
    })
    c.if(field, () => {
      setNumber(c, slot, {
        kind: CLASS_NORMAL,
        exponent: field.sub(format.bias),
        high: fraction.shrU(1).or(TOP),
      })
      c.return()
    })
    c.if(fraction.eqz().or(control.and(CONTROL_DAZ)), () => {
      setNumber(c, slot, { kind: CLASS_ZERO, high: 0n })
      c.return()
    })
    raise(c, DE)
    const zeros = fraction.clz()
    setNumber(c, slot, {
      kind: CLASS_NORMAL,
      exponent: c.i32(format.emin - 1).sub(zeros.wrap()),
      high: fraction.shl(zeros),
    })
  })
}

/** pack{n}(control): rounds SF_R and returns its bits. Its class may be zero, normal or infinite. */
export function definePack(module: ModuleBuilder, round: Callable, format: Format): Callable {
  const fractionBits = format.precision - 1
  const infinity = BigInt(exponentOnes(format)) << BigInt(fractionBits)
  return module.func(`pack${format.bits}`, ['i32'], ['i64'], (c) => {
    const sign = at(c, 'i64_32u', L.SF_R + AT_SIGN).shl(format.bits - 1)
    const kind = at(c, 'i32', L.SF_R + AT_CLASS)
    c.if(kind.eq(CLASS_ZERO), () => c.return(sign))
    c.if(kind.eq(CLASS_INFINITY), () => c.return(sign.or(infinity)))
    const outcome = c.call(round, format.precision, format.emin, format.emax, c.param(0))
    c.if(outcome.eq(ROUNDED_INFINITY), () => c.return(sign.or(infinity)))
    const high = at(c, 'i64', L.SF_R + AT_HIGH)
    const biased = at(c, 'i32', L.SF_R + AT_EXPONENT)
      .add(format.bias)
      .extendU()
    const field = c.select(high.ltS(0), biased, 0)
    c.return(sign.or(field.shl(fractionBits)).or(high.shl(1).shrU(65 - format.precision)))
  })
}
