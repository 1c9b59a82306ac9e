/**
 * Slow paths of memory accesses: TLB misses, pages with code, MMIO, accesses that cross a page.
 *
 * The fast path in every handler compares a TLB tag and goes to RAM. What it cannot do comes here. `translate` walks
 * the page tables and fills the TLB; a page outside RAM, or a write to a page with decoded code, gets no tag, so all
 * its accesses keep coming here.
 */
import * as L from '../state/layout.ts'
import { EFER_LMA, EXCEPTION } from '../state/registers.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { LoadKind, StoreKind } from '../wasm/opcodes.ts'
import { journal } from './tlb.ts'
import {
  ACCESS_AC,
  ACCESS_FETCH,
  ACCESS_USER,
  ACCESS_WRITE,
  WALK_GLOBAL,
  WALK_INFO,
  WALK_LARGE,
  WALK_WRITABLE,
  type Walker,
} from './walk.ts'

const RAM = 1
/** Results of `translate` that are not a host offset. */
export const TRANSLATE_FAULT = -1
export const TRANSLATE_MMIO = -2
/** In FAULT: no exception, but an instruction that recompiled code leaves to the interpreter. */
export const FAULT_INTERPRET = 0x200
/** The same, since floating point was not as recompiled code took for granted; FAULT_ERROR names the head of its region. */
export const FAULT_SPECULATION = 0x201
/** In a size argument: the access is through SS, so a bad address is #SS. */
export const STACK_ACCESS = 0x100
/** Where `translate` leaves the guest-physical address of an MMIO access. */
export const MMIO_ADDRESS = L.SCRATCH + 48

const LOADS: readonly [number, LoadKind][] = [
  [1, 'i64_8u'],
  [2, 'i64_16u'],
  [4, 'i64_32u'],
]
const STORES: readonly [number, StoreKind][] = [
  [1, 'i64_8'],
  [2, 'i64_16'],
  [4, 'i64_32'],
]

export interface AccessImports {
  /** mmioRead(size): address in MMIO_ADDRESS, value to SCRATCH. */
  readonly mmioRead: Callable
  /** mmioWrite(size): address in MMIO_ADDRESS, value in SCRATCH. */
  readonly mmioWrite: Callable
  /**
   * codeWritten(host offset, bytes): drops decoded code that the write changes. Nonzero where recompiled code asks: it has to
   * leave the write to the interpreter, for it may be its own code that changes.
   */
  readonly codeWritten: Callable
}

export interface Access {
  /** translate(address, access bits): host offset as i64, or a TRANSLATE_ code. Fills the TLB for data accesses. */
  readonly translate: Callable
  readonly slowLoad: Callable
  readonly slowLoadForWrite: Callable
  readonly slowStore: Callable
  readonly slowLoad128: Callable
  readonly slowStore128: Callable
  readonly slowStore256: Callable
  /** Reads and writes with supervisor rights, for descriptor tables and exception frames: (address, size). */
  readonly systemLoad: Callable
  readonly systemStore: Callable
}

const at = (c: Code, kind: LoadKind, offset: number): Expr => c.load(kind, c.i32(0), offset)

export function defineAccess(module: ModuleBuilder, walker: Walker, imports: AccessImports): Access {
  const translate = defineTranslate(module, walker)
  const dataAccess = module.func('dataAccess', [], ['i32'], (c) => {
    const user = c.select(at(c, 'i32', L.CPL).eq(3), c.i32(ACCESS_USER), 0)
    const ac = c.select(
      at(c, 'i32', L.TLB_BASE).eq(L.TLB + L.MMU_SUPERVISOR_AC * L.TLB_SIZE),
      c.i32(ACCESS_AC),
      0,
    )
    c.return(user.or(ac))
  })
  const checkAddress = defineCheckAddress(module)
  const pieces = { translate, checkAddress, imports }
  const loadWith = defineLoad(module, pieces)
  const storeWith = defineStore(module, pieces)
  const probeWrite = defineProbeWrite(module, pieces)

  const watch = defineWatch(module)
  const isMisaligned = defineIsMisaligned(module)
  const slowLoad = module.func('slowLoad', ['i64', 'i32', 'i32'], ['i64'], (c) => {
    tryTlb(c, L.TLB_READ, c.param(0), c.param(1), (size, host) => {
      for (const [bytes, kind] of LOADS) c.if(size.eq(bytes), () => c.return(c.load(kind, host, 0, RAM)))
      c.return(c.load('i64', host, 0, RAM))
    })
    c.store('i32', c.i32(0), c.param(2), L.CURRENT_UOP)
    c.if(c.call(isMisaligned, c.param(0), c.param(1)), () => c.return(0))
    c.if(at(c, 'i32', L.WATCHING), () => c.call(watch, c.param(0), c.param(1), 0))
    c.return(c.call(loadWith, c.param(0), c.param(1), c.call(dataAccess)))
  })
  const slowLoadForWrite = module.func('slowLoadForWrite', ['i64', 'i32', 'i32'], ['i64'], (c) => {
    c.store('i32', c.i32(0), c.param(2), L.CURRENT_UOP)
    const access = c.call(dataAccess)
    c.if(c.call(isMisaligned, c.param(0), c.param(1)), () => c.return(0))
    c.if(c.call(probeWrite, c.param(0), c.param(1), access).eqz(), () => c.return(0))
    c.if(c.param(1).and(0xff).gtU(8), () => c.return(0)) // a probe of more than a word reads nothing
    c.return(c.call(loadWith, c.param(0), c.param(1), access))
  })
  const slowStore = module.func('slowStore', ['i64', 'i64', 'i32', 'i32'], [], (c) => {
    tryTlb(c, L.TLB_WRITE, c.param(0), c.param(2), (size, host) => {
      for (const [bytes, kind] of STORES)
        c.if(size.eq(bytes), () => {
          c.store(kind, host, c.param(1), 0, RAM)
          c.return()
        })
      c.store('i64', host, c.param(1), 0, RAM)
      c.return()
    })
    c.store('i32', c.i32(0), c.param(3), L.CURRENT_UOP)
    c.if(c.call(isMisaligned, c.param(0), c.param(2)), () => c.return())
    c.if(at(c, 'i32', L.WATCHING), () => c.call(watch, c.param(0), c.param(2), 1))
    c.call(storeWith, c.param(0), c.param(1), c.param(2), c.call(dataAccess))
  })
  const slowLoad128 = module.func('slowLoad128', ['i64', 'i32'], ['v128'], (c) => {
    const zero = c.zero('v128')
    const low = c.call(slowLoad, c.param(0), 8, c.param(1))
    c.if(at(c, 'i32', L.FAULT), () => c.return(zero))
    const high = c.call(slowLoad, c.param(0).add(8), 8, c.param(1))
    c.return(low.simdMixed('i64x2.splat').withLane('i64x2', 1, high))
  })
  const slowStore128 = module.func('slowStore128', ['i64', 'v128', 'i32'], [], (c) => {
    c.store('i32', c.i32(0), c.param(2), L.CURRENT_UOP)
    const access = c.call(dataAccess)
    c.if(c.call(probeWrite, c.param(0), 16, access).eqz(), () => c.return())
    c.call(storeWith, c.param(0), c.param(1).lane('i64x2', 0), 8, access)
    c.call(storeWith, c.param(0).add(8), c.param(1).lane('i64x2', 1), 8, access)
  })
  const slowStore256 = module.func('slowStore256', ['i64', 'v128', 'v128', 'i32'], [], (c) => {
    c.store('i32', c.i32(0), c.param(3), L.CURRENT_UOP)
    const access = c.call(dataAccess)
    c.if(c.call(probeWrite, c.param(0), 32, access).eqz(), () => c.return())
    for (const [half, value] of [c.param(1), c.param(2)].entries())
      for (const lane of [0, 1])
        c.call(storeWith, c.param(0).add(half * 16 + lane * 8), value.lane('i64x2', lane), 8, access)
  })
  const systemLoad = module.func('systemLoad', ['i64', 'i32'], ['i64'], (c) => {
    const [address, size] = [c.param(0), c.param(1)]
    const entry = systemEntry(address)
    const last = address.add(size.sub(1).extendU())
    c.if(size.eq(8).and(c.load('i64', entry, L.TLB_READ).eq(last.and(-4096))), () =>
      c.return(c.load('i64', address.wrap().add(c.load('i32', entry, L.TLB_ADDEND)), 0, RAM)),
    )
    c.return(c.call(loadWith, c.param(0), c.param(1), ACCESS_AC))
  })
  const systemStore = module.func('systemStore', ['i64', 'i64', 'i32'], [], (c) => {
    const [address, size] = [c.param(0), c.param(2)]
    const entry = systemEntry(address)
    const last = address.add(size.sub(1).extendU())
    c.if(size.eq(8).and(c.load('i64', entry, L.TLB_WRITE).eq(last.and(-4096))), () => {
      c.store('i64', address.wrap().add(c.load('i32', entry, L.TLB_ADDEND)), c.param(1), 0, RAM)
      c.return()
    })
    // No instruction's own store: recompiled code is not at work.
    c.store('i32', c.i32(0), 0, L.CURRENT_UOP)
    c.call(storeWith, c.param(0), c.param(1), c.param(2), ACCESS_AC)
  })
  return {
    translate,
    slowLoad,
    slowLoadForWrite,
    slowStore,
    slowLoad128,
    slowStore128,
    slowStore256,
    systemLoad,
    systemStore,
  }
}

/** For recompiled code, which comes to a slow path also where it has not looked into the TLB. */
function tryTlb(
  c: Code,
  tag: number,
  address: Expr,
  sizeAndStack: Expr,
  hit: (size: Expr, host: Expr) => void,
): void {
  const size = sizeAndStack.and(0xff)
  const entry = tlbIndex(address).add(at(c, 'i32', L.TLB_BASE))
  const last = address.add(size.sub(1).extendU())
  c.if(c.load('i64', entry, tag).eq(last.and(-4096)), () =>
    hit(size, address.wrap().add(c.load('i32', entry, L.TLB_ADDEND))),
  )
}

/** The entry for an address in the TLB that system accesses fill. */
function systemEntry(address: Expr): Expr {
  return tlbIndex(address).add(L.TLB + L.MMU_SUPERVISOR_AC * L.TLB_SIZE)
}
function tlbIndex(address: Expr): Expr {
  return address
    .wrap()
    .shrU(7)
    .and((L.TLB_ENTRIES - 1) << 5)
}

/** watch(address, size, write): notes the data breakpoints that the access hits. SDM Vol. 3B, "Debug Registers". */
function defineWatch(module: ModuleBuilder): Callable {
  return module.func('watch', ['i64', 'i32', 'i32'], [], (c) => {
    const [address, write] = [c.param(0), c.param(2)]
    const end = address.add(c.param(1).and(0xff).extendU())
    const dr7 = at(c, 'i32', L.DR + 56)
    for (const i of [0, 1, 2, 3]) {
      const control = dr7.shrU(16 + i * 4).and(15)
      const kind = control.and(3)
      const length = control.shrU(2)
      const bytes = c.select(length.eq(2), c.i32(8), length.add(1)).extendU()
      const start = at(c, 'i64', L.DR + i * 8)
      const matches = kind.eq(3).or(kind.eq(1).and(write))
      const overlaps = address.ltU(start.add(bytes)).and(start.ltU(end))
      const enabled = dr7.and(3 << (i * 2)).ne(0)
      c.if(enabled.and(matches).and(overlaps), () => {
        c.store('i32', c.i32(0), at(c, 'i32', L.WATCH_HITS).or(1 << i), L.WATCH_HITS)
      })
    }
  })
}

/** 1 with #AC(0) pending where alignment is checked and the access is not aligned to its size. */
function defineIsMisaligned(module: ModuleBuilder): Callable {
  return module.func('isMisaligned', ['i64', 'i32'], ['i32'], (c) => {
    const checked = at(c, 'i32', L.TLB_BASE).eq(L.TLB + L.MMU_USER_ALIGNED * L.TLB_SIZE)
    const size = c.param(1).and(0xff)
    const off = c.param(0).wrap().and(size.sub(1)).ne(0).and(size.leU(8))
    c.if(checked.and(off).eqz(), () => c.return(0))
    c.store('i32', c.i32(0), EXCEPTION.AC + 1, L.FAULT)
    c.store('i32', c.i32(0), 0, L.FAULT_ERROR)
    c.return(1)
  })
}

function defineTranslate(module: ModuleBuilder, walker: Walker): Callable {
  return module.func('translate', ['i64', 'i32'], ['i64'], (c) => {
    const [address, access] = [c.param(0), c.param(1)]
    const gpa = c.call(walker.walk, address, access)
    c.if(gpa.eq(-1), () => c.return(TRANSLATE_FAULT))
    const host = c.call(walker.hostOf, gpa)
    c.if(host.ltS(0), () => {
      c.store('i64', c.i32(0), gpa, MMIO_ADDRESS)
      c.return(TRANSLATE_MMIO)
    })
    const remember = access
      .and(ACCESS_FETCH)
      .eqz()
      .and(at(c, 'i32', L.WATCHING).eqz())
    c.if(remember, () => fillTlb(c, address, access, host))
    c.return(host)
  })
}

function fillTlb(c: Code, address: Expr, access: Expr, host: Expr): void {
  const info = at(c, 'i32', WALK_INFO)
  const supervisor = c.select(
    access.and(ACCESS_AC),
    c.i32(L.TLB + L.MMU_SUPERVISOR_AC * L.TLB_SIZE),
    L.TLB + L.TLB_SIZE,
  )
  const base = c.select(access.and(ACCESS_USER), c.i32(L.TLB), supervisor)
  const entry = base.add(
    address
      .wrap()
      .shrU(7)
      .and((L.TLB_ENTRIES - 1) << 5),
  )
  const page = address.and(-4096)
  const isNoted = c
    .load('i64', entry, L.TLB_READ)
    .eq(page)
    .and(c.load('i32', entry, L.TLB_GLOBAL).ne(1))
  c.if(info.and(WALK_GLOBAL).or(isNoted).eqz(), () => journal(c, entry))
  const hasCode = c.load('i32_8u', host.shrU(12).wrap(), L.CODE_PAGES)
  const writable = info.and(WALK_WRITABLE).ne(0).and(hasCode.eqz())
  c.store('i64', entry, page, L.TLB_READ)
  c.store('i64', entry, c.select(writable, page, -1), L.TLB_WRITE)
  c.store('i32', entry, host.sub(address).wrap(), L.TLB_ADDEND)
  c.store('i32', entry, info.and(WALK_GLOBAL).shrU(1), L.TLB_GLOBAL)
  c.if(info.and(WALK_LARGE).ne(0).and(address.geS(0)), () => c.store('i32', c.i32(0), 1, L.LARGE_PAGES))
}

/** 1 when all bytes of the access are canonical (or long mode is off); else raises #GP(0) or #SS(0) and returns 0. */
function defineCheckAddress(module: ModuleBuilder): Callable {
  return module.func('checkAddress', ['i64', 'i32'], ['i32'], (c) => {
    const address = c.param(0)
    const last = address.add(c.param(1).and(0xff).extendU()).sub(1)
    const canonical = (x: Expr) => x.shl(16).shrS(16).eq(x)
    const long = at(c, 'i32', L.EFER).and(EFER_LMA)
    c.if(long.eqz().or(canonical(address).and(canonical(last))), () => c.return(1))
    const base = c.load('i32_8u', at(c, 'i32', L.CURRENT_UOP), L.UOP_BASE)
    const stack = c
      .param(1)
      .and(STACK_ACCESS)
      .or(base.eq(4 * 8))
      .or(base.eq(5 * 8))
    c.store('i32', c.i32(0), c.select(stack, c.i32(EXCEPTION.SS + 1), EXCEPTION.GP + 1), L.FAULT)
    c.store('i32', c.i32(0), 0, L.FAULT_ERROR)
    c.return(0)
  })
}

interface Pieces {
  readonly translate: Callable
  readonly checkAddress: Callable
  readonly imports: AccessImports
}

const crosses = (c: Code): Expr => c.param(0).wrap().and(0xfff).add(bytes(c)).gtU(0x1000)
const bytes = (c: Code): Expr => c.param(c.params.length === 3 ? 1 : 2).and(0xff)

function defineLoad(module: ModuleBuilder, { translate, checkAddress, imports }: Pieces): Callable {
  const load = module.declare('loadWith', ['i64', 'i32', 'i32'], ['i64'])
  module.define(load, (c) => {
    const [address, access] = [c.param(0), c.param(2)]
    const size = bytes(c)
    c.if(c.call(checkAddress, address, c.param(1)).eqz(), () => c.return(0))
    c.if(crosses(c), () => {
      const value = c.variable('i64', 0)
      const i = c.variable('i32', 0)
      c.while(
        () => i.get().ltU(size),
        () => {
          const linear = address.add(i.get().extendU())
          const wrapped = c.select(at(c, 'i32', L.EFER).and(EFER_LMA), linear, linear.and(0xffffffff))
          const byte = c.call(load, wrapped, 1, access)
          c.if(at(c, 'i32', L.FAULT), () => c.return(0))
          value.set(value.get().or(byte.shl(i.get().shl(3).extendU())))
          i.set(i.get().add(1))
        },
      )
      c.return(value.get())
    })
    const host = c.call(translate, address, access)
    c.if(host.eq(TRANSLATE_FAULT), () => c.return(0))
    c.if(host.eq(TRANSLATE_MMIO), () => {
      c.call(imports.mmioRead, size)
      c.return(at(c, 'i64', L.SCRATCH))
    })
    for (const [n, kind] of LOADS) c.if(size.eq(n), () => c.return(c.load(kind, host.wrap(), 0, RAM)))
    c.return(c.load('i64', host.wrap(), 0, RAM))
  })
  return load
}

/** 1 when all bytes can be written, 0 with a fault pending. */
function defineProbeWrite(module: ModuleBuilder, { translate, checkAddress, imports }: Pieces): Callable {
  return module.func('probeWriteSlow', ['i64', 'i32', 'i32'], ['i32'], (c) => {
    const [address, access] = [c.param(0), c.param(2).or(ACCESS_WRITE)]
    c.if(c.call(checkAddress, address, c.param(1)).eqz(), () => c.return(0))
    const host = c.call(translate, address, access)
    c.if(host.eq(TRANSLATE_FAULT), () => c.return(0))
    // What recompiled code may not write is found before the first byte is written.
    c.if(crosses(c).eqz(), () => {
      leaveToInterpreter(c, imports, host, bytes(c))
      c.return(1)
    })
    c.if(crosses(c), () => {
      const last = address.add(bytes(c).extendU()).sub(1)
      const page = last.and(-4096)
      const wrapped = c.select(at(c, 'i32', L.EFER).and(EFER_LMA), page, page.and(0xffffffff))
      const nextHost = c.call(translate, wrapped, access)
      c.if(nextHost.eq(TRANSLATE_FAULT), () => c.return(0))
      const room = c.i32(0x1000).sub(address.wrap().and(0xfff))
      leaveToInterpreter(c, imports, host, room)
      leaveToInterpreter(c, imports, nextHost, bytes(c).sub(room))
    })
    c.return(1)
  })
}

function leaveToInterpreter(c: Code, imports: AccessImports, host: Expr, size: Expr): void {
  const recompiled = at(c, 'i32', L.CURRENT_UOP)
    .sub(L.PLACES)
    .ltU(L.ARENA - L.PLACES)
  const isRam = host.geS(0)
  c.if(recompiled.and(isRam), () => {
    c.if(c.load('i32_8u', host.shrU(12).wrap(), L.CODE_PAGES), () => {
      c.if(c.call(imports.codeWritten, host.wrap(), size), () => {
        c.store('i32', c.i32(0), FAULT_INTERPRET, L.FAULT)
        c.return(0)
      })
    })
  })
}

function defineStore(module: ModuleBuilder, pieces: Pieces): Callable {
  const { translate, checkAddress, imports } = pieces
  const probe = defineProbeWrite(module, pieces)
  const store = module.declare('storeWith', ['i64', 'i64', 'i32', 'i32'])
  module.define(store, (c) => {
    const [address, value, access] = [c.param(0), c.param(1), c.param(3)]
    const size = bytes(c)
    c.if(c.call(checkAddress, address, c.param(2)).eqz(), () => c.return())
    c.if(crosses(c), () => {
      c.if(c.call(probe, address, c.param(2), access).eqz(), () => c.return())
      const i = c.variable('i32', 0)
      c.while(
        () => i.get().ltU(size),
        () => {
          const linear = address.add(i.get().extendU())
          const wrapped = c.select(at(c, 'i32', L.EFER).and(EFER_LMA), linear, linear.and(0xffffffff))
          c.call(store, wrapped, value.shrU(i.get().shl(3).extendU()), 1, access)
          c.if(at(c, 'i32', L.FAULT), () => c.return())
          i.set(i.get().add(1))
        },
      )
      c.return()
    })
    const host = c.call(translate, address, access.or(ACCESS_WRITE))
    c.if(host.eq(TRANSLATE_FAULT), () => c.return())
    c.if(host.eq(TRANSLATE_MMIO), () => {
      c.store('i64', c.i32(0), value, L.SCRATCH)
      c.call(imports.mmioWrite, size)
      c.return()
    })
    c.if(c.load('i32_8u', host.shrU(12).wrap(), L.CODE_PAGES), () => {
      c.if(c.call(imports.codeWritten, host.wrap(), size), () => {
        c.store('i32', c.i32(0), FAULT_INTERPRET, L.FAULT)
        c.return()
      })
    })
    for (const [n, kind] of STORES) {
      c.if(size.eq(n), () => {
        c.store(kind, host.wrap(), value, 0, RAM)
        c.return()
      })
    }
    c.store('i64', host.wrap(), value, 0, RAM)
  })
  return store
}
