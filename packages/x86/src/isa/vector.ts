/** What MMX, SSE and AVX instructions share: operands as 128-bit values, and tables of forms. */
import * as L from '../state/layout.ts'
import { CR0_NE, EXCEPTION } from '../state/registers.ts'
import type { Expr } from '../wasm/code.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'

/** Where vectors lie in memory while lanes are chosen by numbers known only at run time. */
export const LANES = L.FX_IMAGE

/** #UD, #NM or a pending #MF, then MMX's view of the x87: TOP is 0 and every register is in use. */
export function enterMmx(u: Meaning): void {
  u.requireMmx()
  const pending = u.state('i32', L.FPU_STATUS).and(0x80)
  u.if(pending.and(u.select(u.state('i32', L.CR0).and(CR0_NE), u.i32(0x80), 0)), () => u.raise(EXCEPTION.MF))
}
/** After the last access that can fault. */
export function markMmx(u: Meaning): void {
  u.setState('i32', L.FPU_TOP, 0)
  u.setState('i32', L.FPU_TAGS, 0xff)
}

/** A 64-bit value in the low half of a vector, zero above. */
export function low64(u: Meaning, value: Expr): Expr {
  return u.zero('v128').withLane('i64x2', 0, value)
}

export const isMmx = (operand: Operand): boolean =>
  (operand.kind === 'register' && operand.file === 'mmx') || operand.size === 8

/** A vector operand: 128 bits of an XMM register or aligned memory, or 64 of an MMX register or memory. */
export function readLanes(u: Meaning, operand: Operand): Expr {
  return isMmx(operand) ? low64(u, u.readLow(operand)) : u.readVector(operand)
}
export function writeLanes(u: Meaning, operand: Operand, value: Expr): void {
  if (isMmx(operand)) writeMmx(u, operand, value.lane('i64x2', 0))
  else u.writeVector(operand, value)
}
/** Writes an MMX register: sign and exponent of the x87 register become ones. */
export function writeMmx(u: Meaning, operand: Operand, value: Expr): void {
  u.writeLow(operand, value)
  if (operand.kind === 'register') u.store('i64', u.offsetOf(operand), 0xffff, L.X87 + 8)
}

export type Extension = 'sse' | 'sse2' | 'sse3' | 'ssse3' | 'sse4.1' | 'sse4.2' | 'mmx'
/** Extensions above the baseline, which CPUID may lack. */
const OPTIONAL: ReadonlySet<Extension> = new Set(['sse3', 'ssse3', 'sse4.1', 'sse4.2'])

const spec = (mnemonic: string): string => `SDM Vol. 2, "${mnemonic.toUpperCase()}"`

/** An SSE instruction: its meaning begins after the checks of the control registers. */
export function sse(
  extension: Extension,
  mnemonic: string,
  forms: readonly Form[],
  meaning: Instruction['meaning'],
): Instruction {
  return instruction({
    mnemonic,
    spec: spec(mnemonic),
    forms,
    ...(OPTIONAL.has(extension) && { feature: extension }),
    meaning: (u, ...operands) => {
      u.requireSse()
      meaning(u, ...operands)
    },
  })
}

/** An MMX instruction. */
export function mmx(
  mnemonic: string,
  forms: readonly Form[],
  meaning: Instruction['meaning'],
  extension: Extension = 'mmx',
): Instruction {
  return instruction({
    mnemonic,
    spec: spec(mnemonic),
    forms,
    ...(OPTIONAL.has(extension) && { feature: extension }),
    meaning: (u, ...operands) => {
      enterMmx(u)
      // A store that faults has already cleared TOP, on Intel's CPUs; a load that faults has not.
      if (operands[0]?.kind === 'memory') u.setState('i32', L.FPU_TOP, 0)
      meaning(u, ...operands)
      markMmx(u)
    },
  })
}

// ---- AVX ----

export type AvxFeature = 'avx' | 'avx2' | 'fma' | 'f16c'

/** An instruction on vectors that VEX encodes: its meaning begins after the checks of the control registers. */
export function avx(
  feature: AvxFeature,
  mnemonic: string,
  forms: readonly Form[],
  meaning: Instruction['meaning'],
): Instruction {
  return instruction({
    mnemonic,
    spec: spec(mnemonic),
    forms,
    feature,
    meaning: (u, ...operands) => {
      u.requireAvx()
      meaning(u, ...operands)
    },
  })
}

/** The 128-bit halves of a vector, lowest first: one, or two of a YMM register. */
export type Halves = readonly Expr[]

/** How an encoding reaches vectors: the legacy one leaves alone what is above bit 127, VEX makes it zero. */
export interface Vectors {
  readonly isVex: boolean
  read(operand: Operand): Halves
  write(operand: Operand, halves: Halves): void
  /** Makes `operand` a copy of `source`, for meanings that then change parts; with legacy encodings both are one. */
  copy(operand: Operand, source: Operand): void
  /** Ends an instruction that wrote only the low 128 bits, or parts of them. */
  finish(operand: Operand): void
}
const legacyVectors = (u: Meaning): Vectors => ({
  isVex: false,
  read: (operand) => [u.readVector(operand)],
  write: (operand, [half]) => u.writeVector(operand, half!),
  copy: () => {},
  finish: () => {},
})
export const vexVectors = (u: Meaning): Vectors => ({
  isVex: true,
  read: (operand) => u.readHalves(operand),
  write: (operand, halves) => u.writeHalves(operand, halves),
  copy: (operand, source) => u.writeHalves(operand, u.readHalves(source)),
  finish: (operand) => u.clearUpperHalf(operand),
})

/** An instruction of SSE that AVX has too. */
export interface VectorRow {
  readonly extension: Extension
  readonly mnemonic: string
  /** The legacy encoding, as in `Form`; VEX has the same prefix, map and opcode. */
  readonly bytes: string
  /** Operands of the legacy encoding. */
  readonly operands: readonly string[]
  /** The destination is also the first source: VEX names that apart. */
  readonly twoSources?: boolean
  /** What CPUID needs for 256 bits; there is no such form where it is left out. */
  readonly wide?: 'avx' | 'avx2'
  /** Operands with 256 bits where they are not those with 128 doubled. */
  readonly wideOperands?: readonly string[]
  /** VEX fields besides the prefix and the map: the length where it is not 128 or 256, W. */
  readonly vex?: string
  readonly memoryBytes?: number
  readonly access?: 'r' | 'w'
  readonly sized?: boolean
}
/** Gets the destination, the first source (the destination again where the encoding is legacy), and the others. */
export type VectorMeaning = (u: Meaning, v: Vectors, ...operands: Operand[]) => void

/** The legacy instruction and its VEX forms, with one meaning. */
export function vector(row: VectorRow, meaning: VectorMeaning): Instruction[] {
  const { extension, mnemonic, bytes, operands, wide } = row
  const more = {
    ...(row.memoryBytes && { memoryBytes: row.memoryBytes }),
    ...(row.access && { access: row.access }),
    ...(row.sized && { sized: true }),
  }
  const legacy = sse(extension, mnemonic, [{ bytes, operands, ...more }], (u, dst, ...rest) =>
    meaning(u, legacyVectors(u), dst!, ...(row.twoSources ? [dst!] : []), ...rest),
  )
  const vex = (feature: AvxFeature, length: string, own: readonly string[]): Instruction => {
    const form = { bytes: vexBytes(bytes, length, row.vex), operands: row.twoSources ? withSource(own) : own }
    return avx(feature, `v${mnemonic}`, [{ ...form, ...more }], (u, ...all) =>
      meaning(u, vexVectors(u), ...all),
    )
  }
  const wideOperands = row.wideOperands ?? operands.map(widen)
  return [
    legacy,
    vex('avx', row.vex?.includes('L') ? '' : '128', operands),
    ...(wide ? [vex(wide, '256', wideOperands)] : []),
  ]
}

/** `66 0F 38 00 /r` as `VEX.128.66.0F38 00 /r`. */
function vexBytes(bytes: string, length: string, fields = ''): string {
  const [, prefix, map, rest] = /^(NP|66|F2|F3) (0F(?: 38| 3A)?) (.*)$/.exec(bytes)!
  const parts = ['VEX', length, prefix!, map!.replace(' ', ''), fields].filter((part) => part !== '')
  return `${parts.join('.')} ${rest}`
}
/** The operand that VEX.vvvv adds behind the destination. */
function withSource([dst, ...rest]: readonly string[]): string[] {
  return [dst!, `H${dst!.slice(1)}`, ...rest]
}
const widen = (operand: string): string => operand.replace(/^([VWUMH])(x|dq|ps|pd)$/, '$1qq')

/** A scalar result: the low bytes; the rest of 128 bits is that of the first source. */
export function scalar(
  row: VectorRow,
  value: (u: Meaning, first: Operand, ...rest: Operand[]) => Expr,
): Instruction[] {
  return vector({ ...row, twoSources: true, vex: row.vex ?? 'LIG' }, (u, v, dst, first, ...rest) => {
    const low = value(u, first!, ...rest)
    v.copy(dst, { ...first!, size: 16 } as Operand)
    u.writeLow(dst, low)
  })
}

// ---- tables ----

export type Combine = (u: Meaning, a: Expr, b: Expr, bytes: 8 | 16) => Expr

/** Combines the halves of two vectors. */
export const combineHalves = (u: Meaning, combine: Combine, a: Halves, b: Halves): Halves =>
  a.map((half, i) => combine(u, half, b[i]!, 16))

/** dst = combine(dst, src) for an opcode that exists for MMX (without prefix) and SSE (66). */
export function packed(
  mnemonic: string,
  opcode: string,
  combine: Combine,
  extension: Extension = 'sse2',
): Instruction[] {
  return [packedMmx(mnemonic, opcode, combine, extension), ...packedSse(mnemonic, opcode, combine, extension)]
}
export function packedMmx(
  mnemonic: string,
  opcode: string,
  combine: Combine,
  extension: Extension = 'mmx',
  source: 'Qq' | 'Qd' = 'Qq',
): Instruction {
  return mmx(
    mnemonic,
    [{ bytes: `NP 0F ${opcode} /r`, operands: ['Pq', source] }],
    (u, dst, src) => {
      const b = low64(u, u.readLow(src!))
      writeLanes(u, dst!, combine(u, readLanes(u, dst!), b, 8))
    },
    extension,
  )
}
/** The same for XMM and, with AVX2, YMM registers. */
export function packedSse(
  mnemonic: string,
  opcode: string,
  combine: Combine,
  extension: Extension = 'sse2',
): Instruction[] {
  const row = { extension, mnemonic, bytes: `66 0F ${opcode} /r`, operands: ['Vx', 'Wx'] }
  return vector({ ...row, twoSources: true, wide: 'avx2' }, (u, v, dst, first, src) => {
    const b = v.read(src!)
    v.write(dst, combineHalves(u, combine, v.read(first!), b))
  })
}
