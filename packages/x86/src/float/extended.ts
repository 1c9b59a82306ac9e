/** The x87's 80-bit format. SDM Vol. 1, "Double Extended-Precision Floating-Point", "Unsupported Double Extended-Precision…". */
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import {
  AT_CLASS,
  AT_EXPONENT,
  AT_HIGH,
  AT_LOW,
  AT_SIGN,
  at,
  CLASS_INFINITY,
  CLASS_INVALID,
  CLASS_NORMAL,
  CLASS_QNAN,
  CLASS_SNAN,
  CLASS_ZERO,
  DE,
  OE,
  PE,
  put32,
  put64,
  ROUNDED_INFINITY,
  raise,
  setNumber,
  UE,
} from './unpacked.ts'

export const BIAS = 16383
export const EMIN = -16382
export const EMAX = 16383
/** What is added to or taken from an exponent when an unmasked underflow or overflow is reported. */
const SCALE = 24576
/** Beyond every exponent that can arise. */
const UNBOUNDED = 1 << 20
const TOP = -(2n ** 63n)
const QUIET = 1n << 62n

export interface Extended {
  /** unpack80(significand, sign and exponent, slot): a denormal raises DE. */
  readonly unpack80: Callable
  /** pack80(control, precision, unmasked exceptions): rounds SF_R to X87_RESULT. */
  readonly pack80: Callable
  /** nanOf(): the NaN that an operation on SF_A and SF_B gives, to X87_RESULT; raises IE for signaling ones. */
  readonly nanOf: Callable
}

export function defineExtended(module: ModuleBuilder, round: Callable): Extended {
  return {
    unpack80: module.func('unpack80', ['i64', 'i32', 'i32'], [], buildUnpack),
    pack80: module.func('pack80', ['i32', 'i32', 'i32'], [], (c) => buildPack(c, round)),
    nanOf: module.func('nanOf', [], [], buildNan),
  }
}

function buildUnpack(c: Code): void {
  const [significand, signExponent, slot] = [c.param(0), c.param(1), c.param(2)]
  const field = signExponent.and(0x7fff)
  const integer = significand.ltS(0)
  c.store('i32', slot, signExponent.shrU(15).and(1), AT_SIGN)
  c.store('i64', slot, 0, AT_LOW)
  c.store('i64', slot, significand, AT_HIGH)
  c.if(field.eqz(), () => {
    c.if(significand.eqz(), () => {
      setNumber(c, slot, { kind: CLASS_ZERO })
      c.return()
    })
    // Denormals, and pseudo-denormals, whose integer bit is set.
    raise(c, DE)
    const zeros = significand.clz()
    setNumber(c, slot, {
      kind: CLASS_NORMAL,
      exponent: c.i32(EMIN).sub(zeros.wrap()),
      high: significand.shl(zeros),
    })
    c.return()
  })
  c.if(integer.eqz(), () => {
    setNumber(c, slot, { kind: CLASS_INVALID })
    c.return()
  })
  c.if(field.eq(0x7fff), () => {
    const nan = c.select(significand.and(QUIET).ne(0), c.i32(CLASS_QNAN), CLASS_SNAN)
    setNumber(c, slot, { kind: c.select(significand.eq(TOP), c.i32(CLASS_INFINITY), nan) })
    c.return()
  })
  setNumber(c, slot, { kind: CLASS_NORMAL, exponent: field.sub(BIAS) })
}

/** The result of x87 operations. */
export function setResult(c: Code, significand: Expr | bigint, signExponent: Expr | number): void {
  put64(c, L.X87_RESULT, significand)
  put32(c, L.X87_RESULT + 8, signExponent)
}

/** FSCALE can leave even the scaled range: the result is then infinite, or zero, and inexact. */
function beyondScale(c: Code, roundedUp: 0 | 1): void {
  raise(c, PE)
  put32(c, L.SF_ROUNDED_UP, roundedUp)
}

function buildPack(c: Code, round: Callable): void {
  const [control, precision, unmasked] = [c.param(0), c.param(1), c.param(2)]
  const sign = at(c, 'i32', L.SF_R + AT_SIGN).shl(15)
  const kind = at(c, 'i32', L.SF_R + AT_CLASS)
  put32(c, L.SF_ROUNDED_UP, 0)
  c.if(kind.eq(CLASS_ZERO), () => {
    setResult(c, 0n, sign)
    c.return()
  })
  const infinity = () => {
    setResult(c, TOP, sign.or(0x7fff))
    c.return()
  }
  c.if(kind.eq(CLASS_INFINITY), infinity)
  // Unmasked, underflow and overflow give the result with its exponent brought back into range.
  const emin = c.select(unmasked.and(UE), c.i32(-UNBOUNDED), EMIN)
  const emax = c.select(unmasked.and(OE), c.i32(UNBOUNDED), EMAX)
  const outcome = c.call(round, precision, emin, emax, control)
  c.if(outcome.eq(ROUNDED_INFINITY), infinity)
  const high = at(c, 'i64', L.SF_R + AT_HIGH)
  const exponent = c.variable('i32', at(c, 'i32', L.SF_R + AT_EXPONENT))
  c.if(exponent.get().gtS(EMAX), () => {
    raise(c, OE)
    exponent.set(exponent.get().sub(SCALE))
    c.if(exponent.get().gtS(EMAX), () => {
      beyondScale(c, 1)
      infinity()
    })
  })
  c.if(exponent.get().ltS(EMIN), () => {
    raise(c, UE)
    exponent.set(exponent.get().add(SCALE))
    c.if(exponent.get().ltS(EMIN), () => {
      beyondScale(c, 0)
      setResult(c, 0n, sign)
      c.return()
    })
  })
  const field = c.select(high.ltS(0), exponent.get().add(BIAS), 0)
  setResult(c, high, sign.or(field))
}

/** SDM Vol. 1, "Rules for Handling NaNs": the x87 prefers a quiet NaN to a signaling one, then the larger significand. */
function buildNan(c: Code): void {
  const field = (slot: number, offset: number) => at(c, 'i32', slot + offset)
  const [kindA, kindB] = [field(L.SF_A, AT_CLASS), field(L.SF_B, AT_CLASS)]
  const [a, b] = [at(c, 'i64', L.SF_A + AT_HIGH), at(c, 'i64', L.SF_B + AT_HIGH)]
  const [signA, signB] = [field(L.SF_A, AT_SIGN), field(L.SF_B, AT_SIGN)]
  c.if(kindA.eq(CLASS_SNAN).or(kindB.eq(CLASS_SNAN)), () => raise(c, 1))
  const isNan = (kind: Expr) => kind.eq(CLASS_QNAN).or(kind.eq(CLASS_SNAN))
  const both = isNan(kindA).and(isNan(kindB))
  const sameKind = kindA.eq(kindB)
  const larger = a.gtU(b).or(a.eq(b).and(signA.leU(signB)))
  const ofBoth = c.select(sameKind, larger, kindA.eq(CLASS_QNAN))
  const first = c.select(both, ofBoth, isNan(kindA))
  const sign = c.select(first, signA, signB)
  setResult(c, c.select(first, a, b).or(QUIET), sign.shl(15).or(0x7fff))
}
