/** What the x87's instructions share: the register stack, exceptions, arithmetic. */
import { ARITHMETIC_DIVIDE_BY_ZERO, ARITHMETIC_INVALID } from '../float/arithmetic.ts'
import { defineExtended, setResult } from '../float/extended.ts'
import {
  AT_CLASS,
  AT_EXPONENT,
  AT_HIGH,
  AT_LOW,
  AT_SIGN,
  at,
  CLASS_INVALID,
  CLASS_NORMAL,
  CLASS_QNAN,
  CLASS_SNAN,
  CLASS_ZERO,
  DE,
  IE,
  put32,
  raise,
  ZE,
} from '../float/unpacked.ts'
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'

/** Status word: stack fault, the condition codes, error summary and busy. */
export const STATUS_SF = 0x40
export const STATUS_C0 = 0x100
export const STATUS_C1 = 0x200
export const STATUS_C2 = 0x400
export const STATUS_C3 = 0x4000
const SUMMARY = 0x8080
const EXCEPTIONS = 0x3f

/** Arithmetic of `x87Registers` and `x87Memory`. */
export const X87_ADD = 0
export const X87_SUB = 1
export const X87_MUL = 2
export const X87_DIV = 3

/** Operands in memory. */
export const MEMORY_FLOAT32 = 0
export const MEMORY_FLOAT64 = 1
/** A sign-extended integer. */
export const MEMORY_INTEGER = 2

const NAN_SIGNIFICAND = -(1n << 62n)
const NAN_SIGN_EXPONENT = 0xffff

const status = (c: Code): Expr => at(c, 'i32', L.FPU_STATUS)
const control = (c: Code): Expr => at(c, 'i32', L.FPU_CONTROL)
/** Rounding mode, in soft float's encoding, which is the x87's. */
export const roundingMode = (c: Code): Expr => control(c).shrU(10).and(3)
export const unmaskedExceptions = (c: Code): Expr => control(c).not().and(EXCEPTIONS)
/** Significand bits that precision control asks for. */
export function precision(c: Code): Expr {
  const pc = control(c).shrU(8).and(3)
  return c.select(pc.eqz(), c.i32(24), c.select(pc.eq(2), c.i32(53), 64))
}
const physical = (c: Code, i: Expr | number): Expr => at(c, 'i32', L.FPU_TOP).add(i).and(7)

export function defaultNan(c: Code): void {
  setResult(c, NAN_SIGNIFICAND, NAN_SIGN_EXPONENT)
}

/** Names of the routines, for those who call them. */
export type X87Routines = ReturnType<typeof defineBasics>

function defineBasics(module: ModuleBuilder) {
  /** x87IsEmpty(i). */
  const isEmpty = module.func('x87IsEmpty', ['i32'], ['i32'], (c) =>
    c.return(
      at(c, 'i32', L.FPU_TAGS)
        .shrU(physical(c, c.param(0)))
        .and(1)
        .eqz(),
    ),
  )
  /** x87Raise(flags): to the status word; returns the unmasked ones. */
  const raiseFlags = module.func('x87Raise', ['i32'], ['i32'], (c) => {
    const now = status(c).or(c.param(0))
    const unmasked = unmaskedExceptions(c)
    const summary = c.select(now.and(unmasked), c.i32(SUMMARY), 0)
    put32(c, L.FPU_STATUS, now.and(~SUMMARY).or(summary))
    c.return(c.param(0).and(unmasked))
  })
  /** x87StackFault(overflow): IE and SF; C1 says overflow. Returns 1 where masked, with the default NaN as result. */
  const stackFault = module.func('x87StackFault', ['i32'], ['i32'], (c) => {
    const c1 = c.select(c.param(0), c.i32(STATUS_C1), 0)
    put32(c, L.FPU_STATUS, status(c).and(~STATUS_C1).or(c1))
    defaultNan(c)
    c.return(c.call(raiseFlags, IE | STATUS_SF).eqz())
  })
  /** x87Write(i): the result to ST(i). */
  const write = module.func('x87Write', ['i32'], [], (c) => {
    const register = physical(c, c.param(0))
    put32(c, L.FPU_TAGS, at(c, 'i32', L.FPU_TAGS).or(c.i32(1).shl(register)))
    c.store('i64', register.shl(4), at(c, 'i64', L.X87_RESULT), L.X87)
    c.store('i32_16', register.shl(4), at(c, 'i32', L.X87_RESULT + 8), L.X87 + 8)
  })
  const pop = module.func('x87Pop', [], [], (c) => {
    const top = at(c, 'i32', L.FPU_TOP)
    put32(c, L.FPU_TAGS, at(c, 'i32', L.FPU_TAGS).and(c.i32(1).shl(top).not()))
    put32(c, L.FPU_TOP, top.add(1).and(7))
  })
  /** x87Commit(): SF_FLAGS and C1 to the status word; 0 where an unmasked exception forbids the result. */
  const commit = module.func('x87Commit', [], ['i32'], (c) => {
    // An exception about the operands, unmasked, comes before any about the result.
    const early = at(c, 'i32', L.SF_FLAGS)
      .and(unmaskedExceptions(c))
      .and(IE | DE | ZE)
    c.if(early, () => {
      put32(c, L.SF_FLAGS, at(c, 'i32', L.SF_FLAGS).and(IE | DE | ZE))
      put32(c, L.SF_ROUNDED_UP, 0)
    })
    const c1 = c.select(at(c, 'i32', L.SF_ROUNDED_UP), c.i32(STATUS_C1), 0)
    put32(c, L.FPU_STATUS, status(c).and(~STATUS_C1).or(c1))
    const unmasked = c.call(raiseFlags, at(c, 'i32', L.SF_FLAGS))
    c.return(unmasked.and(IE | DE | ZE).eqz())
  })
  /** x87Push(): the result onto the stack; C1 = 0, or a stack overflow. Returns 1 where it was pushed. */
  const push = module.func('x87Push', [], ['i32'], (c) => {
    const free = c.call(isEmpty, 7)
    put32(c, L.FPU_STATUS, status(c).and(~STATUS_C1))
    c.if(free.eqz(), () => {
      c.if(c.call(stackFault, 1).eqz(), () => c.return(0))
    })
    put32(c, L.FPU_TOP, physical(c, 7))
    c.call(write, 0)
    c.return(1)
  })
  return { isEmpty, raiseFlags, stackFault, write, pop, commit, push }
}

/** An integer (i64) as an unpacked number in the slot. */
function unpackInteger(c: Code, value: Expr, slot: Expr): void {
  const negative = value.ltS(0)
  const magnitude = c.select(negative, value.neg(), value)
  const zeros = magnitude.clz()
  c.store('i32', slot, c.select(magnitude.eqz(), c.i32(CLASS_ZERO), CLASS_NORMAL), AT_CLASS)
  c.store('i32', slot, negative, AT_SIGN)
  c.store('i32', slot, c.i32(63).sub(zeros.wrap()), AT_EXPONENT)
  c.store('i64', slot, magnitude.shl(zeros), AT_HIGH)
  c.store('i64', slot, 0, AT_LOW)
}

/** Registers the routines; needs those of float/. */
export function x87Routines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const known = (name: string): Callable => routines.get(name)!
  const basics = defineBasics(module)
  const extended = defineExtended(module, known('sfRound'))
  const add = (name: string, callable: Callable): Callable => {
    routines.set(name, callable)
    return callable
  }
  for (const [name, callable] of Object.entries(basics)) add(`x87.${name}`, callable)
  for (const [name, callable] of Object.entries(extended)) add(name, callable)

  /** x87Unpack(i, slot). */
  const unpack = add(
    'x87.unpack',
    module.func('x87Unpack', ['i32', 'i32'], [], (c) => {
      const register = physical(c, c.param(0)).shl(4)
      c.call(
        extended.unpack80,
        c.load('i64', register, L.X87),
        c.load('i32_16u', register, L.X87 + 8),
        c.param(1),
      )
    }),
  )
  /** x87UnpackMemory(kind, bits, slot). */
  const unpackMemory = add(
    'x87.unpackMemory',
    module.func('x87UnpackMemory', ['i32', 'i64', 'i32'], [], (c) => {
      const [kind, bits, slot] = [c.param(0), c.param(1), c.param(2)]
      c.switch(
        kind,
        [() => c.call(known('unpack32'), bits, slot, 0), () => c.call(known('unpack64'), bits, slot, 0)],
        () => unpackInteger(c, bits, slot),
      )
    }),
  )
  /** x87Round(precision): rounds SF_R to the result with the control word's mode. */
  const roundResult = add(
    'x87.round',
    module.func('x87Round', ['i32'], [], (c) => {
      c.call(extended.pack80, roundingMode(c), c.param(0), unmaskedExceptions(c))
    }),
  )
  /** x87Special(): 1 where SF_A or SF_B is a NaN or no number; then the result and SF_FLAGS are set. */
  const special = add(
    'x87.special',
    module.func('x87Special', [], ['i32'], (c) => {
      const [kindA, kindB] = [at(c, 'i32', L.SF_A + AT_CLASS), at(c, 'i32', L.SF_B + AT_CLASS)]
      c.if(kindA.ltU(CLASS_QNAN).and(kindB.ltU(CLASS_QNAN)), () => c.return(0))
      put32(c, L.SF_ROUNDED_UP, 0)
      put32(c, L.SF_FLAGS, 0)
      c.if(kindA.eq(CLASS_INVALID).or(kindB.eq(CLASS_INVALID)), () => {
        raise(c, IE)
        defaultNan(c)
        c.return(1)
      })
      c.call(extended.nanOf)
      c.return(1)
    }),
  )
  /** x87Invalid(): IE and the default NaN. A denormal operand is then no exception of its own. */
  const invalid = add(
    'x87.invalid',
    module.func('x87Invalid', [], [], (c) => {
      put32(c, L.SF_FLAGS, IE)
      put32(c, L.SF_ROUNDED_UP, 0)
      defaultNan(c)
    }),
  )
  /** x87Operate(operation, destination): SF_A op SF_B to ST(destination); 0 where an unmasked exception forbids it. */
  const operate = add(
    'x87.operate',
    module.func('x87Operate', ['i32', 'i32'], ['i32'], (c) => {
      c.if(c.call(special).eqz(), () => {
        const failed = c.variable('i32', 0)
        c.switch(
          c.param(0),
          [
            () => failed.set(c.call(known('sf.add'), 0, roundingMode(c))),
            () => failed.set(c.call(known('sf.add'), 1, roundingMode(c))),
            () => failed.set(c.call(known('sf.multiply'))),
          ],
          () => failed.set(c.call(known('sf.divide'))),
        )
        c.if(failed.get().eq(ARITHMETIC_DIVIDE_BY_ZERO), () => put32(c, L.SF_FLAGS, ZE))
        c.if(
          failed.get().eq(ARITHMETIC_INVALID),
          () => c.call(invalid),
          () => c.call(roundResult, precision(c)),
        )
      })
      c.if(c.call(basics.commit).eqz(), () => c.return(0))
      c.call(basics.write, c.param(1))
      c.return(1)
    }),
  )
  const underflow = (c: Code, destination: Expr | number, otherwise: () => void) => {
    c.if(c.call(basics.stackFault, 0).eqz(), otherwise)
    c.call(basics.write, destination)
  }
  /** x87Registers(operation, first, second, destination): on ST(i). */
  add(
    'x87.registers',
    module.func('x87Registers', ['i32', 'i32', 'i32', 'i32'], ['i32'], (c) => {
      const [operation, first, second, destination] = [c.param(0), c.param(1), c.param(2), c.param(3)]
      put32(c, L.SF_FLAGS, 0)
      c.if(c.call(basics.isEmpty, first).or(c.call(basics.isEmpty, second)), () => {
        underflow(c, destination, () => c.return(0))
        c.return(1)
      })
      c.call(unpack, first, L.SF_A)
      c.call(unpack, second, L.SF_B)
      c.return(c.call(operate, operation, destination))
    }),
  )
  /** x87Memory(operation, reversed, kind, bits): ST(0) and memory. */
  add(
    'x87.memory',
    module.func('x87Memory', ['i32', 'i32', 'i32', 'i64'], [], (c) => {
      const [operation, reversed, kind, bits] = [c.param(0), c.param(1), c.param(2), c.param(3)]
      put32(c, L.SF_FLAGS, 0)
      c.if(c.call(basics.isEmpty, 0), () => {
        underflow(c, 0, () => c.return())
        c.return()
      })
      c.call(unpack, 0, c.select(reversed, c.i32(L.SF_B), L.SF_A))
      c.call(unpackMemory, kind, bits, c.select(reversed, c.i32(L.SF_A), L.SF_B))
      c.call(operate, operation, 0)
    }),
  )
  /** x87Order(quiet): 0 less, 1 equal, 2 greater, 3 unordered; SF_A and SF_B are loaded. Sets SF_FLAGS. */
  add(
    'x87.order',
    module.func('x87Order', ['i32'], ['i32'], (c) => {
      const [kindA, kindB] = [at(c, 'i32', L.SF_A + AT_CLASS), at(c, 'i32', L.SF_B + AT_CLASS)]
      c.if(kindA.geU(CLASS_QNAN).or(kindB.geU(CLASS_QNAN)), () => {
        const bad = (kind: Expr) => kind.geU(CLASS_SNAN)
        const signaling = bad(kindA).or(bad(kindB)).or(c.param(0).eqz())
        put32(c, L.SF_FLAGS, signaling)
        c.return(3)
      })
      c.return(c.call(known('sf.compare')))
    }),
  )
  defineNarrowStores(module, add, { known, unpack, isEmpty: basics.isEmpty })
}

/** Stores of ST(0) as binary32, binary64 and integers: the bits to SCRATCH-like X87_RESULT, flags to SF_FLAGS. */
function defineNarrowStores(
  module: ModuleBuilder,
  add: (name: string, callable: Callable) => Callable,
  { known, unpack }: { known: (name: string) => Callable; unpack: Callable; isEmpty: Callable },
): void {
  for (const bits of [32, 64] as const) {
    const fraction = bits === 32 ? 24 : 53
    const exponentOnes = (bits === 32 ? 0xffn : 0x7ffn) << BigInt(fraction - 1)
    const quiet = 1n << BigInt(fraction - 2)
    /** x87ToFloat{n}(): ST(0), not empty, rounded; denormal operands are no exception here. */
    add(
      `x87.toFloat${bits}`,
      module.func(`x87ToFloat${bits}`, [], ['i64'], (c) => {
        c.call(unpack, 0, L.SF_A)
        put32(c, L.SF_FLAGS, 0)
        put32(c, L.SF_ROUNDED_UP, 0)
        const kind = at(c, 'i32', L.SF_A + AT_CLASS)
        const sign = at(c, 'i64_32u', L.SF_A + AT_SIGN).shl(bits - 1)
        c.if(kind.eq(CLASS_INVALID), () => {
          raise(c, IE)
          c.return(bits === 32 ? 0xffc00000n : -(2n ** 51n))
        })
        c.if(kind.geU(CLASS_QNAN), () => {
          raise(c, kind.eq(CLASS_SNAN))
          const payload = at(c, 'i64', L.SF_A + AT_HIGH)
            .shl(1)
            .shrU(65 - fraction)
          c.return(sign.or(exponentOnes).or(payload).or(quiet))
        })
        c.copyMemory(c.i32(L.SF_R), c.i32(L.SF_A), c.i32(32))
        const underflow = c.select(unmaskedExceptions(c).and(16), c.i32(16), 0)
        c.return(c.call(known(`pack${bits}`), roundingMode(c).or(underflow)))
      }),
    )
  }
  /** x87ToInteger(bits, mode): ST(0), not empty, to 16, 32 or 64 bits; the integer indefinite with IE. */
  add(
    'x87.toInteger',
    module.func('x87ToInteger', ['i32', 'i32'], ['i64'], (c) => {
      const [bits, mode] = [c.param(0), c.param(1)]
      c.call(unpack, 0, L.SF_A)
      put32(c, L.SF_FLAGS, 0)
      put32(c, L.SF_ROUNDED_UP, 0)
      const kind = at(c, 'i32', L.SF_A + AT_CLASS)
      c.if(kind.eq(CLASS_ZERO), () => c.return(0))
      const half = c.i64(1).shl(bits.sub(1).extendU())
      const refuse = () => {
        put32(c, L.SF_FLAGS, IE)
        put32(c, L.SF_ROUNDED_UP, 0)
        c.return(half)
      }
      c.if(kind.ne(CLASS_NORMAL).or(at(c, 'i32', L.SF_A + AT_EXPONENT).geS(bits)), refuse)
      const magnitude = c.call(known('sf.roundInteger'), mode)
      const sign = at(c, 'i32', L.SF_A + AT_SIGN)
      c.if(magnitude.gtU(half.sub(1).add(sign.extendU())), refuse)
      c.return(c.select(sign, magnitude.neg(), magnitude))
    }),
  )
}
