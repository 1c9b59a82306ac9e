/**
 * Emptying the TLBs.
 *
 * Most of what the kernel uses is global and stays when CR3 is loaded. What is not is noted in a journal when it is filled in,
 * so that a flush need not look at all entries; only when the journal has overflowed it does.
 */
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { LoadKind } from '../wasm/opcodes.ts'

const at = (c: Code, kind: LoadKind, offset: number): Expr => c.load(kind, c.i32(0), offset)
const put = (c: Code, kind: 'i32' | 'i64', offset: number, value: Expr | number) =>
  c.store(kind, c.i32(0), value, offset)

/** Notes an entry of a TLB that a flush of what is not global has to empty. */
export function journal(c: Code, entry: Expr): void {
  const length = at(c, 'i32', L.TLB_JOURNAL_LENGTH)
  c.if(length.ltU(L.TLB_JOURNAL_ENTRIES), () => c.store('i32', length.shl(2), entry, L.TLB_JOURNAL))
  put(c, 'i32', L.TLB_JOURNAL_LENGTH, length.add(1))
}

/** flushTlb(keepGlobal). */
export function defineFlushTlb(module: ModuleBuilder, forgetJumps: Callable): Callable {
  return module.func('flushTlb', ['i32'], [], (c) => {
    c.call(forgetJumps, c.param(0))
    const noted = at(c, 'i32', L.TLB_JOURNAL_LENGTH)
    put(c, 'i32', L.TLB_JOURNAL_LENGTH, 0)
    c.if(c.param(0).eqz(), () => {
      c.fillMemory(c.i32(L.TLB), 0xff, L.MMU_INDICES * L.TLB_SIZE + 2 * L.CODE_TLB_SIZE)
      put(c, 'i32', L.LARGE_PAGES, 0)
      c.return()
    })
    c.if(noted.leU(L.TLB_JOURNAL_ENTRIES), () => {
      each(c, L.TLB_JOURNAL, noted.shl(2).add(L.TLB_JOURNAL), 4, (place) => {
        // Both tags of a data TLB's entry; in a code TLB what follows the tag means nothing without it.
        const entry = c.load('i32', place)
        c.store('i64', entry, -1, L.TLB_READ)
        c.store('i64', entry, -1, L.TLB_WRITE)
      })
      c.return()
    })
    const sweep = (start: number, end: number, step: number, globalAt: number, tags: readonly number[]) =>
      each(c, start, c.i32(end), step, (entry) => {
        c.if(c.load('i32', entry, globalAt).ne(1), () => {
          for (const tag of tags) c.store('i64', entry, -1, tag)
        })
      })
    const dataEnd = L.TLB + L.MMU_INDICES * L.TLB_SIZE
    sweep(L.TLB, dataEnd, L.TLB_ENTRY_SIZE, L.TLB_GLOBAL, [L.TLB_READ, L.TLB_WRITE])
    sweep(L.CODE_TLB, L.CODE_TLB + 2 * L.CODE_TLB_SIZE, L.CODE_TLB_ENTRY_SIZE, 12, [0])
  })
}

/** Runs `body` for each place from `start` to `end`. */
function each(c: Code, start: number, end: Expr, step: number, body: (place: Expr) => void): void {
  const place = c.variable('i32', start)
  c.while(
    () => place.get().ltU(end),
    () => {
      body(place.get())
      place.set(place.get().add(step))
    },
  )
}

/**
 * invalidatePage(): drops the translation of the address in SCRATCH. Where it may be a piece of a large page, whose other
 * pieces have entries of their own, everything goes.
 */
export function defineInvalidatePage(
  module: ModuleBuilder,
  { flushTlb, forgetJumps }: { flushTlb: Callable; forgetJumps: Callable },
): Callable {
  return module.func('invalidatePage', [], [], (c) => {
    const address = at(c, 'i64', L.SCRATCH)
    const page = address.and(-4096)
    c.if(address.ltS(0).or(at(c, 'i32', L.LARGE_PAGES)), () => {
      c.call(flushTlb, 0)
      c.return()
    })
    c.call(forgetJumps, 1)
    const index = address.wrap().shrU(12)
    const data = index.and(L.TLB_ENTRIES - 1).mul(L.TLB_ENTRY_SIZE)
    for (let mmu = 0; mmu < L.MMU_INDICES; mmu++) {
      for (const tag of [L.TLB_READ, L.TLB_WRITE]) {
        const where = L.TLB + mmu * L.TLB_SIZE + tag
        c.if(c.load('i64', data, where).eq(page), () => c.store('i64', data, -1, where))
      }
    }
    const code = index.and(L.CODE_TLB_ENTRIES - 1).mul(L.CODE_TLB_ENTRY_SIZE)
    for (const where of [L.CODE_TLB, L.CODE_TLB + L.CODE_TLB_SIZE])
      c.if(c.load('i64', code, where).eq(page), () => c.store('i64', code, -1, where))
  })
}

/** protectPage(host page offset): takes away the write tags of a page that now holds code. */
export function defineProtectPage(module: ModuleBuilder): Callable {
  return module.func('protectPage', ['i32'], [], (c) => {
    each(c, L.TLB, c.i32(L.TLB + L.MMU_INDICES * L.TLB_SIZE), L.TLB_ENTRY_SIZE, (entry) => {
      const tag = c.load('i64', entry, L.TLB_WRITE)
      const host = tag.wrap().add(c.load('i32', entry, L.TLB_ADDEND))
      c.if(tag.ne(-1).and(host.eq(c.param(0))), () => c.store('i64', entry, -1, L.TLB_WRITE))
    })
  })
}
