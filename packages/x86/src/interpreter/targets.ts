/** Where indirect jumps and calls went, for the recompiler: a row for each, by a hash of its micro-op's address. */
import * as L from '../state/layout.ts'
import type { Code, Expr } from '../wasm/code.ts'

const ROW_BYTES = L.TARGETS_OF_ROW * 8
const GOLDEN = 0x9e3779b1 | 0
const ROW_SHIFT = 32 - Math.log2(L.TARGET_ROWS)
const PLACE_SHIFT = 32 - Math.log2(L.TARGETS_OF_ROW)

/** Remembers that the jump at `uop` went `distance` bytes from the start of its page. */
export function recordTarget(c: Code, uop: Expr, distance: Expr): void {
  const row = uop.mul(GOLDEN).shrU(ROW_SHIFT).mul(ROW_BYTES)
  const place = distance.mul(GOLDEN).shrU(PLACE_SHIFT).mul(8)
  const at = row.add(place)
  c.store('i32', at, uop, L.TARGETS)
  c.store('i32', at, distance, L.TARGETS + 4)
}

/** What was remembered and not overwritten since. */
export function recordedTargets(engine: DataView, uop: number): number[] {
  const row = L.TARGETS + (Math.imul(uop, GOLDEN) >>> ROW_SHIFT) * ROW_BYTES
  const found: number[] = []
  for (let at = row; at < row + ROW_BYTES; at += 8)
    if (engine.getInt32(at, true) === uop) found.push(engine.getInt32(at + 4, true))
  return found
}
