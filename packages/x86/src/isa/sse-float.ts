/** Floating-point arithmetic and comparisons of SSE to SSE4.1 and AVX. float-lanes.ts says when they run natively. */
import type { Expr } from '../wasm/code.ts'
import {
  areExact,
  chooseHalves,
  chooseResult,
  type Floats,
  type Native,
  packedFloats,
  requireExact,
  scalarFloats,
  toBits,
} from './float-lanes.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { OPERATIONS, type Operation, RELATIONS, type Width } from './sse-float-routines.ts'
import { type Halves, scalar, type Vectors, vector } from './vector.ts'

type Suffix = 'ps' | 'pd' | 'ss' | 'sd'
const PREFIX: Record<Suffix, string> = { ps: 'NP', pd: '66', ss: 'F3', sd: 'F2' }
const widthOf = (suffix: Suffix): Width => (suffix.endsWith('s') ? 32 : 64)
const isScalar = (suffix: Suffix): boolean => suffix.startsWith('s')

type Compute = (f: Floats, a: Expr, b: Expr) => Native

/** A result that was rounded; zeros that are allowed come from zeros. */
function arithmetic(operation: 'add' | 'sub' | 'mul' | 'div'): Compute {
  return (f, a, b) => {
    const isExactZero = {
      add: () => f.always,
      sub: () => f.always,
      mul: () => f.or(f.isZero(a), f.isZero(b)),
      div: () => f.isZero(a),
    }[operation]
    return { result: f.apply(operation, a, b), operands: [a, b], rounded: { isExactZero } }
  }
}

const squareRoot: Compute = (f, a, b) => ({
  result: f.apply('sqrt', a, b),
  operands: [b],
  rounded: { isExactZero: () => f.always },
})

/** MIN and MAX: the second operand unless the first is less (greater). Nothing is rounded. */
function extreme(comparison: 'lt' | 'gt'): Compute {
  return (f, a, b) => ({
    result: f.select(f.compare(comparison, a, b), a, b),
    operands: [a, b],
  })
}

const number = (operation: Operation): number => OPERATIONS.indexOf(operation)
/** The same operation in every lane, as `ssePacked…` takes it. */
const everyLane = (operation: Operation): number => number(operation) * 0x1111

/** first op second, for one lane. */
function computeScalar(
  u: Meaning,
  width: Width,
  operation: Operation,
  native: Compute,
  first: Operand,
  second: Operand,
): Expr {
  const b = u.readFloat(second)
  const a = u.readFloat(first)
  const f = scalarFloats(u, width)
  const computed = native(f, a, b)
  const result = (): Expr => toBits(width, computed.result)
  if (u.speculation) {
    requireExact(u, u.speculation, f, [computed])
    return result()
  }
  return chooseResult(u, 'i64', areExact(u, f, [computed]), result, () =>
    u.routine(`sseScalar${width}`, number(operation), toBits(width, a), toBits(width, b)),
  )
}

/** The same for all lanes of vectors. */
function computePacked(
  u: Meaning,
  width: Width,
  operations: number,
  native: Compute,
  a: Halves,
  b: Halves,
): Halves {
  const f = packedFloats(u, width)
  const computed = a.map((half, i) => native(f, half, b[i]!))
  const results = (): Halves => computed.map(({ result }) => result)
  if (u.speculation) {
    requireExact(u, u.speculation, f, computed)
    return results()
  }
  return chooseHalves(
    u,
    areExact(u, f, computed),
    results,
    (half, part) => u.routine(`ssePacked${width}`, operations | part, a[half]!, b[half]!),
    a.length,
  )
}

/** ADDPS, ADDPD, ADDSS, ADDSD and the like; `one` where the first source only fills a scalar's other lanes. */
function family(
  name: string,
  opcode: string,
  operation: Operation,
  native: Compute,
  one = false,
): Instruction[] {
  return (['ps', 'pd', 'ss', 'sd'] as const).flatMap((suffix) => {
    const width = widthOf(suffix)
    const row = {
      extension: 'sse2',
      mnemonic: `${name}${suffix}`,
      bytes: `${PREFIX[suffix]} 0F ${opcode} /r`,
      operands: [`V${suffix}`, `W${suffix}`],
    } as const
    if (isScalar(suffix))
      return scalar(row, (u, first, src) => computeScalar(u, width, operation, native, first, src!))
    return vector({ ...row, twoSources: !one, wide: 'avx' }, (u, v, dst, first, src) => {
      const b = v.read(src ?? first!)
      const a = one ? b : v.read(first!)
      v.write(dst, computePacked(u, width, everyLane(operation), native, a, b))
    })
  })
}

/** Packed instructions of SSE3, whose prefixes are 66 and F2. */
function packedPair(
  name: string,
  opcode: string,
  meaning: (u: Meaning, width: Width, a: Halves, b: Halves) => Halves,
): Instruction[] {
  return (['ps', 'pd'] as const).flatMap((suffix) =>
    vector(
      {
        extension: 'sse3',
        mnemonic: `${name}${suffix}`,
        bytes: `${suffix === 'ps' ? 'F2' : '66'} 0F ${opcode} /r`,
        operands: [`V${suffix}`, `W${suffix}`],
        twoSources: true,
        wide: 'avx',
      },
      (u, v, dst, first, src) => {
        const b = v.read(src!)
        v.write(dst, meaning(u, widthOf(suffix), v.read(first!), b))
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
  (u: Meaning, width: Width, a: Halves, b: Halves): Halves => {
    const pairs = a.map((half, i) => evenAndOdd(width, half, b[i]!))
    const native = arithmetic(operation === 'Add' ? 'add' : 'sub')
    const [even, odd] = [pairs.map((pair) => pair[0]), pairs.map((pair) => pair[1])]
    return computePacked(u, width, everyLane(operation), native, even, odd)
  }

/** ADDSUB: even lanes are subtracted, odd ones added. */
function alternate(u: Meaning, width: Width, a: Halves, b: Halves): Halves {
  const bytes = width / 8
  const even = u.v128(Array.from({ length: 16 }, (_, i) => (Math.floor(i / bytes) & 1 ? 0 : 0xff)))
  const native: Compute = (f, x, y) => {
    const [sum, difference] = [arithmetic('add')(f, x, y), arithmetic('sub')(f, x, y)]
    return {
      result: f.select(even, difference.result, sum.result),
      operands: [x, y],
      rounded: { isExactZero: () => f.always },
    }
  }
  const operations = number('Add') * 0x1010 + number('Sub') * 0x0101
  return computePacked(u, width, operations, native, a, b)
}

/** DPPS and DPPD: products of chosen lanes, their sum to chosen lanes; bits 7 to 4 and 3 to 0 of the constant. */
function dotProduct(suffix: 'ps' | 'pd', opcode: string): Instruction[] {
  const width = widthOf(suffix)
  const row = {
    extension: 'sse4.1',
    mnemonic: `dp${suffix}`,
    bytes: `66 0F 3A ${opcode} /r`,
    operands: [`V${suffix}`, `W${suffix}`, 'Ib'],
    twoSources: true,
    ...(suffix === 'ps' && ({ wide: 'avx' } as const)),
  } as const
  return vector(row, (u, v, dst, first, src, choice) => {
    const b = v.read(src!)
    const a = v.read(first!)
    const control = u.immediate8(choice!)
    const multiplied = laneMask(u, width, control.shrU(4))
    const pick = (x: Halves): Halves => x.map((half) => half.simd('v128.and', multiplied))
    // A lane that is not chosen counts as zero, whatever it holds.
    const products = computePacked(u, width, everyLane('Mul'), arithmetic('mul'), pick(a), pick(b))
    const add = (x: Halves, y: Halves): Halves =>
      computePacked(u, width, everyLane('Add'), arithmetic('add'), x, y)
    // Every lane adds its neighbour; which of two NaNs comes out of it follows from the order.
    const neighbours = exchange(width, 1, products)
    const pairs = width === 32 ? add(neighbours, products) : add(products, neighbours)
    const sum = width === 32 ? add(pairs, exchange(width, 2, pairs)) : pairs
    const kept = laneMask(u, width, control)
    v.write(
      dst,
      sum.map((half) => half.simd('v128.and', kept)),
    )
  })
}
/** Lane i ^ distance in place of lane i. */
function exchange(width: Width, distance: number, a: Halves): Halves {
  const lanes = Array.from({ length: 16 }, (_, i) => i ^ ((distance * width) / 8))
  return a.map((half) => half.shuffle(half, lanes))
}
/** Lanes whose bit of `bits` is set. */
function laneMask(u: Meaning, width: Width, bits: Expr): Expr {
  const bytes = width / 8
  const constant = u.v128(Array.from({ length: 16 }, (_, i) => 1 << Math.floor(i / bytes)))
  return bits.simdMixed('i8x16.splat').simd('v128.and', constant).simd('i8x16.eq', constant)
}

// ---- comparisons ----

/** Where no operand is a NaN or a denormal: any of the relations "less", "equal" and "greater" that the predicate names. */
function compareNatively(
  f: Floats,
  u: Meaning,
  predicate: Expr,
  [a, b]: readonly [Expr, Expr],
  ones: (truth: Expr) => Expr,
): Expr {
  const relations = u.i64(RELATIONS).shrU(predicate.and(15).shl(2).extendU()).wrap()
  const [less, equal] = [f.compare('lt', a, b), f.compare('eq', a, b)]
  const named = (bit: number, truth: Expr): Expr => f.and(truth, ones(relations.shrU(bit).and(1)))
  return f.or(f.or(named(0, less), named(1, equal)), named(2, f.compare('gt', a, b)))
}

/** 1 (i32) where these pairs are plain; recompiled code asks for it. */
function arePlain(u: Meaning, f: Floats, pairs: readonly (readonly [Expr, Expr])[]): Expr {
  const natives = pairs.map((operands) => ({ result: u.i32(1), operands }))
  if (!u.speculation) return areExact(u, f, natives)
  requireExact(u, u.speculation, f, natives)
  return u.i32(1)
}

/** VEX encodes 32 predicates, the legacy encoding eight. */
const predicateOf = (u: Meaning, { isVex }: Vectors, choice: Operand): Expr =>
  u.immediate8(choice).and(isVex ? 31 : 7)

function comparePacked(suffix: 'ps' | 'pd'): Instruction[] {
  const width = widthOf(suffix)
  return vector({ ...compareRow(suffix), twoSources: true, wide: 'avx' }, (u, v, dst, first, src, choice) => {
    const b = v.read(src!)
    const a = v.read(first!)
    const predicate = predicateOf(u, v, choice!)
    const f = packedFloats(u, width)
    const ones = (truth: Expr): Expr => u.i32(0).sub(truth).simdMixed('i32x4.splat')
    const lanes = width === 32 ? 4 : 2
    const results = chooseHalves(
      u,
      arePlain(
        u,
        f,
        a.map((half, i) => [half, b[i]!]),
      ),
      () => a.map((half, i) => compareNatively(f, u, predicate, [half, b[i]!], ones)),
      (half, part) => u.routine(`sseCompare${width}`, predicate.or(part), a[half]!, b[half]!, lanes),
      a.length,
    )
    v.write(dst, results)
  })
}

function compareScalar(suffix: 'ss' | 'sd'): Instruction[] {
  const width = widthOf(suffix)
  return vector({ ...compareRow(suffix), twoSources: true, vex: 'LIG' }, (u, v, dst, first, src, choice) => {
    const y = u.readFloat(src!)
    const x = u.readFloat(first!)
    const predicate = predicateOf(u, v, choice!)
    const f = scalarFloats(u, width)
    const native = (): Expr =>
      u.i64(0).sub(compareNatively(f, u, predicate, [x, y], (truth) => truth).extendU())
    const wide = (value: Expr): Expr => toBits(width, value).simdMixed('i64x2.splat')
    const exact = (): Expr => u.routine(`sseCompare${width}`, predicate, wide(x), wide(y), 1).lane('i64x2', 0)
    const result = chooseResult(u, 'i64', arePlain(u, f, [[x, y]]), native, exact)
    v.copy(dst, { ...first!, size: 16 } as Operand)
    u.writeLow(dst, result)
  })
}

const compareRow = (suffix: Suffix) =>
  ({
    extension: 'sse2',
    mnemonic: `cmp${suffix}`,
    bytes: `${PREFIX[suffix]} 0F C2 /r`,
    operands: [`V${suffix}`, `W${suffix}`, 'Ib'],
  }) as const
const COMPARISONS: readonly Instruction[] = [
  ...comparePacked('ps'),
  ...comparePacked('pd'),
  ...compareScalar('ss'),
  ...compareScalar('sd'),
]

/** COMIS and UCOMIS: the order in CF, ZF and PF; all three where there is none. */
function order(name: string, opcode: string, suffix: 'ss' | 'sd', quiet: 0 | 1): Instruction[] {
  const width = widthOf(suffix)
  const row = {
    extension: 'sse2',
    mnemonic: `${name}${suffix}`,
    bytes: `${suffix === 'ss' ? 'NP' : '66'} 0F ${opcode} /r`,
    operands: [`V${suffix}`, `W${suffix}`],
    vex: 'LIG',
  } as const
  return vector(row, (u, _v, first, second) => {
    const y = u.readFloat(second!)
    const x = u.readFloat(first)
    const f = scalarFloats(u, width)
    const plain = arePlain(u, f, [[x, y]])
    if (u.speculation) return u.flagsOrder(f.compare('lt', x, y), f.compare('le', x, y))
    const native = (): Expr => f.compare('lt', x, y).or(f.compare('eq', x, y).shl(6))
    const exact = (): Expr => {
      const relation = u.routine(`sseOrder${width}`, toBits(width, x), toBits(width, y), quiet)
      // Less, equal, greater, unordered.
      const flags = u.select(relation.eq(1), u.i32(0x40), u.select(relation.eq(3), u.i32(0x45), 0))
      return u.select(relation.eqz(), u.i32(1), flags)
    }
    u.flagsExplicit(chooseResult(u, 'i32', plain, native, exact).extendU())
  })
}

export const SSE_FLOAT: readonly Instruction[] = [
  ...family('add', '58', 'Add', arithmetic('add')),
  ...family('mul', '59', 'Mul', arithmetic('mul')),
  ...family('sub', '5C', 'Sub', arithmetic('sub')),
  ...family('min', '5D', 'Min', extreme('lt')),
  ...family('div', '5E', 'Div', arithmetic('div')),
  ...family('max', '5F', 'Max', extreme('gt')),
  ...family('sqrt', '51', 'Sqrt', squareRoot, true),
  ...packedPair('hadd', '7C', horizontal('Add')),
  ...packedPair('hsub', '7D', horizontal('Sub')),
  ...packedPair('addsub', 'D0', alternate),
  ...dotProduct('ps', '40'),
  ...dotProduct('pd', '41'),
  ...COMPARISONS,
  ...order('ucomi', '2E', 'ss', 1),
  ...order('ucomi', '2E', 'sd', 1),
  ...order('comi', '2F', 'ss', 0),
  ...order('comi', '2F', 'sd', 0),
]
