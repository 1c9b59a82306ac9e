/** Routines that handlers share: flags, dispatch, branches, segment checks. */

import { TRANSLATE_FAULT } from '../mmu/access.ts'
import { journal } from '../mmu/tlb.ts'
import { ACCESS_FETCH, ACCESS_USER, WALK_GLOBAL, WALK_INFO } from '../mmu/walk.ts'
import { EXIT } from '../state/exits.ts'
import { ARITHMETIC, CF, FLAGS_ADD, FLAGS_EXPLICIT, FLAGS_SUB } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { LoadKind } from '../wasm/opcodes.ts'
import { HANDLER_PARAMS, HANDLER_RESULTS } from './handler.ts'
import { countHeat } from './heat.ts'
import { lookUpJump, noteLocalCode, rememberJump } from './jump-cache.ts'

const at = (c: Code, kind: LoadKind, offset: number): Expr => c.load(kind, c.i32(0), offset)
const put = (c: Code, kind: 'i32' | 'i64', offset: number, value: Expr | number) =>
  c.store(kind, c.i32(0), value, offset)

export interface FlagRoutines {
  readonly flagCf: Callable
  readonly flagOf: Callable
  readonly flagSf: Callable
  readonly flagPf: Callable
  readonly flagAf: Callable
  readonly arithmeticFlags: Callable
}

/** The same of (kind, a, b, result), for code that has them elsewhere. */
export const FLAG_FUNCTIONS = ['cfOf', 'ofOf', 'sfOf', 'pfOf', 'afOf', 'flagsOf'] as const

interface FlagSources {
  readonly kind: Expr
  readonly a: Expr
  readonly b: Expr
  readonly r: Expr
}
type BuildFlag = (c: Code, sources: FlagSources) => void
const SOURCE_TYPES = ['i32', 'i64', 'i64', 'i64'] as const

const bit = (x: Expr, n: number): Expr => x.shrU(n).wrap().and(1)
const buildCf: BuildFlag = (c, { kind, a, b, r }) => {
  c.if(kind.eq(FLAGS_SUB), () => c.return(a.ltU(b)))
  c.if(kind.eq(FLAGS_ADD), () => c.return(r.ltU(a)))
  c.return(a.wrap().and(CF))
}
const buildOf: BuildFlag = (c, { kind, a, b, r }) => {
  c.if(kind.eq(FLAGS_SUB), () => c.return(bit(a.xor(b).and(a.xor(r)), 63)))
  c.if(kind.eq(FLAGS_ADD), () => c.return(bit(a.xor(r).and(b.xor(r)), 63)))
  c.return(bit(a, 11))
}
const buildSf: BuildFlag = (c, { kind, a, r }) => {
  c.if(kind.eq(FLAGS_EXPLICIT), () => c.return(bit(a, 7)))
  c.return(bit(r, 63))
}
const buildPf: BuildFlag = (c, { kind, a, r }) => {
  c.if(kind.eq(FLAGS_EXPLICIT), () => c.return(bit(a, 2)))
  c.return(r.wrap().and(0xff).popcnt().and(1).xor(1))
}
const buildAf: BuildFlag = (c, { kind, a, b, r }) => {
  c.if(kind.leU(FLAGS_SUB), () => c.return(bit(a.xor(b).xor(r), 4)))
  c.return(bit(a, 4))
}

export function defineFlags(
  module: ModuleBuilder,
): FlagRoutines & Record<(typeof FLAG_FUNCTIONS)[number], Callable> {
  const given = (name: string, build: BuildFlag, result: 'i32' | 'i64' = 'i32') =>
    module.func(name, SOURCE_TYPES, [result], (c) =>
      build(c, { kind: c.param(0), a: c.param(1), b: c.param(2), r: c.param(3) }),
    )
  const kept = (name: string, build: BuildFlag, result: 'i32' | 'i64' = 'i32') =>
    module.func(name, [], [result], (c) => {
      const [a, b, r] = [L.FLAG_A, L.FLAG_B, L.FLAG_RESULT].map((offset) => at(c, 'i64', offset))
      build(c, { kind: at(c, 'i32', L.FLAG_KIND), a: a!, b: b!, r: r! })
    })
  const [cfOf, ofOf, sfOf] = [given('cfOf', buildCf), given('ofOf', buildOf), given('sfOf', buildSf)]
  const [pfOf, afOf] = [given('pfOf', buildPf), given('afOf', buildAf)]
  const buildAll: BuildFlag = (c, { kind, a, b, r }) => {
    c.if(kind.eq(FLAGS_EXPLICIT), () => c.return(a.and(ARITHMETIC)))
    const call = (callee: Callable) => c.call(callee, kind, a, b, r)
    const low = call(cfOf).or(call(pfOf).shl(2)).or(call(afOf).shl(4))
    const high = r.eqz().shl(6).or(call(sfOf).shl(7)).or(call(ofOf).shl(11))
    c.return(low.or(high).extendU())
  }
  return {
    ...{ cfOf, ofOf, sfOf, pfOf, afOf, flagsOf: given('flagsOf', buildAll, 'i64') },
    flagCf: kept('flagCf', buildCf),
    flagOf: kept('flagOf', buildOf),
    flagSf: kept('flagSf', buildSf),
    flagPf: kept('flagPf', buildPf),
    flagAf: kept('flagAf', buildAf),
    arithmeticFlags: kept('arithmeticFlags', buildAll, 'i64'),
  }
}

export interface DispatchRoutines {
  readonly handlerType: number
  readonly dispatch: Callable
  readonly branchSlow: Callable
  readonly findCode: Callable
}

/** What `dispatch` needs: a page walk, and where a page fault of the fetch goes. */
interface DispatchPieces {
  readonly translate: Callable
  readonly faultAtRip: Callable
}

/**
 * `dispatch(budget)` goes to RIP: through the code TLB to the code page, through its maps to the micro-op.
 * `branchSlow(uop, budget)` does a relative branch whose target is not linked yet, and links it.
 * `findCode(linear)` gives the map of the code page at a linear address, as `findCodePage` says.
 */
export function defineDispatch(module: ModuleBuilder, heat: Heat, pieces: DispatchPieces): DispatchRoutines {
  const handlerType = module.typeIndex(HANDLER_PARAMS, HANDLER_RESULTS)
  const dispatch = module.declare('dispatch', ['i32'], ['i32'])
  const refill = module.func('refillCode', ['i64'], ['i32'], (c) => buildRefillCode(c, pieces.translate))
  const findCode = module.func('findCode', ['i64'], ['i32'], (c) => {
    const linear = c.param(0)
    const entry = codeTlbEntry(c, linear)
    c.if(c.load('i64', entry).eq(linear.and(-4096)), () => c.return(c.load('i32', entry, 8)))
    c.return(c.call(refill, linear))
  })
  module.define(dispatch, (c) => buildDispatch(c, { ...pieces, ...heat, handlerType, refill }))
  const branchSlow = module.func('branchSlow', HANDLER_PARAMS, HANDLER_RESULTS, (c) =>
    buildBranchSlow(c, handlerType, dispatch),
  )
  return { handlerType, dispatch, branchSlow, findCode }
}

/** Linear address of an instruction pointer. */
export function linearOfRip(c: Code, rip: Expr): Expr {
  const segmented = rip.add(at(c, 'i64', L.SEG + L.CS * L.SEG_SIZE + L.SEG_BASE)).and(0xffffffff)
  return c.select(at(c, 'i32', L.CODE_SIZE).eq(8), rip, segmented)
}

/** The code TLB's entry for a linear address. */
export function codeTlbEntry(c: Code, linear: Expr): Expr {
  return at(c, 'i32', L.CODE_TLB_BASE).add(
    linear
      .wrap()
      .shrU(8)
      .and((L.CODE_TLB_ENTRIES - 1) << 4),
  )
}

/** The micro-op for an offset in a code page, or 0. */
function uopAt(c: Code, page: Expr, linear: Expr): Expr {
  const offset = linear.wrap()
  const submap = c.load('i32', page.add(offset.shrU(4).and(63 << 2)))
  return c.choose(
    'i32',
    submap.eqz(),
    () => 0,
    () => c.load('i32', submap.add(offset.and(63).shl(2))),
  )
}

/** Results of `refillCode` that are no map: no code page is known, or a page fault is pending. */
export const CODE_UNKNOWN = 0
export const CODE_FAULT = -1

/** The map of the code page at a linear address that the code TLB does not have, which gets it; or CODE_UNKNOWN or CODE_FAULT. */
function buildRefillCode(c: Code, translate: Callable): void {
  const linear = c.param(0)
  const user = c.select(at(c, 'i32', L.CPL).eq(3), c.i32(ACCESS_FETCH | ACCESS_USER), ACCESS_FETCH)
  const host = c.call(translate, linear, user)
  c.if(host.eq(TRANSLATE_FAULT), () => c.return(CODE_FAULT))
  c.if(host.ltS(0), () => c.return(CODE_UNKNOWN))
  const map = c.load('i32', host.shrU(12).shl(2).wrap(), L.CODE_MAPS)
  c.if(map.eqz(), () => c.return(CODE_UNKNOWN))
  const codeSize = at(c, 'i32', L.CODE_SIZE)
  c.if(c.load('i32', map, L.CODE_PAGE_SIZE_AT).ne(codeSize), () => c.return(CODE_UNKNOWN))
  c.if(codeSize.ne(8), () => {
    // The whole page must be in the segment.
    const base = at(c, 'i64', L.SEG + L.CS * L.SEG_SIZE + L.SEG_BASE)
    const start = linear.sub(base).and(0xffffffff)
    const end = linear.or(4095).sub(base).and(0xffffffff)
    const limit = at(c, 'i64_32u', L.SEG + L.CS * L.SEG_SIZE + L.SEG_LIMIT)
    c.if(end.gtU(limit).or(end.ltU(start)), () => c.return(CODE_UNKNOWN))
  })
  const entry = codeTlbEntry(c, linear)
  c.store('i64', entry, linear.and(-4096))
  c.store('i32', entry, map, 8)
  const global = at(c, 'i32', WALK_INFO).and(WALK_GLOBAL)
  c.store('i32', entry, global.ne(0), 12)
  c.if(global.eqz(), () => {
    journal(c, entry)
    noteLocalCode(c, linear)
  })
  c.return(map)
}

/** When code is hot, where there is a recompiler; and how many handlers there are that are no regions. */
interface Heat {
  readonly hotAfter: number | undefined
  readonly handlers: number
}

interface BuildDispatch extends DispatchPieces, Heat {
  readonly handlerType: number
  readonly refill: Callable
}

function buildDispatch(c: Code, pieces: BuildDispatch): void {
  const { handlerType, hotAfter, handlers, refill, faultAtRip } = pieces
  const budget = c.param(0)
  const leave = (code: number) => {
    put(c, 'i32', L.BUDGET, budget)
    c.return(code)
  }
  c.if(budget.or(at(c, 'i32', L.EXIT_REQUEST)).leS(0), () => leave(EXIT.slice))
  const rip = at(c, 'i64', L.RIP)
  const linear = linearOfRip(c, rip)
  const setRipBase = () => put(c, 'i64', L.REGS + L.SLOT.ripBase * 8, rip.sub(linear.and(0xfff)))
  const jump = lookUpJump(c, linear, (handler, uop) => {
    setRipBase()
    if (hotAfter !== undefined)
      c.if(handler.ltU(handlers), () => countHeat(c, uop, hotAfter, () => leave(EXIT.hot)))
    c.tailCallIndirect(handlerType, handler, [uop, budget])
  })
  const entry = codeTlbEntry(c, linear)
  const map = c.variable('i32', c.load('i32', entry, 8))
  c.if(c.load('i64', entry).ne(linear.and(-4096)), () => {
    map.set(c.call(refill, linear))
    c.if(map.get().eq(CODE_FAULT), () => c.tailCall(faultAtRip, budget))
    c.if(map.get().eq(CODE_UNKNOWN), () => leave(EXIT.decode))
  })
  const uop = uopAt(c, map.get(), linear)
  c.if(uop.eqz(), () => leave(EXIT.decode))
  setRipBase()
  if (hotAfter !== undefined) countHeat(c, uop, hotAfter, () => leave(EXIT.hot))
  const handler = c.load('i32_16u', uop, L.UOP_HANDLER)
  rememberJump(c, jump, linear, handler, uop)
  c.tailCallIndirect(handlerType, handler, [uop, budget])
}

function buildBranchSlow(c: Code, handlerType: number, dispatch: Callable): void {
  const [uop, budget] = [c.param(0), c.param(1)]
  const place = c.load('i64_16u', uop, L.UOP_PLACE)
  const from = at(c, 'i64', L.REGS + L.SLOT.ripBase * 8)
  const next = from.add(place.and(0xfff)).add(place.shrU(12))
  const wide = next.add(c.load('i64_32s', uop, L.UOP_IMM))
  const isLong = at(c, 'i32', L.CODE_SIZE).eq(8)
  const target = c.select(isLong, wide, wide.and(0xffffffff))
  const limit = at(c, 'i64_32u', L.SEG + L.CS * L.SEG_SIZE + L.SEG_LIMIT)
  const bad = c.select(isLong, target.shl(16).shrS(16).ne(target), target.gtU(limit))
  c.if(bad, () => {
    put(c, 'i32', L.FAULT, EXCEPTION.GP + 1)
    put(c, 'i32', L.FAULT_ERROR, 0)
    put(c, 'i32', L.CURRENT_UOP, uop)
    put(c, 'i32', L.BUDGET, budget)
    c.return(EXIT.fault)
  })
  put(c, 'i64', L.RIP, target)
  const linear = linearOfRip(c, target)
  const entry = codeTlbEntry(c, linear)
  const samePage = target.sub(linear.and(0xfff)).eq(from)
  const known = samePage.and(c.load('i64', entry).eq(linear.and(-4096)))
  const stop = budget
    .sub(1)
    .or(at(c, 'i32', L.EXIT_REQUEST))
    .leS(0)
  c.if(known.and(stop.eqz()), () => {
    const found = uopAt(c, c.load('i32', entry, 8), linear)
    c.if(found, () => {
      c.store('i32', uop, found, L.UOP_DISP)
      c.tailCallIndirect(handlerType, c.load('i32_16u', found, L.UOP_HANDLER), [found, budget.sub(1)])
    })
  })
  c.tailCall(dispatch, budget.sub(1))
}

/**
 * legacyLinear(segment, offset, size, write, uop): linear address outside 64-bit mode, or a fault pending.
 * SDM Vol. 3A, "Limit Checking" and "Type Checking".
 */
export function defineLegacyLinear(module: ModuleBuilder): Callable {
  return module.func('legacyLinear', ['i32', 'i64', 'i32', 'i32', 'i32'], ['i64'], (c) => {
    const [segment, offset, size, write] = [c.param(0), c.param(1), c.param(2), c.param(3)]
    const cache = segment.mul(L.SEG_SIZE).add(L.SEG)
    const attributes = c.load('i32', cache, L.SEG_ATTRIBUTES)
    const limit = c.load('i64_32u', cache, L.SEG_LIMIT)
    const last = offset.add(size.extendU()).sub(1)
    const code = attributes.and(8).ne(0)
    const readWrite = attributes.and(2).ne(0)
    const expandDown = code.eqz().and(attributes.and(4).ne(0))
    const badType = c.select(write, code.or(readWrite.eqz()), code.and(readWrite.eqz()))
    const top = c.select(attributes.and(1 << 14), c.i64(0xffffffff), 0xffff)
    // A segment of 4 GiB has no end: accesses wrap around.
    const past = last.gtU(limit).and(limit.ne(0xffffffff))
    const outside = c.select(expandDown, offset.leU(limit).or(last.gtU(top)), past)
    const bad = badType.or(outside).or(c.load('i32', cache, L.SEG_UNUSABLE))
    c.if(bad, () => {
      put(c, 'i32', L.FAULT, c.select(segment.eq(L.SS), c.i32(EXCEPTION.SS + 1), EXCEPTION.GP + 1))
      put(c, 'i32', L.FAULT_ERROR, 0)
      put(c, 'i32', L.CURRENT_UOP, c.param(4))
      c.return(0)
    })
    const base = c.variable('i64', c.load('i64', cache, L.SEG_BASE))
    c.if(segment.eq(L.FS), () => base.set(at(c, 'i64', L.REGS + L.SLOT.fsBase * 8)))
    c.if(segment.eq(L.GS), () => base.set(at(c, 'i64', L.REGS + L.SLOT.gsBase * 8)))
    c.return(base.get().add(offset).and(0xffffffff))
  })
}
