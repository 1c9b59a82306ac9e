/** Replays stored vectors on an engine. Runs on every host. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Checker, type Engine } from './engine.ts'
import { whyExcluded } from './excluded.ts'
import type { EncodableInstruction } from './form.ts'
import { formKey } from './form.ts'
import { CASES_PER_FORM, type Variant, variantName, variants } from './plan.ts'
import { OFFSET } from './state-record.ts'
import { undefinedResults } from './undefined-flags.ts'
import { VectorFile } from './vectors.ts'

/** Where the recorder writes. */
export const VECTOR_FOLDER: string = fileURLToPath(new URL('../../vectors/', import.meta.url))

export interface ReplayFailure {
  readonly variant: Variant
  readonly index: number
  /** The instruction's bytes, hexadecimal. */
  readonly code: string
  readonly differences: readonly string[]
}

export interface ReplayResult {
  readonly cases: number
  /** Cases that differ, in total and the first `limit` of them. */
  readonly failed: number
  readonly failures: readonly ReplayFailure[]
  /** Stale variants, and forms with too few cases. */
  readonly problems: readonly string[]
}

/** Replays all vector files of `folder` for these instructions. */
export function replay(
  engine: Engine,
  instructions: readonly EncodableInstruction[],
  {
    folder = VECTOR_FOLDER,
    limit = 50,
    every = 1,
  }: { folder?: string; limit?: number /** Runs each so-manieth case only. */; every?: number } = {},
): ReplayResult {
  const wanted = [...variants(instructions)]
  const problems: string[] = []
  const failures: ReplayFailure[] = []
  const counts = new Map<string, number>()
  const checker = new Checker(engine)
  let [cases, failed] = [0, 0]
  const names = existsSync(folder) ? readdirSync(folder).filter((n) => n.endsWith('.bin')) : []
  for (const name of names.sort()) {
    const file = new VectorFile(readFileSync(`${folder}/${name}`))
    for (const { variant, index, encoded, input, expected } of file.cases(wanted, (p) => problems.push(p))) {
      cases++
      counts.set(variant.key, (counts.get(variant.key) ?? 0) + 1)
      if (cases % every !== 0) continue
      const differences = checker.check(input, expected, undefinedResults(encoded, input))
      if (differences.length === 0) continue
      failed++
      const code = Buffer.from(input.bytes.subarray(OFFSET.code, OFFSET.code + encoded.length)).toString(
        'hex',
      )
      if (failures.length < limit) failures.push({ variant, index, code, differences })
    }
  }
  for (const key of new Set(wanted.map((v) => v.key))) {
    const count = counts.get(key) ?? 0
    if (count < CASES_PER_FORM)
      problems.push(`${key} has ${count} recorded cases, should have ${CASES_PER_FORM}`)
  }
  return { cases, failed, failures, problems }
}

/** A failure in one paragraph. */
export function describeFailure({ variant, index, code, differences }: ReplayFailure): string {
  return `${variantName(variant)}, case ${index}, ${code}:\n  ${differences.join('\n  ')}`
}

/** Forms that have no vectors on purpose, with the reason. */
export function excludedForms(instructions: readonly EncodableInstruction[]): Map<string, string> {
  const excluded = new Map<string, string>()
  for (const instruction of instructions) {
    for (const form of instruction.forms) {
      const reason = whyExcluded(instruction, form)
      if (reason) excluded.set(formKey(instruction, form), reason)
    }
  }
  return excluded
}
