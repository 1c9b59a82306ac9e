/**
 * The jump cache: where jumps to addresses that are known at run time only went before.
 *
 * To go to RIP means: the code TLB's entry, the code page's map, its sub-map, the micro-op, its heat. These are five cache lines of
 * the host, most of them cold in a program of any size. An entry of this cache has all that they tell in 16 bytes:
 *
 *     linear address (i64) · generation (u16) · handler (u16) · micro-op (i32)
 *
 * There is a table for user mode and one for the supervisor, as there are code TLBs. An entry counts while its generation is the
 * current one: that of the upper half of the address space, where kernels are, or that of the lower half. Whatever makes an
 * entry wrong begins a new generation: what empties a code TLB, a micro-op that becomes stale, a handler that gives way to a region or comes
 * back. A load of CR3 leaves the upper half alone as long as all code there was global.
 */
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'

const INDEX_MASK = L.JUMP_CACHE_ENTRIES - 1
const GENERATION = 8
const HANDLER = 10
const UOP = 12
/** Generations are 1 to this. */
const LAST_GENERATION = 0xffff

const isUpper = (linear: Expr): Expr => linear.shrU(63).wrap()
const generationOf = (c: Code, linear: Expr): Expr =>
  c.load('i64_16u', isUpper(linear).shl(2), L.JUMP_GENERATIONS)

/** The entry for a linear address. */
function entryOf(c: Code, linear: Expr): Expr {
  // Jumps go to places that are near each other: entries of neighbours share a cache line.
  const address = linear.wrap()
  const index = address.shrU(3).xor(address.shrU(15)).and(INDEX_MASK)
  return c.load('i32', c.i32(0), L.JUMP_CACHE_BASE).add(index.shl(4))
}

/** `found` runs with the handler and the micro-op where the cache has the linear address; returns the entry. */
export function lookUpJump(c: Code, linear: Expr, found: (handler: Expr, uop: Expr) => void): Expr {
  const entry = entryOf(c, linear)
  // Not by comparisons: a load that a comparison takes in is made twice, because it may trap.
  const isOther = c.load('i64', entry).xor(linear)
  const isOld = c.load('i64_16u', entry, GENERATION).xor(generationOf(c, linear))
  c.if(isOther.or(isOld).eqz().likely(), () =>
    found(c.load('i32_16u', entry, HANDLER), c.load('i32', entry, UOP)),
  )
  return entry
}

/** The entry has this jump from now on. */
export function rememberJump(c: Code, entry: Expr, linear: Expr, handler: Expr, uop: Expr): void {
  c.store('i64', entry, linear)
  c.store('i64_16', entry, generationOf(c, linear), GENERATION)
  c.store('i32_16', entry, handler, HANDLER)
  c.store('i32', entry, uop, UOP)
}

/** A code page of the upper half that is not global is used: from now on loads of CR3 forget that half too. */
export function noteLocalCode(c: Code, linear: Expr): void {
  c.store(
    'i32',
    c.i32(0),
    c.load('i32', c.i32(0), L.JUMP_UPPER_IS_LOCAL).or(isUpper(linear)),
    L.JUMP_UPPER_IS_LOCAL,
  )
}

/** forgetJumps(keepGlobal): begins a new generation. */
export function defineForgetJumps(module: ModuleBuilder): Callable {
  return module.func('forgetJumps', ['i32'], [], (c) => {
    const at = (offset: number): Expr => c.load('i32', c.i32(0), offset)
    const advance = (offset: number) => {
      const now = at(offset)
      c.if(
        now.ltU(LAST_GENERATION),
        () => c.store('i32', c.i32(0), now.add(1), offset),
        () => {
          c.fillMemory(c.i32(L.JUMP_CACHE), 0, 2 * L.JUMP_CACHE_SIZE)
          c.store('i32', c.i32(0), 1, L.JUMP_GENERATIONS)
          c.store('i32', c.i32(0), 1, L.JUMP_GENERATIONS + 4)
        },
      )
    }
    advance(L.JUMP_GENERATIONS)
    c.if(c.param(0).eqz().or(at(L.JUMP_UPPER_IS_LOCAL)), () => advance(L.JUMP_GENERATIONS + 4))
    c.if(c.param(0).eqz(), () => c.store('i32', c.i32(0), 0, L.JUMP_UPPER_IS_LOCAL))
  })
}
