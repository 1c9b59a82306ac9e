/** Heat: how often control arrived at a micro-op. */
import * as L from '../state/layout.ts'
import type { Code, Expr } from '../wasm/code.ts'

/** Arrivals at a micro-op after which its code is hot. */
export const HOT_AFTER = 3000

const OFFSET_MASK = (L.HEAT_ENTRIES - 1) << 1
/** Where the heat of a micro-op is. */
export const heatPlace = (uop: number): number => L.HEAT + ((uop >>> 3) & OFFSET_MASK)

/** Counts an arrival; `whenHot` runs at the one that makes the code hot, and again each 65,536 later. */
export function countHeat(c: Code, uop: Expr, hotAfter: number, whenHot: () => void): void {
  const place = uop.shrU(3).and(OFFSET_MASK)
  const count = c.load('i32_16u', place, L.HEAT).add(1)
  c.store('i32_16', place, count, L.HEAT)
  c.if(count.eq(hotAfter), whenHot)
}
