/**
 * Interrupts, exceptions and returns in long mode, in WebAssembly since kernels live in them.
 * SDM Vol. 3A, "64-Bit Mode Interrupt Handling"; SDM Vol. 2A, "IRET/IRETD/IRETQ—Interrupt Return".
 */
import { AC, DF, ID, IF, IOPL, NT, RF, TF, VM } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { noteFlat } from './flat-segments.ts'
import {
  ATTRIBUTE_DB,
  ATTRIBUTE_L,
  ATTRIBUTE_P,
  ATTRIBUTE_S,
  at,
  type DescriptorRoutines,
  put,
  raiseIn,
  segmentField,
} from './mode.ts'

/** How an interrupt came about: INT n (checks the gate's privilege), with an error code, pushes RF. */
export const DELIVER_SOFTWARE = 1
export const DELIVER_ERROR_CODE = 2
export const DELIVER_RF = 4

interface Pieces extends DescriptorRoutines {
  readonly systemLoad: Callable
  readonly systemStore: Callable
  readonly arithmeticFlags: Callable
  readonly updateMode: Callable
}

const isCanonical = (x: Expr): Expr => x.shl(16).shrS(16).eq(x)
const faulted = (c: Code): Expr => at(c, 'i32', L.FAULT)

/** deliverLong(vector, kind, error code): goes through the IDT from RIP; 1 with a fault pending, and nothing changed. */
export function defineDeliverLong(module: ModuleBuilder, pieces: Pieces): Callable {
  return module.func('deliverLong', ['i32', 'i32', 'i32'], ['i32'], (c) => {
    const [vector, kind, errorCode] = [c.param(0), c.param(1), c.param(2)]
    const ext = c.select(kind.and(DELIVER_SOFTWARE), c.i32(0), 1)
    const fail = (exception: number, code: Expr) => {
      raiseIn(c, exception, code)
      c.return(1)
    }
    const gateError = vector.shl(3).or(2)
    const offset = vector.shl(4)
    c.if(offset.or(15).gtU(at(c, 'i32', L.IDTR_LIMIT)), () => fail(EXCEPTION.GP, gateError.or(ext)))
    const gateAddress = at(c, 'i64', L.IDTR_BASE).add(offset.extendU())
    const low = c.call(pieces.systemLoad, gateAddress, 8)
    const high = c.call(pieces.systemLoad, gateAddress.add(8), 8)
    c.if(faulted(c), () => c.return(1))
    const type = low.shrU(40).wrap().and(0x1f)
    c.if(type.and(0x1e).ne(0x0e), () => fail(EXCEPTION.GP, gateError.or(ext)))
    const cpl = at(c, 'i32', L.CPL)
    const gateDpl = low.shrU(45).wrap().and(3)
    c.if(kind.and(DELIVER_SOFTWARE).ne(0).and(gateDpl.ltU(cpl)), () => fail(EXCEPTION.GP, gateError))
    c.if(low.shrU(47).wrap().and(1).eqz(), () => fail(EXCEPTION.NP, gateError.or(ext)))
    const selector = low.shrU(16).wrap().and(0xffff)
    c.if(selector.and(0xfffc).eqz(), () => fail(EXCEPTION.GP, ext))
    const descriptor = c.call(pieces.loadDescriptor, selector, ext)
    c.if(faulted(c), () => c.return(1))
    const attributes = descriptor.shrU(40).wrap()
    const selectorError = selector.and(0xfffc).or(ext)
    const dpl = attributes.shrU(5).and(3)
    const isCode = attributes.and(ATTRIBUTE_S | 8).eq(ATTRIBUTE_S | 8)
    const is64 = attributes.and(ATTRIBUTE_L | ATTRIBUTE_DB).eq(ATTRIBUTE_L)
    c.if(isCode.and(is64).and(dpl.leU(cpl)).eqz(), () => fail(EXCEPTION.GP, selectorError))
    c.if(attributes.and(ATTRIBUTE_P).eqz(), () => fail(EXCEPTION.NP, selectorError))
    const newCpl = c.select(attributes.and(4), cpl, dpl)
    const inner = newCpl.ltU(cpl)
    const ist = low.shrU(32).wrap().and(7)
    const oldRsp = at(c, 'i64', L.REGS + 4 * 8)
    const top = c.variable('i64', oldRsp)
    c.if(inner.or(ist), () => {
      const field = c.select(ist, ist.mul(8).add(0x1c), newCpl.mul(8).add(4))
      c.if(field.add(7).gtU(at(c, 'i32', segmentField(L.TR, L.SEG_LIMIT))), () =>
        fail(EXCEPTION.TS, at(c, 'i32', segmentField(L.TR, L.SEG_SELECTOR)).and(0xfffc).or(ext)),
      )
      const where = at(c, 'i64', segmentField(L.TR, L.SEG_BASE)).add(field.extendU())
      top.set(c.call(pieces.systemLoad, where, 8))
      c.if(faulted(c), () => c.return(1))
    })
    c.if(isCanonical(top.get()).eqz(), () => fail(EXCEPTION.SS, ext))
    const target = low.and(0xffff).or(low.shrU(32).and(0xffff0000)).or(high.shl(32))
    c.if(isCanonical(target).eqz(), () => fail(EXCEPTION.GP, ext))
    const rsp = c.variable('i64', top.get().and(-16))
    const push = (value: Expr) => {
      rsp.set(rsp.get().sub(8))
      c.call(pieces.systemStore, rsp.get(), value, 8)
      c.if(faulted(c), () => c.return(1))
    }
    const system = at(c, 'i32', L.RFLAGS_SYSTEM)
    const rf = c.select(kind.and(DELIVER_RF), c.i32(RF), 0)
    push(at(c, 'i64_16u', segmentField(L.SS, L.SEG_SELECTOR)))
    push(oldRsp)
    push(system.or(rf).or(2).extendU().or(c.call(pieces.arithmeticFlags)))
    push(at(c, 'i64_16u', segmentField(L.CS, L.SEG_SELECTOR)))
    push(at(c, 'i64', L.RIP))
    c.if(kind.and(DELIVER_ERROR_CODE), () => push(errorCode.extendU()))
    c.call(pieces.markDescriptor, selector, 1, 0)
    c.if(faulted(c), () => c.return(1))
    c.call(pieces.setSegment, L.CS, selector.and(0xfffc).or(newCpl), descriptor)
    c.if(inner, () => {
      put(c, 'i32', segmentField(L.SS, L.SEG_SELECTOR), newCpl)
      put(c, 'i32', segmentField(L.SS, L.SEG_ATTRIBUTES), newCpl.shl(5))
      put(c, 'i32', segmentField(L.SS, L.SEG_UNUSABLE), 1)
    })
    put(c, 'i64', L.REGS + 4 * 8, rsp.get())
    put(c, 'i64', L.RIP, target)
    const cleared = c.select(type.and(1), c.i32(TF | NT | RF | VM), TF | NT | RF | VM | IF)
    put(c, 'i32', L.RFLAGS_SYSTEM, system.and(cleared.not()))
    put(c, 'i32', L.CPL, newCpl)
    c.call(pieces.updateMode)
    c.return(0)
  })
}

/** What IRET took from the stack, in SCRATCH. */
export const RETURN_RIP = L.SCRATCH
export const RETURN_CS = L.SCRATCH + 8
export const RETURN_FLAGS = L.SCRATCH + 16
export const RETURN_RSP = L.SCRATCH + 24
export const RETURN_SS = L.SCRATCH + 32

/** returnLong(operand size): checks and loads the frame in SCRATCH; 1 with a fault pending, and nothing changed. */
export function defineReturnLong(module: ModuleBuilder, pieces: Pieces): Callable {
  return module.func('returnLong', ['i32'], ['i32'], (c) => {
    const fail = (exception: number, code: Expr | number) => {
      raiseIn(c, exception, code)
      c.return(1)
    }
    const rip = at(c, 'i64', RETURN_RIP)
    const flags = at(c, 'i64', RETURN_FLAGS)
    const rsp = at(c, 'i64', RETURN_RSP)
    const cs = at(c, 'i32_16u', RETURN_CS)
    const ss = at(c, 'i32_16u', RETURN_SS)
    const cpl = at(c, 'i32', L.CPL)
    const rpl = cs.and(3)
    const csError = cs.and(0xfffc)
    c.if(csError.eqz(), () => fail(EXCEPTION.GP, 0))
    const code = c.call(pieces.loadDescriptor, cs, 0)
    c.if(faulted(c), () => c.return(1))
    const attributes = code.shrU(40).wrap()
    const dpl = attributes.shrU(5).and(3)
    const isCode = attributes.and(ATTRIBUTE_S | 8).eq(ATTRIBUTE_S | 8)
    const rightDpl = c.select(attributes.and(4), dpl.leU(rpl), dpl.eq(rpl))
    const both = attributes.and(ATTRIBUTE_L | ATTRIBUTE_DB).eq(ATTRIBUTE_L | ATTRIBUTE_DB)
    c.if(isCode.and(rightDpl).and(rpl.geU(cpl)).eqz().or(both), () => fail(EXCEPTION.GP, csError))
    c.if(attributes.and(ATTRIBUTE_P).eqz(), () => fail(EXCEPTION.NP, csError))
    const to64 = attributes.and(ATTRIBUTE_L)
    const raw = code.and(0xffff).or(code.shrU(32).and(0xf0000))
    const limit = c.select(attributes.and(1 << 15), raw.shl(12).or(0xfff), raw)
    const badRip = c.select(to64, isCanonical(rip).eqz(), rip.gtU(limit))
    c.if(badRip, () => fail(EXCEPTION.GP, 0))
    const stack = c.variable('i64', 0)
    const nullStack = ss.and(0xfffc).eqz()
    c.if(
      nullStack,
      () => {
        const allowed = to64.ne(0).and(rpl.ne(3)).and(ss.and(3).eq(rpl))
        c.if(allowed.eqz(), () => fail(EXCEPTION.GP, 0))
      },
      () => {
        stack.set(c.call(pieces.loadDescriptor, ss, 0))
        c.if(faulted(c), () => c.return(1))
        const data = stack.get().shrU(40).wrap()
        const good = data
          .and(ATTRIBUTE_S | 8 | 2)
          .eq(ATTRIBUTE_S | 2)
          .and(data.shrU(5).and(3).eq(rpl))
          .and(ss.and(3).eq(rpl))
        c.if(good.eqz(), () => fail(EXCEPTION.GP, ss.and(0xfffc)))
        c.if(data.and(ATTRIBUTE_P).eqz(), () => fail(EXCEPTION.SS, ss.and(0xfffc)))
        c.call(pieces.markDescriptor, ss, 1, 0)
      },
    )
    c.call(pieces.markDescriptor, cs, 1, 0)
    c.if(faulted(c), () => c.return(1))
    const old = at(c, 'i32', L.RFLAGS_SYSTEM)
    const base = c.select(c.param(0).eq(2), c.i32(TF | DF | NT), TF | DF | NT | AC | ID)
    // RF: see Core.returnFlags.
    const resumed = c.select(
      c
        .param(0)
        .eq(2)
        .or(at(c, 'i32', L.WATCHING).eqz()),
      c.i32(0),
      RF,
    )
    const withIf = c.select(cpl.leU(old.shrU(12).and(3)), c.i32(IF), 0)
    const withIopl = c.select(cpl.eqz(), c.i32(IOPL), 0)
    const mask = base.or(withIf).or(withIopl).or(resumed)
    put(c, 'i32', L.RFLAGS_SYSTEM, old.and(mask.or(RF).not()).or(flags.wrap().and(mask)))
    put(c, 'i32', L.FLAG_KIND, 3)
    put(c, 'i64', L.FLAG_A, flags.and(0x8d5))
    put(c, 'i64', L.FLAG_RESULT, flags.shrU(6).and(1).xor(1))
    c.call(pieces.setSegment, L.CS, cs, code)
    c.if(
      nullStack,
      () => {
        put(c, 'i32', segmentField(L.SS, L.SEG_SELECTOR), ss)
        put(c, 'i32', segmentField(L.SS, L.SEG_ATTRIBUTES), rpl.shl(5))
        put(c, 'i32', segmentField(L.SS, L.SEG_UNUSABLE), 1)
      },
      () => c.call(pieces.setSegment, L.SS, ss, stack.get()),
    )
    put(c, 'i64', L.REGS + 4 * 8, rsp)
    put(c, 'i64', L.RIP, rip)
    c.if(rpl.gtU(cpl), () => {
      put(c, 'i32', L.CPL, rpl)
      for (const segment of [L.ES, L.DS, L.FS, L.GS]) dropSegment(c, segment, rpl)
    })
    c.call(pieces.updateMode)
    c.return(0)
  })
}

/** A data segment more privileged than the new CPL becomes null. */
function dropSegment(c: Code, segment: number, cpl: Expr): void {
  const attributes = at(c, 'i32', segmentField(segment, L.SEG_ATTRIBUTES))
  const usable = at(c, 'i32', segmentField(segment, L.SEG_UNUSABLE)).eqz()
  const conforming = attributes.and(0xc).eq(0xc)
  c.if(usable.and(attributes.shrU(5).and(3).ltU(cpl)).and(conforming.eqz()), () => {
    put(c, 'i32', segmentField(segment, L.SEG_SELECTOR), 0)
    put(c, 'i32', segmentField(segment, L.SEG_UNUSABLE), 1)
  })
}

const FLAT_CODE64 = 0xaf9b
const FLAT_CODE32 = 0xcf9b
const FLAT_DATA = 0xcf93

/** setFlat(segment, selector, attributes): base 0, limit 4 GiB − 1. */
export function defineSetFlat(module: ModuleBuilder): Callable {
  return module.func('setFlat', ['i32', 'i32', 'i32'], [], (c) => {
    const cache = c.param(0).mul(L.SEG_SIZE).add(L.SEG)
    c.store('i32', cache, c.param(1), L.SEG_SELECTOR)
    c.store('i32', cache, c.param(2), L.SEG_ATTRIBUTES)
    c.store('i64', cache, 0, L.SEG_BASE)
    c.store('i32', cache, -1, L.SEG_LIMIT)
    c.store('i32', cache, 0, L.SEG_UNUSABLE)
    noteFlat(c, c.param(0))
  })
}

/** enterSystem(): SYSCALL after its checks, with RIP the return address. */
export function defineEnterSystem(
  module: ModuleBuilder,
  pieces: Pieces & { readonly setFlat: Callable },
): Callable {
  return module.func('enterSystem', [], [], (c) => {
    const flags = at(c, 'i64_32u', L.RFLAGS_SYSTEM).or(2).or(c.call(pieces.arithmeticFlags))
    put(c, 'i64', L.REGS + 1 * 8, at(c, 'i64', L.RIP))
    put(c, 'i64', L.REGS + 11 * 8, flags.and(~RF))
    const selector = at(c, 'i64', L.MSR_STAR).shrU(32).wrap().and(0xfffc)
    const from64 = at(c, 'i32', L.CODE_SIZE).eq(8)
    c.call(pieces.setFlat, L.CS, selector, FLAT_CODE64)
    c.call(pieces.setFlat, L.SS, selector.add(8).and(0xffff), FLAT_DATA)
    put(c, 'i64', L.RIP, c.select(from64, at(c, 'i64', L.MSR_LSTAR), at(c, 'i64', L.MSR_CSTAR)))
    const kept = flags.and(at(c, 'i64', L.MSR_FMASK).not()).and(~RF)
    put(c, 'i32', L.RFLAGS_SYSTEM, kept.wrap().and(~0x8d7))
    put(c, 'i32', L.FLAG_KIND, 3)
    put(c, 'i64', L.FLAG_A, kept.and(0x8d5))
    put(c, 'i64', L.FLAG_RESULT, kept.shrU(6).and(1).xor(1))
    put(c, 'i32', L.CPL, 0)
    c.call(pieces.updateMode)
  })
}

/** leaveSystem(operand size): SYSRET after its checks. */
export function defineLeaveSystem(
  module: ModuleBuilder,
  pieces: Pieces & { readonly setFlat: Callable },
): Callable {
  return module.func('leaveSystem', ['i32'], [], (c) => {
    const to64 = c.param(0).eq(8)
    const flags = at(c, 'i64', L.REGS + 11 * 8)
    const kept = flags.and(0x3c7fd7)
    put(c, 'i32', L.RFLAGS_SYSTEM, kept.wrap().and(~0x8d7))
    put(c, 'i32', L.FLAG_KIND, 3)
    put(c, 'i64', L.FLAG_A, kept.and(0x8d5))
    put(c, 'i64', L.FLAG_RESULT, kept.shrU(6).and(1).xor(1))
    const base = at(c, 'i64', L.MSR_STAR).shrU(48).wrap()
    const code = c.select(to64, base.add(16), base).or(3).and(0xffff)
    c.call(pieces.setFlat, L.CS, code, c.select(to64, c.i32(FLAT_CODE64 | 0x60), FLAT_CODE32 | 0x60))
    c.call(pieces.setFlat, L.SS, base.add(8).or(3).and(0xffff), FLAT_DATA | 0x60)
    const rcx = at(c, 'i64', L.REGS + 1 * 8)
    put(c, 'i64', L.RIP, c.select(to64, rcx, rcx.and(0xffffffff)))
    put(c, 'i32', L.CPL, 3)
    c.call(pieces.updateMode)
  })
}
