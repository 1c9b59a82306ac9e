/** Which cases are recorded: the same list, in the same order, for recorder and reader. */
import { CaseGenerator, GENERATOR_VERSION } from './encode.ts'
import { whyExcluded } from './excluded.ts'
import {
  type EncodableForm,
  type EncodableInstruction,
  formKey,
  type Group,
  groupOf,
  type OperandSize,
  operandSizes,
  parseForm,
} from './form.ts'
import type { Encoded } from './instruction-encoder.ts'
import { hashBytes, hashString } from './random.ts'
import { type Mode, newRecord, OFFSET, type StateRecord } from './state-record.ts'

/** One form in one mode with one operand size. */
export interface Variant {
  readonly instruction: EncodableInstruction
  readonly form: EncodableForm
  readonly key: string
  readonly group: Group
  readonly mode: Mode
  readonly size: OperandSize
  readonly count: number
}

/** Groups whose cases have random upper halves of YMM registers. */
const WIDE: ReadonlySet<Group> = new Set(['bmi', 'avx-float', 'avx-integer', 'fma'])

/** Cases that every form gets at least, over its operand sizes. */
export const CASES_PER_FORM = 200
const CASES_PER_SIZE = 70
const CASES_IN_32_BIT_MODE = 40

/** All variants of all instructions that can be recorded. */
export function* variants(instructions: readonly EncodableInstruction[]): Generator<Variant> {
  const seen = new Set<string>()
  for (const instruction of instructions) {
    for (const form of instruction.forms) {
      if (whyExcluded(instruction, form)) continue
      const shape = parseForm(form)
      const key = formKey(instruction, form)
      if (seen.has(key)) continue
      seen.add(key)
      const group = groupOf(instruction, form, shape)
      const long = operandSizes(form, shape, 64)
      for (const size of long)
        yield { instruction, form, key, group, mode: 64, size, count: share(long.length) }
      const legacy = operandSizes(form, shape, 32)
      const count = long.length > 0 ? CASES_IN_32_BIT_MODE : share(legacy.length)
      for (const size of legacy) yield { instruction, form, key, group, mode: 32, size, count }
    }
  }
}

function share(sizes: number): number {
  return Math.max(Math.ceil(CASES_PER_FORM / sizes), CASES_PER_SIZE)
}

export function variantName({ key, mode, size }: Variant): string {
  return `${key} [${mode}-bit mode, operand size ${size * 8}]`
}

/** Generates the cases of variants. */
export class CaseFactory {
  readonly #generator = new CaseGenerator()
  readonly #scratch = newRecord()

  /** Fills `record` with case `index` of a variant. */
  generate(variant: Variant, index: number, record: StateRecord): Encoded {
    const { instruction, form, mode, size } = variant
    const seed = (hashString(`${variant.key} ${mode} ${size}`) + Math.imul(index, 0x9e3779b1)) | 0
    this.#generator.begin(record, seed, mode, instruction.mnemonic.toLowerCase())
    if (WIDE.has(variant.group)) this.#generator.widen(instruction.mnemonic.toLowerCase())
    return this.#generator.emit(instruction, form, size)
  }

  /** Changes when the form or what the generator makes of it changes: stored vectors are stale then. */
  hash(variant: Variant): number {
    const { form } = variant
    let hash = hashString(
      JSON.stringify([
        GENERATOR_VERSION,
        variant.key,
        form.lockable,
        form.repeat,
        form.size64,
        form.memoryBytes,
        variant.count,
      ]),
    )
    for (let i = 0; i < Math.min(4, variant.count); i++) {
      this.generate(variant, i, this.#scratch)
      hash = hashBytes(this.#scratch.bytes.subarray(0, OFFSET.data), hash)
    }
    return hash
  }
}
