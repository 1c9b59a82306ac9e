/**
 * Which segments are flat: from 0 to 4 GiB (FS and GS from their base), readable and writable; CS readable. The interpreter asks at
 * each access outside 64-bit mode, recompiled code at each of its entries, so it is worked out where a segment's cache is written.
 */
import * as L from '../state/layout.ts'
import type { Code, Expr } from '../wasm/code.ts'

/** Bits of SEG_ATTRIBUTES that tell, and what they are in a flat segment: code or data, and its type. */
const CODE = [0x1a, 0x1a] as const
const DATA = [0x1e, 0x12] as const
const hasBase = (segment: number): boolean => segment === L.FS || segment === L.GS

/** Works it out for a segment whose cache was written. */
export function noteFlat(c: Code, segment: Expr): void {
  const cache = segment.mul(L.SEG_SIZE).add(L.SEG)
  const attributes = c.load('i32', cache, L.SEG_ATTRIBUTES)
  const has = ([mask, value]: typeof CODE | typeof DATA) => attributes.and(mask).eq(value)
  const isType = c.select(segment.eq(L.CS), has(CODE), has(DATA))
  const isWhole = c.load('i64', cache, L.SEG_LIMIT).eq(0xffffffff) // SEG_UNUSABLE follows, and is 0
  const isAtZero = c.load('i64', cache, L.SEG_BASE).eqz().or(segment.eq(L.FS)).or(segment.eq(L.GS))
  const bit = c.i32(1).shl(segment)
  const others = c.load('i32', c.i32(0), L.FLAT_SEGMENTS).and(bit.not())
  const flat = c.select(isType.and(isWhole).and(isAtZero), bit, 0)
  c.store('i32', c.i32(0), others.or(flat), L.FLAT_SEGMENTS)
}

const AT_ZERO = (1 << L.ES) | (1 << L.SS) | (1 << L.DS)
/** Nonzero where a segment for data is flat from address 0, so that an offset in it is its linear address. */
export function isFlatAtZero(c: Code, segment: Expr): Expr {
  return c.load('i32', c.i32(0), L.FLAT_SEGMENTS).and(AT_ZERO).shrU(segment).and(1)
}

/** The same as `noteFlat` in TypeScript. */
export function isFlat(words: Int32Array, segment: number): boolean {
  const word = (field: number): number => words[(L.SEG + segment * L.SEG_SIZE + field) >> 2]!
  const [mask, value] = segment === L.CS ? CODE : DATA
  const isAtZero = hasBase(segment) || (word(L.SEG_BASE) === 0 && word(L.SEG_BASE + 4) === 0)
  const isWhole = word(L.SEG_LIMIT) === -1 && word(L.SEG_UNUSABLE) === 0
  return (word(L.SEG_ATTRIBUTES) & mask) === value && isWhole && isAtZero
}
