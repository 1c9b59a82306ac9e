/**
 * Accesses that recompiled code does not do itself, since they are not in the page that it knows (jit/region-code.ts,
 * "windows"): through the TLB, or the slow way. They leave in ACCESS_PAGE, _READABLE, _WRITABLE and _ADDEND what the TLB then
 * says of the page of the first byte, and in FAULT_NOTE what is needed when they fault.
 */
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { LoadKind, StoreKind } from '../wasm/opcodes.ts'
import type { Access } from './access.ts'

const RAM = 1
/** Bytes from a page's start at which the largest access that asks, 16 bytes, does not leave the page. */
const SPAN = 4096 - 15
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

/** Names of the routines. Parameters: address, value where one is stored, size where it is not 16, micro-op, note. */
export const THROUGH = [
  'readThrough',
  'writeThrough',
  'modifyThrough',
  'readThrough128',
  'writeThrough128',
] as const

const at = (c: Code, kind: LoadKind, offset: number): Expr => c.load(kind, c.i32(0), offset)
const put = (c: Code, kind: StoreKind, offset: number, value: Expr | number) =>
  c.store(kind, c.i32(0), value, offset)

/** What the TLB says of an access, for recompiled code; the addend is right where the page is readable or writable. */
function look(c: Code, address: Expr, bytes: Expr | number): { readable: Expr; writable: Expr; host: Expr } {
  const index = address
    .wrap()
    .shrU(7)
    .and((L.TLB_ENTRIES - 1) << 5)
  const entry = at(c, 'i32', L.TLB_BASE).add(index)
  const [read, write] = [c.load('i64', entry, L.TLB_READ), c.load('i64', entry, L.TLB_WRITE)]
  const addend = c.load('i32', entry, L.TLB_ADDEND)
  const page = address.and(-4096)
  put(c, 'i64', L.ACCESS_PAGE, page)
  put(c, 'i64', L.ACCESS_READABLE, c.select(read.eq(page), c.i64(SPAN), 0))
  put(c, 'i64', L.ACCESS_WRITABLE, c.select(write.eq(page), c.i64(SPAN), 0))
  put(c, 'i32', L.ACCESS_ADDEND, addend)
  // The entry of the first byte never holds the page of a last byte that is in another page.
  const last = typeof bytes === 'number' ? address.add(bytes - 1) : address.add(bytes.sub(1).extendU())
  const [readable, writable] = [read.eq(last.and(-4096)), write.eq(last.and(-4096))]
  return { readable, writable, host: address.wrap().add(addend) }
}

function returnLoaded(c: Code, host: Expr, size: Expr): void {
  for (const [n, kind] of LOADS) c.if(size.eq(n), () => c.return(c.load(kind, host, 0, RAM)))
  c.return(c.load('i64', host, 0, RAM))
}

export function defineThrough(
  module: ModuleBuilder,
  access: Access,
): Record<(typeof THROUGH)[number], Callable> {
  /** Looks again after a slow access, which may have filled the TLB. */
  const lookAgain = module.func('lookAgain', ['i64', 'i32'], [], (c) => {
    look(c, c.param(0), c.param(1))
  })
  const bytes = (size: Expr) => size.and(0xff)
  return {
    readThrough: module.func('readThrough', ['i64', 'i32', 'i32', 'i32'], ['i64'], (c) => {
      const [address, size, uop, note] = [c.param(0), c.param(1), c.param(2), c.param(3)]
      const { readable, host } = look(c, address, bytes(size))
      c.if(readable, () => returnLoaded(c, host, bytes(size)))
      put(c, 'i32', L.FAULT_NOTE, note)
      const value = c.call(access.slowLoad, address, size, uop)
      c.call(lookAgain, address, bytes(size))
      c.return(value)
    }),
    writeThrough: module.func('writeThrough', ['i64', 'i64', 'i32', 'i32', 'i32'], [], (c) => {
      const [address, value, size] = [c.param(0), c.param(1), c.param(2)]
      const { writable, host } = look(c, address, bytes(size))
      c.if(writable, () => {
        for (const [n, kind] of STORES) {
          c.if(bytes(size).eq(n), () => {
            c.store(kind, host, value, 0, RAM)
            c.return()
          })
        }
        c.store('i64', host, value, 0, RAM)
        c.return()
      })
      put(c, 'i32', L.FAULT_NOTE, c.param(4))
      c.call(access.slowStore, address, value, size, c.param(3))
      c.call(lookAgain, address, bytes(size))
    }),
    /** Reads what will be written: at ACCESS_HOST in RAM, or by `writeThrough` where that is −1. */
    modifyThrough: module.func('modifyThrough', ['i64', 'i32', 'i32', 'i32'], ['i64'], (c) => {
      const [address, size] = [c.param(0), c.param(1)]
      const { writable, host } = look(c, address, size)
      put(c, 'i32', L.ACCESS_HOST, host)
      c.if(writable, () => returnLoaded(c, host, size))
      put(c, 'i32', L.ACCESS_HOST, -1)
      put(c, 'i32', L.FAULT_NOTE, c.param(3))
      const value = c.call(access.slowLoadForWrite, address, size, c.param(2))
      c.call(lookAgain, address, size)
      c.return(value)
    }),
    readThrough128: module.func('readThrough128', ['i64', 'i32', 'i32'], ['v128'], (c) => {
      const { readable, host } = look(c, c.param(0), 16)
      c.if(readable, () => c.return(c.load('v128', host, 0, RAM)))
      put(c, 'i32', L.FAULT_NOTE, c.param(2))
      const value = c.call(access.slowLoad128, c.param(0), c.param(1))
      c.call(lookAgain, c.param(0), 16)
      c.return(value)
    }),
    writeThrough128: module.func('writeThrough128', ['i64', 'v128', 'i32', 'i32'], [], (c) => {
      const { writable, host } = look(c, c.param(0), 16)
      c.if(writable, () => {
        c.store('v128', host, c.param(1), 0, RAM)
        c.return()
      })
      put(c, 'i32', L.FAULT_NOTE, c.param(3))
      c.call(access.slowStore128, c.param(0), c.param(1), c.param(2))
      c.call(lookAgain, c.param(0), 16)
    }),
  }
}
