import type { Meaning, Operand } from './meaning.ts'

/**
 * An instruction as data: encodings in the manual's notation, and one meaning.
 *
 * `bytes` is written as in the SDM's opcode column, without the immediates (the operands say those):
 * hexadecimal bytes, `NP`, `66`, `F2` or `F3` first where the prefix is part of the opcode, `/r` for a ModRM byte
 * with a register operand, `/0` to `/7` for an opcode extension, `+r` for a register in the low three bits of the
 * last opcode byte, and `VEX.128.66.0F.W0 58 /r` for VEX. `operands` are in the notation of
 * SDM Vol. 2D, "Key to Abbreviations": E, G, M, R, I, J, S, C, D, O, V, W, U, P, Q, N, H, X, Y and b, w, d, q, v, y, z,
 * dq, ss, sd, ps, pd, …; a register's name stands for itself (`AL`, `rAX`, `CL`, `DX`), `1` for a literal one.
 */
export interface Form {
  readonly bytes: string
  readonly operands: readonly string[]
  /** Legal with LOCK when its first operand is memory. */
  readonly lockable?: boolean
  /** REP prefix repeats it: `rep`, or `repe` where F3 and F2 test ZF. */
  readonly repeat?: 'rep' | 'repe'
  /** Operand size in 64-bit mode: `d64` defaults to 64 bits (16 possible), `f64` is always 64 bits. */
  readonly size64?: 'd64' | 'f64'
  /** The meaning depends on the operand size though no operand says so. */
  readonly sized?: boolean
  /**
   * What it does to its memory operand: `w` where that comes first, else `r`; `none` computes the offset only; `bit`
   * reaches around it: outside 64-bit mode its address is an offset that the meaning checks.
   */
  readonly access?: 'r' | 'w' | 'none' | 'bit'
  /** Its address is computed after the stack pointer was incremented. */
  readonly addressAfterPop?: boolean
  /** Bytes of the memory operand where its type does not say. */
  readonly memoryBytes?: number
  /** Modes in which the encoding exists; everywhere when left out. */
  readonly modes?: 'only64' | 'no64'
}

/** An instruction: forms and meaning. */
export interface Instruction {
  readonly mnemonic: string
  /** Where the manual defines it: document and section title. */
  readonly spec: string
  readonly forms: readonly Form[]
  /** Touches memory or the stack without saying so in its operands, or means something else outside 64-bit mode. */
  readonly modeSensitive?: boolean
  /** Depends on the address size (string instructions, LOOP, JCXZ, XLAT). */
  readonly addressSensitive?: boolean
  /** Nothing runs after it in a straight line: jumps, returns. */
  readonly endsBlock?: boolean
  /** CPUID feature it needs; absent ones raise #UD. */
  readonly feature?: string
  /** Not for user mode, or not repeatable: excluded from recorded vectors, with the reason. */
  readonly system?: string
  readonly meaning: (u: Meaning, ...operands: Operand[]) => void
}

/** Declares an instruction; exists so that its fields are checked where they are written. */
export function instruction(definition: Instruction): Instruction {
  return definition
}
