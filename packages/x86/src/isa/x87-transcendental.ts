/** Trigonometry, powers and logarithms of the x87; what is computed is in system/transcendental.ts. */
import { ZE } from '../float/unpacked.ts'
import * as L from '../state/layout.ts'
import {
  ANSWER_INVALID,
  ANSWER_OUT_OF_RANGE,
  ANSWER_ZERO_DIVIDE,
  TRANSCENDENTAL,
  type Transcendental,
} from '../system/transcendental.ts'
import type { Expr } from '../wasm/code.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning } from './meaning.ts'
import { begin, call, clearC1, isEmpty, plain, setResult, setStatus, unlessEmpty, x87 } from './x87-common.ts'
import { STATUS_C2 } from './x87-routines.ts'

/** Computes a function of SF_A (and SF_B) into the result. Returns nonzero (i32) where the operand is out of range. */
function compute(u: Meaning, name: Transcendental): Expr {
  const outOfRange = u.variable('i32', 0)
  u.if(call(u, 'special').eqz(), () => {
    u.host('transcendental', TRANSCENDENTAL.indexOf(name))
    const answer = u.hostResult(0).wrap()
    u.if(
      answer.eq(ANSWER_OUT_OF_RANGE),
      () => outOfRange.set(1),
      () => {
        u.if(
          answer.eq(ANSWER_INVALID),
          () => call(u, 'invalid'),
          () => {
            u.if(answer.eq(ANSWER_ZERO_DIVIDE), () => u.setState('i32', L.SF_FLAGS, ZE))
            call(u, 'round', 64)
          },
        )
      },
    )
  })
  return outOfRange.get()
}

const noSecondOperand = (u: Meaning): void => u.setState('i32', L.SF_B, 0)

/** FSIN, FCOS, F2XM1: ST(0) is replaced. Where it is out of range only C2 is set. */
function unary(mnemonic: string, bytes: string, name: Transcendental): Instruction {
  return x87(mnemonic, [plain(bytes)], (u) => {
    begin(u)
    setStatus(u, STATUS_C2, 0)
    unlessEmpty(u, isEmpty(u, 0), 0, () => {
      call(u, 'unpack', 0, L.SF_A)
      noSecondOperand(u)
      u.if(
        compute(u, name),
        () => {
          clearC1(u)
          setStatus(u, 0, STATUS_C2)
        },
        () => u.if(call(u, 'commit'), () => call(u, 'write', 0)),
      )
    })
  })
}

/** FPATAN, FYL2X, FYL2XP1: the result replaces ST(1), and ST(0) is popped. */
function binary(mnemonic: string, bytes: string, name: Transcendental): Instruction {
  return x87(mnemonic, [plain(bytes)], (u) => {
    const finish = () => {
      call(u, 'write', 1)
      call(u, 'pop')
    }
    begin(u)
    u.if(
      isEmpty(u, 0).or(isEmpty(u, 1)),
      () => u.if(call(u, 'stackFault', 0), finish),
      () => {
        call(u, 'unpack', 0, L.SF_A)
        call(u, 'unpack', 1, L.SF_B)
        compute(u, name)
        u.if(call(u, 'commit'), finish)
      },
    )
  })
}

/** FSINCOS and FPTAN: ST(0) is replaced by the first result, and the second is pushed. */
function pushing(
  mnemonic: string,
  bytes: string,
  first: Transcendental,
  second: 'cosine' | 'one',
): Instruction {
  return x87(mnemonic, [plain(bytes)], (u) => {
    const pushResult = () => {
      u.setState('i32', L.FPU_TOP, u.state('i32', L.FPU_TOP).sub(1).and(7))
      call(u, 'write', 0)
    }
    const both = () => {
      call(u, 'write', 0)
      pushResult()
    }
    begin(u)
    setStatus(u, STATUS_C2, 0)
    const [empty, full] = [isEmpty(u, 0), isEmpty(u, 7).eqz()]
    u.if(
      empty.or(full),
      () => u.if(call(u, 'stackFault', empty.eqz()), both),
      () => {
        call(u, 'unpack', 0, L.SF_A)
        noSecondOperand(u)
        u.if(
          compute(u, first),
          () => {
            clearC1(u)
            setStatus(u, 0, STATUS_C2)
          },
          () => {
            const isNan = u
              .state('i32', L.X87_RESULT + 8)
              .and(0x7fff)
              .eq(0x7fff)
            u.if(call(u, 'commit'), () => {
              call(u, 'write', 0)
              // A NaN is pushed too.
              u.if(isNan.eqz(), () => {
                if (second === 'cosine') compute(u, 'cosine')
                else setResult(u, -(1n << 63n), 0x3fff)
              })
              pushResult()
            })
          },
        )
      },
    )
  })
}

export const X87_TRANSCENDENTAL: readonly Instruction[] = [
  unary('fsin', 'D9 FE', 'sine'),
  unary('fcos', 'D9 FF', 'cosine'),
  unary('f2xm1', 'D9 F0', 'exponential'),
  binary('fpatan', 'D9 F3', 'arcTangent'),
  binary('fyl2x', 'D9 F1', 'logarithm'),
  binary('fyl2xp1', 'D9 F9', 'logarithmPlusOne'),
  pushing('fsincos', 'D9 FB', 'sine', 'cosine'),
  pushing('fptan', 'D9 F2', 'tangent', 'one'),
]
