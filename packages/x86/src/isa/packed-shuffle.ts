/** Packing, unpacking, shuffling, blending, inserting and extracting of MMX, SSE and AVX. */
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import type { LoadKind, SimdOp, StoreKind } from '../wasm/opcodes.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import {
  avx,
  type Combine,
  combineHalves,
  type Extension,
  type Halves,
  LANES,
  low64,
  mmx,
  packed,
  packedMmx,
  packedSse,
  readLanes,
  sse,
  type VectorRow,
  vector,
  writeLanes,
  writeMmx,
} from './vector.ts'

const XMM0 = 0
const bytesOf = (lanes: readonly number[], bytes: number): number[] =>
  lanes.flatMap((lane) => Array.from({ length: bytes }, (_, i) => lane * bytes + i))

/** Lanes of the low (or high) halves of two operands in turn. */
function interleave(size: 1 | 2 | 4 | 8, high: boolean): Combine {
  return (_u, a, b, bytes) => {
    const count = bytes / size
    const first = high ? count / 2 : 0
    const lanes = Array.from({ length: count }, (_, i) => first + (i >> 1) + (i & 1 ? 16 / size : 0))
    const order = bytesOf(lanes, size)
    while (order.length < 16) order.push(0)
    return a.shuffle(b, order)
  }
}

/** Narrows two operands into one, with saturation; MMX operands lie side by side. */
const narrow =
  (name: SimdOp): Combine =>
  (_u, a, b, bytes) => {
    if (bytes === 16) return a.simd(name, b)
    const both = a.withLane('i64x2', 1, b.lane('i64x2', 0))
    return both.simd(name, both)
  }

/** PSHUFB: an index with its top bit set gives zero. */
const shuffleBytes: Combine = (u, a, b, bytes) => {
  const mask = b.simd('v128.and', u.v128(new Array(16).fill(bytes === 8 ? 0x87 : 0x8f)))
  return a.simd('i8x16.swizzle', mask)
}

/** Lanes of `source` chosen by two bits each of an immediate, through memory. */
function chooseWords(
  u: Meaning,
  source: Expr,
  immediate: Expr,
  lanes: { readonly size: 2 | 4; readonly from: number },
): Expr {
  u.store('v128', u.i32(LANES), source)
  let result = source
  for (let i = 0; i < 4; i++) {
    const index = immediate.shrU(i * 2).and(3)
    const at = index.mul(lanes.size)
    const value = u.load(lanes.size === 2 ? 'i32_16u' : 'i32', at, LANES + lanes.from * lanes.size)
    result = result.withLane(lanes.size === 2 ? 'i16x8' : 'i32x4', lanes.from + i, value)
  }
  return result
}

function shuffleWords(mnemonic: string, prefix: string, size: 2 | 4, from: number): Instruction[] {
  const row = { mnemonic, bytes: `${prefix} 0F 70 /r`, operands: ['Vx', 'Wx', 'Ib'] }
  return vector({ ...row, extension: 'sse2', wide: 'avx2' }, (u, v, dst, src, choice) => {
    const immediate = u.immediate8(choice!)
    v.write(
      dst,
      v.read(src!).map((half) => chooseWords(u, half, immediate, { size, from })),
    )
  })
}

/** PALIGNR: two operands end to end, shifted right by bytes. */
function align(u: Meaning, high: Expr, low: Expr, count: Expr, bytes: 8 | 16): Expr {
  u.store('v128', u.i32(LANES), low)
  if (bytes === 16) u.store('v128', u.i32(LANES + 16), high)
  else u.store('i64', u.i32(LANES + 8), high.lane('i64x2', 0))
  u.store('v128', u.i32(LANES + bytes * 2), u.zero('v128'))
  const bounded = u.select(count.gtU(bytes * 2), u.i32(bytes * 2), count)
  return u.load('v128', bounded, LANES)
}

/** A computation on halves with the same constant for each of them. */
type CombineBy = (u: Meaning, a: Expr, b: Expr, immediate: Expr, half: number) => Expr

/** dst = combine(first, second, constant), half by half. */
function combineBy(row: Omit<VectorRow, 'twoSources' | 'operands'>, combine: CombineBy): Instruction[] {
  const operands = ['Vx', 'Wx', 'Ib']
  return vector({ ...row, operands, twoSources: true }, (u, v, dst, first, src, choice) => {
    const b = v.read(src!)
    const immediate = u.immediate8(choice!)
    const combined = v.read(first!).map((half, i) => combine(u, half, b[i]!, immediate, i))
    v.write(dst, combined)
  })
}

/** Bytes of the second operand where the mask's lanes have their top bit, else of the first. */
const blend = (a: Halves, b: Halves, mask: Halves): Halves =>
  a.map((half, i) => b[i]!.simd('v128.bitselect', half, mask[i]!))

/** The mask is XMM0, or with VEX any register. */
function blendByRegister(
  mnemonic: string,
  opcode: string,
  vexOpcode: string,
  wide: 'avx' | 'avx2',
  spread: (mask: Expr) => Expr,
): Instruction[] {
  const bytes = `66 0F 38 ${opcode} /r`
  const withVex = (feature: 'avx' | 'avx2', length: string, type: string): Instruction => {
    const operands = [`V${type}`, `H${type}`, `W${type}`, `L${type}`]
    const form = { bytes: `VEX.${length}.66.0F3A.W0 ${vexOpcode} /r`, operands }
    return avx(feature, `v${mnemonic}`, [form], (u, dst, first, src, mask) => {
      const b = u.readHalves(src!)
      const masks = u.readHalves(mask!).map(spread)
      u.writeHalves(dst!, blend(u.readHalves(first!), b, masks))
    })
  }
  return [
    sse('sse4.1', mnemonic, [{ bytes, operands: ['Vx', 'Wx'] }], (u, dst, src) => {
      const b = u.readVector(src!)
      const mask = spread(u.load('v128', u.i32(XMM0), L.XMM))
      u.writeVector(dst!, blend([u.readVector(dst!)], [b], [mask])[0]!)
    }),
    withVex('avx', '128', 'x'),
    withVex(wide, '256', 'qq'),
  ]
}

/** Lanes whose bit of the constant is set come from the second operand. */
export function blendLanes(u: Meaning, a: Expr, b: Expr, bits: Expr, lanes: number): Expr {
  const size = 16 / lanes
  const constant = u.v128(Array.from({ length: 16 }, (_, i) => 1 << Math.floor(i / size)))
  const mask = bits.simdMixed('i8x16.splat').simd('v128.and', constant).simd('i8x16.eq', constant)
  return b.simd('v128.bitselect', a, mask)
}
/** PBLENDW's constant serves both halves; the others have a bit for each of their lanes. */
function blendByImmediate(
  mnemonic: string,
  opcode: string,
  lanes: 2 | 4 | 8,
  wide: 'avx' | 'avx2',
): Instruction[] {
  const row = { extension: 'sse4.1', mnemonic, bytes: `66 0F 3A ${opcode} /r`, wide } as const
  return combineBy(row, (u, a, b, bits, half) =>
    blendLanes(u, a, b, lanes === 8 ? bits : bits.shrU(half * lanes), lanes),
  )
}

const WIDE_SOURCE = { q: 'Wdq', d: 'Wq', w: 'Wd' } as const
/** Sign or zero extension of the low lanes; the upper half of a YMM register gets those above. */
function extend(
  mnemonic: string,
  opcode: string,
  type: 'q' | 'd' | 'w',
  steps: readonly SimdOp[],
): Instruction[] {
  const bytes = { q: 8, d: 4, w: 2 }[type]
  const row = { mnemonic, bytes: `66 0F 38 ${opcode} /r`, operands: ['Vx', `W${type}`] }
  const wideOperands = ['Vqq', WIDE_SOURCE[type]]
  return vector({ ...row, extension: 'sse4.1', wide: 'avx2', wideOperands }, (u, v, dst, src) => {
    const extended = (value: Expr): Expr => steps.reduce((result, step) => result.simd(step), value)
    if (dst.size === 16) return v.write(dst, [extended(low64(u, u.readLow(src!)))])
    const source = src!.size === 16 ? v.read(src!)[0]! : low64(u, u.readLow(src!))
    const above = source.shuffle(
      source,
      Array.from({ length: 16 }, (_, i) => (i + bytes) % 16),
    )
    v.write(dst, [extended(source), extended(above)])
  })
}
const extensions = (sign: 's' | 'u', base: number): Instruction[] => {
  const [b, w, d] = [
    `i16x8.extend_low_i8x16_${sign}`,
    `i32x4.extend_low_i16x8_${sign}`,
    `i64x2.extend_low_i32x4_${sign}`,
  ] as const
  const name = sign === 's' ? 'pmovsx' : 'pmovzx'
  const opcode = (n: number) => (base + n).toString(16).toUpperCase()
  return [
    ...extend(`${name}bw`, opcode(0), 'q', [b]),
    ...extend(`${name}bd`, opcode(1), 'd', [b, w]),
    ...extend(`${name}bq`, opcode(2), 'w', [b, w, d]),
    ...extend(`${name}wd`, opcode(3), 'q', [w]),
    ...extend(`${name}wq`, opcode(4), 'd', [w, d]),
    ...extend(`${name}dq`, opcode(5), 'q', [d]),
  ]
}

const LANE_LOADS: Record<number, LoadKind> = { 1: 'i64_8u', 2: 'i64_16u', 4: 'i64_32u', 8: 'i64' }
const LANE_STORES: Record<number, StoreKind> = { 1: 'i64_8', 2: 'i64_16', 4: 'i64_32', 8: 'i64' }

/** Where lane `number` of a register lies. */
function laneAt(u: Meaning, register: Operand, number: Expr, size: number, count: number): Expr {
  return u.offsetOf(register).add(number.and(count - 1).mul(size))
}
function extractLane(
  mnemonic: string,
  opcode: string,
  size: (u: Meaning) => number,
  memoryBytes?: number,
): Instruction[] {
  const row = { mnemonic, bytes: `66 0F 3A ${opcode} /r`, operands: ['Ey', 'Vx', 'Ib'] }
  const access = { access: 'w', ...(memoryBytes && { memoryBytes }) } as const
  return vector({ ...row, ...access, extension: 'sse4.1' }, (u, _v, dst, src, number) => {
    const bytes = size(u)
    const at = laneAt(u, src!, u.immediate8(number!), bytes, 16 / bytes)
    const value = u.load(LANE_LOADS[bytes]!, at, L.XMM)
    if (dst.kind === 'memory') u.storeMemory(u.address(dst), bytes, value)
    else u.write(dst, value)
  })
}
/** A lane from a general register or memory; VEX has the other lanes from a source of its own. */
function insertLane(
  row: { extension: Extension; mnemonic: string; bytes: string; source: 'Ed' | 'Ey'; memoryBytes?: number },
  size: (u: Meaning) => number,
): Instruction[] {
  const { source, ...rest } = row
  const operands = ['Vx', source, 'Ib']
  return vector({ ...rest, operands, twoSources: true }, (u, v, dst, first, src, number) => {
    const bytes = size(u)
    const value = src!.kind === 'memory' ? u.loadMemory(u.address(src!), bytes) : u.readUnsigned(src!)
    v.copy(dst, first!)
    u.store(LANE_STORES[bytes]!, laneAt(u, dst, u.immediate8(number!), bytes, 16 / bytes), value, L.XMM)
  })
}
/** REX.W makes a doubleword a quadword. */
const dOrQ = (u: Meaning): number => (u.variant.size === 8 ? 8 : 4)

/**
 * MPSADBW: sums of absolute differences of four bytes at eight offsets. Three bits of the constant choose for each half.
 */
const differences = combineBy(
  { extension: 'sse4.1', mnemonic: 'mpsadbw', bytes: '66 0F 3A 42 /r', wide: 'avx2' },
  (u, a, b, constant, half) => {
    const choice = constant.shrU(half * 3)
    u.store('v128', u.i32(LANES), a)
    u.store('v128', u.i32(LANES + 16), b)
    const from = choice.and(4)
    const block = choice.and(3).mul(4)
    let result = u.zero('v128')
    for (let i = 0; i < 8; i++) {
      let sum = u.i32(0)
      for (let j = 0; j < 4; j++) {
        const x = u.load('i32_8u', from, LANES + i + j)
        const y = u.load('i32_8u', block, LANES + 16 + j)
        const difference = x.sub(y)
        sum = sum.add(u.select(difference.ltS(0), difference.neg(), difference))
      }
      result = result.withLane('i16x8', i, sum)
    }
    return result
  },
)

/** SHUFPS: two lanes of each operand, chosen by two bits of the constant each. */
const shuffleSingles: CombineBy = (u, a, b, immediate) => {
  u.store('v128', u.i32(LANES), a)
  u.store('v128', u.i32(LANES + 16), b)
  let result = u.zero('v128')
  for (let i = 0; i < 4; i++) {
    const at = immediate
      .shrU(i * 2)
      .and(3)
      .shl(2)
    result = result.withLane('i32x4', i, u.load('i32', at, LANES + (i < 2 ? 0 : 16)))
  }
  return result
}
/** SHUFPD: one lane of each operand; a bit of the constant for each lane of the result. */
const shuffleDoubles: CombineBy = (u, a, b, immediate, half) => {
  const [first, second] = [1, 2].map((bit) => immediate.and(bit << (half * 2)))
  const low = u.select(first!, a.lane('i64x2', 1), a.lane('i64x2', 0))
  const high = u.select(second!, b.lane('i64x2', 1), b.lane('i64x2', 0))
  return low64(u, low).withLane('i64x2', 1, high)
}

/** INSERTPS: a lane of the source, or a doubleword of memory, to a lane; then lanes become zero. */
const insertSingle = vector(
  {
    extension: 'sse4.1',
    mnemonic: 'insertps',
    bytes: '66 0F 3A 21 /r',
    operands: ['Vx', 'Wss', 'Ib'],
    twoSources: true,
  },
  (u, v, dst, first, src, choice) => {
    const immediate = u.immediate8(choice!)
    const from =
      src!.kind === 'memory'
        ? u.readLow(src!)
        : u.load('i64_32u', laneAt(u, src!, immediate.shrU(6), 4, 4), L.XMM)
    v.copy(dst, first!)
    u.store('i64_32', laneAt(u, dst, immediate.shrU(4), 4, 4), from, L.XMM)
    const bits = immediate.simdMixed('i32x4.splat')
    const constant = u.v128([1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0])
    const cleared = bits.simd('v128.and', constant).simd('i32x4.eq', constant)
    u.writeVector(dst, u.readVector(dst).simd('v128.andnot', cleared))
  },
)

/** An instruction on float lanes that is the same for PS and PD but for its prefix. */
function floatPacked(
  extension: Extension,
  mnemonic: string,
  prefix: 'NP' | '66',
  opcode: string,
  combine: Combine,
): Instruction[] {
  const row = { extension, mnemonic, bytes: `${prefix} 0F ${opcode} /r`, operands: ['Vx', 'Wx'] }
  return vector({ ...row, twoSources: true, wide: 'avx' }, (u, v, dst, first, src) => {
    const b = v.read(src!)
    v.write(dst, combineHalves(u, combine, v.read(first!), b))
  })
}
function floatLogic(name: string, opcode: string, combine: (a: Expr, b: Expr) => Expr): Instruction[] {
  const compute: Combine = (_u, a, b) => combine(a, b)
  return [
    ...floatPacked('sse2', `${name}ps`, 'NP', opcode, compute),
    ...floatPacked('sse2', `${name}pd`, '66', opcode, compute),
  ]
}

export const PACKED_SHUFFLE: readonly Instruction[] = [
  ...packed('packsswb', '63', narrow('i8x16.narrow_i16x8_s')),
  ...packed('packuswb', '67', narrow('i8x16.narrow_i16x8_u')),
  ...packed('packssdw', '6B', narrow('i16x8.narrow_i32x4_s')),
  ...packedSse('packusdw', '38 2B', narrow('i16x8.narrow_i32x4_u'), 'sse4.1'),
  packedMmx('punpcklbw', '60', interleave(1, false), 'mmx', 'Qd'),
  ...packedSse('punpcklbw', '60', interleave(1, false)),
  packedMmx('punpcklwd', '61', interleave(2, false), 'mmx', 'Qd'),
  ...packedSse('punpcklwd', '61', interleave(2, false)),
  packedMmx('punpckldq', '62', interleave(4, false), 'mmx', 'Qd'),
  ...packedSse('punpckldq', '62', interleave(4, false)),
  ...packedSse('punpcklqdq', '6C', interleave(8, false)),
  ...packed('punpckhbw', '68', interleave(1, true)),
  ...packed('punpckhwd', '69', interleave(2, true)),
  ...packed('punpckhdq', '6A', interleave(4, true)),
  ...packedSse('punpckhqdq', '6D', interleave(8, true)),
  ...packed('pshufb', '38 00', shuffleBytes, 'ssse3'),
  ...shuffleWords('pshufd', '66', 4, 0),
  ...shuffleWords('pshuflw', 'F2', 2, 0),
  ...shuffleWords('pshufhw', 'F3', 2, 4),
  mmx('pshufw', [{ bytes: 'NP 0F 70 /r', operands: ['Pq', 'Qq', 'Ib'] }], (u, dst, src, choice) =>
    writeLanes(u, dst!, chooseWords(u, readLanes(u, src!), u.immediate8(choice!), { size: 2, from: 0 })),
  ),
  mmx(
    'palignr',
    [{ bytes: 'NP 0F 3A 0F /r', operands: ['Pq', 'Qq', 'Ib'] }],
    (u, dst, src, count) => {
      const low = readLanes(u, src!)
      writeLanes(u, dst!, align(u, readLanes(u, dst!), low, u.immediate8(count!), 8))
    },
    'ssse3',
  ),
  ...combineBy(
    { extension: 'ssse3', mnemonic: 'palignr', bytes: '66 0F 3A 0F /r', wide: 'avx2' },
    (u, high, low, count) => align(u, high, low, count, 16),
  ),
  ...blendByRegister('pblendvb', '10', '4C', 'avx2', (mask) => mask.simdMixed('i8x16.shr_s', 7)),
  ...blendByRegister('blendvps', '14', '4A', 'avx', (mask) => mask.simdMixed('i32x4.shr_s', 31)),
  ...blendByRegister('blendvpd', '15', '4B', 'avx', (mask) => mask.simdMixed('i64x2.shr_s', 63)),
  ...blendByImmediate('blendps', '0C', 4, 'avx'),
  ...blendByImmediate('blendpd', '0D', 2, 'avx'),
  ...blendByImmediate('pblendw', '0E', 8, 'avx2'),
  ...extensions('s', 0x20),
  ...extensions('u', 0x30),
  ...extractLane('pextrb', '14', () => 1, 1),
  ...extractLane('pextrw', '15', () => 2, 2),
  ...extractLane('pextrd', '16', dOrQ),
  ...extractLane('extractps', '17', () => 4, 4),
  ...insertLane({ extension: 'sse4.1', mnemonic: 'pinsrd', bytes: '66 0F 3A 22 /r', source: 'Ey' }, dOrQ),
  ...insertLane(
    { extension: 'sse4.1', mnemonic: 'pinsrb', bytes: '66 0F 3A 20 /r', source: 'Ed', memoryBytes: 1 },
    () => 1,
  ),
  ...insertLane(
    { extension: 'sse2', mnemonic: 'pinsrw', bytes: '66 0F C4 /r', source: 'Ed', memoryBytes: 2 },
    () => 2,
  ),
  mmx(
    'pinsrw',
    [{ bytes: 'NP 0F C4 /r', operands: ['Pq', 'Ed', 'Ib'], memoryBytes: 2 }],
    (u, dst, src, number) => {
      const value = src!.kind === 'memory' ? u.loadMemory(u.address(src!), 2) : u.readUnsigned(src!)
      u.store('i64_16', laneAt(u, dst!, u.immediate8(number!), 2, 4), value, L.X87)
      writeMmx(u, dst!, u.readLow(dst!))
    },
  ),
  ...vector(
    { extension: 'sse2', mnemonic: 'pextrw', bytes: '66 0F C5 /r', operands: ['Gd', 'Ux', 'Ib'] },
    (u, _v, dst, src, number) =>
      u.write(dst, u.load('i64_16u', laneAt(u, src!, u.immediate8(number!), 2, 8), L.XMM)),
  ),
  mmx('pextrw', [{ bytes: 'NP 0F C5 /r', operands: ['Gd', 'Nq', 'Ib'] }], (u, dst, src, number) =>
    u.write(dst!, u.load('i64_16u', laneAt(u, src!, u.immediate8(number!), 2, 4), L.X87)),
  ),
  ...insertSingle,
  ...['14', '15'].flatMap((opcode, high) => [
    ...floatPacked('sse', `unpck${'lh'[high]}ps`, 'NP', opcode, interleave(4, high === 1)),
    ...floatPacked('sse2', `unpck${'lh'[high]}pd`, '66', opcode, interleave(8, high === 1)),
  ]),
  ...combineBy({ extension: 'sse', mnemonic: 'shufps', bytes: 'NP 0F C6 /r', wide: 'avx' }, shuffleSingles),
  ...combineBy({ extension: 'sse2', mnemonic: 'shufpd', bytes: '66 0F C6 /r', wide: 'avx' }, shuffleDoubles),
  ...floatLogic('and', '54', (a, b) => a.simd('v128.and', b)),
  ...floatLogic('or', '56', (a, b) => a.simd('v128.or', b)),
  ...floatLogic('xor', '57', (a, b) => a.simd('v128.xor', b)),
  ...floatLogic('andn', '55', (a, b) => b.simd('v128.andnot', a)),
  ...differences,
]
