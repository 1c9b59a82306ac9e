/**
 * Random instruction sequences for differential fuzzing, and what is undefined after them.
 *
 * Addresses come from pointer registers that nothing in a sequence writes; instructions with fixed address registers
 * get those by a MOV in front. An instruction that would read an undefined flag is not chosen, so that only the end
 * needs a mask: the flags that are undefined after the last instruction that ran.
 */
import { CaseGenerator } from './encode.ts'
import { APPROXIMATE } from './excluded.ts'
import type { Encoded } from './instruction-encoder.ts'
import type { Variant } from './plan.ts'
import {
  ARITHMETIC_FLAGS,
  CODE_ADDRESS,
  FLAG,
  get64,
  type Mode,
  OFFSET,
  type StateRecord,
} from './state-record.ts'
import { type UndefinedResults, undefinedFlags, undefinedStatus } from './undefined-flags.ts'

const { CF, PF, AF, ZF, SF, OF } = FLAG
const MAX_INSTRUCTIONS = 12
/** Room for the longest instruction with its MOVs. */
const CODE_LIMIT = 210

/** Not in sequences: they store pointers that processors keep differently, load state that only faults, or lose the stack. */
const NOT_IN_SEQUENCES =
  /^(fn?stenv|fn?save|fxsave.*|fxrstor.*|frstor|fldenv|ldmxcsr|popf[dq]?|popa[dw]?|leave|enter|ret[nf]?|bound|into|int3|ud[012]|v?maskmov(q|dqu)|vp?gather.*|vldmxcsr|v?dpp[sd])$/

/** Flags that are read, by mnemonic. */
function flagsRead(mnemonic: string): number {
  if (/^(adc|sbb|rcl|rcr|cmc|salc)$/.test(mnemonic)) return CF
  if (/^(daa|das|aaa|aas)$/.test(mnemonic)) return AF | CF
  if (/^(pushf[dq]?|lahf)$/.test(mnemonic)) return ARITHMETIC_FLAGS
  if (/^loopn?[ez]$/.test(mnemonic)) return ZF
  return /^(j(?!mp|.?cxz)|set|f?cmov)/.test(mnemonic) ? ARITHMETIC_FLAGS : 0
}

const DEFINED: Readonly<Record<string, number>> = {
  ...all(
    'add adc sub sbb cmp neg cmpxchg xadd popcnt comiss comisd ucomiss ucomisd ptest fcomi fcomip fucomi fucomip pcmpestri pcmpestrm pcmpistri pcmpistrm',
    ARITHMETIC_FLAGS,
  ),
  ...all('and or xor test', ARITHMETIC_FLAGS & ~AF),
  ...all(
    'vcomiss vcomisd vucomiss vucomisd vptest vtestps vtestpd vpcmpestri vpcmpestrm vpcmpistri vpcmpistrm',
    ARITHMETIC_FLAGS,
  ),
  ...all('inc dec', ARITHMETIC_FLAGS & ~CF),
  ...all('mul imul', CF | OF),
  ...all('bt bts btr btc clc stc cmc', CF),
  ...all('bsf bsr cmpxchg8b cmpxchg16b', ZF),
  ...all('andn blsi blsmsk blsr bzhi', CF | OF | ZF | SF),
  ...all('bextr', CF | OF | ZF),
  ...all('lzcnt tzcnt', CF | ZF),
  ...all('sahf', CF | PF | AF | ZF | SF),
  ...all('daa das', CF | PF | AF | ZF | SF),
  ...all('aam aad', SF | ZF | PF),
  ...all('aaa aas', CF | AF),
}
function all(mnemonics: string, flags: number): Record<string, number> {
  return Object.fromEntries(mnemonics.split(' ').map((m) => [m, flags]))
}

const SHIFT = /^(sh[lr]|sa[lr]|sh[lr]d)$/
const ROTATE = /^r[oc][lr]$/

/** Flags that are undefined after an instruction, given those before it. `input` only matters for its code. */
function flagsAfter(before: number, encoded: Encoded, input: StateRecord): number {
  const { mnemonic, form } = encoded
  const isShift = SHIFT.test(mnemonic)
  if (!isShift && !ROTATE.test(mnemonic))
    return (before & ~(DEFINED[mnemonic] ?? 0)) | undefinedFlags(encoded, input)
  // The count in CL is not known here: it may be 0, which changes nothing, or anything else.
  if (form.operands.includes('CL')) return before | OF | (isShift ? AF | CF : 0)
  const count = form.operands.includes('1')
    ? 1
    : encoded.immediate & (encoded.size === 8 && !form.operands[0]!.endsWith('b') ? 63 : 31)
  if (count === 0) return before
  const defined = (isShift ? CF | SF | ZF | PF : CF) | (count === 1 ? OF : 0)
  return (before & ~defined) | undefinedFlags(encoded, input)
}

const READS_STATUS = /^fn?stsw$/
const DEFINES_STATUS = /^(fu?comp?p?|ficomp?|ftst|fxam|fprem1?|f?n?init)$/

/** A stretch of a sequence's code: an instruction of a form, or a MOV in front of one. */
export interface Part {
  readonly start: number
  readonly length: number
  readonly mnemonic: string
  readonly encoded: Encoded | undefined
}

interface Mask {
  readonly flags: number
  readonly statusWord: number
}

/** Undefined state after each part; undefined where a part reads what is undefined. */
export function masksAfter(parts: readonly Part[], input: StateRecord): Mask[] | undefined {
  const masks: Mask[] = []
  let flags = 0
  let statusWord = 0
  // After a branch a part may not run: then it defines nothing.
  let branched = false
  for (const { encoded, mnemonic } of parts) {
    if (encoded) {
      if (flagsRead(mnemonic) & flags || (statusWord && READS_STATUS.test(mnemonic))) return undefined
      const after = flagsAfter(flags, encoded, input)
      flags = branched ? flags | after : after
      if (DEFINES_STATUS.test(mnemonic) && !branched) statusWord = 0
      branched ||= encoded.form.operands.some((operand) => operand[0] === 'J') || mnemonic === 'ret'
      statusWord |= undefinedStatus(mnemonic)
    }
    masks.push({ flags, statusWord })
  }
  return masks
}

/** What is undefined in the outcome of a sequence, from where it stopped. */
export function undefinedAtEnd(
  parts: readonly Part[],
  masks: readonly Mask[],
  outcome: StateRecord,
): UndefinedResults {
  const rip = get64(outcome.view, OFFSET.rip) - CODE_ADDRESS
  let flags = 0
  let statusWord = 0
  for (const [i, part] of parts.entries()) {
    // An instruction that raised an exception may have changed flags first, or not.
    const here = masks[i]!
    const stoppedHere = rip >= part.start && rip < part.start + part.length
    flags = stoppedHere ? flags | here.flags : here.flags
    statusWord = stoppedHere ? statusWord | here.statusWord : here.statusWord
    if (stoppedHere) break
  }
  return { flags, statusWord, registers: 0, memory: [], approximate: false }
}

/** Forms that sequences are made of, for one mode. */
export function sequenceVariants(variants: Iterable<Variant>, mode: Mode): Variant[] {
  return [...variants].filter((v) => {
    const mnemonic = v.instruction.mnemonic.toLowerCase()
    if (v.mode !== mode || NOT_IN_SEQUENCES.test(mnemonic) || APPROXIMATE.has(mnemonic)) return false
    if (mnemonic === 'bswap' && v.size === 2) return false
    if (/^sh[lr]d$/.test(mnemonic) && v.size === 2 && v.form.operands.includes('CL')) return false
    if (/^(jmp|call)$/.test(mnemonic) && v.form.operands[0]?.[0] !== 'J') return false
    if (v.mode === 32 && v.size === 2 && v.form.operands[0]?.[0] === 'J') return false
    const loadsSegment = /^(S|[CDEFGS]S$)/.test(v.form.operands[0] ?? '') && !mnemonic.startsWith('push')
    return !loadsSegment || v.form.operands[0]!.startsWith('ST')
  })
}

/** Makes sequences from seeds. */
export class SequenceGenerator {
  readonly #generator = new CaseGenerator()
  readonly #variants: Readonly<Record<Mode, readonly Variant[]>>

  readonly #wide: boolean

  constructor(variants: readonly Variant[]) {
    this.#wide = variants.some(({ form }) => form.bytes.startsWith('VEX'))
    this.#variants = { 64: sequenceVariants(variants, 64), 32: sequenceVariants(variants, 32) }
  }

  /** Fills `record` with a sequence; its parts, in order. */
  generate(seed: number, record: StateRecord): Part[] {
    const generator = this.#generator
    const mode: Mode = seed % 8 === 7 && this.#variants[32].length > 0 ? 32 : 64
    generator.begin(record, seed, mode, '', true)
    if (this.#wide) generator.widen('', true)
    const { random } = generator
    const parts: Part[] = []
    let flags = 0
    let statusWord = 0
    for (let n = random.between(1, MAX_INSTRUCTIONS); n > 0 && generator.at < CODE_LIMIT; n--) {
      const variant = random.pick(this.#variants[mode])
      const mnemonic = variant.instruction.mnemonic.toLowerCase()
      if (flagsRead(mnemonic) & flags || (statusWord && READS_STATUS.test(mnemonic))) continue
      const before = generator.at
      const encoded = generator.emit(variant.instruction, variant.form, variant.size)
      for (let at = before; at < encoded.start; at += 5)
        parts.push({ start: at, length: 5, mnemonic: 'mov', encoded: undefined })
      parts.push({ start: encoded.start, length: encoded.length, mnemonic, encoded })
      flags = flagsAfter(flags, encoded, record)
      if (DEFINES_STATUS.test(mnemonic)) statusWord = 0
      statusWord |= undefinedStatus(mnemonic)
    }
    return parts
  }
}

/** The case without one of its parts; the parts that are left, at their new places. */
export function withoutPart(
  input: StateRecord,
  parts: readonly Part[],
  index: number,
  output: StateRecord,
): Part[] {
  const { start, length } = parts[index]!
  output.bytes.set(input.bytes)
  output.bytes.copyWithin(OFFSET.code + start, OFFSET.code + start + length, OFFSET.data)
  output.bytes.fill(0xcc, OFFSET.data - length, OFFSET.data)
  output.view.setUint32(OFFSET.codeLength, input.view.getUint32(OFFSET.codeLength, true) - length, true)
  return parts
    .filter((_, i) => i !== index)
    .map((p) => (p.start > start ? { ...p, start: p.start - length } : p))
}
