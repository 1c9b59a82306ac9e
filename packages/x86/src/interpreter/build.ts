/** Generates the interpreter: one WebAssembly module with a handler for every variant of every instruction. */
import type { Entry } from '../decode/entry.ts'
import { operandFor } from '../decode/operands.ts'
import { buildTables, type DecodeTables, REPEATS, variantKey, variantsOf } from '../decode/tables.ts'
import type { Instruction } from '../isa/instruction.ts'
import type { Operand, Runtime, Variant } from '../isa/meaning.ts'
import { type AccessImports, defineAccess } from '../mmu/access.ts'
import { defineFlushTlb, defineInvalidatePage, defineProtectPage } from '../mmu/tlb.ts'
import { defineWalk } from '../mmu/walk.ts'
import { EXIT } from '../state/exits.ts'
import * as L from '../state/layout.ts'
import { isFlatAtZero } from '../system/flat-segments.ts'
import type { Callable } from '../wasm/code.ts'
import { ModuleBuilder } from '../wasm/module.ts'
import { declareEvents, defineEvents } from './events.ts'
import { HANDLER_PARAMS, HANDLER_RESULTS, Handler } from './handler.ts'
import { defineForgetJumps } from './jump-cache.ts'
import { EA_ADDRESS16, EA_SEGMENT_SHIFT, EA_WRITE, INTERNAL, INTERNAL_COUNT } from './micro-op.ts'
import { defineDispatch, defineFlags, defineLegacyLinear, linearOfRip } from './routines.ts'

/** Adds routines of an instruction group (soft float, …) to the module; meanings call them by name. */
export type RoutineGroup = (module: ModuleBuilder, routines: Map<string, Callable>) => void

/** What a handler was made from. */
export interface HandlerSource {
  readonly entry: Entry
  readonly variant: Variant
  readonly operands: readonly Operand[]
}

/** The interpreter's code and what to link it by: plain data, which can be stored and sent. */
export interface InterpreterCode {
  readonly bytes: Uint8Array
  /** `Runtime` without its routines, and those. */
  readonly functions: Readonly<Record<string, Callable>>
  readonly routines: Readonly<Record<string, Callable>>
  readonly handlerType: number
}

export interface InterpreterModule {
  readonly bytes: Uint8Array
  readonly tables: DecodeTables
  readonly handlers: number
  /** By the handler's number; internal ones have none. */
  readonly sources: readonly (HandlerSource | undefined)[]
  /** Functions that meanings call, by name, with signatures: recompiled code imports them. */
  readonly runtime: Runtime
}

/** WebAssembly pages of engine memory; most of it is the micro-op arena. */
export const ENGINE_PAGES = 832
/** WebAssembly pages of RAM: any size from 1 MiB to 4 GiB. */
export const RAM_PAGES = [16, 65536] as const

/** The interpreter that the code was made for. */
export function linkInterpreter(
  instructions: readonly Instruction[],
  code: InterpreterCode,
): InterpreterModule {
  const tables = buildTables(instructions)
  const sources = handlerSources(tables)
  numberHandlers(sources)
  const { bytes, functions, handlerType } = code
  const routines = new Map(Object.entries(code.routines))
  const runtime = { ...functions, handlerType, routines } as unknown as Runtime
  return { bytes, tables, handlers: sources.length, sources, runtime }
}

/** `hotAfter` and `spare` serve a recompiler: branches count heat, and the table has slots for code to come. */
export function buildInterpreter(
  instructions: readonly Instruction[],
  groups: readonly RoutineGroup[],
  { hotAfter, spare = 0 }: { hotAfter?: number; spare?: number } = {},
): InterpreterCode {
  const sources = handlerSources(buildTables(instructions))
  const module = new ModuleBuilder()
  module.importMemory('engine', ENGINE_PAGES, ENGINE_PAGES)
  module.importMemory('ram', ...RAM_PAGES)
  const host = module.importFunction('host', ['i32'])
  const imports: AccessImports = {
    mmioRead: module.importFunction('mmioRead', ['i32']),
    mmioWrite: module.importFunction('mmioWrite', ['i32']),
    codeWritten: module.importFunction('codeWritten', ['i32', 'i32'], ['i32']),
  }
  const walker = defineWalk(module)
  const access = defineAccess(module, walker, imports)
  const flags = defineFlags(module)
  const events = declareEvents(module)
  const heat = { hotAfter, handlers: sources.length }
  const dispatch = defineDispatch(module, heat, { ...access, ...events })
  const forgetJumps = defineForgetJumps(module)
  const legacyLinear = defineLegacyLinear(module)
  const routines = new Map<string, Callable>(
    Object.entries({ ...access, ...flags, legacyLinear, forgetJumps }),
  )
  for (const group of groups) group(module, routines)
  defineEvents(module, events, { ...dispatch, deliverLong: routines.get('deliverLong')! })
  const { handlerType, ...dispatchers } = dispatch
  const functions = { ...access, ...flags, ...dispatchers, ...events, legacyLinear, host }
  const runtime: Runtime = { ...functions, handlerType, routines }
  const elements = new Map<number, Callable>()
  defineInternal(module, runtime, elements)
  for (const source of sources) if (source) defineHandler(module, runtime, source, elements, hotAfter)
  module.table(elements.size + spare, dispatch.handlerType, elements)
  module.exportTable('handlers')
  const exported = { walk: walker.walk, hostOf: walker.hostOf, dispatch: dispatch.dispatch, ...events }
  for (const [name, callable] of Object.entries(exported)) module.export(name, callable)
  const flushTlb = defineFlushTlb(module, forgetJumps)
  module.export('flushTlb', flushTlb)
  module.export('invalidatePage', defineInvalidatePage(module, { flushTlb, forgetJumps }))
  module.export('protectPage', defineProtectPage(module))
  module.export(
    'runUop',
    module.func('runUop', HANDLER_PARAMS, HANDLER_RESULTS, (c) => {
      c.tailCallIndirect(dispatch.handlerType, c.load('i32_16u', c.param(0), L.UOP_HANDLER), [
        c.param(0),
        c.param(1),
      ])
    }),
  )
  for (const [name, callable] of routines) module.export(name, callable)
  return { bytes: module.build(), functions, routines: Object.fromEntries(routines), handlerType }
}

/** What the handlers are made from, by their numbers; internal ones have none. */
export function handlerSources(tables: DecodeTables): readonly (HandlerSource | undefined)[] {
  const internal = Array.from({ length: INTERNAL_COUNT }, () => undefined)
  return [...internal, ...tables.entries.flatMap((entry) => [...sourcesOf(entry)])]
}

function* sourcesOf(entry: Entry): Generator<HandlerSource> {
  for (const variant of variantsOf(entry)) {
    const operands = entry.operands.map((spec) => operandFor(spec, variant.size, variant.memory))
    yield { entry, variant, operands }
  }
}

function defineHandler(
  module: ModuleBuilder,
  runtime: Runtime,
  { entry, variant, operands }: HandlerSource,
  elements: Map<number, Callable>,
  hotAfter: number | undefined,
): void {
  const handler = new Handler(runtime, variant, { hotAfter })
  entry.instruction.meaning(handler, ...operands)
  if (!entry.instruction.endsBlock) handler.next()
  elements.set(
    elements.size,
    add(module, handler, `${entry.instruction.mnemonic} ${entry.form.operands.join()}`),
  )
}

/** Tells the decoder's tables the numbers of the handlers. */
function numberHandlers(sources: readonly (HandlerSource | undefined)[]): void {
  for (const [number, source] of sources.entries()) {
    if (!source) continue
    const { size, memory, mode, repeat, addressSize } = source.variant
    const key = variantKey(size, memory, mode === 'legacy', REPEATS.indexOf(repeat), addressSize)
    source.entry.handlers[key] = number
  }
}

function add(module: ModuleBuilder, handler: Handler, name: string): Callable {
  const callable = module.declare(name, HANDLER_PARAMS, HANDLER_RESULTS)
  try {
    module.defineWith(callable, handler)
  } catch (error) {
    throw new Error(`handler ${name}`, { cause: error })
  }
  return callable
}

const PLAIN: Variant = { size: 4, mode: 'long', memory: false, repeat: 'none', addressSize: 8 }
const LEGACY: Variant = { ...PLAIN, mode: 'legacy' }

function defineInternal(module: ModuleBuilder, runtime: Runtime, elements: Map<number, Callable>): void {
  const internal = (number: number, variant: Variant, build: (u: Handler) => void) => {
    if (number !== elements.size) throw new Error('internal handlers are defined in order')
    const handler = new Handler(runtime, variant)
    build(handler)
    elements.set(number, add(module, handler, `internal ${number}`))
  }
  const goTo = (u: Handler, rip: ReturnType<Handler['nextRip']>) => {
    u.setState('i64', L.RIP, u.select(u.state('i32', L.CODE_SIZE).eq(8), rip, rip.and(0xffffffff)))
    u.tailCall(runtime.dispatch, u.budget)
  }
  internal(INTERNAL.stale, PLAIN, (u) => goTo(u, u.currentRip()))
  internal(INTERNAL.goto, PLAIN, (u) =>
    goTo(u, u.gpr(L.SLOT.ripBase).add(u.load('i64_32s', u.uop, L.UOP_IMM))),
  )
  internal(INTERNAL.raise, PLAIN, (u) => {
    u.setState('i32', L.FAULT, u.load('i32', u.uop, L.UOP_IMM).add(1))
    u.setState('i32', L.FAULT_ERROR, u.load('i32', u.uop, L.UOP_DISP))
    u.setState('i32', L.CURRENT_UOP, u.uop)
    u.exit(EXIT.fault)
  })
  internal(INTERNAL.cross, PLAIN, (u) => {
    const rip = u.select(u.state('i32', L.CODE_SIZE).eq(8), u.currentRip(), u.currentRip().and(0xffffffff))
    const next = linearOfRip(u, rip).and(-4096).add(4096)
    const map = u.call(runtime.findCode, next)
    u.if(map.eq(u.load('i32', u.uop, L.UOP_DISP)).and(map.ne(0)), () => {
      const first = u.load('i32', u.uop, L.UOP_IMM)
      const handler = u.load('i32_16u', first, L.UOP_HANDLER)
      u.tailCallIndirect(runtime.handlerType, handler, [first, u.budget])
    })
    // It will be fetched again, and fault again.
    u.setState('i32', L.FAULT, 0)
    u.setState('i64', L.RIP, rip)
    u.setState('i32', L.BUDGET, u.budget)
    u.return(EXIT.decode)
  })
  const setEa = (u: Handler, linear: ReturnType<Handler['nextRip']>) => {
    u.setState('i64', L.REGS + L.SLOT.ea * 8, linear)
    u.nextMicroOp()
  }
  const segmentBase = (u: Handler) => u.load('i64', u.load('i32', u.uop, L.UOP_IMM), L.REGS)
  internal(INTERNAL.ea32, PLAIN, (u) => setEa(u, u.rawAddress().and(0xffffffff).add(segmentBase(u))))
  internal(INTERNAL.eaSegment, PLAIN, (u) => setEa(u, u.rawAddress().add(segmentBase(u))))
  internal(INTERNAL.eaAbsolute, PLAIN, (u) => {
    const base = u.load('i64', u.load('i32_8u', u.uop, L.UOP_BASE), L.REGS)
    setEa(u, base.add(u.load('i64', u.uop, L.UOP_DISP)))
  })
  internal(INTERNAL.eaLegacy, LEGACY, (u) => {
    const info = u.load('i32', u.uop, L.UOP_IMM)
    const mask = u.select(info.and(EA_ADDRESS16), u.i64(0xffff), u.i64(0xffffffff))
    const offset = u.rawAddress().and(mask)
    u.setState('i64', L.REGS + L.SLOT.eaOffset * 8, offset)
    const segment = info.shrU(EA_SEGMENT_SHIFT).and(7)
    u.if(isFlatAtZero(u, segment).likely(), () => setEa(u, offset))
    const size = info.and(0xfff)
    u.if(size.eqz(), () => setEa(u, offset))
    const linear = u.call(runtime.legacyLinear, segment, offset, size, info.and(EA_WRITE).ne(0), u.uop)
    u.exitOnFault()
    setEa(u, linear)
  })
  if (elements.size !== INTERNAL_COUNT) throw new Error('internal handlers are missing')
}
