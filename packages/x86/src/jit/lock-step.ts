/**
 * Interpreter and recompiler side by side, stopping at the first difference.
 *
 * The *leader* recompiles and is connected to the pins. The *follower* interprets on RAM of its own: what it asks of the
 * pins is answered with what the leader was told, what it writes is compared with what the leader wrote, and interrupts
 * come after the same number of instructions. After each slice, and at each interrupt, registers are compared; RAM each
 * few hundred slices. Slices are short, so that a difference is near where it began.
 */
import { Cpu, type CpuExit, type CpuOptions, type CpuRegisters } from '../cpu.ts'
import type { CpuPins } from '../pins.ts'
import * as L from '../state/layout.ts'
import { GPR_NAMES } from '../state/registers.ts'
import type { CpuSample, CpuStatistics } from '../statistics.ts'

const PAGE = 65536
const SLICES_PER_RAM_CHECK = 5000
/** More instructions than a straight line of decoded code has. */
const LONGEST_LINE = 300
const MAX_TURNS = 100_000

/** The two engines differ; `message` says in what. */
export class LockStepError extends Error {
  readonly code = 'TV_LOCK_STEP'
}

interface Call {
  readonly name: string
  readonly args: readonly unknown[]
  readonly result: unknown
}
interface Interrupt {
  readonly at: number
  readonly place: string
  readonly vector: number
}

/** Places of the state that follow from how an engine works. */
const PRIVATE: readonly (readonly [number, number])[] = [
  [0, L.REGS],
  [L.REGS + L.SLOT.zero * 8, 16],
  [L.REGS + L.SLOT.ea * 8, 8],
  [L.REGS + L.SLOT.eaOffset * 8, L.XMM - L.REGS - L.SLOT.eaOffset * 8],
  [L.FLAG_KIND, 4],
  [L.FLAG_A, 8],
  [L.FLAG_B, 8],
  [L.FLAG_RESULT, 8],
  [L.CURRENT_UOP, 4],
  [L.BUDGET, 4],
  [L.FAULT_NOTE, 4],
  [L.MISSED_TAG, 8],
  [L.REPEAT_SPENT, 4],
  [L.FAULT_ERROR, 4],
  [L.FAULT_ADDRESS, 8],
  [L.SF_FLAGS, 4],
  [L.SF_ROUNDED_UP, 4],
  [L.SF_A, 96],
  [L.X87_RESULT, 16],
  [L.FX_IMAGE, 512],
  [L.SCRATCH, 64],
  [L.EXIT_REQUEST, 4],
  [L.LARGE_PAGES, 4],
  [L.INTERRUPT_PENDING, 4],
  [L.FAULTS, 4],
  [L.TLB_JOURNAL_LENGTH, 4],
]

export class LockStepCpu {
  readonly #leader: Cpu
  readonly #follower: Cpu
  readonly #memories: readonly [WebAssembly.Memory, WebAssembly.Memory]
  readonly #calls: Call[] = []
  readonly #interrupts: Interrupt[] = []
  readonly #compared: readonly number[]
  readonly #slice: number
  #slices = 0
  #copied = false
  /** Where the two last agreed. */
  #agreed = ''

  constructor(options: CpuOptions, { slice = 20_000 }: { slice?: number } = {}) {
    this.#slice = slice
    const { memory } = options.memory
    const pages = memory.buffer.byteLength / PAGE
    const copy = new WebAssembly.Memory({ initial: pages, maximum: pages })
    this.#memories = [memory, copy]
    this.#leader = new Cpu({ recompile: {}, ...options, pins: this.#recordingPins(options.pins) })
    const { recompile: _, clock: __, ...rest } = options
    this.#follower = new Cpu({
      ...rest,
      memory: { ...options.memory, memory: copy },
      pins: this.#replayingPins(),
    })
    this.#compared = comparedWords()
  }

  // ---- pins ----

  #recordingPins(pins: CpuPins): CpuPins {
    const record =
      <A extends unknown[], R>(name: string, call: (...args: A) => R) =>
      (...args: A): R => {
        const result = call(...args)
        this.#calls.push({ name, args, result })
        return result
      }
    return {
      portRead: record('portRead', (port, size) => pins.portRead(port, size)),
      portWrite: record('portWrite', (port, size, value) => pins.portWrite(port, size, value)),
      mmioRead: record('mmioRead', (gpa, size) => pins.mmioRead(gpa, size)),
      mmioWrite: record('mmioWrite', (gpa, size, value) => pins.mmioWrite(gpa, size, value)),
      interruptPending: () => pins.interruptPending(),
      acknowledgeInterrupt: () => {
        const vector = pins.acknowledgeInterrupt()
        if (vector >= 0)
          this.#interrupts.push({ at: this.#leader.retired, place: placeOf(this.#leader), vector })
        return vector
      },
      readTaskPriority: record('readTaskPriority', () => pins.readTaskPriority()),
      writeTaskPriority: record('writeTaskPriority', (value) => pins.writeTaskPriority(value)),
      readMsr: record('readMsr', (index) => pins.readMsr(index)),
      writeMsr: record('writeMsr', (index, low, high) => pins.writeMsr(index, low, high)),
      timeStampCounter: record('timeStampCounter', () => pins.timeStampCounter()),
      random: record('random', () => pins.random()),
    }
  }

  #replayingPins(): CpuPins {
    const replay =
      (name: string) =>
      (...args: unknown[]): never => {
        const call = this.#calls.shift()
        if (!call || call.name !== name || !sameArguments(call.args, args))
          this.#fail(`the interpreter calls ${name}(${args}), recompiled code ${call?.name}(${call?.args})`)
        return call.result as never
      }
    const due = () => {
      const next = this.#interrupts[0]
      return next?.at === this.#follower.retired && next.place === placeOf(this.#follower)
    }
    return {
      portRead: replay('portRead'),
      portWrite: replay('portWrite'),
      mmioRead: replay('mmioRead'),
      mmioWrite: replay('mmioWrite'),
      interruptPending: due,
      acknowledgeInterrupt: () => (due() ? this.#interrupts.shift()!.vector : -1),
      readTaskPriority: replay('readTaskPriority'),
      writeTaskPriority: replay('writeTaskPriority'),
      readMsr: replay('readMsr'),
      writeMsr: replay('writeMsr'),
      timeStampCounter: replay('timeStampCounter'),
      random: replay('random'),
    }
  }

  // ---- as a CPU ----

  get retired(): number {
    return this.#leader.retired
  }
  reset(): void {
    this.#leader.reset()
    this.#follower.reset()
    this.#copied = false
  }
  setState(registers: CpuRegisters): void {
    this.#leader.setState(registers)
    this.#follower.setState(registers)
  }
  requestExit(): void {
    this.#leader.requestExit()
  }
  /** Of the CPU that recompiles. */
  statistics(): CpuStatistics {
    return this.#leader.statistics()
  }
  sample(): CpuSample {
    return this.#leader.sample()
  }
  report(): string {
    return this.#leader.report()
  }
  memoryWritten(gpa: number, length: number): void {
    this.#leader.memoryWritten(gpa, length)
    this.#copied = false
  }

  run(maxInstructions: number): CpuExit {
    if (!this.#copied) this.#copyRam()
    const start = this.#leader.retired
    for (;;) {
      const left = maxInstructions - (this.#leader.retired - start)
      const exit = this.#leader.run(Math.min(left, this.#slice))
      this.#follow(exit)
      const spent = this.#leader.retired - start >= maxInstructions
      if (exit.kind !== 'slice' || spent || this.#leader.wasAsked) return exit
    }
  }

  #copyRam(): void {
    const [from, to] = this.#memories.map(({ buffer }) => new Uint8Array(buffer))
    to!.set(from!)
    this.#follower.memoryWritten(0, Math.min(to!.length, 0xc0000000))
    this.#copied = true
  }

  /** Brings the follower to where the leader is: in a run, then by single instructions, since a run may end a little late. */
  #follow(exit: CpuExit): void {
    const target = this.#leader.retired
    let last: CpuExit['kind'] = 'slice'
    for (let turns = 0; turns < MAX_TURNS; turns++) {
      const next = this.#interrupts[0]?.at ?? target
      const left = next - this.#follower.retired
      if (left < 0) break
      const isThere = left === 0 && this.#interrupts.length === 0 && last === exit.kind
      if (isThere && placeOf(this.#follower) === placeOf(this.#leader)) break
      last = (left > LONGEST_LINE ? this.#follower.run(left - LONGEST_LINE) : this.#follower.step()).kind
    }
    if (this.#follower.retired !== target)
      this.#fail(`the interpreter is at ${this.#follower.retired}, recompiled code at ${target}`)
    this.#compare()
    if (this.#calls.length > 0)
      this.#fail(`recompiled code alone calls ${this.#calls[0]!.name}(${this.#calls[0]!.args})`)
    if (++this.#slices % SLICES_PER_RAM_CHECK === 0) this.#compareRam()
  }

  #compare(): void {
    const [a, b] = [this.#leader.state, this.#follower.state]
    const words: [Int32Array, Int32Array] = [
      new Int32Array(a.buffer, 0, L.STATE_END >> 2),
      new Int32Array(b.buffer, 0, L.STATE_END >> 2),
    ]
    for (const i of this.#compared) if (words[0][i] !== words[1][i]) this.#failState(i * 4)
    if (this.#leader.flags !== this.#follower.flags) this.#failState(L.FLAG_KIND)
    if (this.#leader.retired !== this.#follower.retired)
      this.#fail(
        `the interpreter has run ${this.#follower.retired} instructions, recompiled code ${this.#leader.retired}`,
      )
    this.#agreed = `RIP ${hex(b, L.RIP)} after ${this.#leader.retired} instructions`
  }

  #failState(at: number): never {
    const [a, b] = [this.#leader.state, this.#follower.state]
    const lines = [`the state differs at ${nameOf(at)}: ${hex(b, at & ~7)}, recompiled ${hex(a, at & ~7)}`]
    lines.push(`flags: ${this.#follower.flags.toString(16)}, recompiled ${this.#leader.flags.toString(16)}`)
    lines.push('interpreter:', this.#follower.report(), 'recompiled:', this.#leader.report())
    this.#fail(lines.join('\n'))
  }
  #fail(what: string): never {
    throw new LockStepError(
      `Interpreter and recompiler differ: ${what}. They last agreed at ${this.#agreed}.`,
    )
  }

  #compareRam(): void {
    const [a, b] = this.#memories.map(({ buffer }) => new BigInt64Array(buffer))
    for (let i = 0; i < a!.length; i++)
      if (a![i] !== b![i])
        this.#fail(
          `RAM differs at ${(i * 8).toString(16)}h: ${b![i]!.toString(16)}, recompiled ${a![i]!.toString(16)}`,
        )
  }
}

function comparedWords(): number[] {
  const isPrivate = (at: number) => PRIVATE.some(([from, bytes]) => at >= from && at < from + bytes)
  const words = Array.from({ length: L.STATE_END >> 2 }, (_, i) => i)
  return words.filter((i) => !isPrivate(i * 4))
}
/**
 * RIP and the low half of RCX: where a string instruction is in its middle, or a fault has been delivered, the number of
 * instructions does not tell how far a CPU has come.
 */
const placeOf = ({ state }: Cpu): string => `${hex(state, L.RIP)} ${state.getInt32(L.REGS + 8, true)}`
const sameArguments = (a: readonly unknown[], b: readonly unknown[]): boolean =>
  a.length === b.length && a.every((value, i) => value === b[i])
const hex = (view: DataView, at: number): string => view.getBigUint64(at, true).toString(16).padStart(16, '0')

function nameOf(at: number): string {
  if (at >= L.REGS && at < L.REGS + 128) return GPR_NAMES[(at - L.REGS) >> 3]!.toUpperCase()
  if (at >= L.XMM && at < L.XMM + 256) return `XMM${(at - L.XMM) >> 4}`
  const name = Object.entries(L).find(([, value]) => value === at)?.[0]
  return name ?? `${at.toString(16)}h`
}
