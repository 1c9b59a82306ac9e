/** Where indirect jumps and calls went, for the recompiler: a row for each, by a hash of its micro-op's address. */
import * as L from '../state/layout.ts'
import type { Code, Expr } from '../wasm/code.ts'

const ROW_BYTES = L.TARGETS_OF_ROW * 8
const GOLDEN = 0x9e3779b1 | 0
const ROW_SHIFT = 32 - Math.log2(L.TARGET_ROWS)
const PLACE_BITS = Math.log2(L.TARGETS_OF_ROW)

/** Remembers that the jump at `uop` went `distance` bytes from the start of its page. */
export function recordTarget(c: Code, uop: Expr, distance: Expr): void {
  const row = uop.mul(GOLDEN).shrU(ROW_SHIFT).mul(ROW_BYTES)
  const hash = distance.mul(GOLDEN)
  const place = (bits: number): Expr =>
    row.add(
      hash
        .shrU(32 - bits)
        .and(L.TARGETS_OF_ROW - 1)
        .mul(8),
    )
  const first = place(PLACE_BITS)
  // Where another target of this jump has the first place, there is a second one.
  const isTaken = c
    .load('i32', first, L.TARGETS)
    .eq(uop)
    .and(c.load('i32', first, L.TARGETS + 4).ne(distance))
  const at = c.select(isTaken, place(2 * PLACE_BITS), first)
  c.store('i32', at, uop, L.TARGETS)
  c.store('i32', at, distance, L.TARGETS + 4)
}

/** What was remembered and not overwritten since. */
export function recordedTargets(engine: DataView, uop: number): number[] {
  const row = L.TARGETS + (Math.imul(uop, GOLDEN) >>> ROW_SHIFT) * ROW_BYTES
  const found = new Set<number>()
  for (let at = row; at < row + ROW_BYTES; at += 8)
    if (engine.getInt32(at, true) === uop) found.add(engine.getInt32(at + 4, true))
  return [...found]
}
