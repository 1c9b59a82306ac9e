/**
 * What the x87's hot instructions call: one routine each, that does it all. The common case is computed at once
 * (x87-normal.ts); for everything else the routine calls the one that does it by soft float (x87-routines.ts). A common case
 * starts from registers in use, which hold normal numbers or zeros, and ends without a fault: it changes registers, C1, PE.
 */
import { at, put32 } from '../float/unpacked.ts'
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr, Label } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { ValueType } from '../wasm/opcodes.ts'
import { NOT_POPPED, OPERATE_AND_POP } from './x87-exact.ts'
import {
  addNormal,
  divideNormal,
  type Exact,
  type Extended,
  exponentOf,
  fromNormalFloat,
  fromNormalInteger,
  fromZeroFloat,
  isNormal,
  isZero,
  leaveUnlessNormal,
  multiplyNormal,
  negated,
  type RoundedBits,
  rootOfNormal,
  round,
  signOf,
  toFloat,
  toInteger,
} from './x87-normal.ts'
import {
  MEMORY_FLOAT32,
  MEMORY_FLOAT64,
  MEMORY_INTEGER,
  STATUS_C0,
  STATUS_C1,
  STATUS_C2,
  STATUS_C3,
  X87_ADD,
  X87_DIV,
  X87_MUL,
  X87_SUB,
} from './x87-routines.ts'

const CODES = STATUS_C0 | STATUS_C2 | STATUS_C3
/** Of the control word: rounding, precision and masks; and their value where nothing is unusual. */
const CONTROL = 0xf3f
const CONTROL_COMMON = 0x33f
const MASKS = 0x3f
const C1_SHIFT = 9
const PE_SHIFT = 5

const status = (c: Code): Expr => at(c, 'i32', L.FPU_STATUS)
const control = (c: Code): Expr => at(c, 'i32', L.FPU_CONTROL)

/** A register: its number, from 0 to 7 whatever TOP is. */
class Register {
  readonly #c: Code
  readonly number: Expr
  readonly #offset: Expr
  constructor(c: Code, number: Expr) {
    this.#c = c
    this.number = number
    this.#offset = number.shl(4)
  }
  /** Bit 0: in use. */
  get used(): Expr {
    return at(this.#c, 'i32', L.FPU_TAGS).shrU(this.number)
  }
  get value(): Extended {
    return {
      significand: this.#c.load('i64', this.#offset, L.X87),
      signExponent: this.#c.load('i32_16u', this.#offset, L.X87 + 8),
    }
  }
  set(significand: Expr, signExponent: Expr): void {
    this.#c.store('i64', this.#offset, significand, L.X87)
    this.#c.store('i32_16', this.#offset, signExponent, L.X87 + 8)
  }
}

/** ST(i). */
const stack = (c: Code, i: Expr | number): Register =>
  new Register(c, i === 0 ? at(c, 'i32', L.FPU_TOP) : at(c, 'i32', L.FPU_TOP).add(i).and(7))

function pop(c: Code): void {
  const top = at(c, 'i32', L.FPU_TOP)
  put32(c, L.FPU_TAGS, at(c, 'i32', L.FPU_TAGS).and(c.i32(-2).rotl(top)))
  put32(c, L.FPU_TOP, top.add(1).and(7))
}

/** C1 = 0, and PE and C1 as a result was rounded. */
const statusAfter = (c: Code, { inexact, up }: { inexact: Expr; up: Expr }): Expr =>
  status(c).and(~STATUS_C1).or(inexact.shl(PE_SHIFT)).or(up.shl(C1_SHIFT))
const statusExact = (c: Code): Expr => status(c).and(~STATUS_C1)

/** Writes the result, and leaves for `done`. */
type Finish = (significand: Expr, signExponent: Expr) => void

type Operands = readonly [Extended, Extended]

interface Operation {
  readonly name: string
  readonly code: number
  readonly reversed: boolean
  readonly exact: (c: Code, a: Extended, b: Extended, unusual: Label, finish: Finish) => Exact
  /** Where one operand is zero and the other is, or is normal. */
  readonly withZero: (c: Code, a: Extended, b: Extended, unusual: Label, finish: Finish) => void
}

function sumWithZero(c: Code, a: Extended, b: Extended, _unusual: Label, finish: Finish): void {
  // Of two zeros only two negative ones give a negative one.
  const signExponent = c.select(
    exponentOf(a),
    a.signExponent,
    c.select(exponentOf(b), b.signExponent, a.signExponent.and(b.signExponent)),
  )
  finish(a.significand.or(b.significand), signExponent)
}
const productSign = (a: Extended, b: Extended): Expr => signOf(a).xor(signOf(b))

const ADD: Omit<Operation, 'name' | 'code' | 'reversed'> = {
  exact: (c, a, b, unusual, finish) => addNormal(c, a, b, unusual, () => finish(c.i64(0), c.i32(0))),
  withZero: sumWithZero,
}
const SUBTRACT: typeof ADD = {
  exact: (c, a, b, unusual, finish) => ADD.exact(c, a, negated(b), unusual, finish),
  withZero: (c, a, b, unusual, finish) => sumWithZero(c, a, negated(b), unusual, finish),
}
const MULTIPLY: typeof ADD = {
  exact: (c, a, b) => multiplyNormal(c, a, b),
  withZero: (c, a, b, _unusual, finish) => finish(c.i64(0), productSign(a, b)),
}
const DIVIDE: typeof ADD = {
  exact: (c, a, b) => divideNormal(c, a, b),
  withZero: (c, a, b, unusual, finish) => {
    c.branchIf(unusual, exponentOf(b).eqz())
    finish(c.i64(0), productSign(a, b))
  },
}
/** `x87.{name}` on registers, and `x87.{name}{kind}` on memory. */
const OPERATIONS: readonly Operation[] = [
  { name: 'add', code: X87_ADD, reversed: false, ...ADD },
  { name: 'sub', code: X87_SUB, reversed: false, ...SUBTRACT },
  { name: 'mul', code: X87_MUL, reversed: false, ...MULTIPLY },
  { name: 'div', code: X87_DIV, reversed: false, ...DIVIDE },
  { name: 'subr', code: X87_SUB, reversed: true, ...SUBTRACT },
  { name: 'divr', code: X87_DIV, reversed: true, ...DIVIDE },
]

/** Kinds of memory operands: names, codes, and how their bits become a number: a normal one, or a zero. */
interface MemoryKind {
  readonly name: 'float32' | 'float64' | 'integer'
  readonly kind: number
  readonly normal: (c: Code, bits: Expr, leave: Label) => Extended
  readonly zero: (c: Code, bits: Expr, leave: Label) => Extended
}
const floats = (size: 32 | 64): Pick<MemoryKind, 'normal' | 'zero'> => ({
  normal: (c, bits, leave) => fromNormalFloat(c, size, bits, leave),
  zero: (c, bits, leave) => fromZeroFloat(c, size, bits, leave),
})
const MEMORY: readonly MemoryKind[] = [
  { name: 'float32', kind: MEMORY_FLOAT32, ...floats(32) },
  { name: 'float64', kind: MEMORY_FLOAT64, ...floats(64) },
  {
    name: 'integer',
    kind: MEMORY_INTEGER,
    normal: fromNormalInteger,
    // What is not normal is zero.
    zero: (c) => ({ significand: c.i64(0), signExponent: c.i32(0) }),
  },
]
/** The kind's part of a routine's name. */
export const memoryName = (kind: number): string => MEMORY[kind]!.name

const leaveUnless = (c: Code, unusual: Label, condition: Expr): void => c.branchIf(unusual, condition.eqz())
const leaveUnlessNumber = (c: Code, unusual: Label, number: Extended): void =>
  leaveUnless(c, unusual, isNormal(number).or(isZero(number)))

/** Builds `normal` for a normal operand in memory, and `zero` for a zero; both return. */
function eitherFromMemory(
  c: Code,
  memory: MemoryKind,
  unusual: Label,
  normal: (number: Extended) => void,
  zero = normal,
): void {
  const bits = c.param(0)
  c.block((special) => normal(memory.normal(c, bits, special)))
  zero(memory.zero(c, bits, unusual))
}

/** How an operation ends: a result goes to the register. */
interface End {
  readonly destination: Register
  readonly unusual: Label
  readonly done: () => void
}
const finishExactly =
  (c: Code, { destination, done }: End): Finish =>
  (significand, signExponent) => {
    destination.set(significand, signExponent)
    put32(c, L.FPU_STATUS, statusExact(c))
    done()
  }

/** a op b, which are normal. */
function operateNormal(c: Code, operation: Operation, [a, b]: Operands, end: End): void {
  const { destination, unusual, done } = end
  const exact = operation.exact(c, a, b, unusual, finishExactly(c, end))
  const rounded = round(c, exact, unusual)
  destination.set(rounded.significand, rounded.signExponent)
  put32(c, L.FPU_STATUS, statusAfter(c, rounded))
  done()
}
/** a op b, of which one is zero at least. */
function operateOnZero(c: Code, operation: Operation, [a, b]: Operands, end: End): void {
  leaveUnlessNumber(c, end.unusual, a)
  leaveUnlessNumber(c, end.unusual, b)
  operation.withZero(c, a, b, end.unusual, finishExactly(c, end))
}

/** Orders two numbers that are normal or zeros: nonzero where a < b, and where a = b. */
function order(c: Code, a: Extended, b: Extended): { less: Expr; equal: Expr } {
  const [exponentA, exponentB] = [exponentOf(a), exponentOf(b)]
  const same = exponentA.eq(exponentB)
  const smaller = exponentA.ltU(exponentB).or(same.and(a.significand.ltU(b.significand)))
  const alike = same.and(a.significand.eq(b.significand))
  const differ = signOf(a).ne(signOf(b))
  const zeros = a.significand.or(b.significand).eqz()
  const negative = signOf(a).ne(0)
  const lessOfAlike = c.select(negative, smaller.or(alike).eqz(), smaller)
  return {
    less: c.select(differ, negative.and(zeros.eqz()), lessOfAlike),
    equal: c.select(differ, zeros, alike),
  }
}

/** Registers the routines; needs those of x87-routines.ts and x87-numeric.ts. */
export function x87FastRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const define = (
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
    build: (c: Code) => void,
  ) => routines.set(`x87.${name}`, module.func(`x87.${name}`, params, results, build))
  const tools = { define, known: (name: string) => routines.get(`x87.${name}`)! }
  defineArithmetic(tools)
  defineLoads(tools)
  defineStores(tools)
  defineCompares(tools)
}

interface Tools {
  readonly define: (
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
    build: (c: Code) => void,
  ) => void
  readonly known: (name: string) => Callable
}

function defineArithmetic({ define, known }: Tools): void {
  const leaveUnlessCommon = (c: Code, unusual: Label) =>
    c.branchIf(unusual, control(c).and(CONTROL).ne(CONTROL_COMMON))
  for (const operation of OPERATIONS) {
    const { name, code, reversed } = operation
    /**
     * x87.add(i, other, how): ST(i) = ST(i) op ST(other); reversed, ST(other) op ST(i). `how` is a mask of the two,
     * counted from TOP, and OPERATE_AND_POP.
     */
    define(name, ['i32', 'i32', 'i32'], [], (c) => {
      const [i, other, how] = [c.param(0), c.param(1), c.param(2)]
      c.block((unusual) => {
        const top = at(c, 'i32', L.FPU_TOP)
        const used = how.and(0xff)
        const tags = at(c, 'i32', L.FPU_TAGS).mul(0x101).shrU(top)
        c.branchIf(unusual, tags.and(used).ne(used))
        leaveUnlessCommon(c, unusual)
        const destination = new Register(c, top.add(i).and(7))
        const pair = [destination.value, new Register(c, top.add(other).and(7)).value] as const
        const operands: Operands = reversed ? [pair[1], pair[0]] : pair
        const done = () => {
          c.if(how.and(OPERATE_AND_POP), () => pop(c))
          c.return()
        }
        const end = { destination, unusual, done }
        c.block((special) => {
          leaveUnlessNormal(c, special, operands)
          operateNormal(c, operation, operands, end)
        })
        operateOnZero(c, operation, operands, end)
      })
      const [first, second] = reversed ? [other, i] : [i, other]
      c.tailCall(known('registersAndPop'), code, first, second, i, how)
    })
    /** x87.add.float64(bits): ST(0) = ST(0) op bits; reversed, bits op ST(0). */
    for (const memory of MEMORY)
      define(`${name}.${memory.name}`, ['i64'], [], (c) => {
        c.block((unusual) => {
          const top = stack(c, 0)
          leaveUnless(c, unusual, top.used.and(1))
          leaveUnlessCommon(c, unusual)
          const { value } = top
          const operands = (other: Extended): Operands => (reversed ? [other, value] : [value, other])
          const end = { destination: top, unusual, done: () => c.return() }
          eitherFromMemory(
            c,
            memory,
            unusual,
            (other) => {
              c.block((special) => {
                leaveUnlessNormal(c, special, [value])
                operateNormal(c, operation, operands(other), end)
              })
              operateOnZero(c, operation, operands(other), end)
            },
            (zero) => operateOnZero(c, operation, operands(zero), end),
          )
        })
        c.tailCall(known('memory'), code, reversed ? 1 : 0, memory.kind, c.param(0))
      })
  }
  /** x87.sqrt(): ST(0) = √ST(0). */
  define('sqrt', [], [], (c) => {
    c.block((unusual) => {
      const top = stack(c, 0)
      leaveUnless(c, unusual, top.used.and(1))
      leaveUnlessCommon(c, unusual)
      const { value } = top
      leaveUnlessNormal(c, unusual, [value])
      c.branchIf(unusual, signOf(value))
      const rounded = round(c, rootOfNormal(c, value), unusual)
      top.set(rounded.significand, rounded.signExponent)
      put32(c, L.FPU_STATUS, statusAfter(c, rounded))
      c.return()
    })
    c.tailCall(known('squareRootOfTop'))
  })
}

/** Pushes a number where there is room. */
function pushNumber(c: Code, { significand, signExponent }: Extended, unusual: Label): void {
  const register = stack(c, 7)
  c.branchIf(unusual, register.used.and(1))
  register.set(significand, signExponent)
  put32(c, L.FPU_TOP, register.number)
  put32(c, L.FPU_TAGS, at(c, 'i32', L.FPU_TAGS).or(c.i32(1).shl(register.number)))
  put32(c, L.FPU_STATUS, statusExact(c))
}

function defineLoads({ define, known }: Tools): void {
  /** x87.load.float64(bits): pushes what was read from memory. */
  for (const memory of MEMORY)
    define(`load.${memory.name}`, ['i64'], [], (c) => {
      c.block((unusual) =>
        eitherFromMemory(c, memory, unusual, (number) => {
          pushNumber(c, number, unusual)
          c.return()
        }),
      )
      c.tailCall(known('load'), memory.kind, c.param(0))
    })
  /** x87.pushValue(significand, sign and exponent): pushes them as they are. */
  define('pushValue', ['i64', 'i32'], [], (c) => {
    const value = { significand: c.param(0), signExponent: c.param(1) }
    c.block((unusual) => {
      pushNumber(c, value, unusual)
      c.return()
    })
    c.tailCall(known('pushOverflow'))
  })
}

function defineStores({ define, known }: Tools): void {
  /** Leaves the status word that belongs to a stored value to be set when it is stored. */
  const finish = (c: Code, { bits, inexact, up }: RoundedBits) => {
    put32(c, L.SF_FLAGS, statusAfter(c, { inexact, up }))
    c.return(bits)
  }
  const exactly = (c: Code, bits: Expr) => {
    put32(c, L.SF_FLAGS, statusExact(c))
    c.return(bits)
  }
  /** x87.stored.float64(): ST(0) as memory gets it; in SF_FLAGS the status word for then, or NOTHING_STORED with it. */
  for (const size of [32, 64] as const)
    define(`stored.float${size}`, [], ['i64'], (c) => {
      c.block((unusual) => {
        const top = stack(c, 0)
        const { value } = top
        leaveUnless(c, unusual, top.used.and(1))
        // Rounding to the nearest, and all masks.
        c.branchIf(
          unusual,
          control(c)
            .and(0xc00 | MASKS)
            .ne(MASKS),
        )
        c.if(isNormal(value).eqz(), () => {
          leaveUnless(c, unusual, isZero(value))
          exactly(
            c,
            signOf(value)
              .extendU()
              .shl(size - 16),
          )
        })
        finish(c, toFloat(c, size, value, unusual))
      })
      c.tailCall(known(`storedFloat${size}`))
    })
  /** x87.stored.integer(bits, mode): the same with an integer, in a rounding mode. */
  define('stored.integer', ['i32', 'i32'], ['i64'], (c) => {
    c.block((unusual) => {
      const top = stack(c, 0)
      const { value } = top
      leaveUnless(c, unusual, top.used.and(1))
      c.branchIf(unusual, control(c).and(MASKS).ne(MASKS))
      c.if(isNormal(value).eqz(), () => {
        leaveUnless(c, unusual, isZero(value))
        exactly(c, c.i64(0))
      })
      finish(c, toInteger(c, c.param(0), c.param(1), value, unusual))
    })
    c.tailCall(known('storedInteger'), c.param(0), c.param(1))
  })
}

function defineCompares({ define, known }: Tools): void {
  const numbers = (c: Code, a: Extended, b: Extended, unusual: Label) => {
    leaveUnlessNumber(c, unusual, a)
    leaveUnlessNumber(c, unusual, b)
    return order(c, a, b)
  }
  const registers = (c: Code, unusual: Label) => {
    const [a, b] = [stack(c, 0), stack(c, c.param(0))]
    leaveUnless(c, unusual, a.used.and(b.used).and(1))
    return numbers(c, a.value, b.value, unusual)
  }
  const toStatus = (c: Code, { less, equal }: { less: Expr; equal: Expr }) => {
    const codes = c.select(less, c.i32(STATUS_C0), c.select(equal, c.i32(STATUS_C3), 0))
    put32(
      c,
      L.FPU_STATUS,
      status(c)
        .and(~(STATUS_C1 | CODES))
        .or(codes),
    )
  }
  const popTimes = (c: Code, times: Expr) =>
    c.if(times, () => {
      pop(c)
      c.if(times.gtU(1), () => pop(c))
    })
  /** x87.compare(i, quiet, pops): ST(0) with ST(i), to the condition codes. */
  define('compare', ['i32', 'i32', 'i32'], [], (c) => {
    c.block((unusual) => {
      toStatus(c, registers(c, unusual))
      popTimes(c, c.param(2))
      c.return()
    })
    c.if(c.call(known('compareRegisters'), c.param(0), c.param(1)), () => popTimes(c, c.param(2)))
  })
  /** x87.compare.float64(bits, pops): ST(0) with memory. */
  for (const memory of MEMORY)
    define(`compare.${memory.name}`, ['i64', 'i32'], [], (c) => {
      c.block((unusual) => {
        const top = stack(c, 0)
        leaveUnless(c, unusual, top.used.and(1))
        const { value } = top
        eitherFromMemory(c, memory, unusual, (other) => {
          toStatus(c, numbers(c, value, other, unusual))
          popTimes(c, c.param(1))
          c.return()
        })
      })
      c.if(c.call(known('compareMemory'), memory.kind, c.param(0)), () => popTimes(c, c.param(1)))
    })
  /** x87.compareFlags(i, quiet, pops): ST(0) with ST(i); CF, PF and ZF at their places in RFLAGS. */
  define('compareFlags', ['i32', 'i32', 'i32'], ['i64'], (c) => {
    c.block((unusual) => {
      const { less, equal } = registers(c, unusual)
      c.if(c.param(2), () => pop(c))
      c.return(less.or(equal.shl(6)).extendU())
    })
    const flags = c.call(known('compareToFlags'), c.param(0), c.param(1))
    c.if(c.param(2).and(flags.ltU(NOT_POPPED)), () => pop(c))
    c.return(flags.and(NOT_POPPED - 1).extendU())
  })
}
