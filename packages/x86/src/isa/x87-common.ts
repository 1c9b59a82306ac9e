/** How x87 instructions are written. */
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import type { Form, Instruction } from './instruction.ts'
import { instruction } from './instruction.ts'
import type { Meaning } from './meaning.ts'
import { checkPending } from './x87-control.ts'

/** A waiting x87 instruction: the checks come first, and the instruction pointer is remembered. */
export function x87(
  mnemonic: string,
  forms: readonly Form[],
  meaning: Instruction['meaning'],
  options: { readonly modeSensitive?: boolean } = {},
): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2A, "${mnemonic.toUpperCase()}"`,
    forms,
    ...options,
    meaning: (u, ...operands) => {
      u.requireX87()
      checkPending(u)
      // The address is made here, since it may be used in one branch of the meaning or another.
      const memory = operands.find(({ kind }) => kind === 'memory')
      const address = memory && u.address(memory)
      meaning(u, ...operands)
      u.setState('i64', L.FPU_IP, u.currentRip())
      if (address) u.setState('i64', L.FPU_DP, address)
    },
  })
}

/** A form on ST(i), ST(0) or both: `C0+i` is the ModRM byte of ST(0). */
export const onStack = (
  opcode: string,
  modrm: string,
  operands: readonly string[] = ['ST0', 'STi'],
): Form => ({
  bytes: `${opcode} ${modrm}+i`,
  operands,
})
export const plain = (bytes: string): Form => ({ bytes, operands: [] })
export const onMemory = (bytes: string, operand: string, access: 'r' | 'w'): Form => ({
  bytes,
  operands: [operand],
  access,
})

/** Calls an x87 routine, `x87.` before its name. */
export const call = (u: Meaning, name: string, ...args: (Expr | number)[]): Expr =>
  u.routine(`x87.${name}`, ...args)
/** Bit 0: ST(i) is in use. */
const used = (u: Meaning, i: Expr | number): Expr =>
  u.state('i32', L.FPU_TAGS).shrU(u.state('i32', L.FPU_TOP).add(i).and(7))
export const isEmpty = (u: Meaning, i: Expr | number): Expr => used(u, i).and(1).eqz()
/** Whether ST(0) or ST(i) is empty. */
export const isEitherEmpty = (u: Meaning, i: Expr | number): Expr => used(u, 0).and(used(u, i)).and(1).eqz()

/** Runs `body` unless a register is empty; then the stack fault's result goes to `destination` where that is masked. */
export function unlessEmpty(u: Meaning, empty: Expr, destination: Expr | number, body: () => void): void {
  u.if(empty, () => call(u, 'underflow', destination), body)
}
export function pop(u: Meaning): void {
  const top = u.state('i32', L.FPU_TOP)
  u.setState('i32', L.FPU_TAGS, u.state('i32', L.FPU_TAGS).and(u.i32(-2).rotl(top)))
  u.setState('i32', L.FPU_TOP, top.add(1).and(7))
}

/** Starts an operation: no exceptions yet, no rounding. */
export function begin(u: Meaning): void {
  u.setState('i32', L.SF_FLAGS, 0)
  u.setState('i32', L.SF_ROUNDED_UP, 0)
}
/** Sets the result from a significand and a sign with exponent. */
export function setResult(u: Meaning, significand: Expr | bigint, signExponent: Expr | number): void {
  u.setState('i64', L.X87_RESULT, typeof significand === 'bigint' ? u.i64(significand) : significand)
  u.setState('i32', L.X87_RESULT + 8, signExponent)
}
export const setStatus = (u: Meaning, clear: number, set: Expr | number): void =>
  u.setState('i32', L.FPU_STATUS, u.state('i32', L.FPU_STATUS).and(~clear).or(set))
export const clearC1 = (u: Meaning): void => setStatus(u, 0x200, 0)

/** Byte offset of ST(i) in the register file. */
export function registerOffset(u: Meaning, i: Expr | number): Expr {
  return u.state('i32', L.FPU_TOP).add(i).and(7).shl(4)
}
