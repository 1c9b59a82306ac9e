/** Floating-point arithmetic and comparisons of SSE to SSE4.1. float-lanes.ts says when they run natively. */
import type { Expr } from '../wasm/code.ts'
import {
  chooseResult,
  type Floats,
  fromBits,
  isOrdinary,
  isPlain,
  isSafeResult,
  isZero,
  packedFloats,
  SMALLEST,
  scalarFloats,
  toBits,
} from './float-lanes.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { OPERATIONS, type Operation, type Width } from './sse-float-routines.ts'
import { sse } from './vector.ts'

type Suffix = 'ps' | 'pd' | 'ss' | 'sd'
const PREFIX: Record<Suffix, string> = { ps: 'NP', pd: '66', ss: 'F3', sd: 'F2' }
const widthOf = (suffix: Suffix): Width => (suffix.endsWith('s') ? 32 : 64)
const isScalar = (suffix: Suffix): boolean => suffix.startsWith('s')

/** A native result, and where it is x86's. */
interface Native {
  readonly result: Expr
  readonly exact: Expr
  /** Needs an ordinary MXCSR: its result may be rounded. */
  readonly rounds: boolean
}
type Compute = (f: Floats, a: Expr, b: Expr) => Native

/** A result that was rounded; zeros that are allowed come from zeros. */
function arithmetic(operation: 'add' | 'sub' | 'mul' | 'div'): Compute {
  return (f, a, b) => {
    const result = f.apply(operation, a, b)
    const safe = isSafeResult(f, result)
    const zero = isZero(f, result)
    const exactZero = {
      add: () => zero,
      sub: () => zero,
      mul: () => f.and(zero, f.or(isZero(f, a), isZero(f, b))),
      div: () => f.and(zero, isZero(f, a)),
    }[operation]()
    const operands = f.and(isPlain(f, a), isPlain(f, b))
    return { result, exact: f.and(operands, f.or(safe, exactZero)), rounds: true }
  }
}

const squareRoot: Compute = (f, a, b) => {
  const normal = f.compare('ge', b, f.constant(SMALLEST[f.width]))
  return { result: f.apply('sqrt', a, b), exact: f.or(normal, isZero(f, b)), rounds: true }
}

/** MIN and MAX: the second operand unless the first is less (greater). Nothing is rounded. */
function extreme(comparison: 'lt' | 'gt'): Compute {
  return (f, a, b) => ({
    result: f.select(f.compare(comparison, a, b), a, b),
    exact: f.and(isPlain(f, a), isPlain(f, b)),
    rounds: false,
  })
}

const number = (operation: Operation): number => OPERATIONS.indexOf(operation)
/** The same operation in every lane, as `ssePacked…` takes it. */
const everyLane = (operation: Operation): number => number(operation) * 0x1111

/** dst = dst op src, for one lane or all. */
function compute(
  u: Meaning,
  suffix: Suffix,
  operation: Operation,
  native: Compute,
  dst: Operand,
  src: Operand,
) {
  if (isScalar(suffix)) u.writeLow(dst, computeScalar(u, widthOf(suffix), operation, native, dst, src))
  else {
    const b = u.readVector(src)
    u.writeVector(dst, computePacked(u, widthOf(suffix), everyLane(operation), native, u.readVector(dst), b))
  }
}

function computeScalar(
  u: Meaning,
  width: Width,
  operation: Operation,
  native: Compute,
  dst: Operand,
  src: Operand,
): Expr {
  const b = u.readLow(src)
  const a = u.readLow(dst)
  const { result, exact, rounds } = native(scalarFloats(u, width), fromBits(width, a), fromBits(width, b))
  return chooseResult(
    u,
    'i64',
    rounds ? exact.and(isOrdinary(u)) : exact,
    () => toBits(width, result),
    () => u.routine(`sseScalar${width}`, number(operation), a, b),
  )
}

function computePacked(
  u: Meaning,
  width: Width,
  operations: number,
  native: Compute,
  a: Expr,
  b: Expr,
): Expr {
  const f = packedFloats(u, width)
  const { result, exact, rounds } = native(f, a, b)
  return chooseResult(
    u,
    'v128',
    rounds ? f.all(exact).and(isOrdinary(u)) : f.all(exact),
    () => result,
    () => u.routine(`ssePacked${width}`, operations, a, b),
  )
}

/** ADDPS, ADDPD, ADDSS, ADDSD and the like. */
function family(name: string, opcode: string, operation: Operation, native: Compute): Instruction[] {
  return (['ps', 'pd', 'ss', 'sd'] as const).map((suffix) =>
    sse(
      'sse2',
      `${name}${suffix}`,
      [{ bytes: `${PREFIX[suffix]} 0F ${opcode} /r`, operands: [`V${suffix}`, `W${suffix}`] }],
      (u, dst, src) => compute(u, suffix, operation, native, dst!, src!),
    ),
  )
}

/** Packed instructions of SSE3, whose prefixes are 66 and F2. */
function packedPair(
  name: string,
  opcode: string,
  meaning: (u: Meaning, width: Width, a: Expr, b: Expr) => Expr,
): Instruction[] {
  return (['ps', 'pd'] as const).map((suffix) =>
    sse(
      'sse3',
      `${name}${suffix}`,
      [{ bytes: `${suffix === 'ps' ? 'F2' : '66'} 0F ${opcode} /r`, operands: [`V${suffix}`, `W${suffix}`] }],
      (u, dst, src) => {
        const b = u.readVector(src!)
        u.writeVector(dst!, meaning(u, widthOf(suffix), u.readVector(dst!), b))
      },
    ),
  )
}

/** Lanes 0, 2, … and 1, 3, … of two operands end to end. */
function evenAndOdd(width: Width, a: Expr, b: Expr): readonly [Expr, Expr] {
  const bytes = width / 8
  const choose = (first: number): number[] =>
    Array.from({ length: 16 }, (_, i) => (2 * Math.floor(i / bytes) + first) * bytes + (i % bytes))
  return [a.shuffle(b, choose(0)), a.shuffle(b, choose(1))]
}

const horizontal =
  (operation: 'Add' | 'Sub') =>
  (u: Meaning, width: Width, a: Expr, b: Expr): Expr => {
    const [even, odd] = evenAndOdd(width, a, b)
    const native = arithmetic(operation === 'Add' ? 'add' : 'sub')
    return computePacked(u, width, everyLane(operation), native, even, odd)
  }

/** ADDSUB: even lanes are subtracted, odd ones added. */
function alternate(u: Meaning, width: Width, a: Expr, b: Expr): Expr {
  const bytes = width / 8
  const even = u.v128(Array.from({ length: 16 }, (_, i) => (Math.floor(i / bytes) & 1 ? 0 : 0xff)))
  const native: Compute = (f, x, y) => {
    const [sum, difference] = [arithmetic('add')(f, x, y), arithmetic('sub')(f, x, y)]
    return {
      result: f.select(even, difference.result, sum.result),
      exact: f.select(even, difference.exact, sum.exact),
      rounds: true,
    }
  }
  const operations = number('Add') * 0x1010 + number('Sub') * 0x0101
  return computePacked(u, width, operations, native, a, b)
}

/** DPPS and DPPD: products of chosen lanes, their sum to chosen lanes; bits 7 to 4 and 3 to 0 of the constant. */
function dotProduct(suffix: 'ps' | 'pd', opcode: string): Instruction {
  const width = widthOf(suffix)
  return sse(
    'sse4.1',
    `dp${suffix}`,
    [{ bytes: `66 0F 3A ${opcode} /r`, operands: [`V${suffix}`, `W${suffix}`, 'Ib'] }],
    (u, dst, src, choice) => {
      const b = u.readVector(src!)
      const a = u.readVector(dst!)
      const control = u.immediate8(choice!)
      const multiplied = laneMask(u, width, control.shrU(4))
      const pick = (x: Expr): Expr => x.simd('v128.and', multiplied)
      // A lane that is not chosen counts as zero, whatever it holds.
      const products = computePacked(u, width, everyLane('Mul'), arithmetic('mul'), pick(a), pick(b))
      const add = (x: Expr, y: Expr): Expr =>
        computePacked(u, width, everyLane('Add'), arithmetic('add'), x, y)
      // Every lane adds its neighbour; which of two NaNs comes out of it follows from the order.
      const neighbours = exchange(width, 1, products)
      const pairs = width === 32 ? add(neighbours, products) : add(products, neighbours)
      const sum = width === 32 ? add(pairs, exchange(width, 2, pairs)) : pairs
      u.writeVector(dst!, sum.simd('v128.and', laneMask(u, width, control)))
    },
  )
}
/** Lane i ^ distance in place of lane i. */
function exchange(width: Width, distance: number, a: Expr): Expr {
  const bytes = width / 8
  return a.shuffle(
    a,
    Array.from({ length: 16 }, (_, i) => i ^ (distance * bytes)),
  )
}
/** Lanes whose bit of `bits` is set. */
function laneMask(u: Meaning, width: Width, bits: Expr): Expr {
  const bytes = width / 8
  const constant = u.v128(Array.from({ length: 16 }, (_, i) => 1 << Math.floor(i / bytes)))
  return bits.simdMixed('i8x16.splat').simd('v128.and', constant).simd('i8x16.eq', constant)
}

// ---- comparisons ----

/** Where no operand is a NaN or a denormal, the two bits of the predicate choose among "equal" and "less". */
function compareNatively(f: Floats, predicate: Expr, a: Expr, b: Expr, ones: (truth: Expr) => Expr): Expr {
  const equal = predicate.and(1).eqz()
  const less = predicate.add(1).and(2)
  return f.or(f.and(f.compare('eq', a, b), ones(equal)), f.and(f.compare('lt', a, b), ones(less.ne(0))))
}

function comparePacked(suffix: 'ps' | 'pd'): Instruction['meaning'] {
  const width = widthOf(suffix)
  return (u, dst, src, choice) => {
    const b = u.readVector(src!)
    const a = u.readVector(dst!)
    const predicate = u.immediate8(choice!).and(7)
    const f = packedFloats(u, width)
    const ones = (truth: Expr): Expr => u.i32(0).sub(truth).simdMixed('i32x4.splat')
    const native = (): Expr =>
      compareNatively(f, predicate, a, b, ones).simd('v128.xor', ones(predicate.shrU(2)))
    const plain = f.all(f.and(isPlain(f, a), isPlain(f, b)))
    const lanes = width === 32 ? 4 : 2
    const exact = (): Expr => u.routine(`sseCompare${width}`, predicate, a, b, lanes)
    u.writeVector(dst!, chooseResult(u, 'v128', plain, native, exact))
  }
}

function compareScalar(suffix: 'ss' | 'sd'): Instruction['meaning'] {
  const width = widthOf(suffix)
  return (u, dst, src, choice) => {
    const b = u.readLow(src!)
    const a = u.readLow(dst!)
    const predicate = u.immediate8(choice!).and(7)
    const f = scalarFloats(u, width)
    const [x, y] = [fromBits(width, a), fromBits(width, b)]
    const native = (): Expr => {
      const truth = compareNatively(f, predicate, x, y, (t) => t).xor(predicate.shrU(2))
      return u.i64(0).sub(truth.extendU())
    }
    const plain = f.and(isPlain(f, x), isPlain(f, y))
    const wide = (value: Expr): Expr => value.simdMixed('i64x2.splat')
    const exact = (): Expr => u.routine(`sseCompare${width}`, predicate, wide(a), wide(b), 1).lane('i64x2', 0)
    u.writeLow(dst!, chooseResult(u, 'i64', plain, native, exact))
  }
}

const COMPARISONS: readonly Instruction[] = (['ps', 'pd', 'ss', 'sd'] as const).map((suffix) =>
  sse(
    'sse2',
    `cmp${suffix}`,
    [{ bytes: `${PREFIX[suffix]} 0F C2 /r`, operands: [`V${suffix}`, `W${suffix}`, 'Ib'] }],
    suffix === 'ps' || suffix === 'pd' ? comparePacked(suffix) : compareScalar(suffix),
  ),
)

/** COMIS and UCOMIS: the order in CF, ZF and PF; all three where there is none. */
function order(name: string, opcode: string, suffix: 'ss' | 'sd', quiet: 0 | 1): Instruction {
  const width = widthOf(suffix)
  const prefix = suffix === 'ss' ? 'NP' : '66'
  return sse(
    'sse2',
    `${name}${suffix}`,
    [{ bytes: `${prefix} 0F ${opcode} /r`, operands: [`V${suffix}`, `W${suffix}`] }],
    (u, first, second) => {
      const b = u.readLow(second!)
      const a = u.readLow(first!)
      const f = scalarFloats(u, width)
      const [x, y] = [fromBits(width, a), fromBits(width, b)]
      const native = (): Expr => f.compare('lt', x, y).or(f.compare('eq', x, y).shl(6))
      const exact = (): Expr => {
        const relation = u.routine(`sseOrder${width}`, a, b, quiet)
        // Less, equal, greater, unordered.
        const flags = u.select(relation.eq(1), u.i32(0x40), u.select(relation.eq(3), u.i32(0x45), 0))
        return u.select(relation.eqz(), u.i32(1), flags)
      }
      const plain = f.and(isPlain(f, x), isPlain(f, y))
      u.flagsExplicit(chooseResult(u, 'i32', plain, native, exact).extendU())
    },
  )
}

export const SSE_FLOAT: readonly Instruction[] = [
  ...family('add', '58', 'Add', arithmetic('add')),
  ...family('mul', '59', 'Mul', arithmetic('mul')),
  ...family('sub', '5C', 'Sub', arithmetic('sub')),
  ...family('min', '5D', 'Min', extreme('lt')),
  ...family('div', '5E', 'Div', arithmetic('div')),
  ...family('max', '5F', 'Max', extreme('gt')),
  ...family('sqrt', '51', 'Sqrt', squareRoot),
  ...packedPair('hadd', '7C', horizontal('Add')),
  ...packedPair('hsub', '7D', horizontal('Sub')),
  ...packedPair('addsub', 'D0', alternate),
  dotProduct('ps', '40'),
  dotProduct('pd', '41'),
  ...COMPARISONS,
  order('ucomi', '2E', 'ss', 1),
  order('ucomi', '2E', 'sd', 1),
  order('comi', '2F', 'ss', 0),
  order('comi', '2F', 'sd', 0),
]
