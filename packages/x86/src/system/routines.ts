/** The group of routines behind system instructions. */

import { STACK_ACCESS } from '../mmu/access.ts'
import * as L from '../state/layout.ts'
import type { Callable, Code } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import {
  defineDeliverLong,
  defineEnterSystem,
  defineLeaveSystem,
  defineReturnLong,
  defineSetFlat,
} from './long-mode.ts'
import { at, defineDescriptors, defineUpdateMode, put } from './mode.ts'

export function systemRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const known = (name: string): Callable => {
    const callable = routines.get(name)
    if (!callable) throw new Error(`no routine ${name}`)
    return callable
  }
  const updateMode = defineUpdateMode(module, known('forgetJumps'))
  const systemLoad = known('systemLoad')
  const systemStore = known('systemStore')
  const descriptors = defineDescriptors(module, { systemLoad, systemStore })
  const setFlat = defineSetFlat(module)
  const pieces = {
    ...descriptors,
    systemLoad,
    systemStore,
    arithmeticFlags: known('arithmeticFlags'),
    updateMode,
    setFlat,
  }
  const all: Record<string, Callable> = {
    updateMode,
    ...descriptors,
    setFlat,
    deliverLong: defineDeliverLong(module, pieces),
    returnLong: defineReturnLong(module, pieces),
    enterSystem: defineEnterSystem(module, pieces),
    leaveSystem: defineLeaveSystem(module, pieces),
  }
  for (const [name, callable] of Object.entries(all)) routines.set(name, callable)
  for (const [name, callable] of Object.entries(defineBridges(module, known))) routines.set(name, callable)
}

/**
 * Calls without i64 parameters or results, which would be bigints in TypeScript: values of 8 bytes are in SCRATCH, addresses
 * are 32-bit or in SCRATCH.
 */
function defineBridges(module: ModuleBuilder, known: (name: string) => Callable): Record<string, Callable> {
  const uop = (c: Code) => at(c, 'i32', L.CURRENT_UOP)
  const stackAddress = module.func('stackAddress', ['i32', 'i32', 'i32'], ['i64'], (c) => {
    const sp = at(c, 'i64', L.REGS + 4 * 8).add(c.param(0).extendS())
    c.if(at(c, 'i32', L.CODE_SIZE).eq(8), () => c.return(sp))
    const offset = sp.and(at(c, 'i64', L.STACK_MASK))
    c.return(c.call(known('legacyLinear'), L.SS, offset, c.param(1), c.param(2), uop(c)))
  })
  return {
    /** readSystem(address, size): as the supervisor. */
    readSystem: module.func('readSystem', ['i32', 'i32'], ['i32'], (c) =>
      c.return(c.call(known('systemLoad'), c.param(0).extendU(), c.param(1)).wrap()),
    ),
    writeSystem: module.func('writeSystem', ['i32', 'i32', 'i32'], [], (c) => {
      c.call(known('systemStore'), c.param(0).extendU(), c.param(1).extendU(), c.param(2))
    }),
    /** readStack(delta, size): relative to the stack pointer, with all checks; the value in SCRATCH. */
    readStack: module.func('readStack', ['i32', 'i32'], [], (c) => {
      const address = c.call(stackAddress, c.param(0), c.param(1), 0)
      c.if(at(c, 'i32', L.FAULT), () => c.return())
      const size = c.param(1).or(STACK_ACCESS)
      put(c, 'i64', L.SCRATCH, c.call(known('slowLoad'), address, size, uop(c)))
    }),
    writeStack: module.func('writeStack', ['i32', 'i32'], [], (c) => {
      const value = at(c, 'i64', L.SCRATCH)
      const address = c.call(stackAddress, c.param(0), c.param(1), 1)
      c.if(at(c, 'i32', L.FAULT), () => c.return())
      c.call(known('slowStore'), address, value, c.param(1).or(STACK_ACCESS), uop(c))
    }),
    /** translateAt(access): host offset in RAM, or a TRANSLATE_ code, of the address in SCRATCH. */
    translateAt: module.func('translateAt', ['i32'], ['f64'], (c) =>
      c.return(c.call(known('translate'), at(c, 'i64', L.SCRATCH), c.param(0)).convert('f64ConvertI64S')),
    ),
    /** fetchDescriptor(selector, ext): to SCRATCH. */
    fetchDescriptor: module.func('fetchDescriptor', ['i32', 'i32'], [], (c) => {
      put(c, 'i64', L.SCRATCH, c.call(known('loadDescriptor'), c.param(0), c.param(1)))
    }),
    fetchDescriptorHigh: module.func('fetchDescriptorHigh', ['i32'], [], (c) => {
      put(c, 'i64', L.SCRATCH, c.call(known('loadDescriptorHigh'), c.param(0)))
    }),
    /** loadCache(segment, selector): from the descriptor in SCRATCH. */
    loadCache: module.func('loadCache', ['i32', 'i32'], [], (c) => {
      c.call(known('setSegment'), c.param(0), c.param(1), at(c, 'i64', L.SCRATCH))
    }),
    /** readFlags(): the arithmetic flags. */
    readFlags: module.func('readFlags', [], ['i32'], (c) =>
      c.return(c.call(known('arithmeticFlags')).wrap()),
    ),
  }
}
