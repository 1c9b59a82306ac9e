/**
 * Differential fuzzer: random sequences on this host's CPU and on an engine.
 *
 *   node tools/truth/fuzz.ts --sequences N --seed S [--cpu MODEL] [--engine MODULE|native] [--instructions MODULE]
 *
 * MODULE exports `createEngine(model): Engine | Promise<Engine>` (packages/x86/src/testing/engine.ts). `native` runs
 * everything twice on the CPU, which tests the fuzzer. Ends at the first difference, minimized, with status 1.
 */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '../../packages/x86/src/system/model.ts'
import { describeCode, describeState } from '../../packages/x86/src/testing/compare.ts'
import { compareOutcomes, type Engine } from '../../packages/x86/src/testing/engine.ts'
import { hostHas, NativeCpu, whyNotNative } from '../../packages/x86/src/testing/native.ts'
import { variants } from '../../packages/x86/src/testing/plan.ts'
import {
  masksAfter,
  type Part,
  SequenceGenerator,
  undefinedAtEnd,
  withoutPart,
} from '../../packages/x86/src/testing/sequence.ts'
import {
  newRecord,
  normalizeOutcome,
  OFFSET,
  RECORD_BYTES,
  recordAt,
  STOP_SYSTEM_CALL,
  STOP_TIMEOUT,
  type StateRecord,
} from '../../packages/x86/src/testing/state-record.ts'
import { isIntel, whyVendorDependent } from '../../packages/x86/src/testing/vendor.ts'
import { loadInstructions } from './instructions.ts'

const BATCH = 2048
const DEFAULT_ENGINE = new URL('../../packages/x86/src/testing/interpreter-engine.ts', import.meta.url).href

/** The CPU behind the interface of an engine, one case at a time. */
function nativeEngine(cpu: NativeCpu): Engine {
  return { name: 'native', run: (input, outcome) => cpu.run(input.bytes, outcome.bytes, 1) }
}

async function loadEngine(name: string | undefined, model: string, cpu: NativeCpu): Promise<Engine> {
  if (name === 'native') return nativeEngine(cpu)
  const module = (await import(name ? pathToFileURL(resolve(name)).href : DEFAULT_ENGINE)) as {
    createEngine?: (model: string) => Engine | Promise<Engine>
  }
  if (!module.createEngine) throw new Error(`${name} exports no createEngine`)
  return module.createEngine(model)
}

export interface Difference {
  readonly input: StateRecord
  readonly parts: readonly Part[]
  readonly actual: StateRecord
  readonly expected: StateRecord
  readonly lines: readonly string[]
}

/** Compares one engine with the CPU. */
export class Fuzzer {
  readonly #cpu: NativeCpu
  readonly #engine: Engine
  readonly #actual = newRecord()
  readonly #expected = newRecord()
  readonly #scratch = newRecord()
  readonly #isIntel = isIntel()
  /** Sequences whose outcome on this host's processor is not Intel's, by why. */
  readonly leftOut = new Map<string, number>()

  constructor(cpu: NativeCpu, engine: Engine) {
    this.#cpu = cpu
    this.#engine = engine
  }

  /** Runs a case on the engine; what differs from `expected`. Without masks a part reads something undefined. */
  check(input: StateRecord, parts: readonly Part[], expected: StateRecord): string[] {
    const stop = expected.view.getUint32(OFFSET.stop, true)
    if (stop === STOP_TIMEOUT || stop === STOP_SYSTEM_CALL) return []
    const masks = masksAfter(parts, input)
    if (!masks) return []
    const vendor = this.#isIntel ? undefined : whyVendorDependent(parts, expected)
    if (vendor !== undefined) {
      this.leftOut.set(vendor, (this.leftOut.get(vendor) ?? 0) + 1)
      return []
    }
    this.#engine.run(input, this.#actual)
    normalizeOutcome(this.#actual)
    return compareOutcomes(this.#actual, expected, this.#scratch, undefinedAtEnd(parts, masks, expected))
  }

  /** Leaves out parts as long as a difference stays. */
  minimize(input: StateRecord, parts: readonly Part[]): Difference {
    let [best, left] = [recordAt(input.bytes.slice()), parts]
    for (let index = 0; index < left.length && left.length > 1; ) {
      const candidate = newRecord()
      const rest = withoutPart(best, left, index, candidate)
      this.#cpu.run(candidate.bytes, this.#expected.bytes, 1)
      if (this.check(candidate, rest, this.#expected).length > 0) {
        ;[best, left] = [candidate, rest]
        index = 0
      } else index++
    }
    this.#cpu.run(best.bytes, this.#expected.bytes, 1)
    const lines = this.check(best, left, this.#expected)
    return { input: best, parts: left, actual: this.#actual, expected: this.#expected, lines }
  }
}

function report(seed: number, engine: string, { input, parts, actual, expected, lines }: Difference): void {
  console.log(
    `sequence ${seed}, ${input.view.getUint32(OFFSET.mode, true)}-bit mode: ${engine} differs from the CPU`,
  )
  console.log(describeCode(input, parts))
  for (const line of lines) console.log(`  ${line}`)
  console.log(
    `before\n${describeState(input)}\n${engine}\n${describeState(actual)}\nCPU\n${describeState(expected)}`,
  )
}

function progress(done: number, total: number, started: number): void {
  const seconds = (performance.now() - started) / 1000
  console.log(`${done} of ${total} sequences agree, ${Math.round(done / seconds)} per second`)
}

/** Runs `count` sequences from `seed`; the first difference, if there is one. */
export function fuzz(
  generator: SequenceGenerator,
  fuzzer: Fuzzer,
  cpu: NativeCpu,
  seed: number,
  count: number,
  tell: (done: number) => void,
): { seed: number; difference: Difference } | undefined {
  const cases = new Uint8Array(BATCH * RECORD_BYTES)
  const outcomes = new Uint8Array(BATCH * RECORD_BYTES)
  const records = Array.from(
    { length: BATCH },
    (_, i) => [recordAt(cases, i * RECORD_BYTES), recordAt(outcomes, i * RECORD_BYTES)] as const,
  )
  for (let from = 0; from < count; from += BATCH) {
    const size = Math.min(BATCH, count - from)
    const parts: Part[][] = []
    for (let i = 0; i < size; i++) parts.push(generator.generate(seed + from + i, records[i]![0]))
    cpu.run(cases, outcomes, size)
    for (let i = 0; i < size; i++) {
      const [input, expected] = records[i]!
      if (fuzzer.check(input, parts[i]!, expected).length > 0)
        return { seed: seed + from + i, difference: fuzzer.minimize(input, parts[i]!) }
    }
    tell(from + size)
  }
  return undefined
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      sequences: { type: 'string', default: '100000' },
      seed: { type: 'string', default: '1' },
      cpu: { type: 'string', default: DEFAULT_CPU_MODEL },
      engine: { type: 'string' },
      instructions: { type: 'string' },
    },
  })
  const reason = whyNotNative()
  if (reason) {
    console.error(`cannot fuzz on this host: it ${reason}`)
    return 2
  }
  const [count, seed] = [Number(values.sequences), Number(values.seed)]
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(seed) || count < 1) {
    console.error('--sequences and --seed take whole numbers')
    return 2
  }
  const model = CPU_MODELS.find(({ name }) => name === values.cpu)
  if (!model) {
    console.error(`--cpu is one of ${CPU_MODELS.map(({ name }) => name).join(', ')}`)
    return 2
  }
  using cpu = new NativeCpu()
  const engine = await loadEngine(values.engine, model.name, cpu)
  const all = await loadInstructions(values.instructions)
  const instructions = all.filter(
    ({ feature }) => !feature || (model.features.has(feature) && hostHas(feature)),
  )
  const modes = cpu.modes()
  const generator = new SequenceGenerator(
    [...variants(instructions)].filter(({ mode }) => modes.includes(mode)),
  )
  const started = performance.now()
  let next = 0
  const fuzzer = new Fuzzer(cpu, engine)
  const found = fuzz(generator, fuzzer, cpu, seed, count, (done) => {
    if (done < next && done < count) return
    next += 100_000
    progress(done, count, started)
  })
  for (const [why, times] of fuzzer.leftOut) console.log(`${times} left out, not Intel's: ${why}`)
  if (!found) return 0
  report(found.seed, engine.name, found.difference)
  return 1
}

if (import.meta.main) process.exitCode = await main()
