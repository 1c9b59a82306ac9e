/**
 * What recompiled code takes for granted of floating point. Where that does not hold it leaves an instruction, which has
 * changed nothing yet, to the interpreter; so behind it results are known to be plain, and no slow path meets the fast one.
 */
import type { Expr } from '../wasm/code.ts'

export interface Speculation {
  /** MXCSR is known to be ordinary. */
  readonly isOrdinary: boolean
  /** From here on it is. */
  noteOrdinary(): void
  /** Leaves the instruction to the interpreter. */
  leave(): void
  /** Whether a float, or each lane of a vector, is known to be neither a NaN nor a denormal. */
  isPlain(value: Expr, width: 32 | 64): boolean
  /** From here on it is known. */
  notePlain(value: Expr, width: 32 | 64): void
}
