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
  /** Modes in which the encoding exists; everywhere when left out. */
  readonly modes?: 'only64' | 'no64'
}
