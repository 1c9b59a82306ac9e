/** What AVX and AVX2 add to SSE: broadcasts, halves, permutations, masked moves and gathers. */
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import type { Form, Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { testBits } from './packed-arithmetic.ts'
import { blendLanes } from './packed-shuffle.ts'
import { type AvxFeature, avx, type Halves, LANES } from './vector.ts'

/** Both lengths of an instruction: `Vx` and the like become `Vqq` for 256 bits. */
function lengths(
  feature: AvxFeature,
  mnemonic: string,
  encoding: string,
  operands: readonly string[],
  meaning: Instruction['meaning'],
  access?: 'r' | 'w',
): Instruction {
  const more = access && { access }
  const wide = operands.map((operand) => operand.replace(/^([A-Z])x$/, '$1qq'))
  const forms: Form[] = [
    { bytes: `VEX.128.66.${encoding} /r`, operands, ...more },
    { bytes: `VEX.256.66.${encoding} /r`, operands: wide, ...more },
  ]
  return avx(feature, mnemonic, forms, meaning)
}
/** An instruction on YMM registers only. */
function wideOnly(
  feature: AvxFeature,
  mnemonic: string,
  encoding: string,
  operands: readonly string[],
  meaning: Instruction['meaning'],
  access?: 'r' | 'w',
): Instruction {
  const form = { bytes: `VEX.256.66.${encoding} /r`, operands, ...(access && { access }) }
  return avx(feature, mnemonic, [form], meaning)
}

// ---- broadcasts ----

const SPLAT = { 1: 'i8x16.splat', 2: 'i16x8.splat', 4: 'i32x4.splat' } as const

function broadcastValue(u: Meaning, dst: Operand, src: Operand): void {
  const bits = u.readLow(src)
  const size = src.size as 1 | 2 | 4 | 8
  const value = size === 8 ? bits.simdMixed('i64x2.splat') : bits.wrap().simdMixed(SPLAT[size])
  u.writeHalves(dst, dst.size === 32 ? [value, value] : [value])
}
const broadcast = (mnemonic: string, opcode: string, type: string): Instruction =>
  lengths('avx2', mnemonic, `0F38.W0 ${opcode}`, ['Vx', `W${type}`], (u, dst, src) =>
    broadcastValue(u, dst!, src!),
  )
/** AVX has these from memory, AVX2 from registers too. */
const broadcastSingle = (feature: 'avx' | 'avx2', source: 'Mss' | 'Uss'): Instruction =>
  lengths(
    feature,
    'vbroadcastss',
    '0F38.W0 18',
    ['Vx', source],
    (u, dst, src) => broadcastValue(u, dst!, src!),
    'r',
  )
const broadcastDouble = (feature: 'avx' | 'avx2', source: 'Msd' | 'Usd'): Instruction =>
  wideOnly(
    feature,
    'vbroadcastsd',
    '0F38.W0 19',
    ['Vqq', source],
    (u, dst, src) => broadcastValue(u, dst!, src!),
    'r',
  )
const broadcastHalf = (feature: 'avx' | 'avx2', mnemonic: string, opcode: string): Instruction =>
  wideOnly(
    feature,
    mnemonic,
    `0F38.W0 ${opcode}`,
    ['Vqq', 'Mdq'],
    (u, dst, src) => {
      const [half] = u.readHalves(src!)
      u.writeHalves(dst!, [half!, half!])
    },
    'r',
  )

// ---- halves ----

const insertHalf = (feature: 'avx' | 'avx2', mnemonic: string, opcode: string): Instruction =>
  wideOnly(
    feature,
    mnemonic,
    `0F3A.W0 ${opcode}`,
    ['Vqq', 'Hqq', 'Wdq', 'Ib'],
    (u, dst, first, src, choice) => {
      const [half] = u.readHalves(src!)
      const [low, high] = u.readHalves(first!)
      const isHigh = u.immediate8(choice!).and(1)
      u.writeHalves(dst!, [u.select(isHigh, low!, half!), u.select(isHigh, half!, high!)])
    },
  )
const extractHalf = (feature: 'avx' | 'avx2', mnemonic: string, opcode: string): Instruction =>
  wideOnly(feature, mnemonic, `0F3A.W0 ${opcode}`, ['Wdq', 'Vqq', 'Ib'], (u, dst, src, choice) => {
    const [low, high] = u.readHalves(src!)
    u.writeHalves(dst!, [u.select(u.immediate8(choice!).and(1), high!, low!)])
  })
/** Each half is one of four, or zero with bit 3 of its part of the constant. */
const permuteHalves = (feature: 'avx' | 'avx2', mnemonic: string, opcode: string): Instruction =>
  wideOnly(
    feature,
    mnemonic,
    `0F3A.W0 ${opcode}`,
    ['Vqq', 'Hqq', 'Wqq', 'Ib'],
    (u, dst, first, src, choice) => {
      const [c, d] = u.readHalves(src!)
      const [a, b] = u.readHalves(first!)
      const constant = u.immediate8(choice!)
      const choose = (control: Expr): Expr => {
        const odd = control.and(1)
        const chosen = u.select(control.and(2), u.select(odd, d!, c!), u.select(odd, b!, a!))
        return u.select(control.and(8), u.zero('v128'), chosen)
      }
      u.writeHalves(dst!, [choose(constant), choose(constant.shrU(4))])
    },
  )

// ---- permutations ----

/** Byte indices of lanes whose numbers are in the low bits of `lanes`. */
function byteIndices(u: Meaning, lanes: Expr, size: 4 | 8): Expr {
  const spread = Array.from({ length: 16 }, (_, i) => i - (i % size))
  const within = u.v128(Array.from({ length: 16 }, (_, i) => i % size))
  const first = lanes.shuffle(lanes, spread)
  return first.simdMixed('i8x16.shl', size === 4 ? 2 : 3).simd('v128.or', within)
}
/** VPERMILPS and VPERMILPD choose lanes of the same half; of doubles by bit 1. */
function permuteWithin(u: Meaning, value: Expr, control: Expr, size: 4 | 8): Expr {
  const number = size === 4 ? control : control.simdMixed('i64x2.shr_u', 1)
  const mask = u.v128(Array.from({ length: 16 }, (_, i) => (i % size === 0 ? 16 / size - 1 : 0)))
  return value.simd('i8x16.swizzle', byteIndices(u, number.simd('v128.and', mask), size))
}
function permuteInLanes(mnemonic: string, size: 4 | 8, opcode: string, byConstant: string): Instruction[] {
  return [
    lengths('avx', mnemonic, `0F38.W0 ${opcode}`, ['Vx', 'Hx', 'Wx'], (u, dst, first, control) => {
      const by = u.readHalves(control!)
      const permuted = u.readHalves(first!).map((half, i) => permuteWithin(u, half, by[i]!, size))
      u.writeHalves(dst!, permuted)
    }),
    lengths('avx', mnemonic, `0F3A.W0 ${byConstant}`, ['Vx', 'Wx', 'Ib'], (u, dst, src, choice) => {
      const constant = u.immediate8(choice!)
      const control = (half: number): Expr => {
        let result = u.zero('v128')
        for (let i = 0; i < 16 / size; i++) {
          const field = size === 4 ? constant.shrU(i * 2) : constant.shrU(half * 2 + i).shl(1)
          result = result.withLane('i32x4', i * (size / 4), field)
        }
        return result
      }
      const permuted = u.readHalves(src!).map((half, i) => permuteWithin(u, half, control(i), size))
      u.writeHalves(dst!, permuted)
    }),
  ]
}

/** Lanes of all 256 bits, through memory: the low bits of `numbers` choose. */
function permuteAcross(u: Meaning, source: Halves, size: 4 | 8, number: (i: number) => Expr): Halves {
  source.forEach((half, i) => {
    u.store('v128', u.i32(LANES + i * 16), half)
  })
  const [shape, kind] = size === 4 ? (['i32x4', 'i32'] as const) : (['i64x2', 'i64'] as const)
  return source.map((_, half) => {
    let result = u.zero('v128')
    for (let i = 0; i < 16 / size; i++) {
      const at = number((half * 16) / size + i)
        .and(32 / size - 1)
        .mul(size)
      result = result.withLane(shape, i, u.load(kind, at, LANES))
    }
    return result
  })
}
const permuteSingles = (mnemonic: string, opcode: string): Instruction =>
  wideOnly('avx2', mnemonic, `0F38.W0 ${opcode}`, ['Vqq', 'Hqq', 'Wqq'], (u, dst, numbers, src) => {
    const source = u.readHalves(src!)
    const by = u.readHalves(numbers!)
    u.writeHalves(
      dst!,
      permuteAcross(u, source, 4, (i) => by[i >> 2]!.lane('i32x4', i & 3)),
    )
  })
const permuteDoubles = (mnemonic: string, opcode: string): Instruction =>
  wideOnly('avx2', mnemonic, `0F3A.W1 ${opcode}`, ['Vqq', 'Wqq', 'Ib'], (u, dst, src, choice) => {
    const constant = u.immediate8(choice!)
    u.writeHalves(
      dst!,
      permuteAcross(u, u.readHalves(src!), 8, (i) => constant.shrU(i * 2)),
    )
  })
const BLEND_DOUBLEWORDS = lengths(
  'avx2',
  'vpblendd',
  '0F3A.W0 02',
  ['Vx', 'Hx', 'Wx', 'Ib'],
  (u, dst, first, src, choice) => {
    const b = u.readHalves(src!)
    const bits = u.immediate8(choice!)
    const blended = u.readHalves(first!).map((half, i) => blendLanes(u, half, b[i]!, bits.shrU(i * 4), 4))
    u.writeHalves(dst!, blended)
  },
)

const test = (mnemonic: string, opcode: string, shape: 'i32x4' | 'i64x2'): Instruction =>
  lengths('avx', mnemonic, `0F38.W0 ${opcode}`, ['Vx', 'Wx'], (u, first, second) => {
    const b = u.readHalves(second!)
    testBits(u, u.readHalves(first!), b, (value) =>
      value.simdMixed(`${shape}.shr_u`, shape === 'i32x4' ? 31 : 63),
    )
  })

// ---- masked moves ----

/** The sign bits of a mask's lanes. */
function signBits(mask: Halves, size: 4 | 8): Expr {
  const [low, high] = mask.map((half) => half.simdMixed(size === 4 ? 'i32x4.bitmask' : 'i64x2.bitmask'))
  return high ? low!.or(high.shl(16 / size)) : low!
}

/** Lanes whose mask has its top bit; the others are zero, or are not written, and cannot fault. */
function maskedMove(
  feature: 'avx' | 'avx2',
  mnemonic: string,
  size: 4 | 8,
  w: string,
  load: string,
  store: string,
): Instruction[] {
  const shape = size === 4 ? 'i32x4' : 'i64x2'
  const eachLane = (u: Meaning, bytes: number, bits: Expr, body: (i: number) => void): void => {
    for (let i = 0; i < bytes / size; i++) u.if(bits.and(1 << i), () => body(i))
  }
  return [
    lengths(
      feature,
      mnemonic,
      `0F38.${w} ${load}`,
      ['Vx', 'Hx', 'Mx'],
      (u, dst, mask, src) => {
        const address = u.address(src!)
        const lanes = Array.from({ length: src!.size / size }, () => u.variable('i64', 0))
        eachLane(u, src!.size, signBits(u.readHalves(mask!), size), (i) =>
          lanes[i]!.set(u.loadMemory(address.add(i * size), size)),
        )
        const halves = Array.from({ length: src!.size / 16 }, (_, half) => {
          let value = u.zero('v128')
          for (let i = 0; i < 16 / size; i++) {
            const lane = lanes[(half * 16) / size + i]!.get()
            value = value.withLane(shape, i, size === 4 ? lane.wrap() : lane)
          }
          return value
        })
        u.writeHalves(dst!, halves)
      },
      'r',
    ),
    lengths(
      feature,
      mnemonic,
      `0F38.${w} ${store}`,
      ['Mx', 'Hx', 'Vx'],
      (u, dst, mask, src) => {
        const address = u.address(dst!)
        const bits = signBits(u.readHalves(mask!), size)
        const value = u.readHalves(src!)
        eachLane(u, dst!.size, bits, (i) => u.probeWrite(address.add(i * size), size))
        eachLane(u, dst!.size, bits, (i) => {
          const lane = value[(i * size) >> 4]!.lane(shape, i % (16 / size))
          u.storeMemory(address.add(i * size), size, size === 4 ? lane.extendU() : lane)
        })
      },
      'w',
    ),
  ]
}

// ---- gathers ----

/**
 * Loads lanes at indices, lowest first. The mask of each becomes zero when it is done, so that after a fault the instruction
 * goes on where it stopped; what is above stays until the end.
 */
function gatherLanes(
  u: Meaning,
  dst: Operand,
  memory: Operand,
  mask: Operand,
  size: 4 | 8,
  index: 4 | 8,
): void {
  const indices: Operand = { kind: 'register', file: 'xmm', size: memory.size, field: 'index' }
  const count = Math.min(dst.size / size, memory.size / index)
  const place = (i: number, bytes: number): number =>
    i * bytes < 16 ? L.XMM + i * bytes : L.YMM_HIGH + i * bytes - 16
  const bits = signBits(u.readHalves(mask), size)
  for (let i = 0; i < count; i++) {
    u.if(bits.and(1 << i), () => {
      const number = u.load(index === 4 ? 'i64_32s' : 'i64', u.offsetOf(indices), place(i, index))
      const offset = u.zeroExtend(u.vectorAddress(number), u.variant.addressSize)
      const address = u.segmentAddress(u.vectorSegment(), offset, size, false)
      const value = u.loadMemory(address, size)
      u.store(size === 4 ? 'i64_32' : 'i64', u.offsetOf(dst), value, place(i, size))
    })
    u.store(size === 4 ? 'i64_32' : 'i64', u.offsetOf(mask), 0, place(i, size))
  }
  u.writeHalves(mask, mask.size === 32 ? [u.zero('v128'), u.zero('v128')] : [u.zero('v128')])
  if (count * size === 8) u.store('i64', u.offsetOf(dst), 0, L.XMM + 8)
  if (dst.size === 16) u.clearUpperHalf(dst)
}

function gather(mnemonic: string, opcode: string, size: 4 | 8, index: 4 | 8): Instruction {
  const w = size === 4 ? 'W0' : 'W1'
  const bits = index * 8
  // Four quadwords need four doublewords of indices, and the other way round.
  const wideIndices = index === 4 && size === 8 ? `vm${bits}x` : `vm${bits}y`
  const wideLanes = index === 8 && size === 4 ? 'x' : 'qq'
  const forms: Form[] = [
    { bytes: `VEX.128.66.0F38.${w} ${opcode} /r`, operands: ['Vx', `vm${bits}x`, 'Hx'], access: 'r' },
    {
      bytes: `VEX.256.66.0F38.${w} ${opcode} /r`,
      operands: [`V${wideLanes}`, wideIndices, `H${wideLanes}`],
      access: 'r',
    },
  ]
  const instruction = avx('avx2', mnemonic, forms, (u, dst, memory, mask) =>
    gatherLanes(u, dst!, memory!, mask!, size, index),
  )
  return { ...instruction, modeSensitive: true, addressSensitive: true }
}

// ---- zeroing ----

/** VZEROALL and VZEROUPPER: of the registers that the mode has. */
function zero(mnemonic: string, length: string, areas: readonly number[]): Instruction {
  const form = { bytes: `VEX.${length}.NP.0F 77`, operands: [] }
  const instruction = avx('avx', mnemonic, [form], (u) => {
    const nothing = u.zero('v128')
    for (const area of areas)
      for (let i = 0; i < (u.long ? 16 : 8); i++) u.setState('v128', area + i * 16, nothing)
  })
  return { ...instruction, modeSensitive: true }
}

export const AVX: readonly Instruction[] = [
  broadcastSingle('avx', 'Mss'),
  broadcastSingle('avx2', 'Uss'),
  broadcastDouble('avx', 'Msd'),
  broadcastDouble('avx2', 'Usd'),
  broadcastHalf('avx', 'vbroadcastf128', '1A'),
  broadcastHalf('avx2', 'vbroadcasti128', '5A'),
  broadcast('vpbroadcastb', '78', 'b'),
  broadcast('vpbroadcastw', '79', 'w'),
  broadcast('vpbroadcastd', '58', 'd'),
  broadcast('vpbroadcastq', '59', 'q'),
  insertHalf('avx', 'vinsertf128', '18'),
  insertHalf('avx2', 'vinserti128', '38'),
  extractHalf('avx', 'vextractf128', '19'),
  extractHalf('avx2', 'vextracti128', '39'),
  permuteHalves('avx', 'vperm2f128', '06'),
  permuteHalves('avx2', 'vperm2i128', '46'),
  ...permuteInLanes('vpermilps', 4, '0C', '04'),
  ...permuteInLanes('vpermilpd', 8, '0D', '05'),
  permuteSingles('vpermd', '36'),
  permuteSingles('vpermps', '16'),
  permuteDoubles('vpermq', '00'),
  permuteDoubles('vpermpd', '01'),
  BLEND_DOUBLEWORDS,
  test('vtestps', '0E', 'i32x4'),
  test('vtestpd', '0F', 'i64x2'),
  ...maskedMove('avx', 'vmaskmovps', 4, 'W0', '2C', '2E'),
  ...maskedMove('avx', 'vmaskmovpd', 8, 'W0', '2D', '2F'),
  ...maskedMove('avx2', 'vpmaskmovd', 4, 'W0', '8C', '8E'),
  ...maskedMove('avx2', 'vpmaskmovq', 8, 'W1', '8C', '8E'),
  gather('vpgatherdd', '90', 4, 4),
  gather('vpgatherdq', '90', 8, 4),
  gather('vpgatherqd', '91', 4, 8),
  gather('vpgatherqq', '91', 8, 8),
  gather('vgatherdps', '92', 4, 4),
  gather('vgatherdpd', '92', 8, 4),
  gather('vgatherqps', '93', 4, 8),
  gather('vgatherqpd', '93', 8, 8),
  zero('vzeroupper', '128', [L.YMM_HIGH]),
  zero('vzeroall', '256', [L.XMM, L.YMM_HIGH]),
]
