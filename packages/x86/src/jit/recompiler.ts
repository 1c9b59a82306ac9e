/** The recompiler: regions from hot code, modules from regions, and the micro-ops through which they are entered. */
import { ENGINE_PAGES, type InterpreterModule, RAM_PAGES } from '../interpreter/build.ts'
import type { CodeCache } from '../interpreter/code-cache.ts'
import { HANDLER_PARAMS, HANDLER_RESULTS } from '../interpreter/handler.ts'
import { heatPlace } from '../interpreter/heat.ts'
import { FLAG_FUNCTIONS } from '../interpreter/routines.ts'
import { isOrdinaryControl } from '../isa/float-lanes.ts'
import type { Runtime } from '../isa/meaning.ts'
import * as L from '../state/layout.ts'
import type { Callable } from '../wasm/code.ts'
import { ModuleBuilder } from '../wasm/module.ts'
import { type Block, findBlocks } from './blocks.ts'
import { isCompilable } from './compilable.ts'
import { buildRegion } from './region.ts'
import type { FloatMode, RegionCode } from './region-code.ts'

/** Slots of the handlers' table that regions may take. */
export const REGION_SLOTS = 16384
/**
 * A region whose speculation fails this often within so many instructions is made again without: each failure takes as long
 * as a few thousand instructions.
 */
const FAILURES = 64
const FAILURE_INSTRUCTIONS = 20_000
/** How often a region begins to speculate again because MXCSR has become ordinary. */
const RETURNS = 3
/** Index of the handlers' type in every module made here. */
const HANDLER_TYPE = 0

interface Region {
  readonly head: number
  /** The handler that the head's micro-op had. */
  readonly original: number
  readonly slot: number
  readonly maps: readonly number[]
  readonly floats: FloatMode
  /** Instructions that were left to the interpreter, since when. */
  failures: number
  since: number
}

/** A region that is built and not yet entered. */
interface Built extends Omit<Region, 'slot' | 'floats' | 'failures' | 'since'> {
  readonly code: RegionCode
}

/** Where hot code is: its code page's map, the offset in it, and where the page lies in the linear address space. */
export interface HotSpot {
  readonly map: number
  readonly offset: number
  /** The map of the code page that many pages from the spot's, or 0 where the code TLB knows none. */
  readonly neighbour: (pages: number) => number
}

/** A function that a module may import: by its name in the interpreter's exports. */
interface Import {
  readonly name: string
  readonly callable: { index: number; params: Callable['params']; results: Callable['results'] }
}

export class Recompiler {
  readonly #interpreter: InterpreterModule
  readonly #engine: DataView
  readonly #cache: CodeCache
  readonly #table: WebAssembly.Table
  readonly #hotAfter: number
  readonly #warm: number
  readonly #env: Record<string, unknown>
  readonly #imports: Import[] = []
  readonly #runtime: Runtime
  readonly #flagFunctions: Record<string, Callable> = {}
  readonly #compilable: (boolean | undefined)[] = []
  readonly #regions = new Map<number, Region>()
  readonly #bySlot = new Map<number, Region>()
  readonly #byMap = new Map<number, Set<Region>>()
  readonly #freeSlots: number[] = []
  /** What is done about floats in regions whose speculation failed, by their heads. */
  readonly #floats = new Map<number, { readonly mode: FloatMode; readonly returns: number }>()
  readonly counters = {
    regions: 0,
    instructions: 0,
    bytes: 0,
    dropped: 0,
    failures: 0,
    careful: 0,
    returned: 0,
  }

  constructor(options: {
    interpreter: InterpreterModule
    engineMemory: WebAssembly.Memory
    ram: WebAssembly.Memory
    exports: Record<string, unknown>
    cache: CodeCache
    hotAfter: number
  }) {
    this.#hotAfter = options.hotAfter
    this.#warm = options.hotAfter >> 4
    this.#interpreter = options.interpreter
    this.#engine = new DataView(options.engineMemory.buffer)
    this.#cache = options.cache
    this.#table = options.exports.handlers as WebAssembly.Table
    this.#env = { ...options.exports, engine: options.engineMemory, ram: options.ram }
    for (let slot = REGION_SLOTS - 1; slot >= 0; slot--)
      this.#freeSlots.push(this.#interpreter.handlers + slot)
    this.#runtime = this.#importedRuntime()
  }

  /** The runtime of the interpreter, as imports whose index is set when a module needs them. */
  #importedRuntime(): Runtime {
    const { runtime } = this.#interpreter
    const imported = (name: string, callable: Callable): Callable => {
      const entry = { index: -1, params: callable.params, results: callable.results }
      this.#imports.push({ name, callable: entry })
      return entry
    }
    const functions: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(runtime))
      if (isCallable(value) && name in this.#env) functions[name] = imported(name, value)
    const routines = new Map<string, Callable>()
    for (const [name, callable] of runtime.routines) routines.set(name, imported(name, callable))
    for (const name of FLAG_FUNCTIONS) this.#flagFunctions[name] = routines.get(name)!
    return { ...runtime, ...functions, routines, handlerType: HANDLER_TYPE }
  }

  #isCompilable(handler: number): boolean {
    const source = this.#interpreter.sources[handler]
    if (!source) return false
    return (this.#compilable[handler] ??= isCompilable(this.#interpreter.runtime, source))
  }
  #isWarm(uop: number): boolean {
    const heat = this.#engine.getUint16(heatPlace(uop), true)
    return (
      heat >= this.#warm || this.#engine.getUint16(uop + L.UOP_HANDLER, true) >= this.#interpreter.handlers
    )
  }
  /** The handler that a micro-op had before a region took it over. */
  #handlerAt(uop: number): number {
    const number = this.#engine.getUint16(uop + L.UOP_HANDLER, true)
    return number < this.#interpreter.handlers ? number : this.#bySlot.get(number)!.original
  }

  /** Makes a region of a hot spot and enters it, while there are slots. */
  compile(spot: HotSpot): void {
    if (this.#freeSlots.length === 0) return
    const used = new Set<Callable>()
    const built = this.#build(spot, used)
    if (built) this.#install(built, used)
  }

  #build(spot: HotSpot, used: Set<Callable>): Built | undefined {
    const codeSize = this.#cache.codeSizeOf(spot.map)
    const head = this.#cache.lookUp(spot.map, spot.offset)
    if (codeSize === undefined || codeSize === 2 || head === 0 || this.#regions.has(head)) return undefined
    const maps = new Map<number, number>([[0, spot.map]])
    const mapOf = (page: number): number => {
      const known = maps.get(page)
      if (known !== undefined) return known
      const found = spot.neighbour(page)
      maps.set(page, found)
      return found
    }
    const lookUp = (at: number): number => {
      const map = mapOf(at >> 12)
      return map === 0 ? 0 : this.#cache.lookUp(map, at & 4095)
    }
    const blocks = findBlocks(
      {
        engine: this.#engine,
        lookUp,
        handlerAt: (uop) => this.#handlerAt(uop),
        sourceOf: (handler) => this.#interpreter.sources[handler],
        isCompilable: (handler) => this.#isCompilable(handler),
        isWarm: (uop) => this.#isWarm(uop),
      },
      spot.offset,
    )
    if (blocks.length === 0 || blocks[0]!.instructions[0]!.flow === 'interpret') return undefined
    const original = this.#handlerAt(head)
    const inputs = {
      runtime: this.#runtime,
      flagFunctions: this.#flagFunctions,
      engine: this.#engine,
      long: codeSize === 8,
      floats: this.#floats.get(head)?.mode ?? 'speculate',
      used,
    }
    const code = buildRegion(inputs, { blocks, head, original, lookUp, mapOf })
    this.counters.instructions += count(blocks)
    return { code, head, original, maps: pagesOf(blocks).map((page) => mapOf(page)) }
  }

  #install(built: Built, used: Set<Callable>): void {
    const module = new ModuleBuilder()
    // The first type, so that its index is HANDLER_TYPE.
    module.typeIndex(HANDLER_PARAMS, HANDLER_RESULTS)
    module.importMemory('engine', ENGINE_PAGES, ENGINE_PAGES)
    module.importMemory('ram', ...RAM_PAGES)
    module.importTable('handlers', this.#interpreter.handlers + REGION_SLOTS, HANDLER_TYPE)
    for (const { name, callable } of this.#imports)
      if (used.has(callable))
        callable.index = module.importFunction(name, callable.params, callable.results).index
    const callable = module.declare('region', HANDLER_PARAMS, HANDLER_RESULTS)
    module.defineWith(callable, built.code)
    module.export('region', callable)
    const bytes = module.build()
    this.counters.bytes += bytes.length
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: this.#env })
    this.#enter(built, instance.exports.region)
  }

  #enter({ head, original, maps }: Built, entry: unknown): void {
    const slot = this.#freeSlots.pop()!
    const floats = this.#floats.get(head)?.mode ?? 'speculate'
    const region: Region = { head, original, slot, maps, floats, failures: 0, since: 0 }
    this.#table.set(slot, entry)
    this.#engine.setUint16(head + L.UOP_HANDLER, slot, true)
    this.#regions.set(head, region)
    this.#bySlot.set(slot, region)
    for (const map of maps) {
      const list = this.#byMap.get(map) ?? new Set()
      list.add(region)
      this.#byMap.set(map, list)
    }
    this.counters.regions++
  }

  /** An instruction of the region at `head` was left to the interpreter; so many are retired. */
  speculationFailed(head: number, retired: number): void {
    const region = this.#regions.get(head)
    this.counters.failures++
    if (!region) return
    const returns = this.#floats.get(head)?.returns ?? 0
    if (region.floats === 'await-ordinary') {
      this.counters.returned++
      return this.#remake(region, { mode: 'speculate', returns: returns + 1 })
    }
    if (region.failures === 0) region.since = retired
    if (++region.failures < FAILURES) return
    region.failures = 0
    if (retired - region.since > FAILURES * FAILURE_INSTRUCTIONS) return
    const mayReturn = !isOrdinaryControl(this.#engine.getInt32(L.MXCSR, true)) && returns < RETURNS
    this.#remake(region, { mode: mayReturn ? 'await-ordinary' : 'compute', returns })
    this.counters.careful++
  }
  #remake(region: Region, floats: { mode: FloatMode; returns: number }): void {
    const { head } = region
    this.#drop(region)
    this.#floats.set(head, floats)
    // Hot again at the next arrival.
    this.#engine.setUint16(heatPlace(head), this.#hotAfter - 1, true)
  }

  #drop(region: Region): void {
    const { head, original, slot } = region
    if (this.#engine.getUint16(head + L.UOP_HANDLER, true) === slot)
      this.#engine.setUint16(head + L.UOP_HANDLER, original, true)
    this.#regions.delete(head)
    this.#bySlot.delete(slot)
    for (const map of region.maps) this.#byMap.get(map)?.delete(region)
    this.#table.set(slot, null)
    this.#freeSlots.push(slot)
    this.counters.dropped++
  }

  /** The code of a page has changed. */
  invalidated(map: number): void {
    for (const region of [...(this.#byMap.get(map) ?? [])]) this.#drop(region)
    this.#byMap.delete(map)
  }
  /** All micro-ops are gone. */
  flushed(): void {
    for (const region of [...this.#regions.values()]) this.#drop(region)
    this.#byMap.clear()
    this.#floats.clear()
  }
}

const isCallable = (value: unknown): value is Callable =>
  typeof value === 'object' && value !== null && 'index' in value && 'params' in value
const count = (blocks: readonly Block[]): number =>
  blocks.reduce((sum, { instructions }) => sum + instructions.length, 0)
const pagesOf = (blocks: readonly Block[]): number[] => [
  ...new Set(blocks.flatMap(({ instructions }) => instructions.map(({ at }) => at >> 12))),
]
