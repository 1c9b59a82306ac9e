/** Runs a program on the interpreter and on recompiling CPUs, and compares all that it leaves behind. */
import assert from 'node:assert/strict'
import { Cpu, type CpuExit, type CpuRegisters } from '../cpu.ts'
import {
  answerRegions,
  type RegionAnswer,
  type RegionRequest,
  type RegionWorker,
} from '../jit/region-service.ts'
import * as L from '../state/layout.ts'
import { GPR_NAMES } from '../state/registers.ts'
import { INERT_PINS } from './inert-pins.ts'

export const RAM_BYTES = 4 << 20
const MAX_SLICES = 2_000_000

export interface Program {
  readonly state: CpuRegisters
  /** What lies in RAM where. */
  readonly ram: readonly (readonly [number, readonly number[]])[]
  readonly prepare?: (machine: TestMachine) => void
  /** Instructions of the next slice. */
  readonly slice?: () => number
  readonly portWrite?: (machine: TestMachine, port: number, value: number) => void
  readonly between?: (machine: TestMachine) => void
  /** Exceptions are noted and end the program, unless this goes on from them; left out, they are delivered. */
  readonly fault?: (machine: TestMachine, count: number) => boolean
  /** Time differs, for there is an interrupt or a wait: how many instructions ran is not compared. */
  readonly timeless?: boolean
}

/** A worker that answers when the test says so. */
class LateWorker implements RegionWorker {
  readonly #answer = answerRegions()
  #waiting: RegionRequest[] = []
  #listener: ((answer: RegionAnswer) => void) | undefined

  post(request: RegionRequest): void {
    // As it is on the way to another thread.
    this.#waiting.push(structuredClone(request))
  }
  onAnswer(listener: (answer: RegionAnswer) => void): void {
    this.#listener = listener
  }
  end(): void {}
  /** Answers what was asked until now. */
  answer(): void {
    const requests = this.#waiting
    this.#waiting = []
    for (const request of requests) {
      const answered = this.#answer(request)
      if (answered) this.#listener!(answered)
    }
  }
}

export interface Variant {
  readonly name: string
  readonly hotAfter?: number
  /** Slices until the worker answers; left out, there is none. */
  readonly answersAfter?: number
  /** Bytes of all regions, at most. */
  readonly maxBytes?: number
}
const INTERPRETER: Variant = { name: 'interpreter' }
export const RECOMPILERS: readonly Variant[] = [
  { name: 'hot at once', hotAfter: 1 },
  { name: 'hot after 4', hotAfter: 4 },
  { name: 'hot after 50', hotAfter: 50 },
  { name: 'hot after 4, made later', hotAfter: 4, answersAfter: 1 },
]

interface Fault {
  readonly vector: number
  readonly errorCode: number
  readonly rip: string
  readonly address: string | undefined
  readonly registers: string
  readonly flags: number
}

/** A CPU with RAM, which runs one program after another. */
export class TestMachine {
  readonly cpu: Cpu
  readonly ram: Uint8Array
  readonly worker: LateWorker | undefined
  readonly #answersAfter: number
  #program: Program | undefined
  #faults: Fault[] = []
  ports: string[] = []
  /** A vector that waits to be taken. */
  interrupt = -1

  constructor({ hotAfter, answersAfter, maxBytes }: Variant) {
    const memory = new WebAssembly.Memory({ initial: RAM_BYTES / 65536, maximum: RAM_BYTES / 65536 })
    this.worker = answersAfter === undefined ? undefined : new LateWorker()
    this.#answersAfter = answersAfter ?? 0
    this.ram = new Uint8Array(memory.buffer)
    const { worker } = this
    this.cpu = new Cpu({
      memory: { memory, bytes: RAM_BYTES, lowBytes: RAM_BYTES },
      pins: {
        ...INERT_PINS,
        portWrite: (port, _, value) => {
          this.ports.push(`${port} ${value}`)
          this.#program?.portWrite?.(this, port, value)
        },
        mmioWrite: (gpa, _, value) => {
          this.ports.push(`mmio ${gpa} ${value}`)
          this.#program?.portWrite?.(this, gpa, value)
        },
        interruptPending: () => this.interrupt >= 0,
        acknowledgeInterrupt: () => {
          const vector = this.interrupt
          this.interrupt = -1
          return vector
        },
      },
      ...(hotAfter === undefined
        ? {}
        : { recompile: { hotAfter, ...(worker && { worker }), ...(maxBytes && { maxBytes }) } }),
      intercept: (vector, errorCode) => this.#note(vector, errorCode),
    })
  }

  #note(vector: number, errorCode: number): boolean {
    if (!this.#program?.fault) return false
    const { state, flags } = this.cpu
    const pair = (at: number) => state.getBigUint64(at, true).toString(16)
    const address = vector === 14 ? pair(L.FAULT_ADDRESS) : undefined
    this.#faults.push({ vector, errorCode, rip: pair(L.RIP), address, registers: this.#registers(), flags })
    return true
  }
  #registers(): string {
    return GPR_NAMES.map((name, i) => `${name}=${this.gpr(i).toString(16)}`).join(' ')
  }
  gpr(number: number): bigint {
    return this.cpu.state.getBigUint64(L.REGS + number * 8, true)
  }
  setRip(rip: number): void {
    this.cpu.state.setBigUint64(L.RIP, BigInt(rip), true)
  }
  /** Writes as a device does. */
  write(at: number, bytes: readonly number[]): void {
    this.ram.set(bytes, at)
    this.cpu.memoryWritten(at, bytes.length)
  }

  run(program: Program) {
    const { cpu } = this
    this.#program = undefined
    this.worker?.answer()
    this.ram.fill(0)
    for (const [at, bytes] of program.ram) this.ram.set(bytes, at)
    this.ports = []
    this.interrupt = -1
    this.#faults = []
    cpu.reset()
    cpu.forgetHeat()
    cpu.setState(program.state)
    cpu.state.setInt32(L.INTERCEPTED, program.fault ? 1 : 0, true)
    program.prepare?.(this)
    this.#program = program
    const before = cpu.retired
    const exit = this.#slices(program)
    return {
      exit,
      retired: program.timeless ? 0 : cpu.retired - before,
      registers: this.#registers(),
      rip: cpu.state.getBigUint64(L.RIP, true).toString(16),
      flags: cpu.flags,
      vectors: Buffer.from(cpu.state.buffer, L.XMM, 512).toString('hex'),
      faults: this.#faults,
      ports: this.ports,
      ram: this.ram.slice(),
    }
  }
  #slices(program: Program): CpuExit | 'fault' {
    for (let slices = 1; slices < MAX_SLICES; slices++) {
      const faults = this.#faults.length
      const exit = this.cpu.run(program.slice?.() ?? 150)
      if (this.worker && slices % this.#answersAfter === 0) this.worker.answer()
      if (this.#faults.length > faults) {
        if (!program.fault!(this, this.#faults.length)) return 'fault'
        continue
      }
      if (exit.kind !== 'slice') return exit
      program.between?.(this)
    }
    assert.fail('the program does not end')
  }
}

/** CPUs by their variants' names, each made once. */
export class Engines {
  readonly #machines = new Map<string, TestMachine>()

  of(variant: Variant): TestMachine {
    const known = this.#machines.get(variant.name) ?? new TestMachine(variant)
    this.#machines.set(variant.name, known)
    return known
  }

  /** Runs a program on all; gives what the interpreter left behind. */
  agree(
    given: Program | (() => Program),
    variants = RECOMPILERS,
    { mayInterpret = false } = {},
  ): ReturnType<TestMachine['run']> {
    const make = () => (typeof given === 'function' ? given() : given)
    const wanted = this.of(INTERPRETER).run(make())
    for (const variant of variants) {
      const machine = this.of(variant)
      const regions = machine.cpu.recompiled!.regions
      const got = machine.run(make())
      assert.deepEqual({ ...got, ram: 0 }, { ...wanted, ram: 0 }, variant.name)
      const differs =
        Buffer.compare(got.ram, wanted.ram) === 0 ? -1 : got.ram.findIndex((b, i) => b !== wanted.ram[i])
      assert.equal(differs, -1, `${variant.name}: RAM differs at ${differs.toString(16)}h`)
      assert.ok(
        mayInterpret || machine.cpu.recompiled!.regions > regions,
        `${variant.name}: nothing was recompiled`,
      )
    }
    return wanted
  }
}
