/**
 * Between instructions, without leaving WebAssembly: going on after a change of the mode, and delivering exceptions in long
 * mode.
 *
 * What is rare stays with the driver in cpu.ts: single steps, breakpoints, interrupts that are pending, exceptions outside
 * long mode, and those whose delivery faults. Then these routines change nothing and leave.
 */
import { EXIT } from '../state/exits.ts'
import { IF, TF } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { EFER_LMA, EXCEPTION, HAS_ERROR_CODE } from '../state/registers.ts'
import { DELIVER_ERROR_CODE, DELIVER_RF } from '../system/long-mode.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { LoadKind } from '../wasm/opcodes.ts'

export interface EventRoutines {
  /** goOn(budget): goes to RIP, or leaves where something is to be done before. */
  readonly goOn: Callable
  /** fault(budget): delivers the exception of the instruction at CURRENT_UOP, and goes on. */
  readonly fault: Callable
  /** faultAtRip(budget): the same where RIP is exact. */
  readonly faultAtRip: Callable
}

const at = (c: Code, kind: LoadKind, offset: number): Expr => c.load(kind, c.i32(0), offset)
const put = (c: Code, kind: 'i32' | 'i64', offset: number, value: Expr | number) =>
  c.store(kind, c.i32(0), value, offset)

/** Bit n: exception n pushes an error code. */
const WITH_ERROR_CODE = [...HAS_ERROR_CODE].reduce((bits, vector) => bits | (1 << vector), 0)
const EXCEPTIONS = 32

export function declareEvents(module: ModuleBuilder): EventRoutines {
  const declare = (name: string) => module.declare(name, ['i32'], ['i32'])
  return { goOn: declare('goOn'), fault: declare('fault'), faultAtRip: declare('faultAtRip') }
}

export function defineEvents(
  module: ModuleBuilder,
  { goOn, fault, faultAtRip }: EventRoutines,
  { dispatch, deliverLong }: { readonly dispatch: Callable; readonly deliverLong: Callable },
): void {
  module.define(goOn, (c) => {
    const flags = at(c, 'i32', L.RFLAGS_SYSTEM)
    const interrupted = flags
      .and(IF)
      .ne(0)
      .and(at(c, 'i32', L.INTERRUPT_PENDING))
    const stepping = flags
      .and(TF)
      .or(at(c, 'i32', L.SHADOW))
      .or(at(c, 'i32', L.WATCHING))
    c.if(stepping.or(interrupted), () => leave(c, EXIT.dispatch))
    c.tailCall(dispatch, c.param(0))
  })
  module.define(fault, (c) => {
    const uop = at(c, 'i32', L.CURRENT_UOP)
    c.if(at(c, 'i32', L.FAULT).gtU(EXCEPTIONS), () => leave(c, EXIT.fault))
    c.if(uop, () => {
      const rip = at(c, 'i64', L.REGS + L.SLOT.ripBase * 8).add(
        c.load('i64_16u', uop, L.UOP_PLACE).and(0xfff),
      )
      put(c, 'i64', L.RIP, c.select(at(c, 'i32', L.CODE_SIZE).eq(8), rip, rip.and(0xffffffff)))
    })
    c.tailCall(faultAtRip, c.param(0))
  })
  module.define(faultAtRip, (c) => buildFaultAtRip(c, goOn, deliverLong))
}

function leave(c: Code, code: number): void {
  put(c, 'i32', L.BUDGET, c.param(0))
  c.return(code)
}

function buildFaultAtRip(c: Code, goOn: Callable, deliverLong: Callable): void {
  const fault = at(c, 'i32', L.FAULT)
  const errorCode = at(c, 'i32', L.FAULT_ERROR)
  const rip = at(c, 'i64', L.RIP)
  put(c, 'i32', L.CURRENT_UOP, 0)
  const isPlain = at(c, 'i32', L.EFER)
    .and(EFER_LMA)
    .ne(0)
    .and(fault.ne(EXCEPTION.DB + 1))
  c.if(isPlain.eqz().or(at(c, 'i32', L.INTERCEPTED)), () => leave(c, EXIT.fault))
  const isPageFault = fault.eq(EXCEPTION.PF + 1)
  c.if(isPageFault, () => put(c, 'i64', L.CR2, at(c, 'i64', L.FAULT_ADDRESS)))
  put(c, 'i32', L.FAULT, 0)
  const vector = fault.sub(1)
  const coded = c.i32(WITH_ERROR_CODE).shrU(vector).and(1).mul(DELIVER_ERROR_CODE)
  c.if(c.call(deliverLong, vector, coded.or(DELIVER_RF), errorCode), () => {
    // The driver delivers it once more, and then what came of that.
    put(c, 'i32', L.FAULT, fault)
    put(c, 'i32', L.FAULT_ERROR, errorCode)
    c.if(isPageFault, () => put(c, 'i64', L.FAULT_ADDRESS, at(c, 'i64', L.CR2)))
    leave(c, EXIT.fault)
  })
  put(c, 'i32', L.SHADOW, 0)
  put(c, 'i32', L.LAST_FAULT, fault)
  put(c, 'i32', L.LAST_FAULT_ERROR, errorCode)
  put(c, 'i64', L.LAST_FAULT_RIP, rip)
  put(c, 'i32', L.EVENTS, at(c, 'i32', L.EVENTS).add(1))
  put(c, 'i32', L.FAULTS, at(c, 'i32', L.FAULTS).add(1))
  c.tailCall(goOn, c.param(0).sub(1))
}
