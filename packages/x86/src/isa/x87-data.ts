/** Loads, stores, exchanges, constants and signs of the x87. */
import { AT_SIGN } from '../float/unpacked.ts'
import { CF, PF, ZF } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import type { Form, Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { memoryOperand } from './x87-arithmetic.ts'
import {
  begin,
  call,
  clearC1,
  isEitherEmpty,
  isEmpty,
  onMemory,
  onStack,
  plain,
  pop,
  registerOffset,
  setStatus,
  unlessEmpty,
  x87,
} from './x87-common.ts'
import { NOTHING_STORED } from './x87-exact.ts'
import { STATUS_C0, STATUS_C1, STATUS_C2, STATUS_C3 } from './x87-routines.ts'

const push = (u: Meaning): Expr => call(u, 'push')

/** ST(i) as it is. */
function register(u: Meaning, i: Expr | number): [significand: Expr, signExponent: Expr] {
  const at = registerOffset(u, i)
  return [u.load('i64', at, L.X87), u.load('i32_16u', at, L.X87 + 8)]
}
function setRegister(u: Meaning, i: Expr | number, [significand, signExponent]: [Expr, Expr]): void {
  const at = registerOffset(u, i)
  u.store('i64', at, significand, L.X87)
  u.store('i32_16', at, signExponent, L.X87 + 8)
}

/** FLD m32/m64, FILD: to 80 bits exactly; a signaling NaN is quieted and invalid. */
function loadMemory(integer: boolean) {
  return (u: Meaning, operand: Operand | undefined): void => {
    const { kind, bits } = memoryOperand(u, operand!, integer)
    call(u, `load.${kind}`, bits)
  }
}

/** A form that may store, or may not: its memory is checked where it does. */
const storedTo = (bytes: string, operand: string): Form => ({ bytes, operands: [operand], access: 'bit' })
const STORES = { modeSensitive: true } as const

/** Linear address of the memory operand, checked for a write outside 64-bit mode. */
function storeAddress(u: Meaning, operand: Operand): Expr {
  const offset = u.address(operand)
  return u.long ? offset : u.segmentAddress(u.memorySegment(), offset, operand.size, true)
}

/** Stores what a routine makes from ST(0), unless an exception forbids it; only then the status word changes. */
function storeConverted(u: Meaning, operand: Operand, value: Expr, pops: boolean): void {
  const status = u.state('i32', L.SF_FLAGS)
  u.if(
    status.geS(0),
    () => {
      u.storeMemory(storeAddress(u, operand), operand.size, value)
      u.setState('i32', L.FPU_STATUS, status)
      if (pops) pop(u)
    },
    () => u.setState('i32', L.FPU_STATUS, status.and(~NOTHING_STORED)),
  )
}

/** FST and FSTP to binary32 and binary64. */
function storeFloat(pops: boolean) {
  return (u: Meaning, operand: Operand | undefined): void => {
    storeConverted(u, operand!, call(u, `stored.float${operand!.size * 8}`), pops)
  }
}

const TRUNCATE = 3
function storeInteger(pops: boolean, truncate: boolean) {
  return (u: Meaning, operand: Operand | undefined): void => {
    const mode = truncate ? u.i32(TRUNCATE) : u.state('i32', L.FPU_CONTROL).shrU(10).and(3)
    storeConverted(u, operand!, call(u, 'stored.integer', operand!.size * 8, mode), pops)
  }
}

/** FST ST(i) and FSTP ST(i). */
function storeRegister(pops: boolean) {
  return (u: Meaning): void => {
    const i = u.stackIndex()
    u.if(
      isEmpty(u, 0),
      () => call(u, 'storeUnderflow', i, pops ? 1 : 0),
      () => {
        clearC1(u)
        const number = u.state('i32', L.FPU_TOP).add(i).and(7)
        u.setState('i32', L.FPU_TAGS, u.state('i32', L.FPU_TAGS).or(u.i32(1).shl(number)))
        setRegister(u, i, register(u, 0))
        if (pops) pop(u)
      },
    )
  }
}

/** 18 decimal digits and a sign. SDM Vol. 1, "BCD and Packed BCD Integers". */
function loadDecimal(u: Meaning, operand: Operand | undefined): void {
  const address = u.address(operand!)
  const low = u.loadMemory(address, 8)
  const high = u.loadMemory(address.add(8), 2)
  const value = u.variable('i64', high.and(15).add(high.shrU(4).and(15).mul(10)))
  const i = u.variable('i32', 60)
  u.while(
    () => i.get().geS(0),
    () => {
      const digit = low.shrU(i.get().extendU()).and(15)
      value.set(value.get().mul(10).add(digit))
      i.set(i.get().sub(4))
    },
  )
  begin(u)
  call(u, 'unpackMemory', 2, value.get(), L.SF_A)
  u.copyMemory(u.i32(L.SF_R), u.i32(L.SF_A), u.i32(32))
  u.setState('i32', L.SF_R + AT_SIGN, high.shrU(15).wrap())
  call(u, 'round', 64)
  push(u)
}
/**
 * Stores a value that `compute` makes from ST(0), or `indefinite` where that is empty. An unmasked invalid operation, overflow
 * or underflow leaves memory and stack alone, and does not even touch the memory.
 */
function storeMemory(
  u: Meaning,
  operand: Operand,
  indefinite: bigint,
  compute: () => Expr,
  store: (value: Expr, address: Expr) => void,
): void {
  const unmasked = u.state('i32', L.FPU_CONTROL).not().and(0x19)
  const bytes = operand.size
  begin(u)
  u.if(
    isEmpty(u, 0),
    () => {
      u.if(unmasked.and(1).eqz(), () => u.probeWrite(storeAddress(u, operand), bytes))
      u.if(call(u, 'stackFault', 0), () => store(u.i64(indefinite), storeAddress(u, operand)))
    },
    () => {
      const value = compute()
      const forbidden = u.state('i32', L.SF_FLAGS).and(unmasked)
      u.if(forbidden.eqz(), () => u.probeWrite(storeAddress(u, operand), bytes))
      // Where nothing is stored, nothing was rounded.
      u.if(forbidden, () => {
        u.setState('i32', L.SF_FLAGS, u.state('i32', L.SF_FLAGS).and(~0x20))
        u.setState('i32', L.SF_ROUNDED_UP, 0)
      })
      call(u, 'commit')
      u.if(forbidden.eqz(), () => store(value, storeAddress(u, operand)))
    },
  )
}

const DECIMAL_LIMIT = 999999999999999999n
const INDEFINITE = -(2n ** 63n)
function storeDecimal(u: Meaning, operand: Operand | undefined): void {
  const write = (address: Expr, low: Expr, high: Expr) => {
    u.storeMemory(address, 8, low)
    u.storeMemory(address.add(8), 2, high)
    pop(u)
  }
  const compute = () => {
    const value = call(u, 'toInteger', 64, u.state('i32', L.FPU_CONTROL).shrU(10).and(3))
    const magnitude = u.select(value.ltS(0), value.neg(), value)
    const tooLarge = magnitude.gtU(DECIMAL_LIMIT)
    u.if(tooLarge, () => {
      u.setState('i32', L.SF_FLAGS, 1)
      u.setState('i32', L.SF_ROUNDED_UP, 0)
    })
    return u.select(tooLarge, u.i64(INDEFINITE), magnitude)
  }
  storeMemory(u, operand!, INDEFINITE, compute, (magnitude, address) => {
    u.if(
      magnitude.eq(INDEFINITE),
      () => write(address, u.i64(-(2n ** 62n)), u.i64(0xffff)),
      () => {
        const rest = u.variable('i64', magnitude)
        const low = u.variable('i64', 0)
        const i = u.variable('i32', 0)
        u.while(
          () => i.get().ltU(64),
          () => {
            low.set(low.get().or(rest.get().remU(10).shl(i.get().extendU())))
            rest.set(rest.get().divU(10))
            i.set(i.get().add(4))
          },
        )
        const digits = rest.get().remU(10).or(rest.get().divU(10).shl(4))
        const sign = u
          .state('i32', L.SF_A + AT_SIGN)
          .extendU()
          .shl(15)
        write(address, low.get(), digits.or(sign))
      },
    )
  })
}

/** Significands of the constants: rounded down, and whether the next bits are at least a half. SDM Vol. 2A, "FLD1/FLDL2T/…". */
const CONSTANTS: readonly [string, string, bigint, number, boolean][] = [
  ['fld1', 'E8', 0x8000000000000000n, 0x3fff, false],
  ['fldl2t', 'E9', 0xd49a784bcd1b8afen, 0x4000, false],
  ['fldl2e', 'EA', 0xb8aa3b295c17f0bbn, 0x3fff, true],
  ['fldpi', 'EB', 0xc90fdaa22168c234n, 0x4000, true],
  ['fldlg2', 'EC', 0x9a209a84fbcff798n, 0x3ffd, true],
  ['fldln2', 'ED', 0xb17217f7d1cf79abn, 0x3ffe, true],
]
function constant([mnemonic, modrm, down, exponent, nearestIsUp]: (typeof CONSTANTS)[number]): Instruction {
  return x87(mnemonic, [plain(`D9 ${modrm}`)], (u) => {
    const mode = u.state('i32', L.FPU_CONTROL).shrU(10).and(3)
    const up = mnemonic === 'fld1' ? u.i32(0) : mode.eq(2).or(nearestIsUp ? mode.eqz() : u.i32(0))
    call(u, 'pushValue', u.i64(BigInt.asIntN(64, down)).add(up.extendU()), exponent)
  })
}

function changeSign(mnemonic: string, bytes: string, change: (signExponent: Expr) => Expr): Instruction {
  return x87(mnemonic, [plain(bytes)], (u) => {
    unlessEmpty(u, isEmpty(u, 0), 0, () => {
      clearC1(u)
      const at = registerOffset(u, 0)
      u.store('i32_16', at, change(u.load('i32_16u', at, L.X87 + 8)), L.X87 + 8)
    })
  })
}

/** Class of ST(0) in C3, C2, C0; its sign in C1. */
function examine(u: Meaning): void {
  const at = registerOffset(u, 0)
  const signExponent = u.load('i32_16u', at, L.X87 + 8)
  const significand = u.load('i64', at, L.X87)
  const field = signExponent.and(0x7fff)
  const integer = significand.ltS(0)
  const zeroOrDenormal = u.select(significand.eqz(), u.i32(STATUS_C3), STATUS_C3 | STATUS_C2)
  const infinityOrNan = u.select(significand.eq(-(2n ** 63n)), u.i32(STATUS_C2 | STATUS_C0), STATUS_C0)
  const special = u.select(field.eq(0x7fff), infinityOrNan, u.i32(STATUS_C2))
  const supported = u.select(integer, special, u.i32(0))
  const number = u.select(field, supported, zeroOrDenormal)
  const code = u.select(isEmpty(u, 0), u.i32(STATUS_C3 | STATUS_C0), number)
  const sign = signExponent.shrU(15).mul(STATUS_C1)
  setStatus(u, STATUS_C0 | STATUS_C1 | STATUS_C2 | STATUS_C3, code.or(sign))
}

const CONDITIONAL: readonly [string, string, string, number, boolean][] = [
  ['fcmovb', 'DA', 'C0', CF, true],
  ['fcmove', 'DA', 'C8', ZF, true],
  ['fcmovbe', 'DA', 'D0', CF | ZF, true],
  ['fcmovu', 'DA', 'D8', PF, true],
  ['fcmovnb', 'DB', 'C0', CF, false],
  ['fcmovne', 'DB', 'C8', ZF, false],
  ['fcmovnbe', 'DB', 'D0', CF | ZF, false],
  ['fcmovnu', 'DB', 'D8', PF, false],
]

function moveTop(mnemonic: string, bytes: string, by: number): Instruction {
  return x87(mnemonic, [plain(bytes)], (u) => {
    clearC1(u)
    u.setState('i32', L.FPU_TOP, u.state('i32', L.FPU_TOP).add(by).and(7))
  })
}

export const X87_DATA: readonly Instruction[] = [
  x87('fld', [onMemory('D9 /0', 'Md', 'r'), onMemory('DD /0', 'Mq', 'r')], loadMemory(false)),
  x87(
    'fild',
    [onMemory('DF /0', 'Mw', 'r'), onMemory('DB /0', 'Md', 'r'), onMemory('DF /5', 'Mq', 'r')],
    loadMemory(true),
  ),
  x87('fld', [onMemory('DB /5', 'Mt', 'r')], (u, operand) => {
    const address = u.address(operand!)
    const low = u.loadMemory(address, 8)
    const high = u.loadMemory(address.add(8), 2)
    call(u, 'pushValue', low, high.wrap())
  }),
  x87('fld', [onStack('D9', 'C0', ['STi'])], (u) => {
    const i = u.stackIndex()
    u.if(
      isEmpty(u, i),
      () => call(u, 'pushUnderflow'),
      () => call(u, 'pushValue', ...register(u, i)),
    )
  }),
  x87('fst', [storedTo('D9 /2', 'Md'), storedTo('DD /2', 'Mq')], storeFloat(false), STORES),
  x87('fstp', [storedTo('D9 /3', 'Md'), storedTo('DD /3', 'Mq')], storeFloat(true), STORES),
  x87('fst', [onStack('DD', 'D0', ['STi'])], storeRegister(false)),
  x87('fstp', [onStack('DD', 'D8', ['STi'])], storeRegister(true)),
  x87(
    'fstp',
    [storedTo('DB /7', 'Mt')],
    (u, operand) => {
      const store = ([significand, signExponent]: [Expr, Expr]) => {
        const address = storeAddress(u, operand!)
        u.storeMemory(address, 8, significand)
        u.storeMemory(address.add(8), 2, signExponent.extendU())
      }
      u.if(
        isEmpty(u, 0),
        () => {
          // The memory's faults come before the stack's.
          u.if(u.state('i32', L.FPU_CONTROL).and(1), () => {
            store([u.i64(-(1n << 62n)), u.i32(0xffff)])
          })
          u.if(call(u, 'stackFault', 0), () => pop(u))
        },
        () => {
          store(register(u, 0))
          clearC1(u)
          pop(u)
        },
      )
    },
    STORES,
  ),
  x87('fist', [storedTo('DF /2', 'Mw'), storedTo('DB /2', 'Md')], storeInteger(false, false), STORES),
  x87(
    'fistp',
    [storedTo('DF /3', 'Mw'), storedTo('DB /3', 'Md'), storedTo('DF /7', 'Mq')],
    storeInteger(true, false),
    STORES,
  ),
  x87(
    'fisttp',
    [storedTo('DF /1', 'Mw'), storedTo('DB /1', 'Md'), storedTo('DD /1', 'Mq')],
    storeInteger(true, true),
    STORES,
  ),
  x87('fbld', [onMemory('DF /4', 'Mt', 'r')], loadDecimal),
  x87('fbstp', [storedTo('DF /6', 'Mt')], storeDecimal, STORES),
  ...CONSTANTS.map(constant),
  x87('fldz', [plain('D9 EE')], (u) => {
    call(u, 'pushValue', u.i64(0), 0)
  }),
  changeSign('fchs', 'D9 E0', (x) => x.xor(0x8000)),
  changeSign('fabs', 'D9 E1', (x) => x.and(0x7fff)),
  x87('fxam', [plain('D9 E5')], examine),
  x87('fxch', [onStack('D9', 'C8')], (u) => {
    const i = u.stackIndex()
    u.if(
      isEitherEmpty(u, i),
      () => call(u, 'exchangeUnderflow', i),
      () => {
        clearC1(u)
        const [first, second] = [register(u, 0), register(u, i)]
        setRegister(u, 0, second)
        setRegister(u, i, first)
      },
    )
  }),
  ...CONDITIONAL.map(([mnemonic, opcode, modrm, flags, wanted]) =>
    x87(mnemonic, [onStack(opcode, modrm)], (u) => {
      const i = u.stackIndex()
      unlessEmpty(u, isEitherEmpty(u, i), 0, () => {
        const set = u.arithmeticFlags().and(flags).ne(0)
        u.if(wanted ? set : set.eqz(), () => {
          setRegister(u, 0, register(u, i))
        })
      })
    }),
  ),
  x87('ffree', [onStack('DD', 'C0', ['STi'])], (u) => {
    const register = u.state('i32', L.FPU_TOP).add(u.stackIndex()).and(7)
    clearC1(u)
    u.setState('i32', L.FPU_TAGS, u.state('i32', L.FPU_TAGS).and(u.i32(1).shl(register).not()))
  }),
  moveTop('fincstp', 'D9 F7', 1),
  moveTop('fdecstp', 'D9 F6', 7),
  x87('fnop', [plain('D9 D0')], () => {}),
]
