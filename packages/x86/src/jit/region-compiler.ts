/** Modules from plans of regions. Needs nothing of the CPU, so that it can work in another thread. */
import { buildTables } from '../decode/tables.ts'
import { ENGINE_PAGES, type HandlerSource, handlerSources, RAM_PAGES } from '../interpreter/build.ts'
import { HANDLER_PARAMS, HANDLER_RESULTS } from '../interpreter/handler.ts'
import { FLAG_FUNCTIONS } from '../interpreter/routines.ts'
import { instructionsOf } from '../isa/index.ts'
import type { Runtime } from '../isa/meaning.ts'
import { REGION_SLOTS } from '../state/layout.ts'
import { findModel } from '../system/model.ts'
import type { Callable } from '../wasm/code.ts'
import { ModuleBuilder } from '../wasm/module.ts'
import type { Plan } from './plan.ts'
import { buildRegion } from './region.ts'

/** Index of the handlers' type in every module made here. */
const HANDLER_TYPE = 0

interface Signature {
  readonly params: Callable['params']
  readonly results: Callable['results']
}

/** What recompiled code may call of the interpreter, by the names of its exports. */
export interface Linkage {
  /** Name of the CPU model. */
  readonly model: string
  /** Handlers of the interpreter. */
  readonly handlers: number
  /** Entries after which a small region is made again. */
  readonly hotAfter: number
  /** The functions of `Runtime`, and its routines. */
  readonly functions: Readonly<Record<string, Signature>>
  readonly routines: Readonly<Record<string, Signature>>
}

/** The names and signatures of what an interpreter's instance exports. */
export function exportedFunctions(
  runtime: Runtime,
  exports: Readonly<Record<string, unknown>>,
): Pick<Linkage, 'functions' | 'routines'> {
  const signature = ({ params, results }: Callable): Signature => ({ params, results })
  const functions: Record<string, Signature> = {}
  for (const [name, value] of Object.entries(runtime))
    if (isCallable(value) && name in exports) functions[name] = signature(value)
  const routines: Record<string, Signature> = {}
  for (const [name, callable] of runtime.routines) routines[name] = signature(callable)
  return { functions, routines }
}
const isCallable = (value: unknown): value is Callable =>
  typeof value === 'object' && value !== null && 'index' in value && 'params' in value

/** A function that a module may import; its index is set for each module. */
interface Import {
  readonly name: string
  readonly callable: Signature & { index: number }
}

export class RegionCompiler {
  readonly #sources: readonly (HandlerSource | undefined)[]
  readonly #handlers: number
  readonly #hotAfter: number
  readonly #imports: Import[] = []
  readonly #runtime: Runtime
  readonly #flagFunctions: Record<string, Callable> = {}

  constructor({ model, handlers, hotAfter, functions, routines }: Linkage) {
    this.#sources = handlerSources(buildTables(instructionsOf(findModel(model))))
    this.#handlers = handlers
    this.#hotAfter = hotAfter
    const imported = (name: string, { params, results }: Signature): Callable => {
      const callable = { index: -1, params, results }
      this.#imports.push({ name, callable })
      return callable
    }
    const table = new Map(Object.entries(routines).map(([name, of]) => [name, imported(name, of)]))
    const own = Object.entries(functions).map(([name, of]) => [name, table.get(name) ?? imported(name, of)])
    for (const name of FLAG_FUNCTIONS) this.#flagFunctions[name] = table.get(name)!
    this.#runtime = { ...Object.fromEntries(own), routines: table, handlerType: HANDLER_TYPE }
  }

  /** A module that exports a region for each plan, by its index. */
  compile(plans: readonly Plan[]): Uint8Array {
    const used = new Set<Callable>()
    const regions = plans.map((plan) =>
      buildRegion(
        {
          runtime: this.#runtime,
          flagFunctions: this.#flagFunctions,
          microOps: new DataView(plan.microOps.buffer),
          long: plan.codeSize === 8,
          hotAfter: this.#hotAfter,
          handlers: this.#handlers,
          floats: plan.floats,
          used,
        },
        plan,
        this.#sources,
      ),
    )
    const module = new ModuleBuilder()
    // The first type, so that its index is HANDLER_TYPE.
    module.typeIndex(HANDLER_PARAMS, HANDLER_RESULTS)
    module.importMemory('engine', ENGINE_PAGES, ENGINE_PAGES)
    module.importMemory('ram', ...RAM_PAGES)
    module.importTable('handlers', this.#handlers + REGION_SLOTS, HANDLER_TYPE)
    for (const { name, callable } of this.#imports)
      if (used.has(callable))
        callable.index = module.importFunction(name, callable.params, callable.results).index
    for (const [i, region] of regions.entries()) {
      const callable = module.declare(`${i}`, HANDLER_PARAMS, HANDLER_RESULTS)
      module.defineWith(callable, region)
      module.export(`${i}`, callable)
    }
    return module.build({ compiled: plans.every(({ extent }) => extent === 'large') ? 'well' : 'quickly' })
  }
}
