/** What MMX and SSE instructions share: operands as 128-bit values, and tables of forms. */
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

export type Combine = (u: Meaning, a: Expr, b: Expr, bytes: 8 | 16) => Expr

/** dst = combine(dst, src) for an opcode that exists for MMX (without prefix) and SSE (66). */
export function packed(
  mnemonic: string,
  opcode: string,
  combine: Combine,
  extension: Extension = 'sse2',
): Instruction[] {
  return [packedMmx(mnemonic, opcode, combine, extension), packedSse(mnemonic, opcode, combine, extension)]
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
export function packedSse(
  mnemonic: string,
  opcode: string,
  combine: Combine,
  extension: Extension = 'sse2',
): Instruction {
  return sse(
    extension,
    mnemonic,
    [{ bytes: `66 0F ${opcode} /r`, operands: ['Vx', 'Wx'] }],
    (u, dst, src) => {
      const b = readLanes(u, src!)
      writeLanes(u, dst!, combine(u, readLanes(u, dst!), b, 16))
    },
  )
}
