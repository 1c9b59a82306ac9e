/**
 * The x87's hot instructions in full, by soft float: what x87-fast.ts calls where something is unusual. Empty registers and
 * full stacks, NaNs, denormals, infinities, unmasked exceptions, other precisions and roundings end here.
 */
import { setResult } from '../float/extended.ts'
import {
  AT_CLASS,
  AT_HIGH,
  AT_SIGN,
  at,
  CLASS_QNAN,
  CLASS_SNAN,
  IE,
  OE,
  PE,
  put32,
  UE,
} from '../float/unpacked.ts'
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { ValueType } from '../wasm/opcodes.ts'
import { STATUS_C0, STATUS_C2, STATUS_C3, unmaskedExceptions } from './x87-routines.ts'

const CODES = STATUS_C0 | STATUS_C2 | STATUS_C3
const QUIET = 1n << 62n

/** In SF_FLAGS, beside the status word that a store leaves, where nothing is to be stored. */
export const NOTHING_STORED = -(2 ** 31)
/** Beside a comparison's flags: an unmasked exception keeps the operand. */
export const NOT_POPPED = 0x100

/** Beside a mask of the registers used: the instruction pops. */
export const OPERATE_AND_POP = 0x100

type Known = (name: string) => Callable
type Define = (
  name: string,
  params: readonly ValueType[],
  results: readonly ValueType[],
  build: (c: Code) => void,
) => void

export function x87ExactRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const known: Known = (name) => routines.get(`x87.${name}`)!
  const define: Define = (name, params, results, build) =>
    routines.set(`x87.${name}`, module.func(`x87.${name}`, params, results, build))
  defineFaults(define, known)
  define('load', ['i32', 'i64'], [], (c) => buildLoad(c, known))
  /** x87.registersAndPop(operation, first, second, destination, how). */
  define('registersAndPop', ['i32', 'i32', 'i32', 'i32', 'i32'], [], (c) => {
    const done = c.call(known('registers'), c.param(0), c.param(1), c.param(2), c.param(3))
    c.if(done.and(c.param(4).shrU(8)), () => c.call(known('pop')))
  })
  define('squareRootOfTop', [], [], (c) => {
    begin(c)
    c.if(c.call(known('isEmpty'), 0), () => {
      c.call(known('underflow'), 0)
      c.return()
    })
    c.call(known('unpack'), 0, L.SF_A)
    c.call(known('squareRoot'))
    c.if(c.call(known('commit')), () => c.call(known('write'), 0))
  })
  for (const size of [32, 64] as const)
    define(`storedFloat${size}`, [], ['i64'], (c) => {
      const indefinite = size === 32 ? 0xffc00000n : -(2n ** 51n)
      buildStored(c, known, c.i64(indefinite), () => c.call(known(`toFloat${size}`)))
    })
  define('storedInteger', ['i32', 'i32'], ['i64'], (c) => {
    const [bits, mode] = [c.param(0), c.param(1)]
    const indefinite = c.i64(-1).shl(bits.sub(1).extendU())
    buildStored(c, known, indefinite, () => c.call(known('toInteger'), bits, mode))
  })
  defineCompares(define, known)
}

/** Starts an operation: no exceptions yet, no rounding. */
function begin(c: Code): void {
  put32(c, L.SF_FLAGS, 0)
  put32(c, L.SF_ROUNDED_UP, 0)
}

/** What instructions do on empty registers and full stacks; where the fault is unmasked, nothing. */
function defineFaults(define: Define, known: Known): void {
  const masked = (c: Code, overflow: 0 | 1, then: () => void) =>
    c.if(c.call(known('stackFault'), overflow), then)
  const pushResult = (c: Code) => {
    put32(c, L.FPU_TOP, at(c, 'i32', L.FPU_TOP).sub(1).and(7))
    c.call(known('write'), 0)
  }
  /** x87.underflow(destination): the default NaN to ST(destination). */
  define('underflow', ['i32'], [], (c) => masked(c, 0, () => c.call(known('write'), c.param(0))))
  define('pushOverflow', [], [], (c) => masked(c, 1, () => pushResult(c)))
  define('pushUnderflow', [], [], (c) => masked(c, 0, () => pushResult(c)))
  /** x87.storeUnderflow(destination, pops): FST and FSTP to ST(destination). */
  define('storeUnderflow', ['i32', 'i32'], [], (c) =>
    masked(c, 0, () => {
      c.call(known('write'), c.param(0))
      c.if(c.param(1), () => c.call(known('pop')))
    }),
  )
  /** x87.exchangeUnderflow(i): FXCH with the default NaN in what is empty. */
  define('exchangeUnderflow', ['i32'], [], (c) => {
    const i = c.param(0)
    const [first, second] = [c.call(known('isEmpty'), 0), c.call(known('isEmpty'), i)]
    masked(c, 0, () => {
      c.if(first, () => c.call(known('write'), 0))
      c.if(second, () => c.call(known('write'), i))
      const [a, b] = [0, i].map((n) => at(c, 'i32', L.FPU_TOP).add(n).and(7).shl(4)) as [Expr, Expr]
      const value = c.load('v128', a, L.X87)
      c.store('v128', a, c.load('v128', b, L.X87), L.X87)
      c.store('v128', b, value, L.X87)
    })
  })
}

/** x87.load(kind, bits): FLD m32, FLD m64, FILD. To 80 bits exactly; a signaling NaN is quieted and invalid. */
function buildLoad(c: Code, known: Known): void {
  begin(c)
  // A full stack comes before anything about the operand.
  c.if(c.call(known('isEmpty'), 7).eqz(), () => {
    c.call(known('pushOverflow'))
    c.return()
  })
  c.call(known('unpackMemory'), c.param(0), c.param(1), L.SF_A)
  const kind = at(c, 'i32', L.SF_A + AT_CLASS)
  c.if(
    kind.geU(CLASS_QNAN),
    () => {
      put32(c, L.SF_FLAGS, kind.eq(CLASS_SNAN))
      const sign = at(c, 'i32', L.SF_A + AT_SIGN).shl(15)
      setResult(c, at(c, 'i64', L.SF_A + AT_HIGH).or(QUIET), sign.or(0x7fff))
    },
    () => {
      c.copyMemory(c.i32(L.SF_R), c.i32(L.SF_A), c.i32(32))
      c.call(known('round'), 64)
    },
  )
  // A denormal operand, even unmasked, is loaded; an invalid one is not.
  const invalid = at(c, 'i32', L.SF_FLAGS).and(unmaskedExceptions(c)).and(IE)
  c.call(known('commit'))
  c.if(invalid.eqz(), () => c.call(known('push')))
}

/**
 * ST(0) as memory gets it, or `indefinite` where it is empty. The status word stays; its value for when the store is done is
 * left in SF_FLAGS. An unmasked invalid operation, overflow or underflow stores nothing.
 */
function buildStored(c: Code, known: Known, indefinite: Expr, convert: () => Expr): void {
  const before = at(c, 'i32', L.FPU_STATUS)
  const leave = (value: Expr, stores: Expr) => {
    const after = at(c, 'i32', L.FPU_STATUS)
    put32(c, L.SF_FLAGS, c.select(stores, after, after.or(NOTHING_STORED)))
    put32(c, L.FPU_STATUS, before)
    c.return(value)
  }
  begin(c)
  c.if(c.call(known('isEmpty'), 0), () => leave(indefinite, c.call(known('stackFault'), 0)))
  const value = convert()
  const forbidden = at(c, 'i32', L.SF_FLAGS)
    .and(unmaskedExceptions(c))
    .and(IE | OE | UE)
  // Where nothing is stored, nothing was rounded.
  c.if(forbidden, () => {
    put32(c, L.SF_FLAGS, at(c, 'i32', L.SF_FLAGS).and(~PE))
    put32(c, L.SF_ROUNDED_UP, 0)
  })
  c.call(known('commit'))
  leave(value, forbidden.eqz())
}

/** C3, C2 and C0 for less, equal, greater and unordered. */
function conditionCodes(c: Code, order: Expr): Expr {
  const equal = c.select(order.eq(1), c.i32(STATUS_C3), 0)
  const greater = c.select(order.eq(2), c.i32(0), equal)
  const less = c.select(order.eqz(), c.i32(STATUS_C0), greater)
  return c.select(order.eq(3), c.i32(CODES), less)
}
function setCodes(c: Code, codes: Expr): void {
  put32(c, L.FPU_STATUS, at(c, 'i32', L.FPU_STATUS).and(~CODES).or(codes))
}

function defineCompares(define: Define, known: Known): void {
  const isEmpty = (c: Code, i: Expr | number) => c.call(known('isEmpty'), i)
  /** A compare with an empty register is unordered, and pops where the stack fault is masked. */
  const compareEmpty = (c: Code) => {
    setCodes(c, c.i32(CODES))
    c.return(c.call(known('stackFault'), 0))
  }
  /** SF_A and SF_B to the condition codes. */
  const compare = (c: Code, quiet: Expr | number) => {
    const order = c.call(known('order'), quiet)
    put32(c, L.SF_ROUNDED_UP, 0)
    setCodes(c, conditionCodes(c, order))
    c.return(c.call(known('commit')))
  }
  const unpackRegisters = (c: Code, i: Expr) => {
    c.call(known('unpack'), 0, L.SF_A)
    c.call(known('unpack'), i, L.SF_B)
  }
  /** x87.compareRegisters(i, quiet): ST(0) with ST(i), to the condition codes. Returns 1 where operands may be popped. */
  define('compareRegisters', ['i32', 'i32'], ['i32'], (c) => {
    begin(c)
    c.if(isEmpty(c, 0).or(isEmpty(c, c.param(0))), () => compareEmpty(c))
    unpackRegisters(c, c.param(0))
    compare(c, c.param(1))
  })
  /** x87.compareMemory(kind, bits): the same with memory. */
  define('compareMemory', ['i32', 'i64'], ['i32'], (c) => {
    begin(c)
    c.if(isEmpty(c, 0), () => compareEmpty(c))
    c.call(known('unpack'), 0, L.SF_A)
    c.call(known('unpackMemory'), c.param(0), c.param(1), L.SF_B)
    compare(c, 0)
  })
  /** x87.compareToFlags(i, quiet): CF, PF and ZF for FCOMI, with NOT_POPPED. C1 stays as it is, but for a stack fault. */
  define('compareToFlags', ['i32', 'i32'], ['i32'], (c) => {
    const kept = (isKept: Expr) => c.select(isKept, c.i32(NOT_POPPED), 0)
    begin(c)
    c.if(isEmpty(c, 0).or(isEmpty(c, c.param(0))), () => {
      c.return(kept(c.call(known('stackFault'), 0).eqz()).or(0x45))
    })
    unpackRegisters(c, c.param(0))
    const order = c.call(known('order'), c.param(1))
    const unmasked = c.call(known('raiseFlags'), at(c, 'i32', L.SF_FLAGS))
    const equal = c.select(order.eq(1), c.i32(0x40), 0)
    const less = c.select(order.eqz(), c.i32(1), equal)
    c.return(c.select(order.eq(3), c.i32(0x45), less).or(kept(unmasked)))
  })
}
