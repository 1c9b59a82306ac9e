/** Packing, unpacking, shuffling, blending, inserting and extracting of MMX and SSE. */
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import type { LoadKind, SimdOp, StoreKind } from '../wasm/opcodes.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import {
  type Combine,
  LANES,
  low64,
  mmx,
  packed,
  packedMmx,
  packedSse,
  readLanes,
  sse,
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

function shuffleWords(mnemonic: string, prefix: string, size: 2 | 4, from: number): Instruction {
  return sse(
    'sse2',
    mnemonic,
    [{ bytes: `${prefix} 0F 70 /r`, operands: ['Vx', 'Wx', 'Ib'] }],
    (u, dst, src, choice) =>
      u.writeVector(dst!, chooseWords(u, u.readVector(src!), u.immediate8(choice!), { size, from })),
  )
}

/** PALIGNR: the two operands end to end, shifted right by bytes. */
function align(u: Meaning, dst: Operand, src: Operand, count: Expr, bytes: 8 | 16): void {
  const low = readLanes(u, src)
  const high = readLanes(u, dst)
  u.store('v128', u.i32(LANES), low)
  if (bytes === 16) u.store('v128', u.i32(LANES + 16), high)
  else u.store('i64', u.i32(LANES + 8), high.lane('i64x2', 0))
  u.store('v128', u.i32(LANES + bytes * 2), u.zero('v128'))
  const bounded = u.select(count.gtU(bytes * 2), u.i32(bytes * 2), count)
  writeLanes(u, dst, u.load('v128', bounded, LANES))
}

/** Bytes of src where the mask's lanes have their top bit, else of dst. */
function blendByXmm0(mnemonic: string, opcode: string, widen: (u: Meaning, mask: Expr) => Expr): Instruction {
  return sse(
    'sse4.1',
    mnemonic,
    [{ bytes: `66 0F 38 ${opcode} /r`, operands: ['Vx', 'Wx'] }],
    (u, dst, src) => {
      const b = u.readVector(src!)
      const mask = widen(u, u.load('v128', u.i32(XMM0), L.XMM))
      u.writeVector(dst!, b.simd('v128.bitselect', u.readVector(dst!), mask))
    },
  )
}
/** A constant's bit for each lane, as a mask of whole lanes. */
function blendByImmediate(mnemonic: string, opcode: string, lanes: 2 | 4 | 8): Instruction {
  return sse(
    'sse4.1',
    mnemonic,
    [{ bytes: `66 0F 3A ${opcode} /r`, operands: ['Vx', 'Wx', 'Ib'] }],
    (u, dst, src, choice) => {
      const b = u.readVector(src!)
      const bits = u.immediate8(choice!).simdMixed('i8x16.splat')
      const size = 16 / lanes
      const select = Array.from({ length: 16 }, (_, i) => 1 << Math.floor(i / size))
      const constant = u.v128(select)
      const mask = bits.simd('v128.and', constant).simd('i8x16.eq', constant)
      u.writeVector(dst!, b.simd('v128.bitselect', u.readVector(dst!), mask))
    },
  )
}

function extend(
  mnemonic: string,
  opcode: string,
  type: 'q' | 'd' | 'w',
  steps: readonly SimdOp[],
): Instruction {
  return sse(
    'sse4.1',
    mnemonic,
    [{ bytes: `66 0F 38 ${opcode} /r`, operands: ['Vx', `W${type}`] }],
    (u, dst, src) => {
      let value = low64(u, u.readLow(src!))
      for (const step of steps) value = value.simd(step)
      u.writeVector(dst!, value)
    },
  )
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
    extend(`${name}bw`, opcode(0), 'q', [b]),
    extend(`${name}bd`, opcode(1), 'd', [b, w]),
    extend(`${name}bq`, opcode(2), 'w', [b, w, d]),
    extend(`${name}wd`, opcode(3), 'q', [w]),
    extend(`${name}wq`, opcode(4), 'd', [w, d]),
    extend(`${name}dq`, opcode(5), 'q', [d]),
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
  operands: readonly string[],
  size: (u: Meaning) => number,
  memoryBytes?: number,
): Instruction {
  return sse(
    'sse4.1',
    mnemonic,
    [{ bytes: `66 0F 3A ${opcode} /r`, operands, access: 'w', ...(memoryBytes && { memoryBytes }) }],
    (u, dst, src, number) => {
      const bytes = size(u)
      const at = laneAt(u, src!, u.immediate8(number!), bytes, 16 / bytes)
      const value = u.load(LANE_LOADS[bytes]!, at, L.XMM)
      if (dst!.kind === 'memory') u.storeMemory(u.address(dst!), bytes, value)
      else u.write(dst!, value)
    },
  )
}
function insertLane(
  mnemonic: string,
  opcode: string,
  operands: readonly string[],
  size: (u: Meaning) => number,
): Instruction {
  return sse('sse4.1', mnemonic, [{ bytes: `66 0F 3A ${opcode} /r`, operands }], (u, dst, src, number) => {
    const bytes = size(u)
    const value = u.readUnsigned(src!)
    u.store(LANE_STORES[bytes]!, laneAt(u, dst!, u.immediate8(number!), bytes, 16 / bytes), value, L.XMM)
  })
}
/** REX.W makes a doubleword a quadword. */
const dOrQ = (u: Meaning): number => (u.variant.size === 8 ? 8 : 4)

/** PINSRW and PEXTRW of SSE and MMX; a source in memory is a word, in a register a doubleword. */
const insertWord = (
  u: Meaning,
  dst: Operand,
  src: Operand,
  number: Operand,
  base: number,
  count: number,
): void => {
  const value = src.kind === 'memory' ? u.loadMemory(u.address(src), 2) : u.readUnsigned(src)
  u.store('i64_16', laneAt(u, dst, u.immediate8(number), 2, count), value, base)
}

/** MPSADBW: sums of absolute differences of four bytes at eight offsets. */
const differences: Instruction = sse(
  'sse4.1',
  'mpsadbw',
  [{ bytes: '66 0F 3A 42 /r', operands: ['Vx', 'Wx', 'Ib'] }],
  (u, dst, src, choice) => {
    const b = u.readVector(src!)
    const a = u.readVector(dst!)
    const immediate = u.immediate8(choice!)
    u.store('v128', u.i32(LANES), a)
    u.store('v128', u.i32(LANES + 16), b)
    const from = immediate.and(4)
    const block = immediate.and(3).mul(4)
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
    u.writeVector(dst!, result)
  },
)

export const PACKED_SHUFFLE: readonly Instruction[] = [
  ...packed('packsswb', '63', narrow('i8x16.narrow_i16x8_s')),
  ...packed('packuswb', '67', narrow('i8x16.narrow_i16x8_u')),
  ...packed('packssdw', '6B', narrow('i16x8.narrow_i32x4_s')),
  packedSse('packusdw', '38 2B', narrow('i16x8.narrow_i32x4_u'), 'sse4.1'),
  packedMmx('punpcklbw', '60', interleave(1, false), 'mmx', 'Qd'),
  packedSse('punpcklbw', '60', interleave(1, false)),
  packedMmx('punpcklwd', '61', interleave(2, false), 'mmx', 'Qd'),
  packedSse('punpcklwd', '61', interleave(2, false)),
  packedMmx('punpckldq', '62', interleave(4, false), 'mmx', 'Qd'),
  packedSse('punpckldq', '62', interleave(4, false)),
  packedSse('punpcklqdq', '6C', interleave(8, false)),
  ...packed('punpckhbw', '68', interleave(1, true)),
  ...packed('punpckhwd', '69', interleave(2, true)),
  ...packed('punpckhdq', '6A', interleave(4, true)),
  packedSse('punpckhqdq', '6D', interleave(8, true)),
  ...packed('pshufb', '38 00', shuffleBytes, 'ssse3'),
  shuffleWords('pshufd', '66', 4, 0),
  shuffleWords('pshuflw', 'F2', 2, 0),
  shuffleWords('pshufhw', 'F3', 2, 4),
  mmx('pshufw', [{ bytes: 'NP 0F 70 /r', operands: ['Pq', 'Qq', 'Ib'] }], (u, dst, src, choice) =>
    writeLanes(u, dst!, chooseWords(u, readLanes(u, src!), u.immediate8(choice!), { size: 2, from: 0 })),
  ),
  mmx(
    'palignr',
    [{ bytes: 'NP 0F 3A 0F /r', operands: ['Pq', 'Qq', 'Ib'] }],
    (u, dst, src, count) => align(u, dst!, src!, u.immediate8(count!), 8),
    'ssse3',
  ),
  sse('ssse3', 'palignr', [{ bytes: '66 0F 3A 0F /r', operands: ['Vx', 'Wx', 'Ib'] }], (u, dst, src, count) =>
    align(u, dst!, src!, u.immediate8(count!), 16),
  ),
  blendByXmm0('pblendvb', '10', (_u, mask) => mask.simdMixed('i8x16.shr_s', 7)),
  blendByXmm0('blendvps', '14', (_u, mask) => mask.simdMixed('i32x4.shr_s', 31)),
  blendByXmm0('blendvpd', '15', (_u, mask) => mask.simdMixed('i64x2.shr_s', 63)),
  blendByImmediate('blendps', '0C', 4),
  blendByImmediate('blendpd', '0D', 2),
  blendByImmediate('pblendw', '0E', 8),
  ...extensions('s', 0x20),
  ...extensions('u', 0x30),
  extractLane('pextrb', '14', ['Ey', 'Vx', 'Ib'], () => 1, 1),
  extractLane('pextrw', '15', ['Ey', 'Vx', 'Ib'], () => 2, 2),
  extractLane('pextrd', '16', ['Ey', 'Vx', 'Ib'], dOrQ),
  extractLane('extractps', '17', ['Ey', 'Vx', 'Ib'], () => 4, 4),
  insertLane('pinsrd', '22', ['Vx', 'Ey', 'Ib'], dOrQ),
  sse(
    'sse4.1',
    'pinsrb',
    [{ bytes: '66 0F 3A 20 /r', operands: ['Vx', 'Ed', 'Ib'], memoryBytes: 1 }],
    (u, dst, src, number) => {
      const value = src!.kind === 'memory' ? u.loadMemory(u.address(src!), 1) : u.readUnsigned(src!)
      u.store('i64_8', laneAt(u, dst!, u.immediate8(number!), 1, 16), value, L.XMM)
    },
  ),
  sse(
    'sse2',
    'pinsrw',
    [{ bytes: '66 0F C4 /r', operands: ['Vx', 'Ed', 'Ib'], memoryBytes: 2 }],
    (u, dst, src, number) => insertWord(u, dst!, src!, number!, L.XMM, 8),
  ),
  mmx(
    'pinsrw',
    [{ bytes: 'NP 0F C4 /r', operands: ['Pq', 'Ed', 'Ib'], memoryBytes: 2 }],
    (u, dst, src, number) => {
      insertWord(u, dst!, src!, number!, L.X87, 4)
      writeMmx(u, dst!, u.readLow(dst!))
    },
  ),
  sse('sse2', 'pextrw', [{ bytes: '66 0F C5 /r', operands: ['Gd', 'Ux', 'Ib'] }], (u, dst, src, number) =>
    u.write(dst!, u.load('i64_16u', laneAt(u, src!, u.immediate8(number!), 2, 8), L.XMM)),
  ),
  mmx('pextrw', [{ bytes: 'NP 0F C5 /r', operands: ['Gd', 'Nq', 'Ib'] }], (u, dst, src, number) =>
    u.write(dst!, u.load('i64_16u', laneAt(u, src!, u.immediate8(number!), 2, 4), L.X87)),
  ),
  sse(
    'sse4.1',
    'insertps',
    [{ bytes: '66 0F 3A 21 /r', operands: ['Vx', 'Wss', 'Ib'] }],
    (u, dst, src, choice) => {
      const immediate = u.immediate8(choice!)
      const from =
        src!.kind === 'memory'
          ? u.readLow(src!)
          : u.load('i64_32u', laneAt(u, src!, immediate.shrU(6), 4, 4), L.XMM)
      u.store('i64_32', laneAt(u, dst!, immediate.shrU(4), 4, 4), from, L.XMM)
      const bits = immediate.simdMixed('i32x4.splat')
      const constant = u.v128([1, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0])
      const cleared = bits.simd('v128.and', constant).simd('i32x4.eq', constant)
      u.writeVector(dst!, u.readVector(dst!).simd('v128.andnot', cleared))
    },
  ),
  ...['14', '15'].flatMap((opcode, high) => [
    sse(
      'sse',
      `unpck${'lh'[high]}ps`,
      [{ bytes: `NP 0F ${opcode} /r`, operands: ['Vx', 'Wx'] }],
      (u, dst, src) => {
        const b = u.readVector(src!)
        u.writeVector(dst!, interleave(4, high === 1)(u, u.readVector(dst!), b, 16))
      },
    ),
    sse(
      'sse2',
      `unpck${'lh'[high]}pd`,
      [{ bytes: `66 0F ${opcode} /r`, operands: ['Vx', 'Wx'] }],
      (u, dst, src) => {
        const b = u.readVector(src!)
        u.writeVector(dst!, interleave(8, high === 1)(u, u.readVector(dst!), b, 16))
      },
    ),
  ]),
  sse('sse', 'shufps', [{ bytes: 'NP 0F C6 /r', operands: ['Vx', 'Wx', 'Ib'] }], (u, dst, src, choice) => {
    const b = u.readVector(src!)
    u.store('v128', u.i32(LANES), u.readVector(dst!))
    u.store('v128', u.i32(LANES + 16), b)
    const immediate = u.immediate8(choice!)
    let result = u.zero('v128')
    for (let i = 0; i < 4; i++) {
      const at = immediate
        .shrU(i * 2)
        .and(3)
        .shl(2)
      result = result.withLane('i32x4', i, u.load('i32', at, LANES + (i < 2 ? 0 : 16)))
    }
    u.writeVector(dst!, result)
  }),
  sse('sse2', 'shufpd', [{ bytes: '66 0F C6 /r', operands: ['Vx', 'Wx', 'Ib'] }], (u, dst, src, choice) => {
    const b = u.readVector(src!)
    const a = u.readVector(dst!)
    const immediate = u.immediate8(choice!)
    const low = u.select(immediate.and(1), a.lane('i64x2', 1), a.lane('i64x2', 0))
    const high = u.select(immediate.and(2), b.lane('i64x2', 1), b.lane('i64x2', 0))
    u.writeVector(dst!, low64(u, low).withLane('i64x2', 1, high))
  }),
  ...(
    [
      ['and', '54', 'v128.and'],
      ['or', '56', 'v128.or'],
      ['xor', '57', 'v128.xor'],
    ] as const
  ).flatMap(([name, opcode, op]) => floatLogic(name, opcode, (a, b) => a.simd(op, b))),
  ...floatLogic('andn', '55', (a, b) => b.simd('v128.andnot', a)),
  differences,
]

function floatLogic(name: string, opcode: string, combine: (a: Expr, b: Expr) => Expr): Instruction[] {
  return (['ps', 'pd'] as const).map((type) =>
    sse(
      'sse2',
      `${name}${type}`,
      [{ bytes: `${type === 'ps' ? 'NP' : '66'} 0F ${opcode} /r`, operands: ['Vx', 'Wx'] }],
      (u, dst, src) => {
        const b = u.readVector(src!)
        u.writeVector(dst!, combine(u.readVector(dst!), b))
      },
    ),
  )
}
