/**
 * What the manual leaves undefined after an instruction, and so is not compared. Flags are from the section "Flags
 * Affected" of each instruction in SDM Vol. 2, and Vol. 1, "EFLAGS Cross-Reference"; x87 condition codes from the
 * section "FPU Flags Affected".
 */
import { APPROXIMATE } from './excluded.ts'
import type { Encoded } from './instruction-encoder.ts'
import { RCX } from './prepare.ts'
import {
  ARITHMETIC_FLAGS,
  DATA_ADDRESS,
  DATA_BYTES,
  FLAG,
  FX,
  gprOffset,
  OFFSET,
  type StateRecord,
  stOffset,
} from './state-record.ts'

const { CF, PF, AF, ZF, SF, OF } = FLAG

/** Always undefined after these. */
const UNDEFINED: Readonly<Record<string, number>> = {
  and: AF,
  or: AF,
  xor: AF,
  test: AF,
  mul: SF | ZF | AF | PF,
  imul: SF | ZF | AF | PF,
  div: ARITHMETIC_FLAGS,
  idiv: ARITHMETIC_FLAGS,
  bsf: CF | OF | SF | AF | PF,
  bsr: CF | OF | SF | AF | PF,
  bt: OF | SF | AF | PF,
  bts: OF | SF | AF | PF,
  btr: OF | SF | AF | PF,
  btc: OF | SF | AF | PF,
  aaa: OF | SF | ZF | PF,
  aas: OF | SF | ZF | PF,
  aam: OF | AF | CF,
  aad: OF | AF | CF,
  andn: AF | PF,
  bextr: AF | SF | PF,
  bzhi: AF | PF,
  blsi: AF | PF,
  blsmsk: AF | PF,
  blsr: AF | PF,
  lzcnt: OF | SF | AF | PF,
  tzcnt: OF | SF | AF | PF,
  daa: OF,
  das: OF,
}
const SHIFTS = /^(sh[lr]|sa[lr]|sh[lr]d)$/
const ROTATES = /^r[oc][lr]$/

const C0_C2_C3 = 0x4500
/** x87 instructions that define all of C0, C2 and C3, or leave them as they are. */
const DEFINES_CONDITION_CODES =
  /^(fu?comp?p?|ficomp?|fu?comip?|ftst|fxam|fprem1?|fldenv|frstor|f?n?init|fn?save|fxsave.*|fxrstor.*|fcmov.*|fwait|wait)$/

/** What not to compare after a case. */
export interface UndefinedResults {
  readonly flags: number
  /** Bits of the x87 status word. */
  readonly statusWord: number
  /** Bit per general register. */
  readonly registers: number
  /** In the data area: offset and length of bytes. */
  readonly memory: readonly (readonly [number, number])[]
  /** XMM and ST registers are compared within the bound that the manual gives. */
  readonly approximate: boolean
  /** The operand is outside the range for which the manual defines a result: the x87 is not compared. */
  readonly outOfRange?: boolean
  /** Any NaN may stand for another: which of several comes out depends on the processor. */
  readonly anyNan?: boolean
}

/** The count of a shift or rotation, masked as the processor does; `input` is the state before it. */
function shiftCount(encoded: Encoded, input: StateRecord): number {
  const mask = operandBits(encoded) === 64 ? 63 : 31
  if (encoded.form.operands.includes('CL')) return input.view.getUint8(gprOffset(RCX)) & mask
  return encoded.form.operands.includes('1') ? 1 : encoded.immediate & mask
}
function operandBits(encoded: Encoded): number {
  return encoded.form.operands[0]!.endsWith('b') ? 8 : encoded.size * 8
}

/** Flags that are undefined after one instruction. */
export function undefinedFlags(encoded: Encoded, input: StateRecord): number {
  const { mnemonic } = encoded
  const always = UNDEFINED[mnemonic]
  if (always !== undefined) return always
  const shift = SHIFTS.test(mnemonic)
  if (!shift && !ROTATES.test(mnemonic)) return 0
  const count = shiftCount(encoded, input)
  if (count === 0) return 0
  let flags = count === 1 ? 0 : OF
  if (!shift) return flags
  flags |= AF
  const bits = operandBits(encoded)
  if (mnemonic.endsWith('d') && count > bits) return ARITHMETIC_FLAGS
  return !mnemonic.startsWith('sa') || mnemonic === 'sal' ? (count >= bits ? flags | CF : flags) : flags
}

/** All that is undefined after one instruction run from `input`. */
export function undefinedResults(encoded: Encoded, input: StateRecord): UndefinedResults {
  return {
    flags: undefinedFlags(encoded, input),
    statusWord: undefinedStatus(encoded.mnemonic),
    registers: undefinedRegisters(encoded, input),
    memory: undefinedMemory(encoded),
    approximate: APPROXIMATE.has(encoded.mnemonic),
    outOfRange: isOutOfRange(encoded, input),
    anyNan: /^vdpp[sd]$/.test(encoded.mnemonic),
  }
}

/** F2XM1 is defined from −1 to 1, FYL2XP1 from √½ − 1 to √2 − 1. */
function isOutOfRange({ mnemonic }: Encoded, { view }: StateRecord): boolean {
  if (mnemonic !== 'f2xm1' && mnemonic !== 'fyl2xp1') return false
  const at = stOffset(0)
  const signExponent = view.getUint16(at + 8, true)
  const exponent = (signExponent & 0x7fff) - 16383
  if (exponent === 16384) return false
  const magnitude = (view.getUint32(at + 4, true) / 2 ** 31) * 2 ** exponent
  if (mnemonic === 'f2xm1') return magnitude > 1
  return magnitude > (signExponent & 0x8000 ? 1 - Math.SQRT1_2 : Math.SQRT2 - 1)
}

/** Bits of the x87 status word that are undefined after an instruction. */
export function undefinedStatus(mnemonic: string): number {
  if (!mnemonic.startsWith('f') || DEFINES_CONDITION_CODES.test(mnemonic)) return 0
  return /^f(sin|cos|sincos|ptan)$/.test(mnemonic) ? 0x4100 : C0_C2_C3
}

/** BSF and BSR of zero, BSWAP of 16 bits, and double shifts by more than the operand's width. */
function undefinedRegisters(encoded: Encoded, input: StateRecord): number {
  const { mnemonic } = encoded
  if (mnemonic === 'bswap' && encoded.size === 2) return 1 << encoded.rm
  if (/^sh[lr]d$/.test(mnemonic) && encoded.rm >= 0 && shiftCount(encoded, input) > encoded.size * 8)
    return 1 << encoded.rm
  if ((mnemonic === 'bsf' || mnemonic === 'bsr') && isZero(encoded, input)) return 1 << encoded.reg
  return 0
}

function isZero({ memory, rm, size }: Encoded, { bytes }: StateRecord): boolean {
  const at = memory ? memory.address - DATA_ADDRESS : gprOffset(rm)
  if (memory && (at < 0 || at + size > DATA_BYTES)) return false
  const from = memory ? OFFSET.data + at : at
  return bytes.subarray(from, from + size).every((b) => b === 0)
}

/** x87 instruction and data pointers in stored environments; see `normalizeOutcome`. */
function undefinedMemory({ mnemonic, memory, size, form }: Encoded): readonly (readonly [number, number])[] {
  if (!memory) return []
  const at = memory.address - DATA_ADDRESS
  if (mnemonic.startsWith('fxsave')) {
    return [
      [at + 6, 18],
      [at + 28, 4],
    ]
  }
  if (/^fn?(stenv|save)$/.test(mnemonic)) return [size === 2 ? [at + 6, 8] : [at + 12, 16]]
  if (/^sh[lr]d$/.test(mnemonic) && size === 2 && form.operands.includes('CL')) return [[at, 2]]
  return []
}

/** Clears what is undefined, so that two outcomes can be compared as bytes. */
export function clearUndefined({ bytes, view }: StateRecord, undefinedOnes: UndefinedResults): void {
  const { flags, statusWord, registers, memory } = undefinedOnes
  if (flags) view.setUint32(OFFSET.rflags, view.getUint32(OFFSET.rflags, true) & ~flags, true)
  if (statusWord) view.setUint16(FX.status, view.getUint16(FX.status, true) & ~statusWord, true)
  for (let i = 0; registers >> i; i++) if ((registers >> i) & 1) bytes.fill(0, gprOffset(i), gprOffset(i) + 8)
  for (const [at, length] of memory) {
    const [low, high] = [Math.max(0, at), Math.min(DATA_BYTES, at + length)]
    if (low < high) bytes.fill(0, OFFSET.data + low, OFFSET.data + high)
  }
}
