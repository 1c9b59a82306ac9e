/** The CPU: the generated interpreter with what drives it. */
import type { CodeSize } from './decode/decoder.ts'
import { buildInterpreter, ENGINE_PAGES, type InterpreterCode, linkInterpreter } from './interpreter/build.ts'
import { CodeCache } from './interpreter/code-cache.ts'
import { HOT_AFTER } from './interpreter/heat.ts'
import { instructionsOf, routineGroups } from './isa/index.ts'
import { Recompiler } from './jit/recompiler.ts'
import type { RegionWorker } from './jit/region-service.ts'
import {
  FAULT_INTERPRET,
  FAULT_SPECULATION,
  MMIO_ADDRESS,
  TRANSLATE_FAULT,
  TRANSLATE_MMIO,
} from './mmu/access.ts'
import { ACCESS_FETCH, ACCESS_USER } from './mmu/walk.ts'
import type { CpuPins } from './pins.ts'
import { EXIT } from './state/exits.ts'
import { IF, RF, TF } from './state/flags.ts'
import * as L from './state/layout.ts'
import { EXCEPTION, GPR_NAMES } from './state/registers.ts'
import type { CpuSample, CpuStatistics } from './statistics.ts'
import { type InertMsrs, RESET_MSRS, updateFpu } from './system/control.ts'
import { Core, type EngineExports } from './system/core.ts'
import { deliver, type Source } from './system/interrupts.ts'
import { type CpuModel, DEFAULT_CPU_MODEL, findModel } from './system/model.ts'
import { hostOperations } from './system/operations.ts'
import { noticeInterrupts } from './system/ports.ts'
import { report } from './system/report.ts'

/** Guest RAM: its first `lowBytes` are at guest-physical 0, the rest at 4 GiB. */
export interface GuestMemory {
  readonly memory: WebAssembly.Memory
  readonly bytes: number
  readonly lowBytes: number
}

export interface CpuOptions {
  readonly memory: GuestMemory
  readonly pins: CpuPins
  /** Name of a CPU model; `x86-64-v2` where it is left out. */
  readonly model?: string
  /**
   * Recompile hot code: what has been arrived at `hotAfter` times, in the thread of `worker` where there is one, into
   * `maxBytes` of WebAssembly at most. Left out, everything is interpreted.
   */
  readonly recompile?: {
    readonly hotAfter?: number
    readonly worker?: RegionWorker
    readonly maxBytes?: number
  }
  /** Sees the engine's own memory, some 50 MiB, before it is used: a host may have better pages for it. */
  readonly prepareMemory?: (bytes: Uint8Array) => void
  /** Keeps the interpreter's code, which takes a few tenths of a second to make; asked for once by each name. */
  readonly keepCode?: KeepCode
  /** For a profile: a clock by which it is measured how long WebAssembly runs. It is asked twice for each exit. */
  readonly clock?: () => number
  /** Sees every exception before it is delivered, with RIP set; true ends the slice there. For debuggers and tests. */
  readonly intercept?: (vector: number, errorCode: number) => boolean
}

/**
 * Gives what was kept by that name, or what `make` makes. The name tells the CPU model and what the code is made for, not the
 * version of this package.
 */
export type KeepCode = (name: string, make: () => InterpreterCode) => InterpreterCode

/** State that a boot protocol demands; what is left out is as after reset in that mode, with flat segments. */
export interface CpuRegisters {
  readonly mode: 'real' | 'protected32' | 'long64'
  readonly rip: bigint
  readonly rflags?: number
  readonly cr0?: number
  readonly cr3?: number
  readonly cr4?: number
  readonly efer?: number
  readonly gpr?: Partial<Record<(typeof GPR_NAMES)[number], bigint>>
}

export type CpuExit =
  | { readonly kind: 'slice' }
  | { readonly kind: 'hlt' }
  | { readonly kind: 'shutdown'; readonly reason: string }

const SLICE: CpuExit = { kind: 'slice' }
const HLT: CpuExit = { kind: 'hlt' }
const PAGE = 4096
const MAX_LENGTH = 15
/** Instructions from one look for recompiled code to the next: a few tenths of a millisecond. */
const POLL_INSTRUCTIONS = 100_000
const EXIT_NAMES = Object.keys(EXIT) as (keyof typeof EXIT)[]
const EXIT_BIT = 0x80000000 | 0
const DR6_BS = 1 << 14

/** The interpreter of a model is made once and serves all CPUs. */
const interpreters = new Map<string, ReturnType<typeof compile>>()
function interpreterFor(
  model: CpuModel,
  hotAfter: number | undefined,
  keep: KeepCode = (_, make) => make(),
): ReturnType<typeof compile> {
  const name = codeName(model, hotAfter)
  const known = interpreters.get(name) ?? compile(model, hotAfter, (make) => keep(name, make))
  interpreters.set(name, known)
  return known
}
const codeName = (model: CpuModel, hotAfter: number | undefined) =>
  hotAfter === undefined ? model.name : `${model.name}-${hotAfter}`

/** The code that `keepCode` is asked for, and by which name: for who makes it before there is a CPU. */
export function interpreterCode({ model, recompile }: Pick<CpuOptions, 'model' | 'recompile'>): {
  name: string
  code: InterpreterCode
} {
  const found = findModel(model ?? DEFAULT_CPU_MODEL)
  const hotAfter = hotAfterOf(recompile)
  return { name: codeName(found, hotAfter), code: makeCode(found, hotAfter) }
}
const hotAfterOf = (recompile: CpuOptions['recompile']): number | undefined =>
  recompile && (recompile.hotAfter ?? HOT_AFTER)
function makeCode(model: CpuModel, hotAfter: number | undefined): InterpreterCode {
  const forRecompiler = hotAfter === undefined ? {} : { hotAfter, spare: L.REGION_SLOTS }
  return buildInterpreter(instructionsOf(model), routineGroups, forRecompiler)
}

function compile(
  model: CpuModel,
  hotAfter: number | undefined,
  keep: (make: () => InterpreterCode) => InterpreterCode,
) {
  const code = keep(() => makeCode(model, hotAfter))
  const interpreter = linkInterpreter(instructionsOf(model), code)
  return { module: new WebAssembly.Module(code.bytes), interpreter }
}

/** One x86-64 CPU on guest RAM and pins. */
export class Cpu {
  readonly #core: Core
  readonly #cache: CodeCache
  readonly #recompiler: Recompiler | undefined
  readonly #memory: GuestMemory
  readonly #ram: Uint8Array
  readonly #pins: CpuPins
  readonly #inert: InertMsrs = new Map()
  readonly #intercept: CpuOptions['intercept']
  #halted = false
  #exitRequested = false
  /** Instructions run so far. A repeated string instruction is one, when it is done. */
  retired = 0
  /** Returns from WebAssembly, by exit code. */
  readonly #exits = new Float64Array(EXIT_NAMES.length)
  #leftToInterpreter = 0
  readonly #clock: CpuOptions['clock']
  #timeInside = 0
  #shutdown: string | undefined

  constructor(options: CpuOptions) {
    const model = findModel(options.model ?? DEFAULT_CPU_MODEL)
    const hotAfter = hotAfterOf(options.recompile)
    const { module, interpreter } = interpreterFor(model, hotAfter, options.keepCode)
    const engine = new WebAssembly.Memory({ initial: ENGINE_PAGES, maximum: ENGINE_PAGES })
    options.prepareMemory?.(new Uint8Array(engine.buffer))
    this.#memory = options.memory
    this.#pins = options.pins
    this.#intercept = options.intercept
    this.#clock = options.clock
    this.#ram = new Uint8Array(options.memory.memory.buffer)
    this.#core = new Core(engine.buffer, options.pins)
    const host = hostOperations({
      core: this.#core,
      model,
      inert: this.#inert,
      deliver: (vector, source) => this.#deliver(vector, 0, source),
    })
    const instance = new WebAssembly.Instance(module, {
      env: {
        engine,
        ram: options.memory.memory,
        host,
        mmioRead: (size: number) => this.#mmioRead(size),
        mmioWrite: (size: number) => this.#mmioWrite(size),
        codeWritten: (at: number, bytes: number) => this.#codeWritten(at >>> 0, bytes),
      },
    })
    this.#core.exports = instance.exports as unknown as EngineExports
    this.#cache = new CodeCache({
      engineMemory: engine.buffer,
      ram: () => this.#ram,
      tables: interpreter.tables,
      flushed: () => {
        this.#core.exports.flushTlb(0)
        this.#recompiler?.flushed()
      },
      protect: (page) => this.#core.exports.protectPage(page | 0),
      forgetJumps: () => this.#core.exports.forgetJumps(0),
      invalidated: (map) => this.#recompiler?.invalidated(map),
    })
    if (options.recompile) {
      this.#recompiler = new Recompiler({
        model: model.name,
        worker: options.recompile.worker,
        maxBytes: options.recompile.maxBytes,
        interpreter,
        engineMemory: engine,
        ram: options.memory.memory,
        exports: instance.exports,
        cache: this.#cache,
        hotAfter: hotAfter ?? HOT_AFTER,
        retired: () => this.retired,
      })
      this.#writePlaces()
    }
    this.reset()
  }

  /** The table of places: see state/layout.ts. */
  #writePlaces(): void {
    const { words } = this.#core
    for (let place = 0; place < 65536; place++) {
      const at = (L.PLACES + place * L.PLACE_SIZE) >> 2
      const stack = at + (L.PLACE_STACK >> 2)
      words[at] = words[stack] = (place << 16) | 0
      words[at + 1] = L.SLOT.zero * 8
      words[stack + 1] = 4 * 8
    }
  }

  /** The state after power-up. SDM Vol. 3A, "Processor State After Reset". */
  reset(): void {
    const core = this.#core
    core.words.fill(0, 0, L.STATE_END >> 2)
    core.setPair(L.RAM_LOW, this.#memory.lowBytes | 0, Math.floor(this.#memory.lowBytes / 2 ** 32))
    core.setPair(L.RAM_BYTES, this.#memory.bytes | 0, Math.floor(this.#memory.bytes / 2 ** 32))
    core.setPair(L.PHYSICAL_RESERVED, 0, 0x000fff00)
    core.setWord(L.CR0, 0x60000010)
    core.flags = 2
    core.setPair(L.XCR0, 1, 0)
    core.setWord(L.MXCSR, 0x1f80)
    core.setWord(L.FPU_CONTROL, 0x40)
    core.setWord(L.DR + 48, 0xffff0ff0 | 0)
    core.setWord(L.DR + 56, 0x400)
    core.setGpr32(2, 0x000106ca)
    for (let segment = L.ES; segment <= L.TR; segment++) {
      core.setSegmentWord(segment, L.SEG_LIMIT, 0xffff)
      core.setSegmentWord(segment, L.SEG_ATTRIBUTES, segment === L.CS ? 0x9b : 0x93)
    }
    core.setSegmentWord(L.LDTR, L.SEG_ATTRIBUTES, 0x82)
    core.setSegmentWord(L.TR, L.SEG_ATTRIBUTES, 0x8b)
    core.setSegmentWord(L.CS, L.SEG_SELECTOR, 0xf000)
    core.setBase(L.CS, 0xffff0000 | 0)
    core.setWord(L.GDTR_LIMIT, 0xffff)
    core.setWord(L.IDTR_LIMIT, 0xffff)
    core.setRip(0xfff0)
    core.tscAdjust = 0
    this.#inert.clear()
    for (const [index, value] of RESET_MSRS) this.#inert.set(index, value)
    this.#halted = false
    this.#exitRequested = false
    this.#shutdown = undefined
    core.setWord(L.INTERCEPTED, this.#intercept ? 1 : 0)
    updateFpu(core)
    core.exports.updateMode()
    this.#cache.flush()
  }

  /** Brings the CPU from reset to the state of a boot protocol. */
  setState(registers: CpuRegisters): void {
    const core = this.#core
    const pair = (at: number, value: bigint): void =>
      core.setPair(at, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n)))
    if (registers.mode !== 'real') this.#flatSegments(registers.mode === 'long64')
    const protectedMode = registers.mode === 'real' ? 0x60000010 : 0x11
    const long = registers.mode === 'long64'
    core.setWord(L.CR0, (registers.cr0 ?? (long ? 0x80000011 : protectedMode)) | 0x10)
    core.setPair(L.CR3, registers.cr3 ?? 0, 0)
    core.setWord(L.CR4, registers.cr4 ?? (long ? 0x20 : 0))
    core.setWord(L.EFER, registers.efer ?? (long ? 0x500 : 0))
    core.flags = registers.rflags ?? 2
    for (const [name, value] of Object.entries(registers.gpr ?? {}))
      pair(L.REGS + GPR_NAMES.indexOf(name as (typeof GPR_NAMES)[number]) * 8, value)
    pair(L.RIP, registers.rip)
    if (registers.mode === 'real') {
      core.setSegmentWord(L.CS, L.SEG_SELECTOR, 0)
      core.setBase(L.CS, 0)
    }
    core.exports.flushTlb(0)
    updateFpu(core)
    core.exports.updateMode()
  }

  #flatSegments(long: boolean): void {
    const { exports } = this.#core
    exports.setFlat(L.CS, 0x10, long ? 0xaf9b : 0xcf9b)
    for (const segment of [L.ES, L.SS, L.DS, L.FS, L.GS]) exports.setFlat(segment, 0x18, 0xcf93)
  }

  /** Ends the running slice at the next branch. */
  requestExit(): void {
    this.#exitRequested = true
    this.#core.setWord(L.EXIT_REQUEST, EXIT_BIT)
  }

  /** Whether the last `run` ended because it was asked to. */
  wasAsked = false

  /** RAM was written from outside. */
  memoryWritten(gpa: number, length: number): void {
    if (length === 0) return
    const host = gpa < this.#memory.lowBytes ? gpa : gpa - 2 ** 32 + this.#memory.lowBytes
    if (this.#cache.written(host, length)) this.#lookAgain()
  }

  /** A region that is at work, and has called the pins, goes on in it no longer than to its next loop or to another page. */
  #lookAgain(): void {
    const { words } = this.#core
    words[L.EXIT_REQUEST >> 2] = EXIT_BIT
    words.fill(-1, L.CODE_TLB >> 2, (L.CODE_TLB + 2 * L.CODE_TLB_SIZE) >> 2)
  }

  /** Bytes of the state, laid out as in state/layout.ts. */
  get state(): DataView {
    return new DataView(this.#core.words.buffer, 0, L.STATE_END)
  }
  /** RFLAGS. */
  get flags(): number {
    return this.#core.flags >>> 0
  }
  /** Makes what follows from the state after it was changed through `state`. */
  stateChanged(): void {
    for (let segment = L.ES; segment <= L.TR; segment++) this.#core.noteFlat(segment)
    updateFpu(this.#core)
    this.#core.exports.flushTlb(0)
    this.#core.exports.updateMode()
    this.#halted = false
  }

  /** Forgets what was hot. For tests, which run much code once. */
  forgetHeat(): void {
    this.#core.words.fill(0, L.HEAT >> 2, L.PLACES >> 2)
  }

  /** Gives back what is held outside of JavaScript's heap; the CPU does not run again. */
  release(): void {
    this.#recompiler?.release()
  }

  /** What the recompiler did; undefined where there is none. */
  get recompiled(): Recompiler['counters'] | undefined {
    return this.#recompiler?.counters
  }

  /** Counters of the code cache. */
  get counters(): CodeCache['counters'] {
    return this.#cache.counters
  }

  /** What was counted so far. */
  statistics(): CpuStatistics {
    const exits = Object.fromEntries(EXIT_NAMES.map((name) => [name, this.#exits[EXIT[name]]!]))
    return {
      retired: this.retired,
      exits: exits as CpuStatistics['exits'],
      leftToInterpreter: this.#leftToInterpreter,
      ...(this.#clock ? { timeInside: this.#timeInside } : {}),
      codeCache: { ...this.#cache.counters },
      ...(this.#recompiler ? { recompiler: this.#recompiler.statistics() } : {}),
    }
  }

  /** Where it is. */
  sample(): CpuSample {
    const { low, high } = this.#linear()
    const map = this.#codePageAt(low, high)
    return {
      address: (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0),
      cpl: this.#core.cpl,
      isRecompiled: map !== 0 && (this.#recompiler?.hasRegions(map) ?? false),
    }
  }

  /** Runs at most about `maxInstructions`; interrupts are taken from the pins on the way. */
  run(maxInstructions: number): CpuExit {
    const core = this.#core
    const { words } = core
    let budget = Math.min(maxInstructions, 0x3fffffff)
    this.#recompiler?.coolDown()
    this.wasAsked = false
    for (;;) {
      if (this.#shutdown !== undefined) return { kind: 'shutdown', reason: this.#shutdown }
      if (this.#takeInterrupt()) budget--
      if (this.#halted) {
        this.#exitRequested = false
        return HLT
      }
      if (budget <= 0 || this.#exitRequested) {
        this.wasAsked = this.#exitRequested
        this.#exitRequested = false
        return SLICE
      }
      words[L.EXIT_REQUEST >> 2] = 0
      if (this.#mustStep()) {
        this.#step()
        budget--
        continue
      }
      const part = this.#part(budget)
      const code = this.#clock ? this.#dispatchTimed(part, this.#clock) : core.exports.dispatch(part | 0)
      this.#exits[code]!++
      budget += this.#charge(part) - part
      if (code === EXIT.decode) budget = this.#decode(budget)
      else if (code === EXIT.hot) this.#hot()
      else budget -= this.#finish(code)
    }
  }

  /** What of a budget to run before code that was recompiled meanwhile is looked for: it shall not wait for the slice's end. */
  #part(budget: number): number {
    const recompiler = this.#recompiler
    if (!recompiler?.isWaiting) return budget
    recompiler.poll()
    return Math.min(budget, POLL_INSTRUCTIONS)
  }

  #dispatchTimed(budget: number, clock: () => number): number {
    const entered = clock()
    const code = this.#core.exports.dispatch(budget | 0)
    this.#timeInside += clock() - entered
    return code
  }

  /** Counts what ran of a budget; returns what is left of it. */
  #charge(budget: number): number {
    const { words } = this.#core
    const left = words[L.BUDGET >> 2]!
    this.retired += budget - left - words[L.FAULTS >> 2]!
    words[L.FAULTS >> 2] = 0
    const spent = words[L.REPEAT_SPENT >> 2]!
    words[L.REPEAT_SPENT >> 2] = 0
    return left - spent
  }

  // ---- recompilation ----

  /** Recompiles the code at RIP, which is hot. */
  #hot(): void {
    const { low, high } = this.#linear()
    const map = this.#codePageAt(low, high)
    if (map === 0) return
    const neighbour = (pages: number): number => {
      const next = (low >>> 0) + pages * PAGE
      const carry = Math.floor(next / 2 ** 32)
      return this.#codePageAt(next | 0, this.#core.codeSize === 8 ? (high + carry) | 0 : 0)
    }
    this.#recompiler?.compile({ map, offset: low & (PAGE - 1), neighbour })
  }

  /** The map of the code page at a linear address, or 0 where the code TLB has none. */
  #codePageAt(low: number, high: number): number {
    const core = this.#core
    const entry =
      core.word(L.CODE_TLB_BASE) + ((low >>> 12) & (L.CODE_TLB_ENTRIES - 1)) * L.CODE_TLB_ENTRY_SIZE
    const hit = core.word(entry) === (low & ~(PAGE - 1)) && core.word(entry + 4) === high
    return hit ? core.word(entry + 8) : 0
  }

  /** A guest's store reaches a page with code; nonzero where recompiled code must not do it. */
  #codeWritten(at: number, bytes: number): number {
    const uop = this.#core.word(L.CURRENT_UOP)
    if (uop < L.PLACES || uop >= L.ARENA) this.#cache.written(at, bytes)
    else if (this.#cache.holdsCode(at, bytes)) return 1
    return 0
  }

  /** What is left to do after an exit; returns instructions to charge. */
  #finish(code: number): number {
    if (code === EXIT.fault) {
      const fault = this.#core.word(L.FAULT)
      if (fault === FAULT_INTERPRET) return this.#interpretOne()
      if (fault === FAULT_SPECULATION) {
        this.#recompiler?.speculationFailed(this.#core.word(L.FAULT_ERROR), this.retired)
        return this.#interpretOne()
      }
      this.#fault()
      return 1
    }
    if (code === EXIT.halt) this.#halted = true
    return 0
  }

  /** An instruction that recompiled code left undone; returns instructions to charge. */
  #interpretOne(): number {
    const core = this.#core
    this.#leftToInterpreter++
    // 0: at RIP.
    if (core.word(L.CURRENT_UOP) !== 0) core.ripFromUop(false)
    core.setWord(L.FAULT, 0)
    core.setWord(L.CURRENT_UOP, 0)
    return 1 - this.#runAlone(1)
  }

  #takeInterrupt(): boolean {
    const core = this.#core
    const enabled = (core.word(L.RFLAGS_SYSTEM) & IF) !== 0 && core.word(L.SHADOW) === 0
    const vector = enabled && this.#pins.interruptPending() ? this.#pins.acknowledgeInterrupt() : -1
    if (vector >= 0) {
      this.#halted = false
      this.#deliver(vector, 0, 'hardware')
    }
    noticeInterrupts(core)
    return vector >= 0
  }

  /** Runs one instruction, or takes an interrupt: for tools that stop at an exact place. */
  step(): CpuExit {
    if (this.#shutdown !== undefined) return { kind: 'shutdown', reason: this.#shutdown }
    if (this.#takeInterrupt()) return SLICE
    if (this.#halted) return HLT
    this.#core.words[L.EXIT_REQUEST >> 2] = 0
    if (this.#mustStep()) this.#step()
    else this.#runAlone(1)
    return this.#halted ? HLT : SLICE
  }

  #deliver(vector: number, errorCode: number, source: Source): void {
    const core = this.#core
    core.setWord(L.EVENTS, core.word(L.EVENTS) + 1)
    if (source !== 'hardware' && this.#intercept?.(vector, errorCode)) return this.requestExit()
    if (source === 'fault') {
      core.setWord(L.LAST_FAULT, vector + 1)
      core.setWord(L.LAST_FAULT_ERROR, errorCode)
      core.copyPair(L.LAST_FAULT_RIP, L.RIP)
    }
    if (!deliver(core, vector, errorCode, source)) this.#tripleFault(vector)
  }

  #tripleFault(vector: number): void {
    const rip = this.#core.pair(L.RIP).toString(16)
    this.#shutdown = `triple fault: vector ${vector} at RIP ${rip}h could not be delivered, nor could a double fault`
    this.#core.setWord(L.FAULT, 0)
    this.requestExit()
  }

  /** Delivers the exception of the instruction at CURRENT_UOP. */
  #fault(): void {
    this.#core.ripFromUop(false)
    this.#faultAtRip()
  }
  #faultAtRip(): void {
    const core = this.#core
    const vector = core.word(L.FAULT) - 1
    const errorCode = core.word(L.FAULT_ERROR)
    core.setWord(L.FAULT, 0)
    core.setWord(L.SHADOW, 0)
    this.#deliver(vector, errorCode, vector === EXCEPTION.DB ? 'trap' : 'fault')
  }

  // ---- code ----

  /** Linear address of RIP, as two words. */
  #linear(): { low: number; high: number } {
    const core = this.#core
    const [low, high] = [core.word(L.RIP), core.word(L.RIP + 4)]
    if (core.codeSize === 8) return { low, high }
    return { low: (low + core.segmentWord(L.CS, L.SEG_BASE)) | 0, high: 0 }
  }

  /** Bytes from RIP to the end of the code segment. */
  #roomInSegment(): number {
    const core = this.#core
    if (core.codeSize === 8) return Infinity
    return (core.segmentWord(L.CS, L.SEG_LIMIT) >>> 0) - (core.word(L.RIP) >>> 0) + 1
  }

  #translateFetch(low: number, high: number): number {
    const core = this.#core
    core.setResult(0, low, high)
    return core.exports.translateAt(ACCESS_FETCH | (core.cpl === 3 ? ACCESS_USER : 0))
  }

  /** Makes micro-ops for RIP where `dispatch` finds them, or runs the instruction; returns the budget left. */
  #decode(budget: number): number {
    const core = this.#core
    this.#cache.reserve()
    const { low, high } = this.#linear()
    const room = this.#roomInSegment()
    const offset = low & (PAGE - 1)
    const host = this.#translateFetch(low, high)
    if (host === TRANSLATE_FAULT) {
      this.#faultAtRip()
      return budget - 1
    }
    const wholePage = room >= PAGE - offset
    if (host >= 0 && wholePage) {
      const page = host - offset
      const size = core.codeSize as CodeSize
      this.#cache.offer(page, size)
      if (this.#cache.decode(page, offset, size) !== 0) return budget
      if (this.#decodeCrossing({ low, high, page, room })) return budget
    }
    return this.#runAlone(budget)
  }

  /** The same for an instruction that ends on the next page; false where it must run alone. */
  #decodeCrossing(at: { low: number; high: number; page: number; room: number }): boolean {
    const core = this.#core
    const size = core.codeSize as CodeSize
    const offset = at.low & (PAGE - 1)
    const bytes = this.#gather()
    if (!bytes || bytes.length <= PAGE - offset || at.room < 2 * PAGE) {
      core.setWord(L.FAULT, 0)
      return false
    }
    const next = (at.low | (PAGE - 1)) + 1
    const carry = next === 0 && size === 8 ? 1 : 0
    const nextHost = this.#translateFetch(next, at.high + carry)
    if (nextHost < 0) {
      core.setWord(L.FAULT, 0)
      return false
    }
    this.#cache.offer(nextHost, size)
    this.#cache.decodeCrossing(at.page, offset, nextHost, bytes, size)
    return true
  }

  /** Runs the instruction at RIP from its own micro-op, then goes on while the budget lasts. */
  #runAlone(budget: number): number {
    const core = this.#core
    const bytes = this.#gather()
    if (!bytes) {
      this.#faultAtRip()
      return budget - 1
    }
    this.#cache.reserve()
    const { low, high } = this.#linear()
    const offset = low & (PAGE - 1)
    const key = (high & 0x1fffff) * 2 ** 32 + (low >>> 0)
    const uop = this.#cache.crossing(key, bytes, offset, core.codeSize as CodeSize)
    const rip = core.word(L.RIP) >>> 0
    const borrow = rip < offset ? 1 : 0
    core.setPair(L.REGS + L.SLOT.ripBase * 8, (rip - offset) | 0, core.word(L.RIP + 4) - borrow)
    const code = core.exports.runUop(uop, budget | 0)
    this.#exits[code]!++
    const left = this.#charge(budget)
    if (code === EXIT.hot) this.#hot()
    return left - this.#finish(code)
  }

  /** The bytes of the instruction at RIP, from one page or two; undefined with a fault pending. */
  #gather(): Uint8Array | undefined {
    const core = this.#core
    const room = this.#roomInSegment()
    const { low, high } = this.#linear()
    const inPage = PAGE - (low & (PAGE - 1))
    const first = this.#fetch(low, high, Math.min(MAX_LENGTH, inPage, Math.max(room, 0)))
    if (!first) return undefined
    const size = core.codeSize as CodeSize
    if (this.#cache.isComplete(first, size)) return first
    const more = Math.min(MAX_LENGTH, room) - first.length
    if (more <= 0) {
      if (room < MAX_LENGTH) this.#setFault(EXCEPTION.GP)
      return room < MAX_LENGTH ? undefined : first
    }
    const next = (low >>> 0) + first.length
    const carry = next > 0xffffffff && size === 8 ? 1 : 0
    const second = this.#fetch(next | 0, high + carry, more)
    if (!second) return undefined
    const all = new Uint8Array(first.length + second.length)
    all.set(first)
    all.set(second, first.length)
    return all
  }

  #setFault(vector: number): void {
    this.#core.setWord(L.FAULT, vector + 1)
    this.#core.setWord(L.FAULT_ERROR, 0)
  }

  #fetch(low: number, high: number, count: number): Uint8Array | undefined {
    const core = this.#core
    if (count === 0) {
      this.#setFault(EXCEPTION.GP)
      return undefined
    }
    const host = this.#translateFetch(low, high)
    if (host === TRANSLATE_FAULT) return undefined
    if (host !== TRANSLATE_MMIO) return this.#ram.subarray(host, host + count)
    const gpa = (core.word(MMIO_ADDRESS + 4) >>> 0) * 2 ** 32 + (core.word(MMIO_ADDRESS) >>> 0)
    return Uint8Array.from({ length: count }, (_, i) => this.#pins.mmioRead(gpa + i, 1))
  }

  // ---- single steps ----

  #mustStep(): boolean {
    const core = this.#core
    return (core.word(L.RFLAGS_SYSTEM) & TF) !== 0 || core.word(L.SHADOW) !== 0 || core.word(L.WATCHING) !== 0
  }

  /** One instruction, with what TF, the interrupt shadow and breakpoints ask for. */
  #step(): void {
    const core = this.#core
    const traced = (core.word(L.RFLAGS_SYSTEM) & TF) !== 0
    if (core.word(L.WATCHING) !== 0 && this.#codeBreakpoint()) return
    const shadow = core.word(L.SHADOW)
    core.setWord(L.SHADOW, 0)
    core.setWord(L.WATCH_HITS, 0)
    core.setWord(L.RFLAGS_SYSTEM, core.word(L.RFLAGS_SYSTEM) & ~RF)
    const before = core.word(L.EVENTS)
    this.#runAlone(1)
    // INT n and faults clear TF: they are not followed by a trap.
    const delivered = core.word(L.EVENTS) !== before
    const hits = core.word(L.WATCH_HITS)
    // A trap is held back by a shadow that begins now (MOV SS), not by one that ends.
    if (delivered || (shadow === 0 && core.word(L.SHADOW) !== 0 && !traced)) return
    if (!traced && hits === 0) return
    core.setWord(L.DR + 48, core.word(L.DR + 48) | (traced ? DR6_BS : 0) | hits)
    this.#halted = false
    this.#deliver(EXCEPTION.DB, 0, 'trap')
  }

  /** Delivers #DB for a breakpoint on the instruction at RIP, unless RF holds it back. */
  #codeBreakpoint(): boolean {
    const core = this.#core
    if (core.word(L.RFLAGS_SYSTEM) & RF) return false
    const { low, high } = this.#linear()
    const dr7 = core.word(L.DR + 56)
    let hits = 0
    for (let i = 0; i < 4; i++) {
      const enabled = (dr7 >> (i * 2)) & 3
      const isExecution = ((dr7 >> (16 + i * 4)) & 15) === 0
      const matches = core.word(L.DR + i * 8) === low && core.word(L.DR + i * 8 + 4) === high
      if (enabled && isExecution && matches) hits |= 1 << i
    }
    if (hits === 0) return false
    core.setWord(L.DR + 48, core.word(L.DR + 48) | hits)
    this.#deliver(EXCEPTION.DB, 0, 'fault')
    return true
  }

  // ---- memory that is not RAM ----

  #mmioAddress(): number {
    const { words } = this.#core
    return (words[(MMIO_ADDRESS + 4) >> 2]! >>> 0) * 2 ** 32 + (words[MMIO_ADDRESS >> 2]! >>> 0)
  }
  #mmioRead(size: number): void {
    const gpa = this.#mmioAddress()
    const narrow = size === 8 ? 4 : (size as 1 | 2 | 4)
    const low = this.#pins.mmioRead(gpa, narrow) | 0
    const high = size === 8 ? this.#pins.mmioRead(gpa + 4, 4) | 0 : 0
    this.#core.setResult(0, low, high)
    noticeInterrupts(this.#core)
  }
  #mmioWrite(size: number): void {
    const gpa = this.#mmioAddress()
    const [low, high] = [this.#core.argument(0), this.#core.argumentHigh(0)]
    const mask = size === 1 ? 0xff : size === 2 ? 0xffff : 0xffffffff
    this.#pins.mmioWrite(gpa, size === 8 ? 4 : (size as 1 | 2 | 4), (low & mask) >>> 0)
    if (size === 8) this.#pins.mmioWrite(gpa + 4, 4, high >>> 0)
    noticeInterrupts(this.#core)
  }

  /** Registers, the last exception and the code around RIP, for a person to read. */
  report(): string {
    const { low, high } = this.#linear()
    const host = this.#translateFetch(low, high)
    this.#core.setWord(L.FAULT, 0)
    const code = host >= 0 ? this.#ram.subarray(host, Math.min(host + 16, this.#ram.length)) : undefined
    return report(this.#core, code)
  }
}
