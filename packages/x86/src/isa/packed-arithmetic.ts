/** Packed integer arithmetic, logic, comparisons and shifts of MMX, SSE and AVX2. */
import type { Expr } from '../wasm/code.ts'
import type { SimdMixedOp, SimdOp } from '../wasm/opcodes.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import {
  avx,
  type Combine,
  type Halves,
  low64,
  mmx,
  packed,
  packedMmx,
  packedSse,
  readLanes,
  sse,
  vector,
  writeLanes,
} from './vector.ts'

const op =
  (name: SimdOp): Combine =>
  (_u, a, b) =>
    a.simd(name, b)

/** Operations that exist as one of WebAssembly's: mnemonic, opcode, operation. */
const DIRECT: readonly [string, string, SimdOp][] = [
  ['paddb', 'FC', 'i8x16.add'],
  ['paddw', 'FD', 'i16x8.add'],
  ['paddd', 'FE', 'i32x4.add'],
  ['paddq', 'D4', 'i64x2.add'],
  ['paddsb', 'EC', 'i8x16.add_sat_s'],
  ['paddsw', 'ED', 'i16x8.add_sat_s'],
  ['paddusb', 'DC', 'i8x16.add_sat_u'],
  ['paddusw', 'DD', 'i16x8.add_sat_u'],
  ['psubb', 'F8', 'i8x16.sub'],
  ['psubw', 'F9', 'i16x8.sub'],
  ['psubd', 'FA', 'i32x4.sub'],
  ['psubq', 'FB', 'i64x2.sub'],
  ['psubsb', 'E8', 'i8x16.sub_sat_s'],
  ['psubsw', 'E9', 'i16x8.sub_sat_s'],
  ['psubusb', 'D8', 'i8x16.sub_sat_u'],
  ['psubusw', 'D9', 'i16x8.sub_sat_u'],
  ['pmullw', 'D5', 'i16x8.mul'],
  ['pmaddwd', 'F5', 'i32x4.dot_i16x8_s'],
  ['pand', 'DB', 'v128.and'],
  ['por', 'EB', 'v128.or'],
  ['pxor', 'EF', 'v128.xor'],
  ['pcmpeqb', '74', 'i8x16.eq'],
  ['pcmpeqw', '75', 'i16x8.eq'],
  ['pcmpeqd', '76', 'i32x4.eq'],
  ['pcmpgtb', '64', 'i8x16.gt_s'],
  ['pcmpgtw', '65', 'i16x8.gt_s'],
  ['pcmpgtd', '66', 'i32x4.gt_s'],
  ['pminub', 'DA', 'i8x16.min_u'],
  ['pmaxub', 'DE', 'i8x16.max_u'],
  ['pminsw', 'EA', 'i16x8.min_s'],
  ['pmaxsw', 'EE', 'i16x8.max_s'],
  ['pavgb', 'E0', 'i8x16.avgr_u'],
  ['pavgw', 'E3', 'i16x8.avgr_u'],
]

/** SSE4 has these for XMM registers only. */
const DIRECT_SSE4: readonly [string, string, SimdOp, 'sse4.1' | 'sse4.2'][] = [
  ['pcmpeqq', '38 29', 'i64x2.eq', 'sse4.1'],
  ['pcmpgtq', '38 37', 'i64x2.gt_s', 'sse4.2'],
  ['pminsb', '38 38', 'i8x16.min_s', 'sse4.1'],
  ['pminsd', '38 39', 'i32x4.min_s', 'sse4.1'],
  ['pminuw', '38 3A', 'i16x8.min_u', 'sse4.1'],
  ['pminud', '38 3B', 'i32x4.min_u', 'sse4.1'],
  ['pmaxsb', '38 3C', 'i8x16.max_s', 'sse4.1'],
  ['pmaxsd', '38 3D', 'i32x4.max_s', 'sse4.1'],
  ['pmaxuw', '38 3E', 'i16x8.max_u', 'sse4.1'],
  ['pmaxud', '38 3F', 'i32x4.max_u', 'sse4.1'],
  ['pmulld', '38 40', 'i32x4.mul', 'sse4.1'],
]

const pairs = (lanes: readonly number[], bytes: number): number[] =>
  lanes.flatMap((lane) => Array.from({ length: bytes }, (_, i) => lane * bytes + i))

/** The high or a rounded middle part of products of words. */
function highWords(multiply: 's' | 'u', select: (u: Meaning, low: Expr, high: Expr) => Expr): Combine {
  return (u, a, b) => {
    const low = a.simd(`i32x4.extmul_low_i16x8_${multiply}`, b)
    const high = a.simd(`i32x4.extmul_high_i16x8_${multiply}`, b)
    return select(u, low, high)
  }
}
const upperHalves = (_u: Meaning, low: Expr, high: Expr): Expr =>
  low.shuffle(high, pairs([1, 3, 5, 7, 9, 11, 13, 15], 2))
/** PMULHRSW: bits 16 to 1 of the product, plus one, halved. */
const roundedProducts = (u: Meaning, low: Expr, high: Expr): Expr => {
  const one = u.i32(1).extendU().wrap().simdMixed('i32x4.splat')
  const round = (x: Expr) => x.simdMixed('i32x4.shr_s', 14).simd('i32x4.add', one).simdMixed('i32x4.shr_s', 1)
  return round(low).shuffle(round(high), pairs([0, 2, 4, 6, 8, 10, 12, 14], 2))
}

/** Products of the even doublewords. */
const evenProducts =
  (sign: 's' | 'u'): Combine =>
  (_u, a, b) => {
    const even = pairs([0, 2, 0, 2], 4)
    return a.shuffle(a, even).simd(`i64x2.extmul_low_i32x4_${sign}`, b.shuffle(b, even))
  }

/** Sums of absolute differences of bytes, one for each half. */
const sumDifferences: Combine = (u, a, b) => {
  const difference = a.simd('i8x16.max_u', b).simd('i8x16.sub', a.simd('i8x16.min_u', b))
  const sums = difference.simd('i16x8.extadd_pairwise_i8x16_u').simd('i32x4.extadd_pairwise_i16x8_u')
  const upper = sums.shuffle(sums, pairs([1, 0, 3, 2], 4))
  const mask = u.v128([255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0])
  return sums.simd('i32x4.add', upper).simd('v128.and', mask)
}

/** PHADD and PHSUB: neighbours are combined; the first operand gives the low half. */
function horizontal(size: 2 | 4, name: SimdOp): Combine {
  const count = 16 / size
  return (u, a, b, bytes) => {
    // An MMX pair is eight bytes of each operand side by side.
    const all = bytes === 8 ? a.withLane('i64x2', 1, b.lane('i64x2', 0)) : a
    const second = bytes === 8 ? u.zero('v128') : b
    const lanes = Array.from({ length: count }, (_, i) => i * 2)
    const even = all.shuffle(second, pairs(lanes, size))
    const odd = all.shuffle(
      second,
      pairs(
        lanes.map((lane) => lane + 1),
        size,
      ),
    )
    return even.simd(name, odd)
  }
}

/** Negated, zero or kept, by the sign of the second operand. */
function applySign(shape: 'i8x16' | 'i16x8' | 'i32x4'): Combine {
  return (u, a, b) => {
    const zero = u.zero('v128')
    const negative = b.simd(`${shape}.lt_s`, zero)
    const flipped = a.simd('v128.xor', negative).simd(`${shape}.sub`, negative)
    return flipped.simd('v128.and', b.simd(`${shape}.eq`, zero).simd('v128.not'))
  }
}

/** PMADDUBSW: unsigned bytes times signed bytes, neighbours added with saturation. */
const multiplyAddBytes: Combine = (_u, a, b) => {
  const half = (part: 'low' | 'high') =>
    a.simd(`i16x8.extend_${part}_i8x16_u`).simd('i16x8.mul', b.simd(`i16x8.extend_${part}_i8x16_s`))
  const [low, high] = [half('low'), half('high')]
  const even = low.shuffle(high, pairs([0, 2, 4, 6, 8, 10, 12, 14], 2))
  const odd = low.shuffle(high, pairs([1, 3, 5, 7, 9, 11, 13, 15], 2))
  return even.simd('i16x8.add_sat_s', odd)
}

function absolute(mnemonic: string, opcode: string, name: SimdOp): Instruction[] {
  const row = { mnemonic, bytes: `66 0F 38 ${opcode} /r`, operands: ['Vx', 'Wx'] }
  return [
    packedMmx(mnemonic, `38 ${opcode}`, (_u, _a, b) => b.simd(name), 'ssse3'),
    ...vector({ ...row, extension: 'ssse3', wide: 'avx2' }, (_u, v, dst, src) =>
      v.write(
        dst,
        v.read(src!).map((half) => half.simd(name)),
      ),
    ),
  ]
}

// ---- shifts ----

interface Shift {
  readonly name: SimdMixedOp
  readonly bits: number
  readonly arithmetic?: boolean
}

/** Shifts all lanes by a count (i64, unsigned): too large a count gives zero, or copies of the sign. */
function shiftLanes(u: Meaning, a: Expr, count: Expr, { name, bits, arithmetic }: Shift): Expr {
  const tooLarge = count.gtU(bits - 1)
  if (arithmetic) return a.simdMixed(name, u.select(tooLarge, u.i32(bits - 1), count.wrap()))
  return u.select(tooLarge, u.zero('v128'), a.simdMixed(name, count.wrap()))
}

function shiftInstructions(mnemonic: string, opcode: string, group: string, shift: Shift): Instruction[] {
  const byCount = (u: Meaning, dst: Operand, src: Operand): void => {
    const count = readLanes(u, src).lane('i64x2', 0)
    writeLanes(u, dst, shiftLanes(u, readLanes(u, dst), count, shift))
  }
  const byImmediate = (u: Meaning, dst: Operand, src: Operand): void => {
    const count = u.immediate8(src).extendU()
    writeLanes(u, dst, shiftLanes(u, readLanes(u, dst), count, shift))
  }
  return [
    mmx(mnemonic, [{ bytes: `NP 0F ${opcode} /r`, operands: ['Pq', 'Qq'] }], (u, d, s) => byCount(u, d!, s!)),
    sse('sse2', mnemonic, [{ bytes: `66 0F ${opcode} /r`, operands: ['Vx', 'Wx'] }], (u, d, s) =>
      byCount(u, d!, s!),
    ),
    mmx(mnemonic, [{ bytes: `NP 0F ${group}`, operands: ['Nq', 'Ib'] }], (u, d, s) => byImmediate(u, d!, s!)),
    ...shiftByVex(mnemonic, opcode, shift),
    ...shiftByImmediate(mnemonic, group, (u, half, count) => shiftLanes(u, half, count.extendU(), shift)),
  ]
}

/** The count is 128 bits wide whatever the others are. */
function shiftByVex(mnemonic: string, opcode: string, shift: Shift): Instruction[] {
  return vexLengths(`66.0F ${opcode} /r`, (bytes, type, feature) =>
    avx(feature, `v${mnemonic}`, [{ bytes, operands: [`V${type}`, `H${type}`, 'Wx'] }], (u, dst, src, by) => {
      const count = u.readHalves(by!)[0]!.lane('i64x2', 0)
      u.writeHalves(
        dst!,
        u.readHalves(src!).map((half) => shiftLanes(u, half, count, shift)),
      )
    }),
  )
}

/** Shifts of XMM and YMM registers by a constant: VEX.vvvv is the destination. */
function shiftByImmediate(
  mnemonic: string,
  group: string,
  compute: (u: Meaning, half: Expr, count: Expr) => Expr,
): Instruction[] {
  const halves = (u: Meaning, value: Halves, by: Operand): Halves => {
    const count = u.immediate8(by)
    return value.map((half) => compute(u, half, count))
  }
  return [
    sse('sse2', mnemonic, [{ bytes: `66 0F ${group}`, operands: ['Ux', 'Ib'] }], (u, dst, by) =>
      u.writeVector(dst!, halves(u, [u.readVector(dst!)], by!)[0]!),
    ),
    ...vexLengths(`66.0F ${group}`, (bytes, type, feature) =>
      avx(feature, `v${mnemonic}`, [{ bytes, operands: [`H${type}`, `U${type}`, 'Ib'] }], (u, dst, src, by) =>
        u.writeHalves(dst!, halves(u, u.readHalves(src!), by!)),
      ),
    ),
  ]
}

function vexLengths(
  rest: string,
  make: (bytes: string, type: 'x' | 'qq', feature: 'avx' | 'avx2') => Instruction,
): Instruction[] {
  return [make(`VEX.128.${rest}`, 'x', 'avx'), make(`VEX.256.${rest}`, 'qq', 'avx2')]
}

/** AVX2's shifts of each lane by a count of its own. */
function shiftEach(mnemonic: string, opcode: string, w: 'W0' | 'W1', shift: Shift): Instruction[] {
  const shape = shift.bits === 32 ? 'i32x4' : 'i64x2'
  return vexLengths(`66.0F38.${w} ${opcode} /r`, (bytes, type) =>
    avx('avx2', mnemonic, [{ bytes, operands: [`V${type}`, `H${type}`, `W${type}`] }], (u, dst, src, by) => {
      const counts = u.readHalves(by!)
      const shifted = (half: Expr, h: number): Expr => {
        let result = half
        for (let i = 0; i < 128 / shift.bits; i++) {
          const count = counts[h]!.lane(shape, i)
          const wide = shape === 'i32x4' ? count.extendU() : count
          result = result.withLane(shape, i, shiftLanes(u, half, wide, shift).lane(shape, i))
        }
        return result
      }
      u.writeHalves(dst!, u.readHalves(src!).map(shifted))
    }),
  )
}

/** PSRLDQ and PSLLDQ: bytes of each 128 bits. */
function shiftBytes(mnemonic: string, group: string, left: boolean): Instruction[] {
  return shiftByImmediate(mnemonic, group, (u, half, count) => {
    const bounded = u.select(count.gtU(16), u.i32(16), count)
    const lanes = u.v128([...Array(16).keys()])
    const by = bounded.simdMixed('i8x16.splat')
    // An index past the end, or below zero, selects a zero byte.
    const index = left ? lanes.simd('i8x16.sub', by) : lanes.simd('i8x16.add', by)
    return half.simd('i8x16.swizzle', index)
  })
}

/** PTEST and VTESTPS: ZF where no bit that `lanes` leaves is in both, CF where none is in the second alone. */
export function testBits(u: Meaning, a: Halves, b: Halves, lanes: (value: Expr) => Expr): void {
  const isEmpty = (values: Expr[]): Expr =>
    lanes(values.reduce((x, y) => x.simd('v128.or', y)))
      .simdMixed('v128.any_true')
      .eqz()
  const zero = isEmpty(a.map((half, i) => half.simd('v128.and', b[i]!)))
  const carry = isEmpty(b.map((half, i) => half.simd('v128.andnot', a[i]!)))
  u.flagsExplicit(zero.shl(6).or(carry).extendU())
}

export const PACKED_ARITHMETIC: readonly Instruction[] = [
  ...DIRECT.flatMap(([mnemonic, opcode, name]) => packed(mnemonic, opcode, op(name))),
  ...DIRECT_SSE4.flatMap(([mnemonic, opcode, name, extension]) =>
    packedSse(mnemonic, opcode, op(name), extension),
  ),
  ...packed('pandn', 'DF', (_u, a, b) => b.simd('v128.andnot', a)),
  ...packed('pmulhw', 'E5', highWords('s', upperHalves)),
  ...packed('pmulhuw', 'E4', highWords('u', upperHalves)),
  ...packed('pmulhrsw', '38 0B', highWords('s', roundedProducts), 'ssse3'),
  ...packed('pmuludq', 'F4', evenProducts('u')),
  ...packedSse('pmuldq', '38 28', evenProducts('s'), 'sse4.1'),
  ...packed('psadbw', 'F6', sumDifferences),
  ...packed('phaddw', '38 01', horizontal(2, 'i16x8.add'), 'ssse3'),
  ...packed('phaddd', '38 02', horizontal(4, 'i32x4.add'), 'ssse3'),
  ...packed('phaddsw', '38 03', horizontal(2, 'i16x8.add_sat_s'), 'ssse3'),
  ...packed('phsubw', '38 05', horizontal(2, 'i16x8.sub'), 'ssse3'),
  ...packed('phsubd', '38 06', horizontal(4, 'i32x4.sub'), 'ssse3'),
  ...packed('phsubsw', '38 07', horizontal(2, 'i16x8.sub_sat_s'), 'ssse3'),
  ...packed('psignb', '38 08', applySign('i8x16'), 'ssse3'),
  ...packed('psignw', '38 09', applySign('i16x8'), 'ssse3'),
  ...packed('psignd', '38 0A', applySign('i32x4'), 'ssse3'),
  ...packed('pmaddubsw', '38 04', multiplyAddBytes, 'ssse3'),
  ...absolute('pabsb', '1C', 'i8x16.abs'),
  ...absolute('pabsw', '1D', 'i16x8.abs'),
  ...absolute('pabsd', '1E', 'i32x4.abs'),
  ...shiftInstructions('psrlw', 'D1', '71 /2', { name: 'i16x8.shr_u', bits: 16 }),
  ...shiftInstructions('psrld', 'D2', '72 /2', { name: 'i32x4.shr_u', bits: 32 }),
  ...shiftInstructions('psrlq', 'D3', '73 /2', { name: 'i64x2.shr_u', bits: 64 }),
  ...shiftInstructions('psraw', 'E1', '71 /4', { name: 'i16x8.shr_s', bits: 16, arithmetic: true }),
  ...shiftInstructions('psrad', 'E2', '72 /4', { name: 'i32x4.shr_s', bits: 32, arithmetic: true }),
  ...shiftInstructions('psllw', 'F1', '71 /6', { name: 'i16x8.shl', bits: 16 }),
  ...shiftInstructions('pslld', 'F2', '72 /6', { name: 'i32x4.shl', bits: 32 }),
  ...shiftInstructions('psllq', 'F3', '73 /6', { name: 'i64x2.shl', bits: 64 }),
  ...shiftBytes('psrldq', '73 /3', false),
  ...shiftBytes('pslldq', '73 /7', true),
  ...shiftEach('vpsrlvd', '45', 'W0', { name: 'i32x4.shr_u', bits: 32 }),
  ...shiftEach('vpsrlvq', '45', 'W1', { name: 'i64x2.shr_u', bits: 64 }),
  ...shiftEach('vpsravd', '46', 'W0', { name: 'i32x4.shr_s', bits: 32, arithmetic: true }),
  ...shiftEach('vpsllvd', '47', 'W0', { name: 'i32x4.shl', bits: 32 }),
  ...shiftEach('vpsllvq', '47', 'W1', { name: 'i64x2.shl', bits: 64 }),
  ...vector(
    { extension: 'sse4.1', mnemonic: 'ptest', bytes: '66 0F 38 17 /r', operands: ['Vx', 'Wx'], wide: 'avx' },
    (u, v, first, second) => {
      const b = v.read(second!)
      testBits(u, v.read(first), b, (value) => value)
    },
  ),
  ...vector(
    { extension: 'sse4.1', mnemonic: 'phminposuw', bytes: '66 0F 38 41 /r', operands: ['Vx', 'Wx'] },
    (u, v, dst, src) => {
      const value = v.read(src!)[0]!
      const least = u.variable('i32', 0x7fffffff)
      // The position below the value: the smallest of those is the first smallest word.
      for (let i = 0; i < 8; i++) {
        const candidate = value.lane('i16x8', i).shl(3).or(i)
        least.set(u.select(candidate.ltU(least.get()), candidate, least.get()))
      }
      const result = least.get()
      const packedResult = result.shrU(3).or(result.and(7).shl(16)).extendU()
      v.write(dst, [low64(u, packedResult)])
    },
  ),
]
