/** Addition, multiplication, division and square roots of unpacked numbers: SF_A and SF_B to SF_R. */
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
  CLASS_NORMAL,
  CLASS_ZERO,
  put32,
  put64,
  ROUND_DOWN,
  shiftRightSticky,
} from './unpacked.ts'

/**
 * What an operation on non-NaNs returns: 0, or 1 where the result is the default NaN, or 2 for a division by zero. IE and ZE are
 * for the caller to raise, instead of DE.
 */
export const ARITHMETIC_INVALID = 1
export const ARITHMETIC_DIVIDE_BY_ZERO = 2

const TOP = -(2n ** 63n)

const field = (c: Code, slot: number, offset: number) => at(c, 'i32', slot + offset)
const high = (c: Code, slot: number) => at(c, 'i64', slot + AT_HIGH)

function result(c: Code, kind: number, sign: Expr): void {
  put32(c, L.SF_R + AT_CLASS, kind)
  put32(c, L.SF_R + AT_SIGN, sign)
}
function finite(c: Code, sign: Expr, exponent: Expr, hi: Expr, lo: Expr): void {
  result(c, CLASS_NORMAL, sign)
  put32(c, L.SF_R + AT_EXPONENT, exponent)
  put64(c, L.SF_R + AT_HIGH, hi)
  put64(c, L.SF_R + AT_LOW, lo)
}
function invalid(c: Code): void {
  c.return(ARITHMETIC_INVALID)
}
function copy(c: Code, slot: number, sign: Expr): void {
  put32(c, L.SF_R + AT_CLASS, field(c, slot, AT_CLASS))
  put32(c, L.SF_R + AT_SIGN, sign)
  put32(c, L.SF_R + AT_EXPONENT, field(c, slot, AT_EXPONENT))
  put64(c, L.SF_R + AT_HIGH, high(c, slot))
  put64(c, L.SF_R + AT_LOW, 0)
}

/** sfAdd(negate B, control). */
export function defineAdd(module: ModuleBuilder): Callable {
  return module.func('sfAdd', ['i32', 'i32'], ['i32'], (c) => {
    const signA = field(c, L.SF_A, AT_SIGN)
    const signB = field(c, L.SF_B, AT_SIGN).xor(c.param(0))
    const [classA, classB] = [field(c, L.SF_A, AT_CLASS), field(c, L.SF_B, AT_CLASS)]
    const differ = signA.ne(signB)
    const ok = () => c.return(0)
    c.if(classA.eq(CLASS_INFINITY), () => {
      c.if(classB.eq(CLASS_INFINITY).and(differ), () => invalid(c))
      result(c, CLASS_INFINITY, signA)
      ok()
    })
    c.if(classB.eq(CLASS_INFINITY), () => {
      result(c, CLASS_INFINITY, signB)
      ok()
    })
    // x − x is +0, or −0 when rounding down.
    const zeroSign = c.select(differ, c.param(1).and(3).eq(ROUND_DOWN), signA)
    c.if(classA.eq(CLASS_ZERO), () => {
      c.if(classB.eq(CLASS_ZERO), () => {
        result(c, CLASS_ZERO, zeroSign)
        ok()
      })
      copy(c, L.SF_B, signB)
      ok()
    })
    c.if(classB.eq(CLASS_ZERO), () => {
      copy(c, L.SF_A, signA)
      ok()
    })
    const [expA, expB] = [field(c, L.SF_A, AT_EXPONENT), field(c, L.SF_B, AT_EXPONENT)]
    const [sigA, sigB] = [high(c, L.SF_A), high(c, L.SF_B)]
    const aIsLarger = expA.gtS(expB).or(expA.eq(expB).and(sigA.geU(sigB)))
    const exponent = c.select(aIsLarger, expA, expB)
    const sign = c.select(aIsLarger, signA, signB)
    const large = c.select(aIsLarger, sigA, sigB)
    const smallHigh = c.variable('i64', c.select(aIsLarger, sigB, sigA))
    const smallLow = c.variable('i64', 0)
    shiftRightSticky(c, smallHigh, smallLow, exponent.sub(c.select(aIsLarger, expB, expA)))
    const [hi, lo] = [smallHigh.get(), smallLow.get()]
    c.if(differ.eqz(), () => {
      const sum = large.add(hi)
      const carry = sum.ltU(large)
      c.if(
        carry,
        () => {
          const sticky = lo.and(1)
          finite(c, sign, exponent.add(1), sum.shrU(1).or(TOP), lo.shrU(1).or(sum.shl(63)).or(sticky))
        },
        () => finite(c, sign, exponent, sum, lo),
      )
      ok()
    })
    const low = lo.neg()
    const difference = large.sub(hi).sub(lo.ne(0).extendU())
    c.if(difference.or(low).eqz(), () => {
      result(c, CLASS_ZERO, zeroSign)
      ok()
    })
    normalize(c, sign, exponent, difference, low)
    ok()
  })
}

/** Stores hi:lo, not zero, with its first bit at 63. */
function normalize(c: Code, sign: Expr, exponent: Expr, hi: Expr, lo: Expr): void {
  c.if(
    hi.eqz(),
    () => {
      const zeros = lo.clz()
      finite(c, sign, exponent.sub(64).sub(zeros.wrap()), lo.shl(zeros), c.i64(0))
    },
    () => {
      const zeros = hi.clz()
      const carried = c.select(zeros.eqz(), c.i64(0), lo.shrU(c.i64(64).sub(zeros)))
      finite(c, sign, exponent.sub(zeros.wrap()), hi.shl(zeros).or(carried), lo.shl(zeros))
    },
  )
}

/** sfMultiply(). */
export function defineMultiply(module: ModuleBuilder, mulHighU: Callable): Callable {
  return module.func('sfMultiply', [], ['i32'], (c) => {
    const sign = field(c, L.SF_A, AT_SIGN).xor(field(c, L.SF_B, AT_SIGN))
    const [classA, classB] = [field(c, L.SF_A, AT_CLASS), field(c, L.SF_B, AT_CLASS)]
    const zero = classA.eq(CLASS_ZERO).or(classB.eq(CLASS_ZERO))
    c.if(classA.eq(CLASS_INFINITY).or(classB.eq(CLASS_INFINITY)), () => {
      c.if(zero, () => invalid(c))
      result(c, CLASS_INFINITY, sign)
      c.return(0)
    })
    c.if(zero, () => {
      result(c, CLASS_ZERO, sign)
      c.return(0)
    })
    const [a, b] = [high(c, L.SF_A), high(c, L.SF_B)]
    const exponent = field(c, L.SF_A, AT_EXPONENT)
      .add(field(c, L.SF_B, AT_EXPONENT))
      .add(1)
    normalize(c, sign, exponent, c.call(mulHighU, a, b), a.mul(b))
    c.return(0)
  })
}

/** A number of 128 bits with its first bit at 127. */
interface Wide {
  readonly sign: Expr
  readonly exponent: Expr
  readonly hi: Expr
  readonly lo: Expr
}

/** The product of SF_A and SF_B, exact: at most one place has to be gained. */
function exactProduct(c: Code, sign: Expr, mulHighU: Callable): Wide {
  const [a, b] = [high(c, L.SF_A), high(c, L.SF_B)]
  const [hi, lo] = [c.call(mulHighU, a, b), a.mul(b)]
  const isShort = hi.geS(0)
  const exponent = field(c, L.SF_A, AT_EXPONENT).add(field(c, L.SF_B, AT_EXPONENT))
  return {
    sign,
    exponent: exponent.add(1).sub(isShort),
    hi: c.select(isShort, hi.shl(1).or(lo.shrU(63)), hi),
    lo: c.select(isShort, lo.shl(1), lo),
  }
}

/** Adds two numbers of 128 bits; what the smaller one loses is sticky, and lies far below what rounding sees. */
function addWide(c: Code, a: Wide, b: Wide, zeroSign: Expr): void {
  const aIsLarger = a.exponent.gtS(b.exponent).or(a.exponent.eq(b.exponent).and(a.hi.geU(b.hi)))
  const pick = (name: keyof Wide) => c.select(aIsLarger, a[name], b[name])
  const other = (name: keyof Wide) => c.select(aIsLarger, b[name], a[name])
  const [sign, exponent, largeHigh, largeLow] = [pick('sign'), pick('exponent'), pick('hi'), pick('lo')]
  const smallHigh = c.variable('i64', other('hi'))
  const smallLow = c.variable('i64', other('lo'))
  shiftRightSticky(c, smallHigh, smallLow, exponent.sub(other('exponent')))
  const [hi, lo] = [smallHigh.get(), smallLow.get()]
  c.if(
    a.sign.eq(b.sign),
    () => {
      const low = largeLow.add(lo)
      const partial = largeHigh.add(hi)
      const sum = partial.add(low.ltU(lo).extendU())
      c.if(
        partial.ltU(hi).or(sum.ltU(partial)),
        () => {
          const shifted = low.shrU(1).or(sum.shl(63)).or(low.and(1))
          finite(c, sign, exponent.add(1), sum.shrU(1).or(TOP), shifted)
        },
        () => finite(c, sign, exponent, sum, low),
      )
    },
    () => {
      const low = largeLow.sub(lo)
      const difference = largeHigh.sub(hi).sub(largeLow.ltU(lo).extendU())
      c.if(
        difference.or(low).eqz(),
        () => result(c, CLASS_ZERO, zeroSign),
        () => normalize(c, sign, exponent, difference, low),
      )
    },
  )
}

/** sfMultiplyAdd(negations, control): SF_A · SF_B + SF_C. Negations: 1 of the product, 2 of SF_C. */
export function defineMultiplyAdd(module: ModuleBuilder, mulHighU: Callable): Callable {
  return module.func('sfMultiplyAdd', ['i32', 'i32'], ['i32'], (c) => {
    const negations = c.param(0)
    const sign = field(c, L.SF_A, AT_SIGN)
      .xor(field(c, L.SF_B, AT_SIGN))
      .xor(negations.and(1))
    const signC = field(c, L.SF_C, AT_SIGN).xor(negations.shrU(1).and(1))
    const [classA, classB, classC] = [L.SF_A, L.SF_B, L.SF_C].map((slot) => field(c, slot, AT_CLASS))
    const isZero = classA!.eq(CLASS_ZERO).or(classB!.eq(CLASS_ZERO))
    const differ = sign.ne(signC)
    const infiniteC = classC!.eq(CLASS_INFINITY)
    c.if(classA!.eq(CLASS_INFINITY).or(classB!.eq(CLASS_INFINITY)), () => {
      c.if(isZero.or(infiniteC.and(differ)), () => invalid(c))
      result(c, CLASS_INFINITY, sign)
      c.return(0)
    })
    c.if(infiniteC, () => {
      result(c, CLASS_INFINITY, signC)
      c.return(0)
    })
    const zeroSign = c.select(differ, c.param(1).and(3).eq(ROUND_DOWN), sign)
    c.if(isZero, () => {
      copy(c, L.SF_C, signC)
      c.if(classC!.eq(CLASS_ZERO), () => result(c, CLASS_ZERO, zeroSign))
      c.return(0)
    })
    const product = exactProduct(c, sign, mulHighU)
    c.if(classC!.eq(CLASS_ZERO), () => {
      finite(c, sign, product.exponent, product.hi, product.lo)
      c.return(0)
    })
    const addend = { sign: signC, exponent: field(c, L.SF_C, AT_EXPONENT), hi: high(c, L.SF_C), lo: c.i64(0) }
    addWide(c, product, addend, zeroSign)
    c.return(0)
  })
}

/** sfDivide(). */
export function defineDivide(module: ModuleBuilder, divide128: Callable): Callable {
  return module.func('sfDivide', [], ['i32'], (c) => {
    const sign = field(c, L.SF_A, AT_SIGN).xor(field(c, L.SF_B, AT_SIGN))
    const [classA, classB] = [field(c, L.SF_A, AT_CLASS), field(c, L.SF_B, AT_CLASS)]
    c.if(classA.eq(CLASS_INFINITY), () => {
      c.if(classB.eq(CLASS_INFINITY), () => invalid(c))
      result(c, CLASS_INFINITY, sign)
      c.return(0)
    })
    c.if(classB.eq(CLASS_INFINITY), () => {
      result(c, CLASS_ZERO, sign)
      c.return(0)
    })
    c.if(classB.eq(CLASS_ZERO), () => {
      c.if(classA.eq(CLASS_ZERO), () => invalid(c))
      result(c, CLASS_INFINITY, sign)
      c.return(ARITHMETIC_DIVIDE_BY_ZERO)
    })
    c.if(classA.eq(CLASS_ZERO), () => {
      result(c, CLASS_ZERO, sign)
      c.return(0)
    })
    // The dividend is halved so that the quotient has 63 or 64 bits; the remainder is sticky.
    const [a, b] = [high(c, L.SF_A), high(c, L.SF_B)]
    const smaller = a.ltU(b)
    const top = c.select(smaller, a, a.shrU(1))
    const rest = c.select(smaller, c.i64(0), a.shl(63))
    const quotient = c.call(divide128, top, rest, b)
    const remainder = rest.sub(quotient.mul(b))
    // 64 more bits of the quotient.
    const more = c.call(divide128, remainder, c.i64(0), b)
    const exact = more.mul(b).eqz()
    const low = more.or(exact.eqz().extendU())
    const exponent = field(c, L.SF_A, AT_EXPONENT).sub(field(c, L.SF_B, AT_EXPONENT))
    finite(c, sign, exponent.sub(smaller), quotient, low)
    c.return(0)
  })
}

/** sfSquareRoot(): of SF_A. */
export function defineSquareRoot(module: ModuleBuilder): Callable {
  return module.func('sfSquareRoot', [], ['i32'], (c) => {
    const [kind, sign] = [field(c, L.SF_A, AT_CLASS), field(c, L.SF_A, AT_SIGN)]
    c.if(kind.eq(CLASS_ZERO), () => {
      result(c, CLASS_ZERO, sign)
      c.return(0)
    })
    c.if(sign, () => invalid(c))
    c.if(kind.eq(CLASS_INFINITY), () => {
      result(c, CLASS_INFINITY, sign)
      c.return(0)
    })
    // An even exponent: the significand as a number in [1, 4) with its point after bit 62, or 61.
    const exponent = field(c, L.SF_A, AT_EXPONENT)
    const odd = exponent.and(1)
    const root = squareRootBits(c, high(c, L.SF_A), odd)
    finite(c, sign, exponent.sub(odd).shrS(1), root.bits, root.low)
    c.return(0)
  })
}

/**
 * Bit by bit: 64 bits of the root of significand · 2^odd, then a low word that says how the rest compares with half a
 * unit and zero. The remainder stays below twice the root, so it fits 66 bits: it is kept as high:low.
 */
function squareRootBits(c: Code, significand: Expr, odd: Expr): { bits: Expr; low: Expr } {
  const root = c.variable('i64', 0)
  const restHigh = c.variable('i64', 0)
  const restLow = c.variable('i64', 0)
  // The radicand in 128 bits: two are taken from its top at each step.
  const nextHigh = c.variable('i64', c.select(odd, significand, significand.shrU(1)))
  const nextLow = c.variable('i64', c.select(odd, c.i64(0), significand.shl(63)))
  const i = c.variable('i32', 0)
  c.while(
    () => i.get().ltU(64),
    () => {
      const pair = nextHigh.get().shrU(62)
      restHigh.set(restHigh.get().shl(2).or(restLow.get().shrU(62)))
      restLow.set(restLow.get().shl(2).or(pair))
      nextHigh.set(nextHigh.get().shl(2).or(nextLow.get().shrU(62)))
      nextLow.set(nextLow.get().shl(2))
      // Try 4 · root + 1.
      const tryHigh = root.get().shrU(62)
      const tryLow = root.get().shl(2).or(1)
      const [rh, rl] = [restHigh.get(), restLow.get()]
      const fits = rh.gtU(tryHigh).or(rh.eq(tryHigh).and(rl.geU(tryLow)))
      root.set(root.get().shl(1).or(fits.extendU()))
      c.if(fits, () => {
        restHigh.set(rh.sub(tryHigh).sub(rl.ltU(tryLow).extendU()))
        restLow.set(rl.sub(tryLow))
      })
      i.set(i.get().add(1))
    },
  )
  // The root's fraction is at least a half exactly where the remainder exceeds the root.
  const [rh, rl, r] = [restHigh.get(), restLow.get(), root.get()]
  const aboveHalf = rh.ne(0).or(rl.gtU(r))
  const rest = rh.or(rl).ne(0)
  const low = c.select(aboveHalf, c.i64(TOP).or(1), rest.extendU())
  return { bits: r, low }
}
