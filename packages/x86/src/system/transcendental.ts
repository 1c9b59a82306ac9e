/** The x87's transcendental instructions: special values by the manual's tables, the rest by float/transcendental.ts. */

import { EMIN } from '../float/extended.ts'
import {
  arcTangent,
  exponentialMinusOne,
  HALF_PI,
  logarithm,
  logarithmPlusOne,
  PI_WIDE,
  QUARTER_PI,
  type Real,
  sineCosine,
  THREE_QUARTERS_PI,
  type WideReal,
} from '../float/transcendental.ts'
import {
  AT_CLASS,
  AT_EXPONENT,
  AT_HIGH,
  AT_LOW,
  AT_SIGN,
  CLASS_INFINITY,
  CLASS_NORMAL,
  CLASS_ZERO,
  PE,
  UE,
} from '../float/unpacked.ts'
import * as L from '../state/layout.ts'
import type { Core } from './core.ts'

/** Functions of the `transcendental` operation. FPATAN and the logarithms have y in SF_B and x in SF_A. */
export const TRANSCENDENTAL = [
  'sine',
  'cosine',
  'tangent',
  'arcTangent',
  'exponential',
  'logarithm',
  'logarithmPlusOne',
] as const
export type Transcendental = (typeof TRANSCENDENTAL)[number]

/** What the operation answers in SCRATCH: a result in SF_R; invalid; a division by zero with its infinity; out of range. */
export const ANSWER_RESULT = 0
export const ANSWER_INVALID = 1
export const ANSWER_ZERO_DIVIDE = 2
export const ANSWER_OUT_OF_RANGE = 3

interface Operand extends Real {
  readonly kind: number
}
type Sign = 0 | 1
type Answer =
  | { readonly kind: 'number'; readonly value: WideReal }
  | { readonly kind: 'zero' | 'infinity' | 'zero-divide'; readonly sign: Sign }
  | { readonly kind: 'invalid' | 'out-of-range' }

const INVALID: Answer = { kind: 'invalid' }
const zero = (sign: Sign): Answer => ({ kind: 'zero', sign })
const infinity = (sign: Sign): Answer => ({ kind: 'infinity', sign })
const number = (value: WideReal): Answer => ({ kind: 'number', value })
const signed = (value: WideReal, sign: Sign): Answer => number({ ...value, sign })
/** ± significand · 2^exponent, exactly. */
const exactly = (sign: Sign, exponent: number, significand: bigint): Answer =>
  number({ sign, exponent, significand: significand << 64n, exact: true })

export function transcendental(core: Core, index: number): void {
  const x = operand(core, L.SF_A)
  const y = operand(core, L.SF_B)
  give(core, evaluate(TRANSCENDENTAL[index]!, x, y))
}

function operand(core: Core, slot: number): Operand {
  return {
    kind: core.word(slot + AT_CLASS),
    sign: (core.word(slot + AT_SIGN) & 1) as Sign,
    exponent: core.word(slot + AT_EXPONENT),
    significand: core.pair(slot + AT_HIGH),
  }
}

function give(core: Core, answer: Answer): void {
  const answers = {
    invalid: ANSWER_INVALID,
    'zero-divide': ANSWER_ZERO_DIVIDE,
    'out-of-range': ANSWER_OUT_OF_RANGE,
  }
  const code = answer.kind in answers ? answers[answer.kind as keyof typeof answers] : ANSWER_RESULT
  core.setResult(0, code)
  if (answer.kind === 'zero' || answer.kind === 'infinity' || answer.kind === 'zero-divide') {
    core.setWord(L.SF_R + AT_CLASS, answer.kind === 'zero' ? CLASS_ZERO : CLASS_INFINITY)
    core.setWord(L.SF_R + AT_SIGN, answer.sign)
    return
  }
  if (answer.kind !== 'number') return
  const { sign, exponent, significand, exact } = answer.value
  const inexact = exponent < EMIN ? PE | UE : PE
  if (!exact) core.setWord(L.SF_FLAGS, core.word(L.SF_FLAGS) | inexact)
  core.setWord(L.SF_R + AT_CLASS, CLASS_NORMAL)
  core.setWord(L.SF_R + AT_SIGN, sign)
  core.setWord(L.SF_R + AT_EXPONENT, exponent)
  const low = (value: bigint): number => Number(BigInt.asIntN(32, value))
  core.setPair(L.SF_R + AT_HIGH, low(significand >> 64n), low(significand >> 96n))
  core.setPair(L.SF_R + AT_LOW, low(significand), low(significand >> 32n))
}

function evaluate(name: Transcendental, x: Operand, y: Operand): Answer {
  switch (name) {
    case 'sine':
    case 'cosine':
    case 'tangent':
      return circular(name, x)
    case 'arcTangent':
      return angle(y, x)
    case 'exponential':
      return exponential(x)
    case 'logarithm':
      return log(x, y)
    case 'logarithmPlusOne':
      return logPlusOne(x, y)
  }
}

function circular(name: 'sine' | 'cosine' | 'tangent', x: Operand): Answer {
  if (x.kind === CLASS_INFINITY) return INVALID
  if (x.kind === CLASS_ZERO) return name === 'cosine' ? exactly(0, 0, 1n << 63n) : zero(x.sign)
  if (x.exponent >= 63) return { kind: 'out-of-range' }
  return number(sineCosine(x)[name])
}

/** SDM Vol. 2A, Table "FPATAN Results". */
function angle(y: Operand, x: Operand): Answer {
  if (y.kind === CLASS_ZERO) return x.sign ? signed(PI_WIDE, y.sign) : zero(y.sign)
  if (y.kind === CLASS_INFINITY) {
    if (x.kind !== CLASS_INFINITY) return signed(HALF_PI, y.sign)
    return signed(x.sign ? THREE_QUARTERS_PI : QUARTER_PI, y.sign)
  }
  if (x.kind === CLASS_INFINITY) return x.sign ? signed(PI_WIDE, y.sign) : zero(y.sign)
  if (x.kind === CLASS_ZERO) return signed(HALF_PI, y.sign)
  return number(arcTangent(y, x))
}

/** Outside −1 to 1 the result is undefined; the operand stays. */
function exponential(x: Operand): Answer {
  if (x.kind === CLASS_ZERO) return zero(x.sign)
  if (x.kind === CLASS_INFINITY) return x.sign ? exactly(1, 0, 1n << 63n) : infinity(0)
  if (x.exponent >= 0) {
    // Intel's CPUs call even the exact results of ±1 inexact.
    const isMinusOne = x.sign === 1 && x.exponent === 0 && x.significand === 1n << 63n
    const exponent = isMinusOne ? -1 : x.exponent
    return number({ sign: x.sign, exponent, significand: x.significand << 64n, exact: false })
  }
  return number(exponentialMinusOne(x))
}

/** SDM Vol. 2A, Table "FYL2X Results". */
function log(x: Operand, y: Operand): Answer {
  if (x.kind === CLASS_ZERO) {
    if (y.kind === CLASS_ZERO) return INVALID
    const sign = (y.sign ^ 1) as Sign
    return y.kind === CLASS_INFINITY ? infinity(sign) : { kind: 'zero-divide', sign }
  }
  if (x.sign) return INVALID
  const isOne = x.kind === CLASS_NORMAL && x.exponent === 0 && x.significand === 1n << 63n
  if (isOne) return y.kind === CLASS_INFINITY ? INVALID : zero(y.sign)
  const belowOne = x.kind === CLASS_NORMAL && x.exponent < 0
  const sign = (y.sign ^ (belowOne ? 1 : 0)) as Sign
  if (y.kind === CLASS_ZERO) return x.kind === CLASS_INFINITY ? INVALID : zero(sign)
  if (x.kind === CLASS_INFINITY || y.kind === CLASS_INFINITY) return infinity(sign)
  return number(logarithm(x, y))
}

/** SDM Vol. 2A, Table "FYL2XP1 Results". */
function logPlusOne(x: Operand, y: Operand): Answer {
  const sign = (x.sign ^ y.sign) as Sign
  if (x.kind === CLASS_ZERO) return y.kind === CLASS_INFINITY ? INVALID : zero(sign)
  if (x.kind === CLASS_INFINITY) return x.sign || y.kind === CLASS_ZERO ? INVALID : infinity(y.sign)
  if (x.sign && x.exponent >= 0) return INVALID
  if (y.kind === CLASS_ZERO) return zero(sign)
  if (y.kind === CLASS_INFINITY) return infinity(sign)
  return number(logarithmPlusOne(x, y))
}
