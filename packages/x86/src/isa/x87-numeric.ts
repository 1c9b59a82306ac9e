/** Square roots, rounding, scaling and remainders of the x87. */
import {
  AT_CLASS,
  AT_EXPONENT,
  AT_HIGH,
  AT_LOW,
  AT_SIGN,
  at,
  CLASS_INFINITY,
  CLASS_NORMAL,
  CLASS_ZERO,
  put32,
  put64,
  ZE,
} from '../float/unpacked.ts'
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning } from './meaning.ts'
import { begin, call, clearC1, isEmpty, plain, setResult, setStatus, unlessEmpty, x87 } from './x87-common.ts'
import { precision, roundingMode, STATUS_C0, STATUS_C1, STATUS_C2, STATUS_C3 } from './x87-routines.ts'

const TOP = -(2n ** 63n)

const kindOf = (c: Code, slot: number): Expr => at(c, 'i32', slot + AT_CLASS)
const exponentOf = (c: Code, slot: number): Expr => at(c, 'i32', slot + AT_EXPONENT)

/** Registers routines that leave their result in X87_RESULT and exceptions in SF_FLAGS; operands are unpacked already. */
export function x87NumericRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const known = (name: string): Callable => routines.get(name)!
  /** One operand: a NaN is quieted, what is no number is invalid. */
  const single = (name: string, build: (c: Code) => void) =>
    routines.set(
      name,
      module.func(name, [], [], (c) => {
        put32(c, L.SF_B + AT_CLASS, CLASS_ZERO)
        c.if(c.call(known('x87.special')), () => c.return())
        build(c)
      }),
    )
  single('x87.squareRoot', (c) => {
    c.if(
      c.call(known('sf.squareRoot')),
      () => c.call(known('x87.invalid')),
      () => c.call(known('x87.round'), precision(c)),
    )
  })
  single('x87.toIntegral', (c) => {
    const kind = kindOf(c, L.SF_A)
    c.copyMemory(c.i32(L.SF_R), c.i32(L.SF_A), c.i32(32))
    c.if(kind.ne(CLASS_NORMAL).or(exponentOf(c, L.SF_A).geS(63)), () => {
      c.call(known('x87.round'), 64)
      c.return()
    })
    const magnitude = c.call(known('sf.roundInteger'), roundingMode(c))
    const up = at(c, 'i32', L.SF_ROUNDED_UP)
    const zeros = magnitude.clz()
    put32(c, L.SF_R + AT_CLASS, c.select(magnitude.eqz(), c.i32(CLASS_ZERO), CLASS_NORMAL))
    put32(c, L.SF_R + AT_EXPONENT, c.i32(63).sub(zeros.wrap()))
    put64(c, L.SF_R + AT_HIGH, magnitude.shl(zeros))
    c.call(known('x87.round'), 64)
    put32(c, L.SF_ROUNDED_UP, up)
  })
  routines.set(
    'x87.scale',
    module.func('x87.scale', [], [], (c) => buildScale(c, known)),
  )
  routines.set(
    'x87.remainder',
    module.func('x87.remainder', ['i32'], ['i32'], (c) => buildRemainder(c, known)),
  )
}

/** FSCALE: SF_A · 2^trunc(SF_B). */
function buildScale(c: Code, known: (name: string) => Callable): void {
  c.if(c.call(known('x87.special')), () => c.return())
  const [kindA, kindB] = [kindOf(c, L.SF_A), kindOf(c, L.SF_B)]
  const signB = at(c, 'i32', L.SF_B + AT_SIGN)
  c.copyMemory(c.i32(L.SF_R), c.i32(L.SF_A), c.i32(32))
  const finish = () => {
    c.call(known('x87.round'), 64)
    c.return()
  }
  const invalid = () => {
    c.call(known('x87.invalid'))
    c.return()
  }
  c.if(kindB.eq(CLASS_INFINITY), () => {
    c.if(signB, () => {
      c.if(kindA.eq(CLASS_INFINITY), invalid)
      put32(c, L.SF_R + AT_CLASS, CLASS_ZERO)
      finish()
    })
    c.if(kindA.eq(CLASS_ZERO), invalid)
    put32(c, L.SF_R + AT_CLASS, CLASS_INFINITY)
    finish()
  })
  c.if(kindA.ne(CLASS_NORMAL).or(kindB.eq(CLASS_ZERO)), finish)
  const exponentB = exponentOf(c, L.SF_B)
  // Beyond 2^16 every finite number overflows or underflows.
  const huge = exponentB.gtS(16)
  const integer = at(c, 'i64', L.SF_B + AT_HIGH).shrU(c.i32(63).sub(exponentB).extendU())
  const magnitude = c.select(huge, c.i32(1 << 17), c.select(exponentB.ltS(0), c.i32(0), integer.wrap()))
  const by = c.select(signB, magnitude.neg(), magnitude)
  put32(c, L.SF_R + AT_EXPONENT, exponentOf(c, L.SF_A).add(by))
  finish()
}

const PARTIAL = 64

/**
 * x87.remainder(nearest): FPREM and FPREM1 of SF_A by SF_B. Returns the condition codes: C2 where the reduction is not complete,
 * else the quotient's low bits in C0, C3, C1. SDM Vol. 2A, "FPREM—Partial Remainder".
 */
function buildRemainder(c: Code, known: (name: string) => Callable): void {
  const nearest = c.param(0)
  const nothing = c.i32(0)
  c.if(c.call(known('x87.special')), () => c.return(nothing))
  const [kindA, kindB] = [kindOf(c, L.SF_A), kindOf(c, L.SF_B)]
  c.if(kindA.eq(CLASS_INFINITY).or(kindB.eq(CLASS_ZERO)), () => {
    c.call(known('x87.invalid'))
    c.return(nothing)
  })
  c.copyMemory(c.i32(L.SF_R), c.i32(L.SF_A), c.i32(32))
  const pack = () => c.call(known('x87.round'), 64)
  c.if(kindA.eq(CLASS_ZERO).or(kindB.eq(CLASS_INFINITY)), () => {
    pack()
    c.return(nothing)
  })
  const [exponentA, exponentB] = [exponentOf(c, L.SF_A), exponentOf(c, L.SF_B)]
  const difference = exponentA.sub(exponentB)
  c.if(difference.ltS(-1).or(difference.eq(-1).and(nearest.eqz())), () => {
    pack()
    c.return(nothing)
  })
  const divisor = at(c, 'i64', L.SF_B + AT_HIGH)
  const complete = difference.ltS(PARTIAL)
  // An incomplete reduction takes 32 to 63 bits off, so that what is left to do is a multiple of 32.
  const steps = c.select(complete, difference, difference.and(31).or(32))
  const rest = c.variable('i64', at(c, 'i64', L.SF_A + AT_HIGH))
  const carry = c.variable('i32', 0)
  const quotient = c.variable('i64', 0)
  const exponent = c.variable('i32', exponentB)
  const i = c.variable('i32', steps)
  c.if(difference.ltS(0), () => exponent.set(exponentA))
  c.while(
    () => i.get().geS(0),
    () => {
      const fits = carry.get().or(rest.get().geU(divisor))
      quotient.set(quotient.get().shl(1).or(fits.ne(0).extendU()))
      c.if(fits, () => rest.set(rest.get().sub(divisor)))
      carry.set(0)
      c.if(i.get().ne(0), () => {
        carry.set(rest.get().shrU(63).wrap())
        rest.set(rest.get().shl(1))
      })
      i.set(i.get().sub(1))
    },
  )
  const sign = c.variable('i32', at(c, 'i32', L.SF_A + AT_SIGN))
  c.if(complete.eqz(), () => exponent.set(exponentA.sub(steps)))
  c.if(complete.and(nearest), () => roundQuotient(c, { rest, quotient, sign, divisor, difference }))
  const value = rest.get()
  put32(c, L.SF_R + AT_SIGN, sign.get())
  put32(c, L.SF_R + AT_CLASS, c.select(value.eqz(), c.i32(CLASS_ZERO), CLASS_NORMAL))
  const zeros = value.clz()
  put32(c, L.SF_R + AT_EXPONENT, exponent.get().sub(zeros.wrap()))
  put64(c, L.SF_R + AT_HIGH, value.shl(zeros))
  put64(c, L.SF_R + AT_LOW, 0)
  c.if(value.eqz(), () => put32(c, L.SF_R + AT_SIGN, at(c, 'i32', L.SF_A + AT_SIGN)))
  pack()
  c.if(complete.eqz(), () => c.return(STATUS_C2))
  const q = quotient.get().wrap()
  const bit = (n: number, code: number) => c.select(q.and(1 << n), c.i32(code), 0)
  c.return(bit(2, STATUS_C0).or(bit(1, STATUS_C3)).or(bit(0, STATUS_C1)))
}

/** The nearest quotient, ties to even: the rest may become negative. */
function roundQuotient(
  c: Code,
  state: Record<'rest' | 'quotient' | 'sign', ReturnType<Code['variable']>> & {
    divisor: Expr
    difference: Expr
  },
): void {
  const { rest, quotient, sign, divisor, difference } = state
  // At a difference of −1 the rest is the dividend itself, at half the divisor's scale.
  const below = difference.ltS(0)
  const value = rest.get()
  const twice = value.shl(1)
  const overflow = value.shrU(63).wrap()
  const more = c.select(below, value.gtU(divisor), overflow.or(twice.gtU(divisor)))
  const tie = c.select(below, value.eq(divisor), overflow.eqz().and(twice.eq(divisor)))
  const odd = quotient.get().wrap().and(1)
  c.if(more.or(tie.and(odd)), () => {
    // Below: 2 · divisor − rest at the dividend's scale, which fits since the rest exceeds the divisor.
    rest.set(c.select(below, divisor.shl(1).sub(value), divisor.sub(value)))
    quotient.set(quotient.get().add(1))
    sign.set(sign.get().xor(1))
  })
}

function unary(mnemonic: string, bytes: string, routine: string): Instruction {
  return x87(mnemonic, [plain(bytes)], (u) => {
    begin(u)
    unlessEmpty(u, isEmpty(u, 0), 0, () => {
      call(u, 'unpack', 0, L.SF_A)
      call(u, routine)
      u.if(call(u, 'commit'), () => call(u, 'write', 0))
    })
  })
}

function remainder(mnemonic: string, bytes: string, nearest: boolean): Instruction {
  return x87(mnemonic, [plain(bytes)], (u) => {
    begin(u)
    setStatus(u, STATUS_C2, 0)
    unlessEmpty(u, isEmpty(u, 0).or(isEmpty(u, 1)), 0, () => {
      call(u, 'unpack', 0, L.SF_A)
      call(u, 'unpack', 1, L.SF_B)
      const codes = call(u, 'remainder', nearest ? 1 : 0)
      const isNumber = u
        .state('i32', L.X87_RESULT + 8)
        .and(0x7fff)
        .ne(0x7fff)
      u.if(call(u, 'commit'), () => {
        call(u, 'write', 0)
        u.if(isNumber, () => setStatus(u, STATUS_C0 | STATUS_C1 | STATUS_C2 | STATUS_C3, codes))
      })
    })
  })
}

/** FXTRACT: ST(0) becomes the exponent, and the significand is pushed. */
function extract(u: Meaning): void {
  begin(u)
  clearC1(u)
  const [empty, full] = [isEmpty(u, 0), isEmpty(u, 7).eqz()]
  const pushResult = () => {
    u.setState('i32', L.FPU_TOP, u.state('i32', L.FPU_TOP).sub(1).and(7))
    call(u, 'write', 0)
  }
  const both = () => {
    call(u, 'write', 0)
    pushResult()
  }
  u.if(
    empty.or(full),
    () => {
      const masked = u.variable('i32', 0)
      u.if(
        empty,
        () => masked.set(call(u, 'stackFault', 0)),
        () => masked.set(call(u, 'stackFault', 1)),
      )
      u.if(masked.get(), both)
    },
    () => {
      call(u, 'unpack', 0, L.SF_A)
      u.setState('i32', L.SF_B + AT_CLASS, CLASS_ZERO)
      u.if(
        call(u, 'special'),
        () => u.if(call(u, 'commit'), both),
        () => extractNumber(u, pushResult),
      )
    },
  )
}

function extractNumber(u: Meaning, pushResult: () => void): void {
  const kind = u.state('i32', L.SF_A + AT_CLASS)
  const sign = u.state('i32', L.SF_A + AT_SIGN).shl(15)
  u.if(
    kind.eq(CLASS_NORMAL),
    () =>
      u.if(call(u, 'commit'), () => {
        const significand = u.state('i64', L.SF_A + AT_HIGH)
        call(u, 'unpackMemory', 2, u.state('i32', L.SF_A + AT_EXPONENT).extendS(), L.SF_R)
        call(u, 'round', 64)
        call(u, 'write', 0)
        setResult(u, significand, sign.or(0x3fff))
        pushResult()
      }),
    () => {
      const isZero = kind.eq(CLASS_ZERO)
      u.if(isZero, () => u.setState('i32', L.SF_FLAGS, ZE))
      u.if(call(u, 'commit'), () => {
        const value = u.select(isZero, u.i64(0), u.i64(TOP))
        // The exponent of zero is −∞, of an infinity +∞.
        setResult(u, TOP, u.select(isZero, u.i32(0xffff), 0x7fff))
        call(u, 'write', 0)
        setResult(u, value, sign.or(u.select(isZero, u.i32(0), 0x7fff)))
        pushResult()
      })
    },
  )
}

export const X87_NUMERIC: readonly Instruction[] = [
  x87('fsqrt', [plain('D9 FA')], (u) => {
    call(u, 'sqrt')
  }),
  unary('frndint', 'D9 FC', 'toIntegral'),
  x87('fscale', [plain('D9 FD')], (u) => {
    begin(u)
    unlessEmpty(u, isEmpty(u, 0).or(isEmpty(u, 1)), 0, () => {
      call(u, 'unpack', 0, L.SF_A)
      call(u, 'unpack', 1, L.SF_B)
      call(u, 'scale')
      u.if(call(u, 'commit'), () => call(u, 'write', 0))
    })
  }),
  remainder('fprem', 'D9 F8', false),
  remainder('fprem1', 'D9 F5', true),
  x87('fxtract', [plain('D9 F4')], extract),
]
