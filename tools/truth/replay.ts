/**
 * Replays the stored vectors on the interpreter, or on recompiled code (`--every N`: each Nth of them, which is all by default).
 *
 *   node tools/truth/replay.ts [--cpu MODEL] [--recompile] [--every N] [--only TEXT] [--limit N]
 */
import { parseArgs } from 'node:util'
import { instructions } from '../../packages/x86/src/isa/index.ts'
import { createEngine } from '../../packages/x86/src/testing/interpreter-engine.ts'
import { describeFailure, replay } from '../../packages/x86/src/testing/replay.ts'

const { values } = parseArgs({
  options: {
    cpu: { type: 'string', default: 'x86-64-v3' },
    recompile: { type: 'boolean', default: false },
    every: { type: 'string', default: '1' },
    only: { type: 'string' },
    limit: { type: 'string', default: '20' },
  },
})
const { cpu, recompile } = values
const engine = createEngine(cpu, { recompile })
const result = replay(engine, instructions, { limit: 100_000, every: Number(values.every) })
const wanted = result.failures.filter((f) => describeFailure(f).includes(values.only ?? ''))
const byForm = new Map<string, number>()
for (const { variant } of result.failures) byForm.set(variant.key, (byForm.get(variant.key) ?? 0) + 1)
for (const failure of wanted.slice(0, Number(values.limit))) console.log(describeFailure(failure))
for (const [key, count] of byForm) console.log(`${count} differ: ${key}`)
for (const problem of result.problems.slice(0, Number(values.limit))) console.log(problem)
console.log(`${result.cases} cases, ${result.failed} differ, ${result.problems.length} problems`)
process.exitCode = result.failed || result.problems.length ? 1 : 0
