/** FADD, FSUB, FMUL, FDIV and their reverses; comparisons. */
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { begin, call, isEmpty, onMemory, onStack, plain, x87 } from './x87-common.ts'
import {
  MEMORY_FLOAT32,
  MEMORY_FLOAT64,
  MEMORY_INTEGER,
  STATUS_C0,
  STATUS_C2,
  STATUS_C3,
  X87_ADD,
  X87_DIV,
  X87_MUL,
  X87_SUB,
} from './x87-routines.ts'

const pop = (u: Meaning): void => {
  call(u, 'pop')
}

/** A memory operand: its kind, and its bits or, for integers, its value. */
export function memoryOperand(u: Meaning, operand: Operand, integer: boolean): { kind: number; bits: Expr } {
  if (integer) return { kind: MEMORY_INTEGER, bits: u.read(operand) }
  return { kind: operand.size === 4 ? MEMORY_FLOAT32 : MEMORY_FLOAT64, bits: u.readUnsigned(operand) }
}

interface Operation {
  readonly name: string
  readonly code: number
  readonly reversed: boolean
  /** ModRM.reg of the memory forms, and of D8's register forms. */
  readonly number: number
  /** ModRM bytes of DC's and DE's register forms, which swap the reversed ones. */
  readonly swapped: string
}
const OPERATIONS: readonly Operation[] = [
  { name: 'add', code: X87_ADD, reversed: false, number: 0, swapped: 'C0' },
  { name: 'mul', code: X87_MUL, reversed: false, number: 1, swapped: 'C8' },
  { name: 'sub', code: X87_SUB, reversed: false, number: 4, swapped: 'E8' },
  { name: 'subr', code: X87_SUB, reversed: true, number: 5, swapped: 'E0' },
  { name: 'div', code: X87_DIV, reversed: false, number: 6, swapped: 'F8' },
  { name: 'divr', code: X87_DIV, reversed: true, number: 7, swapped: 'F0' },
]

function operation({ name, code, reversed, number, swapped }: Operation): Instruction[] {
  const registerForm = (0xc0 + number * 8).toString(16).toUpperCase()
  const onMemoryMeaning = (integer: boolean) => (u: Meaning, operand: Operand | undefined) => {
    const { kind, bits } = memoryOperand(u, operand!, integer)
    call(u, 'memory', code, reversed ? 1 : 0, kind, bits)
  }
  const toStackRegister = (pops: boolean) => (u: Meaning) => {
    const i = u.stackIndex()
    const done = reversed ? call(u, 'registers', code, 0, i, i) : call(u, 'registers', code, i, 0, i)
    if (pops) u.if(done, () => pop(u))
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
      if (reversed) call(u, 'registers', code, i, 0, 0)
      else call(u, 'registers', code, 0, i, 0)
    }),
    x87(`f${name}`, [onStack('DC', swapped, ['STi', 'ST0'])], toStackRegister(false)),
    x87(`f${name}p`, [onStack('DE', swapped, ['STi', 'ST0'])], toStackRegister(true)),
  ]
}

/** C3, C2 and C0 for less, equal, greater and unordered. */
function conditionCodes(u: Meaning, order: Expr): Expr {
  const equal = u.select(order.eq(1), u.i32(STATUS_C3), 0)
  const greater = u.select(order.eq(2), u.i32(0), equal)
  const less = u.select(order.eqz(), u.i32(STATUS_C0), greater)
  return u.select(order.eq(3), u.i32(STATUS_C0 | STATUS_C2 | STATUS_C3), less)
}

/** Compares SF_A and SF_B into the condition codes; nonzero where the instruction may pop. */
function compareToStatus(u: Meaning, quiet: boolean): Expr {
  const order = call(u, 'order', quiet ? 1 : 0)
  u.setState('i32', L.SF_ROUNDED_UP, 0)
  setCodes(u, conditionCodes(u, order))
  return call(u, 'commit')
}
function setCodes(u: Meaning, codes: Expr): void {
  const mask = STATUS_C0 | STATUS_C2 | STATUS_C3
  u.setState('i32', L.FPU_STATUS, u.state('i32', L.FPU_STATUS).and(~mask).or(codes))
}
/** A compare with an empty register is unordered, and pops where the stack fault is masked. */
function compareEmpty(u: Meaning, pops: number): void {
  setCodes(u, u.i32(STATUS_C0 | STATUS_C2 | STATUS_C3))
  u.if(call(u, 'stackFault', 0), () => {
    for (let i = 0; i < pops; i++) pop(u)
  })
}

function compareRegisters(quiet: boolean, pops: number, other?: number) {
  return (u: Meaning): void => {
    const i = other ?? u.stackIndex()
    begin(u)
    u.if(
      isEmpty(u, 0).or(isEmpty(u, i)),
      () => compareEmpty(u, pops),
      () => {
        call(u, 'unpack', 0, L.SF_A)
        call(u, 'unpack', i, L.SF_B)
        u.if(compareToStatus(u, quiet), () => {
          for (let n = 0; n < pops; n++) pop(u)
        })
      },
    )
  }
}
function compareMemory(integer: boolean, pops: number) {
  return (u: Meaning, operand: Operand | undefined): void => {
    const { kind, bits } = memoryOperand(u, operand!, integer)
    begin(u)
    u.if(
      isEmpty(u, 0),
      () => compareEmpty(u, pops),
      () => {
        call(u, 'unpack', 0, L.SF_A)
        call(u, 'unpackMemory', kind, bits, L.SF_B)
        u.if(compareToStatus(u, false), () => {
          for (let n = 0; n < pops; n++) pop(u)
        })
      },
    )
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
    const i = u.stackIndex()
    const setFlags = (order: Expr) => {
      const equal = u.select(order.eq(1), u.i32(0x40), 0)
      const less = u.select(order.eqz(), u.i32(1), equal)
      u.flagsExplicit(u.select(order.eq(3), u.i32(0x45), less).extendU())
    }
    begin(u)
    u.if(
      isEmpty(u, 0).or(isEmpty(u, i)),
      () => {
        setFlags(u.i32(3))
        const masked = call(u, 'stackFault', 0)
        if (pops) u.if(masked, () => pop(u))
      },
      () => {
        call(u, 'unpack', 0, L.SF_A)
        call(u, 'unpack', i, L.SF_B)
        const order = call(u, 'order', quiet ? 1 : 0)
        // C1 stays as it is.
        const unmasked = call(u, 'raiseFlags', u.state('i32', L.SF_FLAGS))
        setFlags(order)
        if (pops) u.if(unmasked.eqz(), () => pop(u))
      },
    )
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
    begin(u)
    u.if(
      isEmpty(u, 0),
      () => compareEmpty(u, 0),
      () => {
        call(u, 'unpack', 0, L.SF_A)
        call(u, 'unpackMemory', MEMORY_INTEGER, u.i64(0), L.SF_B)
        compareToStatus(u, false)
      },
    )
  }),
]
