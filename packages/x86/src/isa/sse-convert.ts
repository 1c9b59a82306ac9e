/** Conversions, rounding and approximations of SSE to SSE4.1 and AVX. float-lanes.ts says when they run natively. */
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import type { SimdOp } from '../wasm/opcodes.ts'
import {
  chooseHalves,
  chooseResult,
  type Floats,
  fromBits,
  isOrdinary,
  isOrdinaryHere,
  isPlain,
  isPlainHere,
  keepsDenormals,
  packedFloats,
  SMALLEST,
  scalarFloats,
  toBits,
} from './float-lanes.ts'
import type { Form, Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import {
  CONVERSIONS,
  type Conversion,
  OWN_ROUNDING,
  packedShape,
  TRUNCATE,
  type Width,
} from './sse-float-routines.ts'
import {
  enterMmx,
  type Halves,
  low64,
  markMmx,
  scalar,
  sse,
  type VectorRow,
  type Vectors,
  vector,
  writeMmx,
} from './vector.ts'

const form = (bytes: string, ...operands: string[]): Form[] => [{ bytes: `${bytes} /r`, operands }]

/** One value through the exact routine. */
function convertExactly(u: Meaning, conversion: Conversion, control: Expr | number, value: Expr): Expr {
  return u.routine('sseConvert', CONVERSIONS.indexOf(conversion), control, value)
}
/** Lanes through the exact routine. */
function convertLanes(
  u: Meaning,
  conversion: Conversion,
  control: Expr | number,
  value: Expr,
  shape: number,
): Expr {
  return u.routine('sseConvertPacked', CONVERSIONS.indexOf(conversion), control, value, shape)
}

/** What one conversion of lanes needs: native results with their conditions, and how the exact routine walks. */
interface LaneConversion {
  readonly conversion: Conversion
  readonly control: Expr | number
  readonly shape: number
  readonly native: (piece: Expr) => { readonly fits: Expr; readonly result: () => Expr }
}
/** Converts the lanes at the low end of each piece. */
export function convertPieces(u: Meaning, pieces: Halves, how: LaneConversion): Halves {
  const natives = pieces.map(how.native)
  const control = (part: number): Expr | number =>
    typeof how.control === 'number' ? how.control | part : how.control.or(part)
  return chooseHalves(
    u,
    natives.map(({ fits }) => fits).reduce((a, b) => a.and(b)),
    () => natives.map(({ result }) => result()),
    (i, part) => convertLanes(u, how.conversion, control(part), pieces[i]!, how.shape),
    pieces.length,
  )
}

/** The low and the high half of a source of 128 bits, each at the low end, for results twice as wide. */
const lowAndHigh = (half: Expr): Halves => [
  half,
  half.shuffle(half, [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7]),
]
/** Reads what becomes one vector of lanes twice as wide. */
export function readNarrow(u: Meaning, v: Vectors, dst: Operand, src: Operand): Halves {
  return dst.size === 32 ? lowAndHigh(v.read(src)[0]!) : [low64(u, u.readLow(src))]
}
/** Writes results of half the width, which lie at the low ends of the pieces. */
function writeNarrow(v: Vectors, dst: Operand, [low, high]: Halves): void {
  v.write({ ...dst, size: 16 } as Operand, [high ? low!.withLane('i64x2', 1, high.lane('i64x2', 0)) : low!])
}

/** In range of the integers, and either exact or rounded where nothing has to be reported. */
function fitsInteger(u: Meaning, f: Floats, value: Expr, rounded: Expr, bits: number): Expr {
  const inRange = f.compare('lt', f.abs(rounded), f.constant(2 ** (bits - 1)))
  const same = f.compare('eq', rounded, value)
  if (u.speculation?.isOrdinary) return f.all(inRange)
  return f.all(inRange).and(isOrdinary(u).or(f.all(same)))
}

// ---- floats to integers ----

/** CVTSS2SI, CVTSD2SI, and with truncation CVTTSS2SI, CVTTSD2SI. */
function toGeneral(mnemonic: string, bytes: string, width: Width, truncate: boolean): Instruction[] {
  const operands = ['Gy', width === 32 ? 'Wss' : 'Wsd']
  const row = { extension: 'sse2', mnemonic, bytes: `${bytes} /r`, operands, vex: 'LIG' } as const
  return vector(row, (u, _v, dst, src) => {
    const value = u.readFloat(src!)
    const f = scalarFloats(u, width)
    const rounded = truncate ? value.trunc() : value.nearest()
    const to = dst.size === 8 ? 64 : 32
    const native = (): Expr => rounded.convert(width === 32 ? 'i64TruncSatF32S' : 'i64TruncSatF64S')
    const exact = (): Expr =>
      convertExactly(u, `float${width}ToInt${to}`, truncate ? TRUNCATE : 0, toBits(width, value))
    u.write(dst, chooseResult(u, 'i64', fitsInteger(u, f, value, rounded, to), native, exact))
  })
}

/** Float lanes to doublewords; the sources have their unused lanes zero. */
function toDoublewords(u: Meaning, width: Width, truncate: boolean, sources: Halves, lanes: number): Halves {
  const f = packedFloats(u, width)
  const shape = width === 32 ? 'f32x4' : 'f64x2'
  const native = (source: Expr) => {
    const rounded = source.simd(`${shape}.${truncate ? 'trunc' : 'nearest'}` as SimdOp)
    const result = (): Expr =>
      rounded.simd(width === 32 ? 'i32x4.trunc_sat_f32x4_s' : 'i32x4.trunc_sat_f64x2_s_zero')
    return { fits: fitsInteger(u, f, source, rounded, 32), result }
  }
  return convertPieces(u, sources, {
    conversion: `float${width}ToInt32`,
    control: truncate ? TRUNCATE : 0,
    shape: packedShape(width === 32 ? 4 : 8, 4, lanes),
    native,
  })
}
function packedToInteger(mnemonic: string, bytes: string, width: Width, truncate: boolean): Instruction[] {
  const operands = ['Vdq', width === 32 ? 'Wps' : 'Wpd']
  const row = { extension: 'sse2', mnemonic, bytes: `${bytes} /r`, operands, wide: 'avx' } as const
  const narrows = { wideOperands: ['Vdq', 'Wqq'] }
  return vector({ ...row, ...(width === 64 && narrows) }, (u, v, dst, src) => {
    const results = toDoublewords(u, width, truncate, v.read(src!), width === 32 ? 4 : 2)
    if (width === 32) v.write(dst, results)
    else writeNarrow(v, dst, results)
  })
}

// ---- integers to floats ----

/** CVTSI2SS and CVTSI2SD. Integers that a float holds exactly need nothing of MXCSR. */
function fromGeneral(mnemonic: string, bytes: string, width: Width): Instruction[] {
  const operands = [width === 32 ? 'Vss' : 'Vsd', 'Ey']
  const row = { extension: 'sse2', mnemonic, bytes: `${bytes} /r`, operands } as const
  return scalar(row, (u, _first, src) => {
    const value = u.read(src!)
    const native = (): Expr => {
      const float = value.convert(width === 32 ? 'f32ConvertI64S' : 'f64ConvertI64S')
      u.speculation?.notePlain(float, width)
      return toBits(width, float)
    }
    if (u.speculation?.isOrdinary || (width === 64 && src!.size === 4)) return native()
    const limit = width === 32 ? 2 ** 24 : 2 ** 53
    const small = value.add(limit).leU(2 * limit)
    const exact = (): Expr => convertExactly(u, `int64ToFloat${width}`, 0, value)
    return chooseResult(u, 'i64', small.or(isOrdinary(u)), native, exact)
  })
}

function doublewordsToSingles(u: Meaning, sources: Halves, lanes: number): Halves {
  return convertPieces(u, sources, {
    conversion: 'int32ToFloat32',
    control: 0,
    shape: packedShape(4, 4, lanes, true),
    native: (source) => ({ fits: isOrdinaryHere(u), result: () => source.simd('f32x4.convert_i32x4_s') }),
  })
}

const FROM_DOUBLEWORDS: readonly Instruction[] = [
  ...vector(
    {
      extension: 'sse2',
      mnemonic: 'cvtdq2ps',
      bytes: 'NP 0F 5B /r',
      operands: ['Vps', 'Wdq'],
      wide: 'avx',
    },
    (u, v, dst, src) => v.write(dst, doublewordsToSingles(u, v.read(src!), 4)),
  ),
  ...vector(
    {
      extension: 'sse2',
      mnemonic: 'cvtdq2pd',
      bytes: 'F3 0F E6 /r',
      operands: ['Vpd', 'Wq'],
      wide: 'avx',
      wideOperands: ['Vqq', 'Wdq'],
    },
    (u, v, dst, src) => {
      const sources = readNarrow(u, v, dst, src!)
      v.write(
        dst,
        sources.map((source) => source.simd('f64x2.convert_low_i32x4_s')),
      )
    },
  ),
]

// ---- between floats ----

/** What binary32 holds as a normal number: not tiny, and below what rounds to infinity. */
function fitsSingle(f: Floats, value: Expr): Expr {
  const magnitude = f.abs(value)
  const above = f.compare('ge', magnitude, f.constant(SMALLEST[32]))
  const normal = f.and(above, f.compare('lt', magnitude, f.constant(2 ** 128 - 2 ** 103)))
  return f.or(normal, f.isZero(value))
}

const BETWEEN_FLOATS: readonly Instruction[] = [
  ...scalar(
    { extension: 'sse2', mnemonic: 'cvtss2sd', bytes: 'F3 0F 5A /r', operands: ['Vsd', 'Wss'] },
    (u, _first, src) => {
      const value = u.readFloat(src!)
      const native = (): Expr => {
        const float = value.convert('promote')
        u.speculation?.notePlain(float, 64)
        return toBits(64, float)
      }
      const exact = (): Expr => convertExactly(u, 'float32To64', 0, toBits(32, value))
      return chooseResult(u, 'i64', isPlainHere(u, scalarFloats(u, 32), value), native, exact)
    },
  ),
  ...scalar(
    { extension: 'sse2', mnemonic: 'cvtsd2ss', bytes: 'F2 0F 5A /r', operands: ['Vss', 'Wsd'] },
    (u, _first, src) => {
      const value = u.readFloat(src!)
      const native = (): Expr => {
        const float = value.convert('demote')
        u.speculation?.notePlain(float, 32)
        return toBits(32, float)
      }
      const exact = (): Expr => convertExactly(u, 'float64To32', 0, toBits(64, value))
      const fits = fitsSingle(scalarFloats(u, 64), value).and(isOrdinaryHere(u))
      return chooseResult(u, 'i64', fits, native, exact)
    },
  ),
  ...vector(
    {
      extension: 'sse2',
      mnemonic: 'cvtps2pd',
      bytes: 'NP 0F 5A /r',
      operands: ['Vpd', 'Wq'],
      wide: 'avx',
      wideOperands: ['Vqq', 'Wdq'],
    },
    (u, v, dst, src) => {
      const f = packedFloats(u, 32)
      // The lanes above the low two may be anything: for the native path they count as they are.
      const results = convertPieces(u, readNarrow(u, v, dst, src!), {
        conversion: 'float32To64',
        control: 0,
        shape: packedShape(4, 8, 2),
        native: (piece) => ({
          fits: f.all(isPlain(f, piece)),
          result: () => piece.simd('f64x2.promote_low_f32x4'),
        }),
      })
      v.write(dst, results)
    },
  ),
  ...vector(
    {
      extension: 'sse2',
      mnemonic: 'cvtpd2ps',
      bytes: '66 0F 5A /r',
      operands: ['Vps', 'Wpd'],
      wide: 'avx',
      wideOperands: ['Vps', 'Wqq'],
    },
    (u, v, dst, src) => {
      const f = packedFloats(u, 64)
      const results = convertPieces(u, v.read(src!), {
        conversion: 'float64To32',
        control: 0,
        shape: packedShape(8, 4, 2),
        native: (piece) => ({
          fits: f.all(fitsSingle(f, piece)).and(isOrdinaryHere(u)),
          result: () => piece.simd('f32x4.demote_f64x2_zero'),
        }),
      })
      writeNarrow(v, dst, results)
    },
  ),
]

// ---- MMX registers ----

/**
 * An instruction of SSE that reads or writes an MMX register. The x87 becomes MMX's before a floating-point exception,
 * after the source was read; a source in memory leaves the x87 alone where no MMX register is written.
 */
function withMmx(
  mnemonic: string,
  bytes: string,
  operands: readonly [string, string],
  read: (u: Meaning, src: Operand) => Expr,
  write: (u: Meaning, dst: Operand, source: Expr) => void,
): Instruction {
  return sse('sse2', mnemonic, form(bytes, ...operands), (u, dst, src) => {
    const isMmx = operands[0] === 'Pq' || src!.kind === 'register'
    if (isMmx) enterMmx(u)
    const source = read(u, src!)
    if (isMmx) markMmx(u)
    write(u, dst!, source)
  })
}
const readLow64 = (u: Meaning, src: Operand): Expr => low64(u, u.readLow(src))

function toMmx(mnemonic: string, bytes: string, width: Width, truncate: boolean): Instruction {
  const [type, read] =
    width === 32
      ? (['Wq', readLow64] as const)
      : (['Wpd', (u: Meaning, src: Operand) => u.readVector(src)] as const)
  return withMmx(mnemonic, bytes, ['Pq', type], read, (u, dst, source) =>
    writeMmx(u, dst, toDoublewords(u, width, truncate, [source], 2)[0]!.lane('i64x2', 0)),
  )
}

const WITH_MMX: readonly Instruction[] = [
  toMmx('cvtps2pi', 'NP 0F 2D', 32, false),
  toMmx('cvttps2pi', 'NP 0F 2C', 32, true),
  toMmx('cvtpd2pi', '66 0F 2D', 64, false),
  toMmx('cvttpd2pi', '66 0F 2C', 64, true),
  withMmx('cvtpi2ps', 'NP 0F 2A', ['Vps', 'Qq'], readLow64, (u, dst, source) =>
    u.store('i64', u.offsetOf(dst), doublewordsToSingles(u, [source], 2)[0]!.lane('i64x2', 0), L.XMM),
  ),
  withMmx('cvtpi2pd', '66 0F 2A', ['Vpd', 'Qq'], readLow64, (u, dst, source) =>
    u.writeVector(dst, source.simd('f64x2.convert_low_i32x4_s')),
  ),
]

// ---- rounding to integers ----

/** ROUNDPS and the like. Constant: bits 0–1 the rounding, bit 2 that MXCSR has it, bit 3 no precision exception. */
function round(suffix: 'ps' | 'pd' | 'ss' | 'sd', opcode: string): Instruction[] {
  const width = suffix.endsWith('s') ? 32 : 64
  const row = {
    extension: 'sse4.1',
    mnemonic: `round${suffix}`,
    bytes: `66 0F 3A ${opcode} /r`,
    operands: [`V${suffix}`, `W${suffix}`, 'Ib'],
  } as const
  if (suffix === 'ss' || suffix === 'sd')
    return scalar(row, (u, _first, src, choice) => roundScalar(u, width, src!, u.immediate8(choice!)))
  return vector({ ...row, wide: 'avx' }, (u, v, dst, src, choice) =>
    v.write(dst, roundPacked(u, width, v.read(src!), u.immediate8(choice!))),
  )
}
const roundControl = (u: Meaning, constant: Expr): Expr =>
  u.select(constant.and(4), u.i32(0), constant.and(3).or(OWN_ROUNDING)).or(constant.and(8).shl(2))

function roundScalar(u: Meaning, width: Width, src: Operand, constant: Expr): Expr {
  const bits = u.readLow(src)
  const value = fromBits(width, bits)
  const modes = [value.nearest(), value.floor(), value.ceil(), value.trunc()]
  const { rounded, isNative } = roundNatively(u, scalarFloats(u, width), constant, value, modes)
  const exact = (): Expr => convertExactly(u, `float${width}Round`, roundControl(u, constant), bits)
  return chooseResult(u, 'i64', isNative, () => toBits(width, rounded), exact)
}
function roundPacked(u: Meaning, width: Width, values: Halves, constant: Expr): Halves {
  const shape = width === 32 ? 'f32x4' : 'f64x2'
  const bytes = width === 32 ? 4 : 8
  return convertPieces(u, values, {
    conversion: `float${width}Round`,
    control: roundControl(u, constant),
    shape: packedShape(bytes, bytes, 16 / bytes),
    native: (value) => {
      const modes = (['nearest', 'floor', 'ceil', 'trunc'] as const).map((mode) =>
        value.simd(`${shape}.${mode}`),
      )
      const { rounded, isNative } = roundNatively(u, packedFloats(u, width), constant, value, modes)
      return { fits: isNative, result: () => rounded }
    },
  })
}

/** PM and PE of MXCSR: an inexact result changes nothing. */
const PRECISION_KNOWN = 0x1020

function roundNatively(
  u: Meaning,
  f: Floats,
  constant: Expr,
  value: Expr,
  modes: readonly Expr[],
): { readonly rounded: Expr; readonly isNative: Expr } {
  const mxcsr = u.state('i32', L.MXCSR)
  const mode = u.select(constant.and(4), mxcsr.shrU(13), constant)
  const odd = mode.and(1)
  const toward = u.select(odd, modes[3]!, modes[2]!)
  const rounded = u.select(mode.and(2), toward, u.select(odd, modes[1]!, modes[0]!))
  const isNumber = f.all(f.compare('eq', value, value)).and(keepsDenormals(u))
  const known = mxcsr.and(PRECISION_KNOWN).eq(PRECISION_KNOWN)
  const silent = constant
    .and(8)
    .ne(0)
    .or(known)
    .or(f.all(f.compare('eq', rounded, value)))
  return { rounded, isNative: isNumber.and(silent) }
}

// ---- approximations ----

/**
 * RCP and RSQRT: the quotient rounded to 13 significant bits, a relative error of 2^−13 where the manual allows
 * 1.5 · 2^−12. Denormal operands and results are zeros, no exception is raised, MXCSR does not matter.
 */
function approximate(name: 'rcp' | 'rsqrt', opcode: string): Instruction[] {
  const row = (prefix: string, suffix: string): VectorRow => ({
    extension: 'sse',
    mnemonic: `${name}${suffix}`,
    bytes: `${prefix} 0F ${opcode} /r`,
    operands: [`V${suffix}`, `W${suffix}`],
  })
  return [
    ...vector({ ...row('NP', 'ps'), wide: 'avx' }, (u, v, dst, src) =>
      v.write(
        dst,
        v.read(src!).map((half) => approximateLanes(u, name, half)),
      ),
    ),
    ...scalar(row('F3', 'ss'), (u, _first, src) =>
      approximateLanes(u, name, low64(u, u.readLow(src!))).lane('i64x2', 0),
    ),
  ]
}
function approximateLanes(u: Meaning, name: 'rcp' | 'rsqrt', value: Expr): Expr {
  const words = (bits: number): Expr => u.i32(bits).simdMixed('i32x4.splat')
  const f = packedFloats(u, 32)
  const sign = value.simd('v128.and', words(0x80000000))
  const flushed = (x: Expr): Expr => f.select(f.compare('lt', f.abs(x), f.constant(SMALLEST[32])), sign, x)
  const operand = flushed(value)
  const divisor = name === 'rcp' ? operand : operand.simd('f32x4.sqrt')
  const quotient = flushed(f.apply('div', f.constant(1), divisor))
  const rounded = quotient.simd('i32x4.add', words(0x400)).simd('v128.and', words(~0x7ff))
  const isNan = f.compare('eq', value, value).simd('v128.not')
  const negative = f.compare('lt', operand, f.constant(0))
  const valid = name === 'rcp' ? rounded : f.select(negative, words(0xffc00000), rounded)
  return f.select(isNan, value.simd('v128.or', words(0x00400000)), valid)
}

export const SSE_CONVERT: readonly Instruction[] = [
  ...toGeneral('cvtss2si', 'F3 0F 2D', 32, false),
  ...toGeneral('cvttss2si', 'F3 0F 2C', 32, true),
  ...toGeneral('cvtsd2si', 'F2 0F 2D', 64, false),
  ...toGeneral('cvttsd2si', 'F2 0F 2C', 64, true),
  ...fromGeneral('cvtsi2ss', 'F3 0F 2A', 32),
  ...fromGeneral('cvtsi2sd', 'F2 0F 2A', 64),
  ...packedToInteger('cvtps2dq', '66 0F 5B', 32, false),
  ...packedToInteger('cvttps2dq', 'F3 0F 5B', 32, true),
  ...packedToInteger('cvtpd2dq', 'F2 0F E6', 64, false),
  ...packedToInteger('cvttpd2dq', '66 0F E6', 64, true),
  ...FROM_DOUBLEWORDS,
  ...BETWEEN_FLOATS,
  ...WITH_MMX,
  ...round('ps', '08'),
  ...round('pd', '09'),
  ...round('ss', '0A'),
  ...round('sd', '0B'),
  ...approximate('rcp', '53'),
  ...approximate('rsqrt', '52'),
]
