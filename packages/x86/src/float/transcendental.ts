/**
 * The x87's transcendental functions, in fixed point with far more bits than the result has.
 *
 * These are rare, and being right counts more than speed: they are the one place of arithmetic that uses bigint. A number is
 * ± significand / 2^63 · 2^exponent with bit 63 of the significand set. Results have 128 bits and a sticky last one.
 * Angles are reduced with the x87's own π of 66 bits. SDM Vol. 1, "Transcendental Instruction Accuracy", "Approximation of Pi".
 */

export interface Real {
  readonly sign: 0 | 1
  readonly exponent: number
  readonly significand: bigint
}
/** A result: 128 bits with the first one set, ± significand / 2^127 · 2^exponent; inexact unless said otherwise. */
export interface WideReal {
  readonly sign: 0 | 1
  readonly exponent: number
  readonly significand: bigint
  readonly exact: boolean
}

/** Fraction bits of the fixed point. */
const P = 256
const ONE = 1n << BigInt(P)

const bitLength = (value: bigint): number => value.toString(16).length * 4 - leadingZeros(value)
function leadingZeros(value: bigint): number {
  const digit = Number.parseInt(value.toString(16)[0]!, 16)
  return Math.clz32(digit) - 28
}

/** A fixed-point magnitude, scaled by 2^scale, as a result. */
function wide(sign: 0 | 1, value: bigint, scale = 0, exact = false): WideReal {
  const bits = bitLength(value)
  const shift = bits - 128
  const significand = shift > 0 ? value >> BigInt(shift) : value << BigInt(-shift)
  const lost = shift > 0 && significand << BigInt(shift) !== value
  return {
    sign,
    exponent: bits - 1 - P + scale,
    significand: lost || !exact ? significand | 1n : significand,
    exact: exact && !lost,
  }
}

/** The magnitude in fixed point; small numbers keep their bits down to 2^−P. */
function fixed({ exponent, significand }: { exponent: number; significand: bigint }, width = 64): bigint {
  const shift = P - (width - 1) + exponent
  return shift >= 0 ? significand << BigInt(shift) : significand >> BigInt(-shift)
}

const multiply = (a: bigint, b: bigint): bigint => (a * b) >> BigInt(P)
const divide = (a: bigint, b: bigint): bigint => (a << BigInt(P)) / b

/** Σ of terms, each made from the one before, until nothing is left of them. */
function series(first: bigint, next: (term: bigint, n: number) => bigint): bigint {
  let sum = 0n
  let term = first
  for (let n = 1; term !== 0n; n++) {
    sum += term
    term = next(term, n)
  }
  return sum
}
/** sin(x) / x and cos(x) for a square x², 0 ≤ x < 1. */
const sineOver = (square: bigint): bigint =>
  series(ONE, (term, n) => -multiply(term, square) / BigInt(2 * n * (2 * n + 1)))
const cosine = (square: bigint): bigint =>
  series(ONE, (term, n) => -multiply(term, square) / BigInt((2 * n - 1) * (2 * n)))
/** Σ (∓z²)^n / (2n + 1): atan(z) / z with minus, artanh(z) / z with plus. */
function arcSeries(square: bigint, alternate: boolean): bigint {
  let power = ONE
  let sum = 0n
  for (let n = 0; power !== 0n; n++) {
    const term = power / BigInt(2 * n + 1)
    sum += alternate && n & 1 ? -term : term
    power = multiply(power, square)
  }
  return sum
}

/** ln 2 = 2 · artanh(1/3). */
const THIRD = ONE / 3n
const LN2 = 2n * multiply(THIRD, arcSeries(multiply(THIRD, THIRD), false))
/** π by Machin: 16 · atan(1/5) − 4 · atan(1/239). */
const arcTangentOfInverse = (n: bigint): bigint => multiply(ONE / n, arcSeries(ONE / (n * n), true))
const PI = 16n * arcTangentOfInverse(5n) - 4n * arcTangentOfInverse(239n)
/** The x87's π: 66 bits, C90FDAA2 2168C234 C h. */
const PI66 = 0xc90fdaa22168c234cn
const PI66_FRACTION_BITS = 66

/** |x| = quotient · π/2 + rest, with the x87's π; the rest is exact, in units of 2^−(fraction bits). */
function reduce({ exponent, significand }: Real): { quadrant: number; rest: bigint; bits: number } {
  // π/2 in units of 2^−67; x in the finer of that and its own last bit.
  const bits = Math.max(PI66_FRACTION_BITS + 1, 63 - exponent)
  const half = PI66 << BigInt(bits - (PI66_FRACTION_BITS + 1))
  const x = significand << BigInt(bits - 63 + exponent)
  return { quadrant: Number((x / half) & 3n), rest: x % half, bits }
}

/** Exponents below which an angle is its own sine in 80 bits. */
const TINY = -100

export interface SineCosine {
  readonly sine: WideReal
  readonly cosine: WideReal
  /** sine / cosine. */
  readonly tangent: WideReal
}

/** For 0 < |x| < 2^63. */
export function sineCosine(x: Real): SineCosine {
  if (x.exponent < TINY) return tinyAngle(x)
  const { quadrant, rest, bits } = reduce(x)
  const half = PI66 << BigInt(bits - (PI66_FRACTION_BITS + 1))
  // Beyond π/4 the complement is smaller.
  const swap = 2n * rest > half
  const angle = swap ? half - rest : rest
  const small =
    angle === 0n
      ? undefined
      : { exponent: bitLength(angle) - 1 - bits, significand: angle, width: bitLength(angle) }
  const value = small ? fixed({ exponent: small.exponent, significand: angle }, small.width) : 0n
  const square = multiply(value, value)
  // The sine keeps its relative precision however small the angle.
  const lift = small ? Math.max(-small.exponent - 1, 0) : 0
  const lifted = small ? fixed({ exponent: small.exponent + lift, significand: angle }, small.width) : 0n
  const sine = multiply(lifted, sineOver(square))
  const cos = cosine(square)
  const oddQuadrant = (quadrant & 1) === 1
  const swapped = swap !== oddQuadrant
  const sineSign = ((x.sign ^ (quadrant >> 1)) & 1) as 0 | 1
  const cosineSign = (quadrant === 1 || quadrant === 2 ? 1 : 0) as 0 | 1
  const smallOne = (sign: 0 | 1) => wide(sign, sine === 0n ? 1n : sine, -lift)
  const largeOne = (sign: 0 | 1) => wide(sign, cos)
  const tangentSign = (sineSign ^ cosineSign) as 0 | 1
  const tangent = swapped
    ? wide(tangentSign, divide(cos, sine === 0n ? 1n : sine), lift)
    : wide(tangentSign, divide(sine === 0n ? 1n : sine, cos), -lift)
  return {
    sine: swapped ? largeOne(sineSign) : smallOne(sineSign),
    cosine: swapped ? smallOne(cosineSign) : largeOne(cosineSign),
    tangent,
  }
}

/** The nearest 128-bit numbers, x and 1, whatever the rounding mode, as the CPU gives them. */
function tinyAngle({ sign, exponent, significand }: Real): SineCosine {
  const itself: WideReal = { sign, exponent, significand: significand << 64n, exact: false }
  const one: WideReal = { sign: 0, exponent: 0, significand: 1n << 127n, exact: false }
  return { sine: itself, cosine: one, tangent: itself }
}
/** The number just below a 128-bit one. */
function below(sign: 0 | 1, exponent: number, significand: bigint): WideReal {
  const less = significand - 1n
  if (bitLength(less) === 128) return { sign, exponent, significand: less, exact: false }
  return { sign, exponent: exponent - 1, significand: (less << 1n) | 1n, exact: false }
}

const magnitudeLess = (a: Real, b: Real): boolean =>
  a.exponent !== b.exponent ? a.exponent < b.exponent : a.significand < b.significand

/** The angle of the point (x, y), both finite and not zero. */
export function arcTangent(y: Real, x: Real): WideReal {
  const steep = magnitudeLess(x, y)
  const [small, large] = steep ? [x, y] : [y, x]
  const gap = large.exponent - small.exponent
  // ratio · 2^lift, so that small ratios keep their precision.
  const lift = gap > 1 ? gap - 1 : 0
  const ratio = divide(
    small.significand << BigInt(P - 64),
    large.significand << BigInt(P - 64 + Math.min(gap, 1)),
  )
  if (!steep && x.sign === 0) {
    if (lift > 100)
      return below(y.sign, -gap - (small.significand < large.significand ? 1 : 0), tinyRatio(small, large))
    return wide(y.sign, multiply(ratio, arcTangentOver(ratio, lift)), -lift)
  }
  const angle = lift > P ? 0n : multiply(ratio, arcTangentOver(ratio, lift)) >> BigInt(lift)
  if (steep) return wide(y.sign, x.sign ? PI / 2n + angle : PI / 2n - angle)
  return wide(y.sign, PI - angle)
}
/** The quotient's 128 bits, its last one set since it is cut off. */
function tinyRatio(small: Real, large: Real): bigint {
  const shift = small.significand < large.significand ? 128n : 127n
  return ((small.significand << shift) / large.significand) | 1n
}
/** atan(t) / t for t = ratio / 2^lift, 0 < t ≤ 1. */
function arcTangentOver(ratio: bigint, lift: number): bigint {
  if (lift > P) return ONE
  const t = ratio >> BigInt(lift)
  if (t < ONE >> 4n) return arcSeries(multiply(t, t), true)
  // atan t = atan c + atan((t − c) / (1 + t c)) for the nearest c = n / 8.
  const n = (t * 8n + ONE / 2n) >> BigInt(P)
  const c = (n * ONE) / 8n
  const rest = divide(t - c, ONE + multiply(t, c))
  const base = n === 0n ? 0n : arcTangentByHalves(c)
  return divide(base + multiply(rest, arcSeries(multiply(rest, rest), true)), t)
}
/** atan(c), c ≤ 1, by twice halving the angle. */
function arcTangentByHalves(c: bigint): bigint {
  let value = c
  let factor = 1n
  for (let i = 0; i < 3; i++) {
    value = divide(value, ONE + squareRoot(ONE + multiply(value, value)))
    factor *= 2n
  }
  return factor * multiply(value, arcSeries(multiply(value, value), true))
}
function squareRoot(value: bigint): bigint {
  const target = value << BigInt(P)
  let root = 1n << BigInt((bitLength(target) >> 1) + 1)
  for (;;) {
    const next = (root + target / root) >> 1n
    if (next >= root) return root
    root = next
  }
}

export const PI_WIDE: WideReal = wide(0, PI)
export const HALF_PI: WideReal = wide(0, PI / 2n)
export const QUARTER_PI: WideReal = wide(0, PI / 4n)
export const THREE_QUARTERS_PI: WideReal = wide(0, (3n * PI) / 4n)

/** 2^x − 1 for 0 < |x| < 1. */
export function exponentialMinusOne(x: Real): WideReal {
  const lift = Math.max(-x.exponent - 1, 0)
  // t · 2^lift = x · ln 2 · 2^lift.
  const t = multiply(fixed({ exponent: x.exponent + lift, significand: x.significand }), LN2)
  const actual = lift > P ? 0n : t >> BigInt(lift)
  const step = x.sign ? -actual : actual
  // (e^t − 1) / t = Σ t^n / (n + 1)!
  const factor = series(ONE, (term, n) => (term * step) / ONE / BigInt(n + 1))
  return wide(x.sign, multiply(t, factor), -lift)
}

/** y · log2(x) for x > 0 and not 1, y not zero. */
export function logarithm(x: Real, y: Real): WideReal {
  if (x.significand === 1n << 63n) return wholeLogarithm(x.exponent, y)
  return normalLogarithm(fixed({ exponent: 0, significand: x.significand }), x.exponent, y)
}
const SQUARE_ROOT_OF_2 = squareRoot(2n * ONE)
/** For x = m · 2^e with 1 ≤ m < 2: m is brought between √½ and √2. */
function normalLogarithm(m: bigint, e: number, y: Real): WideReal {
  const high = m > SQUARE_ROOT_OF_2
  const centred = high ? m >> 1n : m
  return timesLogarithm(divide(centred - ONE, centred + ONE), 0, high ? e + 1 : e, y)
}
/** y · log2(1 + x) for x > −1, not zero. */
export function logarithmPlusOne(x: Real, y: Real): WideReal {
  if (x.exponent >= P) return logarithm(x, y)
  if (x.exponent >= -2) {
    const magnitude = fixed(x)
    const sum = ONE + (x.sign ? -magnitude : magnitude)
    const e = bitLength(sum) - 1 - P
    return normalLogarithm(e >= 0 ? sum >> BigInt(e) : sum << BigInt(-e), e, y)
  }
  const lift = -x.exponent - 1
  const magnitude = fixed({ exponent: -1, significand: x.significand })
  const actual = lift > P ? 0n : magnitude >> BigInt(lift)
  const signed = x.sign ? -actual : actual
  const z = divide(x.sign ? -magnitude : magnitude, 2n * ONE + signed)
  return timesLogarithm(z, lift, 0, y)
}
/** y · (e + 2 / ln 2 · artanh(z / 2^lift)). */
function timesLogarithm(z: bigint, lift: number, e: number, y: Real): WideReal {
  const actual = lift > P ? 0n : z >> BigInt(lift)
  const fraction = divide(2n * multiply(z, arcSeries(multiply(actual, actual), false)), LN2)
  const value = lift > 0 ? fraction : BigInt(e) * ONE + fraction
  const negative = value < 0n
  const magnitude = negative ? -value : value
  const sign = ((negative ? 1 : 0) ^ y.sign) as 0 | 1
  return wide(sign, (magnitude * y.significand) >> 63n, y.exponent - lift)
}
/** y · e, which is exact. */
function wholeLogarithm(e: number, y: Real): WideReal {
  const sign = ((e < 0 ? 1 : 0) ^ y.sign) as 0 | 1
  const product = BigInt(Math.abs(e)) * y.significand
  return wide(sign, product << BigInt(P - 63), y.exponent, true)
}
