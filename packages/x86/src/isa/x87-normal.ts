/**
 * Arithmetic on normal numbers of 80 bits, in WebAssembly's locals.
 *
 * Soft float (float/) takes numbers apart into engine memory, computes there and rounds in one place, for every class of
 * number, precision, rounding mode and mask. Here is the same for what programs do nearly always: normal operands, 64 bits
 * of precision, rounding to the nearest, exceptions masked. A number is its significand, whose bit 63 is set, and its sign
 * and biased exponent. A result has 64 more bits, `low`, of which only counts how they compare with zero and one half.
 *
 * What is met on the way that is not so goes to `unusual`: soft float then does it all again.
 */
import type { Code, Expr, Label } from '../wasm/code.ts'

/** Bias of the 80-bit format. */
export const BIAS = 16383
export const TOP = -(2n ** 63n)
const ABOVE_HALF = TOP + 1n
const SIGN = 0x8000
/** Exponents of normal numbers: 1 to this. */
const LARGEST = 0x7ffe
const LOW_HALF = 0xffffffff

/** A number as a register holds it. */
export interface Extended {
  readonly significand: Expr
  readonly signExponent: Expr
}
/** A result before it is rounded: high.low · 2^(exponent − bias − 63). */
export interface Exact {
  /** 0 or 0x8000. */
  readonly sign: Expr
  readonly exponent: Expr
  readonly high: Expr
  readonly low: Expr
}
/** A result, and whether it was rounded and rounded up. */
export interface Rounded extends Extended {
  readonly inexact: Expr
  readonly up: Expr
}

export const exponentOf = ({ signExponent }: Extended): Expr => signExponent.and(0x7fff)
export const signOf = ({ signExponent }: Extended): Expr => signExponent.and(SIGN)
export const negated = (number: Extended): Extended => ({
  ...number,
  signExponent: number.signExponent.xor(SIGN),
})

/** Nonzero where the exponent is neither 0 nor all ones; the sign does not disturb. */
const isExponentNormal = (signExponent: Expr): Expr => signExponent.add(1).and(LARGEST)
/** Nonzero where the number is normal: so is its exponent, and its integer bit is set. */
export const isNormal = (number: Extended): Expr =>
  number.significand.ltS(0).and(isExponentNormal(number.signExponent).ne(0))
/** Leaves unless all numbers are normal. */
export function leaveUnlessNormal(c: Code, leave: Label, numbers: readonly Extended[]): void {
  const integerBits = numbers.map(({ significand }) => significand).reduce((a, b) => a.and(b))
  c.branchIf(leave, integerBits.geS(0))
  for (const { signExponent } of numbers) c.branchIf(leave, isExponentNormal(signExponent).eqz())
}
export const isZero = (number: Extended): Expr => number.significand.or(exponentOf(number).extendU()).eqz()

/** Half a unit or more rounds up, exactly half only to an even significand: 0 or 1 (i64). */
export function roundsUp(c: Code, high: Expr, low: Expr): Expr {
  const up = c.variable('i64', low.shrU(63))
  c.if(low.eq(TOP), () => up.set(high.and(1)))
  return up.get()
}

/** To the nearest; overflow and underflow are unusual. */
export function round(c: Code, { sign, exponent, high, low }: Exact, unusual: Label): Rounded {
  const up = roundsUp(c, high, low)
  const significand = c.variable('i64', high.add(up))
  const field = c.variable('i32', exponent)
  c.if(significand.get().eqz(), () => {
    significand.set(TOP)
    field.set(exponent.add(1))
  })
  const biased = field.get()
  c.branchIf(unusual, biased.sub(1).geU(LARGEST))
  return {
    significand: significand.get(),
    signExponent: biased.or(sign),
    inexact: low.ne(0),
    up: up.wrap(),
  }
}

/** a + b. `zero` is built where nothing is left. */
export function addNormal(c: Code, a: Extended, b: Extended, unusual: Label, zero: () => void): Exact {
  const [exponentA, exponentB] = [exponentOf(a), exponentOf(b)]
  const swap = exponentA.ltU(exponentB).or(exponentA.eq(exponentB).and(a.significand.ltU(b.significand)))
  const large = c.select(swap, b.significand, a.significand)
  const small = c.select(swap, a.significand, b.significand)
  const sign = signOf({ significand: large, signExponent: c.select(swap, b.signExponent, a.signExponent) })
  const larger = c.select(swap, exponentB, exponentA)
  const distance = larger.sub(c.select(swap, exponentA, exponentB))
  const [hi, lo] = alignedRight(c, small, distance)
  const exponent = c.variable('i32', larger)
  const high = c.variable('i64')
  const low = c.variable('i64')
  c.if(
    a.signExponent.xor(b.signExponent).and(SIGN),
    () => {
      const difference = large.sub(hi).sub(lo.ne(0).extendU())
      const rest = lo.neg()
      c.if(difference.eqz(), () => {
        c.branchIf(unusual, rest.ne(0))
        zero()
      })
      const zeros = difference.clz()
      high.set(difference.shl(zeros).or(rest.shrU(1).shrU(c.i64(63).sub(zeros))))
      low.set(rest.shl(zeros))
      exponent.set(larger.sub(zeros.wrap()))
    },
    () => {
      const sum = large.add(hi)
      high.set(sum)
      low.set(lo)
      c.if(sum.ltU(large), () => {
        high.set(sum.shrU(1).or(TOP))
        low.set(lo.shrU(1).or(sum.shl(63)).or(lo.and(1)))
        exponent.set(larger.add(1))
      })
    },
  )
  return { sign, exponent: exponent.get(), high: high.get(), low: low.get() }
}

/** A significand shifted right: its high and low word. Far below, what is left matters only by not being zero. */
function alignedRight(c: Code, significand: Expr, distance: Expr): [Expr, Expr] {
  const hi = c.variable('i64')
  const lo = c.variable('i64')
  c.if(
    distance.ltU(64),
    () => {
      const by = distance.extendU()
      hi.set(significand.shrU(by))
      lo.set(significand.shl(c.i64(63).sub(by)).shl(1))
    },
    () => {
      // Two places below the unit, one of which cancellation may bring back, and the rest in the last bit.
      const by = distance.and(1).extendU()
      const near = significand.shrU(by).or(significand.and(by))
      hi.set(0)
      lo.set(c.select(distance.ltU(66), near, c.i64(1)))
    },
  )
  return [hi.get(), lo.get()]
}

/** a · b. */
export function multiplyNormal(c: Code, a: Extended, b: Extended): Exact {
  const hi = highProduct(c, a.significand, b.significand)
  const lo = a.significand.mul(b.significand)
  // The product of two numbers in [1, 2) is in [1, 4): all ones where it is below 2, and shifted by one place.
  const short = hi.shrS(63).not()
  return {
    sign: a.signExponent.xor(b.signExponent).and(SIGN),
    exponent: exponentOf(a)
      .add(exponentOf(b))
      .sub(BIAS - 1)
      .add(short.wrap()),
    high: hi.add(hi.and(short)).add(lo.and(short).shrU(63)),
    low: lo.add(lo.and(short)),
  }
}
/** High half of an unsigned 128-bit product, from 32-bit halves. */
function highProduct(c: Code, a: Expr, b: Expr): Expr {
  const [al, ah, bl, bh] = [a.and(LOW_HALF), a.shrU(32), b.and(LOW_HALF), b.shrU(32)]
  // In a variable, so that its low half is not computed apart.
  const middle = c.variable('i64', ah.mul(bl).add(al.mul(bl).shrU(32))).get()
  const carry = al.mul(bh).add(middle.and(LOW_HALF)).shrU(32)
  return ah.mul(bh).add(middle.shrU(32)).add(carry)
}

/**
 * a / b: two digits of 32 bits of the quotient. The dividend, a · 2^63 or a · 2^64, gives it exactly 64 bits. A quotient of
 * 64-bit numbers never lies in the middle between two.
 */
export function divideNormal(c: Code, a: Extended, b: Extended): Exact {
  const divisor = b.significand
  const isShort = a.significand.ltU(divisor)
  const dividend = c.select(isShort, a.significand, a.significand.shrU(1))
  const next = c.select(isShort, c.i64(0), a.significand.shl(63))
  const first = quotientDigit(c, dividend, next.shrU(32), divisor)
  const second = quotientDigit(c, first.rest, c.i64(0), divisor)
  const rest = second.rest
  return {
    sign: a.signExponent.xor(b.signExponent).and(SIGN),
    exponent: exponentOf(a).sub(exponentOf(b)).add(BIAS).sub(isShort),
    high: first.digit.shl(32).or(second.digit),
    low: c.select(rest.gtU(divisor.sub(rest)), c.i64(ABOVE_HALF), rest.ne(0).extendU()),
  }
}

/** One digit of (top · 2^32 + next) / divisor, where top < divisor, and what is left. TAOCP Vol. 2, Algorithm D. */
function quotientDigit(c: Code, top: Expr, next: Expr, divisor: Expr): { digit: Expr; rest: Expr } {
  const [dh, dl] = [divisor.shrU(32), divisor.and(LOW_HALF)]
  const estimate = top.divU(dh)
  const digit = c.variable('i64', estimate)
  const rest = c.variable('i64', top.sub(estimate.mul(dh)))
  // Too large by two at most; once the rest has more than 32 bits it is right.
  const correct = (then: () => void) => {
    const tooLarge = digit.get().mul(dl).gtU(rest.get().shl(32).or(next)).or(digit.get().shrU(32).ne(0))
    c.if(tooLarge, () => {
      digit.set(digit.get().sub(1))
      rest.set(rest.get().add(dh))
      then()
    })
  }
  correct(() => c.if(rest.get().shrU(32).eqz(), () => correct(() => {})))
  const found = digit.get()
  return { digit: found, rest: top.shl(32).or(next).sub(found.mul(divisor)) }
}

/**
 * √a, a positive: 32 bits from WebAssembly's root, 32 from a division by it. P. Zimmermann, "Karatsuba Square Root". A root of a
 * 64-bit number never lies in the middle between two.
 */
export function rootOfNormal(c: Code, a: Extended): Exact {
  const exponent = exponentOf(a)
  // The radicand has 128 bits, top:next, with an even exponent: a biased exponent is odd where the exponent is even.
  const even = exponent.and(1)
  const top = c.select(even, a.significand.shrU(1), a.significand)
  const next = c.select(even, a.significand.shl(63), c.i64(0))
  // Conversions of signed numbers are shorter: √top = 2 · √(top / 4), but for less than one unit.
  const quarter = top.shrU(2).convert('f64ConvertI64S')
  const estimate = quarter.sqrt().mul(2).convert('i64TruncSatF64S')
  const upper = c.variable('i64', c.select(estimate.gtU(LOW_HALF), c.i64(LOW_HALF), estimate))
  const above = upper.get().mul(upper.get()).gtU(top)
  upper.set(upper.get().sub(above.extendU()))
  const under = top.sub(upper.get().mul(upper.get())).gtU(upper.get().shl(1))
  upper.set(upper.get().add(under.extendU()))
  const s = upper.get()
  const dividend = top.sub(s.mul(s)).shl(31).or(next.shrU(33))
  const quotient = dividend.divU(s)
  const lower = c.select(quotient.gtU(LOW_HALF), c.i64(LOW_HALF), quotient)
  // What is left, hi:lo, is negative where the quotient was one too large.
  const left = dividend.sub(lower.mul(s)).shl(1)
  const square = lower.mul(lower)
  const root = c.variable('i64', s.shl(32).add(lower))
  const lo = c.variable('i64', left.shl(32).sub(square))
  const hi = c.variable('i64', left.shrU(32).sub(left.shl(32).ltU(square).extendU()))
  c.if(hi.get().ltS(0), () => {
    root.set(root.get().sub(1))
    const [r, before] = [root.get(), lo.get()]
    const after = before.add(r.shl(1).or(1))
    hi.set(hi.get().add(r.shrU(63)).add(after.ltU(before).extendU()))
    lo.set(after)
  })
  const [r, h, l] = [root.get(), hi.get(), lo.get()]
  const aboveHalf = h.ne(0).or(l.gtU(r))
  return {
    sign: c.i32(0),
    exponent: exponent.add(BIAS).shrU(1),
    high: r,
    low: c.select(aboveHalf, c.i64(ABOVE_HALF), h.or(l).ne(0).extendU()),
  }
}

/** Fields of a binary32 or binary64 number. */
const FORMATS = {
  32: { fraction: 23, exponentBits: 8, bias: 127 },
  64: { fraction: 52, exponentBits: 11, bias: 1023 },
} as const

/** A normal binary32 or binary64 number; what is none leaves. */
export function fromNormalFloat(c: Code, size: 32 | 64, bits: Expr, leave: Label): Extended {
  const { fraction, exponentBits, bias } = FORMATS[size]
  const mask = (1 << exponentBits) - 1
  const field = bits.shrU(fraction).wrap().and(mask)
  c.branchIf(leave, field.sub(1).geU(mask - 1))
  return {
    significand: bits.shl(63 - fraction).or(TOP),
    signExponent: floatSign(size, bits).or(field.add(BIAS - bias)),
  }
}
/** The same of zero. */
export function fromZeroFloat(c: Code, size: 32 | 64, bits: Expr, leave: Label): Extended {
  c.branchIf(leave, bits.shl(65 - size).ne(0))
  return { significand: c.i64(0), signExponent: floatSign(size, bits) }
}
const floatSign = (size: 32 | 64, bits: Expr): Expr =>
  bits
    .shrU(size - 16)
    .wrap()
    .and(SIGN)

/** A signed integer (i64) that is not zero. */
export function fromNormalInteger(c: Code, value: Expr, leave: Label): Extended {
  c.branchIf(leave, value.eqz())
  const negative = value.ltS(0)
  const magnitude = c.select(negative, value.neg(), value)
  const zeros = magnitude.clz()
  return {
    significand: magnitude.shl(zeros),
    signExponent: negative.shl(15).or(c.i32(BIAS + 63).sub(zeros.wrap())),
  }
}

/** The bits of a binary32 or binary64 number, and whether they were rounded. */
export interface RoundedBits {
  readonly bits: Expr
  readonly inexact: Expr
  readonly up: Expr
}

/** Rounds a normal number to binary32 or binary64; what could overflow or underflow is unusual. */
export function toFloat(c: Code, size: 32 | 64, number: Extended, unusual: Label): RoundedBits {
  const { fraction, exponentBits, bias } = FORMATS[size]
  const field = exponentOf(number).sub(BIAS - bias)
  c.branchIf(unusual, field.sub(1).geU((1 << exponentBits) - 3))
  const kept = number.significand.shrU(63 - fraction)
  const cut = number.significand.shl(fraction + 1)
  const up = roundsUp(c, kept, cut)
  const sign = signOf(number)
    .extendU()
    .shl(size - 16)
  // The integer bit, and a carry into it, go to the exponent.
  const magnitude = field.sub(1).extendU().shl(fraction).add(kept).add(up)
  return { bits: magnitude.or(sign), inexact: cut.ne(0), up: up.wrap() }
}

/** Rounds a normal number to an integer of `size` bits in a rounding mode (i32); what is too large is unusual. */
export function toInteger(c: Code, size: Expr, mode: Expr, number: Extended, unusual: Label): RoundedBits {
  const exponent = exponentOf(number).sub(BIAS)
  c.branchIf(unusual, exponent.gtS(size.sub(2)))
  const negative = number.signExponent.shrU(15)
  const by = exponent.add(1).extendU()
  const whole = exponent.geS(0)
  const kept = c.select(whole, number.significand.shrU(c.i64(64).sub(by)), c.i64(0))
  // Below one half it only counts that there is something.
  const small = c.select(exponent.eq(-1), number.significand, c.i64(1))
  const cut = c.select(whole, number.significand.shl(by), small)
  const inexact = cut.ne(0)
  const directed = c.select(mode.eq(1), negative, mode.eq(2).and(negative.eqz())).and(inexact)
  const up = c.select(mode.eqz(), roundsUp(c, kept, cut), directed.extendU())
  const magnitude = kept.add(up)
  c.branchIf(unusual, magnitude.shrU(size.sub(1).extendU()).ne(0))
  return { bits: c.select(negative, magnitude.neg(), magnitude), inexact, up: up.wrap() }
}
