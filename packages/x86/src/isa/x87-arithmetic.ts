/** FADD, FSUB, FMUL, FDIV and their reverses; comparisons. */
import type { Expr } from '../wasm/code.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { call, onMemory, onStack, plain, x87 } from './x87-common.ts'
import { OPERATE_AND_POP } from './x87-exact.ts'
import { memoryName } from './x87-fast.ts'
import { MEMORY_FLOAT32, MEMORY_FLOAT64, MEMORY_INTEGER } from './x87-routines.ts'

/** A memory operand: the name of its kind in routines' names, and its bits or, for integers, its value. */
export function memoryOperand(u: Meaning, operand: Operand, integer: boolean): { kind: string; bits: Expr } {
  if (integer) return { kind: memoryName(MEMORY_INTEGER), bits: u.read(operand) }
  const kind = operand.size === 4 ? MEMORY_FLOAT32 : MEMORY_FLOAT64
  return { kind: memoryName(kind), bits: u.readUnsigned(operand) }
}

interface Operation {
  readonly name: string
  /** ModRM.reg of the memory forms, and of D8's register forms. */
  readonly number: number
  /** ModRM bytes of DC's and DE's register forms, which swap the reversed ones. */
  readonly swapped: string
}
const OPERATIONS: readonly Operation[] = [
  { name: 'add', number: 0, swapped: 'C0' },
  { name: 'mul', number: 1, swapped: 'C8' },
  { name: 'sub', number: 4, swapped: 'E8' },
  { name: 'subr', number: 5, swapped: 'E0' },
  { name: 'div', number: 6, swapped: 'F8' },
  { name: 'divr', number: 7, swapped: 'F0' },
]

/** The mask of ST(0) and ST(i). */
const used = (u: Meaning, i: Expr): Expr => u.i32(1).shl(i).or(1)

function operation({ name, number, swapped }: Operation): Instruction[] {
  const registerForm = (0xc0 + number * 8).toString(16).toUpperCase()
  const onMemoryMeaning = (integer: boolean) => (u: Meaning, operand: Operand | undefined) => {
    const { kind, bits } = memoryOperand(u, operand!, integer)
    call(u, `${name}.${kind}`, bits)
  }
  const toStackRegister = (pops: boolean) => (u: Meaning) => {
    const i = u.stackIndex()
    call(u, name, i, 0, used(u, i).or(pops ? OPERATE_AND_POP : 0))
  }
  return [
    x87(
      `f${name}`,
      [onMemory(`D8 /${number}`, 'Md', 'r'), onMemory(`DC /${number}`, 'Mq', 'r')],
      onMemoryMeaning(false),
    ),
    x87(
      `fi${name}`,
      [onMemory(`DA /${number}`, 'Md', 'r'), onMemory(`DE /${number}`, 'Mw', 'r')],
      onMemoryMeaning(true),
    ),
    x87(`f${name}`, [onStack('D8', registerForm)], (u) => {
      const i = u.stackIndex()
      call(u, name, 0, i, used(u, i))
    }),
    x87(`f${name}`, [onStack('DC', swapped, ['STi', 'ST0'])], toStackRegister(false)),
    x87(`f${name}p`, [onStack('DE', swapped, ['STi', 'ST0'])], toStackRegister(true)),
  ]
}

function compareRegisters(quiet: boolean, pops: number, other?: number) {
  return (u: Meaning): void => {
    call(u, 'compare', other ?? u.stackIndex(), quiet ? 1 : 0, pops)
  }
}
function compareMemory(integer: boolean, pops: number) {
  return (u: Meaning, operand: Operand | undefined): void => {
    const { kind, bits } = memoryOperand(u, operand!, integer)
    call(u, `compare.${kind}`, bits, pops)
  }
}

/** FCOMI and its family: the order in ZF, PF and CF; OF, SF and AF are cleared. */
function compareToFlags(
  mnemonic: string,
  opcode: string,
  modrm: string,
  quiet: boolean,
  pops: boolean,
): Instruction {
  return x87(mnemonic, [onStack(opcode, modrm)], (u) => {
    u.flagsExplicit(call(u, 'compareFlags', u.stackIndex(), quiet ? 1 : 0, pops ? 1 : 0))
  })
}

export const X87_ARITHMETIC: readonly Instruction[] = [
  ...OPERATIONS.flatMap(operation),
  x87('fcom', [onStack('D8', 'D0')], compareRegisters(false, 0)),
  x87('fcomp', [onStack('D8', 'D8')], compareRegisters(false, 1)),
  x87('fcompp', [plain('DE D9')], compareRegisters(false, 2, 1)),
  x87('fucom', [onStack('DD', 'E0')], compareRegisters(true, 0)),
  x87('fucomp', [onStack('DD', 'E8')], compareRegisters(true, 1)),
  x87('fucompp', [plain('DA E9')], compareRegisters(true, 2, 1)),
  x87('fcom', [onMemory('D8 /2', 'Md', 'r'), onMemory('DC /2', 'Mq', 'r')], compareMemory(false, 0)),
  x87('fcomp', [onMemory('D8 /3', 'Md', 'r'), onMemory('DC /3', 'Mq', 'r')], compareMemory(false, 1)),
  x87('ficom', [onMemory('DA /2', 'Md', 'r'), onMemory('DE /2', 'Mw', 'r')], compareMemory(true, 0)),
  x87('ficomp', [onMemory('DA /3', 'Md', 'r'), onMemory('DE /3', 'Mw', 'r')], compareMemory(true, 1)),
  compareToFlags('fcomi', 'DB', 'F0', false, false),
  compareToFlags('fcomip', 'DF', 'F0', false, true),
  compareToFlags('fucomi', 'DB', 'E8', true, false),
  compareToFlags('fucomip', 'DF', 'E8', true, true),
  x87('ftst', [plain('D9 E4')], (u) => {
    call(u, `compare.${memoryName(MEMORY_INTEGER)}`, u.i64(0), 0)
  }),
]
