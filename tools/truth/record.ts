/**
 * Records what this host's CPU does: `node tools/truth/record.ts [--groups a,b] [--instructions MODULE] [--output FOLDER]`.
 * Writes one vector file per group (see packages/x86/src/testing/vectors.ts).
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { whyExcluded } from '../../packages/x86/src/testing/excluded.ts'
import { type EncodableInstruction, formKey } from '../../packages/x86/src/testing/form.ts'
import { hostHas, NativeCpu, whyNotNative } from '../../packages/x86/src/testing/native.ts'
import { CaseFactory, type Variant, variants } from '../../packages/x86/src/testing/plan.ts'
import { RECORD_BYTES, recordAt } from '../../packages/x86/src/testing/state-record.ts'
import { VectorWriter } from '../../packages/x86/src/testing/vectors.ts'
import { loadInstructions } from './instructions.ts'

const BATCH = 4096
const DEFAULT_FOLDER = fileURLToPath(new URL('../../packages/x86/vectors/', import.meta.url))

interface Job {
  readonly variant: Variant
  readonly index: number
}

/** Records one group; returns the file's contents and what became of it. */
export function recordGroup(
  cpu: NativeCpu,
  list: readonly Variant[],
  cpuName: string,
): { file: Uint8Array; cases: number; skipped: number } {
  const writer = new VectorWriter()
  const factory = new CaseFactory()
  const jobs: Job[] = list.flatMap((variant) =>
    Array.from({ length: variant.count }, (_, index) => ({ variant, index })),
  )
  const cases = new Uint8Array(BATCH * RECORD_BYTES)
  const outcomes = new Uint8Array(BATCH * RECORD_BYTES)
  for (let from = 0; from < jobs.length; from += BATCH) {
    const batch = jobs.slice(from, from + BATCH)
    for (const [i, { variant, index }] of batch.entries())
      factory.generate(variant, index, recordAt(cases, i * RECORD_BYTES))
    cpu.run(cases, outcomes, batch.length)
    for (const [i, { variant, index }] of batch.entries()) {
      if (index === 0) writer.beginVariant(variant)
      writer.add(recordAt(cases, i * RECORD_BYTES), recordAt(outcomes, i * RECORD_BYTES))
    }
  }
  return { file: writer.finish(cpuName), cases: jobs.length, skipped: writer.skipped }
}

/** Model name of the host's CPU. */
export function cpuModel(): string {
  return /^model name\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'unknown'
}

function listExcluded(instructions: readonly EncodableInstruction[]): void {
  for (const instruction of instructions) {
    for (const form of instruction.forms) {
      const reason = whyExcluded(instruction, form)
      if (reason) console.log(`not recorded: ${formKey(instruction, form)} (${reason})`)
    }
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      groups: { type: 'string' },
      instructions: { type: 'string' },
      output: { type: 'string' },
      excluded: { type: 'boolean' },
    },
  })
  const reason = whyNotNative()
  if (reason) {
    console.error(`cannot record on this host: it ${reason}`)
    return 1
  }
  const instructions = await loadInstructions(values.instructions)
  if (values.excluded) listExcluded(instructions)
  const wanted = values.groups?.split(',')
  const missing = [...variants(instructions)].find(
    ({ instruction: { feature }, group }) =>
      (wanted?.includes(group) ?? true) && feature && !hostHas(feature),
  )
  if (missing) {
    console.error(`cannot record ${missing.key} on this host: it has no ${missing.instruction.feature}`)
    return 1
  }
  const folder = values.output ?? DEFAULT_FOLDER
  mkdirSync(folder, { recursive: true })
  const byGroup = Map.groupBy(variants(instructions), (v) => v.group)
  using cpu = new NativeCpu()
  const modes = cpu.modes()
  for (const group of wanted ?? byGroup.keys()) {
    const list = byGroup.get(group as Variant['group'])?.filter(({ mode }) => modes.includes(mode))
    if (!list) {
      console.error(`no group ${group}; there are ${[...byGroup.keys()].join(', ')}`)
      return 1
    }
    const { file, cases, skipped } = recordGroup(cpu, list, cpuModel())
    const path = join(folder, `${group}.bin`)
    writeFileSync(`${path}.new`, file)
    renameSync(`${path}.new`, path)
    const forms = new Set(list.map((v) => v.key)).size
    console.log(`${group}: ${forms} forms, ${cases} cases (${skipped} skipped), ${file.length} bytes`)
  }
  return 0
}

if (import.meta.main) process.exitCode = await main()
