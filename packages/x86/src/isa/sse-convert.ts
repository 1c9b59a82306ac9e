/** Conversions, rounding and approximations of SSE to SSE4.1. float-lanes.ts says when they run natively. */
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import type { SimdOp } from '../wasm/opcodes.ts'
import {
  chooseResult,
  type Floats,
  fromBits,
  isOrdinary,
  isPlain,
  isZero,
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
import { enterMmx, low64, markMmx, sse, writeMmx } from './vector.ts'

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

/** In range of the integers, and either exact or rounded where nothing has to be reported. */
function fitsInteger(u: Meaning, f: Floats, value: Expr, rounded: Expr, bits: number): Expr {
  const inRange = f.compare('lt', f.abs(rounded), f.constant(2 ** (bits - 1)))
  const same = f.compare('eq', rounded, value)
  return f.all(inRange).and(isOrdinary(u).or(f.all(same)))
}

// ---- floats to integers ----

/** CVTSS2SI, CVTSD2SI, and with truncation CVTTSS2SI, CVTTSD2SI. */
function toGeneral(mnemonic: string, bytes: string, width: Width, truncate: boolean): Instruction {
  const type = width === 32 ? 'ss' : 'sd'
  return sse('sse2', mnemonic, form(bytes, 'Gy', `W${type}`), (u, dst, src) => {
    const bits = u.readLow(src!)
    const f = scalarFloats(u, width)
    const value = fromBits(width, bits)
    const rounded = truncate ? value.trunc() : value.nearest()
    const to = dst!.size === 8 ? 64 : 32
    const native = (): Expr => rounded.convert(width === 32 ? 'i64TruncSatF32S' : 'i64TruncSatF64S')
    const exact = (): Expr => convertExactly(u, `float${width}ToInt${to}`, truncate ? TRUNCATE : 0, bits)
    u.write(dst!, chooseResult(u, 'i64', fitsInteger(u, f, value, rounded, to), native, exact))
  })
}

/** Float lanes to doublewords; `source` has its unused lanes zero. */
function toDoublewords(u: Meaning, width: Width, truncate: boolean, source: Expr, lanes: number): Expr {
  const f = packedFloats(u, width)
  const shape = width === 32 ? 'f32x4' : 'f64x2'
  const rounded = source.simd(`${shape}.${truncate ? 'trunc' : 'nearest'}` as SimdOp)
  const native = (): Expr =>
    rounded.simd(width === 32 ? 'i32x4.trunc_sat_f32x4_s' : 'i32x4.trunc_sat_f64x2_s_zero')
  const walk = packedShape(width === 32 ? 4 : 8, 4, lanes)
  const exact = (): Expr => convertLanes(u, `float${width}ToInt32`, truncate ? TRUNCATE : 0, source, walk)
  return chooseResult(u, 'v128', fitsInteger(u, f, source, rounded, 32), native, exact)
}
function packedToInteger(mnemonic: string, bytes: string, width: Width, truncate: boolean): Instruction {
  const operands = width === 32 ? ['Vdq', 'Wps'] : ['Vdq', 'Wpd']
  return sse('sse2', mnemonic, form(bytes, ...operands), (u, dst, src) =>
    u.writeVector(dst!, toDoublewords(u, width, truncate, u.readVector(src!), width === 32 ? 4 : 2)),
  )
}

// ---- integers to floats ----

/** CVTSI2SS and CVTSI2SD. Integers that a float holds exactly need nothing of MXCSR. */
function fromGeneral(mnemonic: string, bytes: string, width: Width): Instruction {
  const type = width === 32 ? 'ss' : 'sd'
  return sse('sse2', mnemonic, form(bytes, `V${type}`, 'Ey'), (u, dst, src) => {
    const value = u.read(src!)
    const native = (): Expr =>
      toBits(width, value.convert(width === 32 ? 'f32ConvertI64S' : 'f64ConvertI64S'))
    if (width === 64 && src!.size === 4) return u.writeLow(dst!, native())
    const limit = width === 32 ? 2 ** 24 : 2 ** 53
    const small = value.add(limit).leU(2 * limit)
    const exact = (): Expr => convertExactly(u, `int64ToFloat${width}`, 0, value)
    u.writeLow(dst!, chooseResult(u, 'i64', small.or(isOrdinary(u)), native, exact))
  })
}

function doublewordsToSingles(u: Meaning, source: Expr, lanes: number): Expr {
  const native = (): Expr => source.simd('f32x4.convert_i32x4_s')
  const exact = (): Expr => convertLanes(u, 'int32ToFloat32', 0, source, packedShape(4, 4, lanes, true))
  return chooseResult(u, 'v128', isOrdinary(u), native, exact)
}

// ---- between floats ----

/** What binary32 holds as a normal number: not tiny, and below what rounds to infinity. */
function fitsSingle(f: Floats, value: Expr): Expr {
  const magnitude = f.abs(value)
  const above = f.compare('ge', magnitude, f.constant(SMALLEST[32]))
  const normal = f.and(above, f.compare('lt', magnitude, f.constant(2 ** 128 - 2 ** 103)))
  return f.or(normal, isZero(f, value))
}

const BETWEEN_FLOATS: readonly Instruction[] = [
  sse('sse2', 'cvtss2sd', form('F3 0F 5A', 'Vsd', 'Wss'), (u, dst, src) => {
    const bits = u.readLow(src!)
    const value = fromBits(32, bits)
    const native = (): Expr => toBits(64, value.convert('promote'))
    const exact = (): Expr => convertExactly(u, 'float32To64', 0, bits)
    u.writeLow(dst!, chooseResult(u, 'i64', isPlain(scalarFloats(u, 32), value), native, exact))
  }),
  sse('sse2', 'cvtsd2ss', form('F2 0F 5A', 'Vss', 'Wsd'), (u, dst, src) => {
    const bits = u.readLow(src!)
    const value = fromBits(64, bits)
    const native = (): Expr => toBits(32, value.convert('demote'))
    const exact = (): Expr => convertExactly(u, 'float64To32', 0, bits)
    const fits = fitsSingle(scalarFloats(u, 64), value).and(isOrdinary(u))
    u.writeLow(dst!, chooseResult(u, 'i64', fits, native, exact))
  }),
  sse('sse2', 'cvtps2pd', form('NP 0F 5A', 'Vpd', 'Wq'), (u, dst, src) => {
    const value = low64(u, u.readLow(src!))
    const f = packedFloats(u, 32)
    const native = (): Expr => value.simd('f64x2.promote_low_f32x4')
    const exact = (): Expr => convertLanes(u, 'float32To64', 0, value, packedShape(4, 8, 2))
    u.writeVector(dst!, chooseResult(u, 'v128', f.all(isPlain(f, value)), native, exact))
  }),
  sse('sse2', 'cvtpd2ps', form('66 0F 5A', 'Vps', 'Wpd'), (u, dst, src) => {
    const value = u.readVector(src!)
    const f = packedFloats(u, 64)
    const native = (): Expr => value.simd('f32x4.demote_f64x2_zero')
    const exact = (): Expr => convertLanes(u, 'float64To32', 0, value, packedShape(8, 4, 2))
    const fits = f.all(fitsSingle(f, value)).and(isOrdinary(u))
    u.writeVector(dst!, chooseResult(u, 'v128', fits, native, exact))
  }),
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
    writeMmx(u, dst, toDoublewords(u, width, truncate, source, 2).lane('i64x2', 0)),
  )
}

const WITH_MMX: readonly Instruction[] = [
  toMmx('cvtps2pi', 'NP 0F 2D', 32, false),
  toMmx('cvttps2pi', 'NP 0F 2C', 32, true),
  toMmx('cvtpd2pi', '66 0F 2D', 64, false),
  toMmx('cvttpd2pi', '66 0F 2C', 64, true),
  withMmx('cvtpi2ps', 'NP 0F 2A', ['Vps', 'Qq'], readLow64, (u, dst, source) =>
    u.store('i64', u.offsetOf(dst), doublewordsToSingles(u, source, 2).lane('i64x2', 0), L.XMM),
  ),
  withMmx('cvtpi2pd', '66 0F 2A', ['Vpd', 'Qq'], readLow64, (u, dst, source) =>
    u.writeVector(dst, source.simd('f64x2.convert_low_i32x4_s')),
  ),
]

// ---- rounding to integers ----

/** ROUNDPS and the like. Constant: bits 0–1 the rounding, bit 2 that MXCSR has it, bit 3 no precision exception. */
function round(suffix: 'ps' | 'pd' | 'ss' | 'sd', opcode: string): Instruction {
  const width = suffix.endsWith('s') ? 32 : 64
  const operands = [`V${suffix}`, `W${suffix}`, 'Ib']
  return sse('sse4.1', `round${suffix}`, form(`66 0F 3A ${opcode}`, ...operands), (u, dst, src, choice) => {
    const constant = u.immediate8(choice!)
    const control = u
      .select(constant.and(4), u.i32(0), constant.and(3).or(OWN_ROUNDING))
      .or(constant.and(8).shl(2))
    const conversion = `float${width}Round` as const
    if (suffix === 'ss' || suffix === 'sd') {
      const bits = u.readLow(src!)
      const value = fromBits(width, bits)
      const modes = [value.nearest(), value.floor(), value.ceil(), value.trunc()]
      const { rounded, isNative } = roundNatively(u, scalarFloats(u, width), constant, value, modes)
      const exact = (): Expr => convertExactly(u, conversion, control, bits)
      return u.writeLow(
        dst!,
        chooseResult(u, 'i64', isNative, () => toBits(width, rounded), exact),
      )
    }
    const value = u.readVector(src!)
    const shape = width === 32 ? 'f32x4' : 'f64x2'
    const modes = (['nearest', 'floor', 'ceil', 'trunc'] as const).map((mode) =>
      value.simd(`${shape}.${mode}`),
    )
    const { rounded, isNative } = roundNatively(u, packedFloats(u, width), constant, value, modes)
    const bytes = width === 32 ? 4 : 8
    const exact = (): Expr =>
      convertLanes(u, conversion, control, value, packedShape(bytes, bytes, 16 / bytes))
    u.writeVector(
      dst!,
      chooseResult(u, 'v128', isNative, () => rounded, exact),
    )
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
function approximate(name: 'rcp' | 'rsqrt', opcode: string, scalar: boolean): Instruction {
  const suffix = scalar ? 'ss' : 'ps'
  const bytes = `${scalar ? 'F3' : 'NP'} 0F ${opcode}`
  return sse('sse', `${name}${suffix}`, form(bytes, `V${suffix}`, `W${suffix}`), (u, dst, src) => {
    if (scalar) {
      const value = low64(u, u.readLow(src!))
      u.writeLow(dst!, approximateLanes(u, name, value).lane('i64x2', 0))
    } else u.writeVector(dst!, approximateLanes(u, name, u.readVector(src!)))
  })
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
  toGeneral('cvtss2si', 'F3 0F 2D', 32, false),
  toGeneral('cvttss2si', 'F3 0F 2C', 32, true),
  toGeneral('cvtsd2si', 'F2 0F 2D', 64, false),
  toGeneral('cvttsd2si', 'F2 0F 2C', 64, true),
  fromGeneral('cvtsi2ss', 'F3 0F 2A', 32),
  fromGeneral('cvtsi2sd', 'F2 0F 2A', 64),
  packedToInteger('cvtps2dq', '66 0F 5B', 32, false),
  packedToInteger('cvttps2dq', 'F3 0F 5B', 32, true),
  packedToInteger('cvtpd2dq', 'F2 0F E6', 64, false),
  packedToInteger('cvttpd2dq', '66 0F E6', 64, true),
  sse('sse2', 'cvtdq2ps', form('NP 0F 5B', 'Vps', 'Wdq'), (u, dst, src) =>
    u.writeVector(dst!, doublewordsToSingles(u, u.readVector(src!), 4)),
  ),
  sse('sse2', 'cvtdq2pd', form('F3 0F E6', 'Vpd', 'Wq'), (u, dst, src) =>
    u.writeVector(dst!, low64(u, u.readLow(src!)).simd('f64x2.convert_low_i32x4_s')),
  ),
  ...BETWEEN_FLOATS,
  ...WITH_MMX,
  round('ps', '08'),
  round('pd', '09'),
  round('ss', '0A'),
  round('sd', '0B'),
  approximate('rcp', '53', false),
  approximate('rcp', '53', true),
  approximate('rsqrt', '52', false),
  approximate('rsqrt', '52', true),
]
