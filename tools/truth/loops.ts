/**
 * Random loops, recompiled and interpreted side by side.
 *
 *   node tools/truth/loops.ts --instructions N --seed S [--cpu MODEL]
 *
 * A loop is a sequence of the fuzzer with a jump back at its end. After some thousand instructions, and wherever an exception ends
 * it, registers, flags and memory have to be the same in both; also what the manual leaves undefined, since both are made of the
 * same meanings. Ends at the first difference with status 1. Runs on every host.
 */
import { parseArgs } from 'node:util'
import { instructions as all } from '../../packages/x86/src/isa/index.ts'
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '../../packages/x86/src/system/model.ts'
import { describeCode, describeState } from '../../packages/x86/src/testing/compare.ts'
import { createEngine, type InterpreterEngine } from '../../packages/x86/src/testing/interpreter-engine.ts'
import { variants } from '../../packages/x86/src/testing/plan.ts'
import { type Part, SequenceGenerator } from '../../packages/x86/src/testing/sequence.ts'
import { newRecord, OFFSET, type StateRecord } from '../../packages/x86/src/testing/state-record.ts'

/** Instructions of one loop, and of a slice of it. */
const EACH = 20_000
const SLICE = 3_000
const JMP = 0xe9

/** A jump to the start behind the last part. */
export function closeLoop({ bytes, view }: StateRecord, parts: readonly Part[]): void {
  const end = Math.max(0, ...parts.map(({ start, length }) => start + length))
  bytes[OFFSET.code + end] = JMP
  view.setInt32(OFFSET.code + end + 1, -(end + 5), true)
}

/** Runs the one that is behind, until both have run the same. */
function meet(a: InterpreterEngine, b: InterpreterEngine): void {
  while (a.retired !== b.retired) {
    const behind = a.retired < b.retired ? a : b
    const missing = Math.abs(a.retired - b.retired)
    const before = behind.retired
    if (missing > 100) behind.advance(missing - 50)
    else behind.step()
    if (behind.hasStopped && behind.retired === before) return
  }
  // Both may be in the middle of one string instruction.
  for (let i = 0; i < EACH && a.count !== b.count && a.retired === b.retired; i++)
    (a.count > b.count ? a : b).step()
  // The exception that one has met is the other's next.
  if (a.hasStopped && !b.hasStopped) b.step()
  if (b.hasStopped && !a.hasStopped) a.step()
}

export class LoopRunner {
  readonly #recompiled: InterpreterEngine
  readonly #interpreted: InterpreterEngine
  readonly #actual = newRecord()
  readonly #expected = newRecord()
  /** Instructions that both have run. */
  compared = 0

  constructor(model: string) {
    this.#recompiled = createEngine(model, { recompile: true })
    this.#interpreted = createEngine(model)
  }

  get regions(): number {
    return this.#recompiled.recompiled!.regions
  }

  /** Runs a loop on both; the states where they differ. */
  run(input: StateRecord): { actual: StateRecord; expected: StateRecord } | undefined {
    const [a, b] = [this.#recompiled, this.#interpreted]
    a.begin(input)
    b.begin(input)
    while (a.retired < EACH && !a.hasStopped && !b.hasStopped) {
      a.advance(SLICE)
      meet(a, b)
      a.store(input, this.#actual)
      b.store(input, this.#expected)
      if (!Buffer.from(this.#actual.bytes).equals(this.#expected.bytes))
        return { actual: this.#actual, expected: this.#expected }
    }
    this.compared += b.retired
    return undefined
  }
}

function main(): number {
  const { values } = parseArgs({
    options: {
      instructions: { type: 'string', default: '10000000' },
      seed: { type: 'string', default: '1' },
      cpu: { type: 'string', default: DEFAULT_CPU_MODEL },
    },
  })
  const [wanted, seed] = [Number(values.instructions), Number(values.seed)]
  const model = CPU_MODELS.find(({ name }) => name === values.cpu)
  if (!(wanted > 0) || !Number.isSafeInteger(seed) || !model) {
    console.error(
      `--instructions and --seed take numbers, --cpu one of ${CPU_MODELS.map(({ name }) => name).join(', ')}`,
    )
    return 2
  }
  const forms = all.filter(({ feature }) => !feature || model.features.has(feature))
  const generator = new SequenceGenerator([...variants(forms)])
  const runner = new LoopRunner(model.name)
  const input = newRecord()
  let told = 0
  for (let loop = 0; runner.compared < wanted; loop++) {
    const parts = generator.generate(seed + loop, input)
    closeLoop(input, parts)
    const difference = runner.run(input)
    if (difference) {
      console.log(`loop ${seed + loop} differs`)
      console.log(describeCode(input, parts))
      console.log(`before\n${describeState(input)}\nrecompiled\n${describeState(difference.actual)}`)
      console.log(`interpreted\n${describeState(difference.expected)}`)
      return 1
    }
    if (runner.compared < told && runner.compared < wanted) continue
    told += 10_000_000
    console.log(`${runner.compared} instructions of ${loop + 1} loops agree, ${runner.regions} regions made`)
  }
  return 0
}

if (import.meta.main) process.exitCode = main()
