/** Heat: how often control arrived at a micro-op. */
import * as L from '../state/layout.ts'
import type { Code, Expr } from '../wasm/code.ts'

/** Arrivals at a micro-op after which its code is hot, and entries of a region after which it may grow. */
export const HOT_AFTER = 2_000
/**
 * Heat is halved after so many instructions for each arrival that makes hot. So code is hot that runs once in 24,000 instructions
 * or more often, not code that has run for long: to recompile what a boot runs now and then takes longer than to interpret it.
 */
export const COOL_INSTRUCTIONS = 12_000

const OFFSET_MASK = (L.HEAT_ENTRIES - 1) << 1
/** Where the heat of a micro-op is. */
export const heatPlace = (uop: number): number => L.HEAT + ((uop >>> 3) & OFFSET_MASK)
/** Where the entries of a region are counted, by the index of its slot. */
export const entriesPlace = (slot: number): number => L.REGION_ENTRIES + slot * 2

/** Counts an arrival; `whenHot` runs at the one that makes the code hot, and again each 65,536 later. */
export function countHeat(c: Code, uop: Expr, hotAfter: number, whenHot: () => void): void {
  count(c, L.HEAT, uop.shrU(3).and(OFFSET_MASK), hotAfter, whenHot)
}
/** The same for entries of the region in a slot. */
export function countEntry(c: Code, slot: number, times: number, whenReached: () => void): void {
  count(c, entriesPlace(slot), c.i32(0), times, whenReached)
}

function count(c: Code, table: number, place: Expr, times: number, whenReached: () => void): void {
  const now = c.load('i32_16u', place, table).add(1)
  c.store('i32_16', place, now, table)
  c.if(now.and(0xffff).eq(times).unlikely(), whenReached)
}
