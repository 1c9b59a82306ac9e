/** What follows from the mode, and descriptors: routines that handlers and TypeScript share. */
import { AC, VM } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { CR0_AM, CR0_PE, CR0_TS, CR4_OSXSAVE, CR4_SMAP, EFER_LMA, EXCEPTION } from '../state/registers.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import type { LoadKind, StoreKind } from '../wasm/opcodes.ts'
import { noteFlat } from './flat-segments.ts'

export const at = (c: Code, kind: LoadKind, offset: number): Expr => c.load(kind, c.i32(0), offset)
export const put = (c: Code, kind: StoreKind, offset: number, value: Expr | number): void =>
  c.store(kind, c.i32(0), value, offset)
export const segmentField = (segment: number, field: number): number => L.SEG + segment * L.SEG_SIZE + field

/** Descriptor bits 40–55 as SEG_ATTRIBUTES holds them. */
export const ATTRIBUTE_TYPE = 0xf
export const ATTRIBUTE_S = 1 << 4
export const ATTRIBUTE_P = 1 << 7
export const ATTRIBUTE_L = 1 << 13
export const ATTRIBUTE_DB = 1 << 14
export const ATTRIBUTE_G = 1 << 15

export function raiseIn(c: Code, vector: number, errorCode: Expr | number): void {
  put(c, 'i32', L.FAULT, vector + 1)
  put(c, 'i32', L.FAULT_ERROR, errorCode)
}

const XCR0_AVX = 6

/** What VEX-encoded instructions raise. SDM Vol. 2A, "Exceptions Type 1 (Aligned Memory Reference)", "VEX Encoding Support for GPR Instructions". */
function updateVex(c: Code, long: Expr): void {
  const undefinedOpcode = c.i32(EXCEPTION.UD + 1)
  const virtual = at(c, 'i32', L.RFLAGS_SYSTEM).and(VM).ne(0)
  const legacy = at(c, 'i32', L.CR0).and(CR0_PE).eqz().or(virtual)
  const vex = c.select(legacy.and(long.eqz()), undefinedOpcode, 0)
  const osxsave = at(c, 'i32', L.CR4).and(CR4_OSXSAVE).ne(0)
  const enabled = at(c, 'i32', L.XCR0).and(XCR0_AVX).eq(XCR0_AVX).and(osxsave)
  const unavailable = c.select(at(c, 'i32', L.CR0).and(CR0_TS), c.i32(EXCEPTION.NM + 1), 0)
  put(c, 'i32', L.VEX_BLOCKED, vex)
  put(c, 'i32', L.AVX_BLOCKED, c.select(vex.eqz().and(enabled), unavailable, undefinedOpcode))
}

/** Sets CODE_SIZE, STACK_MASK, what VEX may do, and the TLBs in use, from CS, SS, CPL, EFLAGS and the control registers. */
export function defineUpdateMode(module: ModuleBuilder, forgetJumps: Callable): Callable {
  return module.func('updateMode', [], [], (c) => {
    const code = at(c, 'i32', segmentField(L.CS, L.SEG_ATTRIBUTES))
    const long = at(c, 'i32', L.EFER).and(EFER_LMA).ne(0).and(code.and(ATTRIBUTE_L).ne(0))
    const legacySize = c.select(code.and(ATTRIBUTE_DB), c.i32(4), 2)
    put(c, 'i32', L.CODE_SIZE, c.select(long, c.i32(8), legacySize))
    const big = at(c, 'i32', segmentField(L.SS, L.SEG_ATTRIBUTES)).and(ATTRIBUTE_DB)
    put(c, 'i64', L.STACK_MASK, c.select(long, c.i64(-1), c.select(big, c.i64(0xffffffff), 0xffff)))
    const user = at(c, 'i32', L.CPL).eq(3)
    const ac = at(c, 'i32', L.RFLAGS_SYSTEM).and(AC).ne(0)
    const aligned = ac.and(at(c, 'i32', L.CR0).and(CR0_AM).ne(0))
    const free = ac.and(at(c, 'i32', L.CR4).and(CR4_SMAP).ne(0))
    const userIndex = c.select(aligned, c.i32(L.MMU_USER_ALIGNED), L.MMU_USER)
    const supervisorIndex = c.select(free, c.i32(L.MMU_SUPERVISOR_AC), L.MMU_SUPERVISOR)
    const index = c.select(user, userIndex, supervisorIndex)
    put(c, 'i32', L.TLB_BASE, index.mul(L.TLB_SIZE).add(L.TLB))
    updateVex(c, long)
    chooseCodeTlb(c, user, forgetJumps)
  })
}

/** The code TLB in use, which knows code pages of one code size, and the jump cache. */
function chooseCodeTlb(c: Code, user: Expr, forgetJumps: Callable): void {
  const base = c.select(user, c.i32(L.CODE_TLB), L.CODE_TLB + L.CODE_TLB_SIZE)
  put(c, 'i32', L.CODE_TLB_BASE, base)
  put(c, 'i32', L.JUMP_CACHE_BASE, c.select(user, c.i32(L.JUMP_CACHE), L.JUMP_CACHE + L.JUMP_CACHE_SIZE))
  const size = at(c, 'i32', L.CODE_SIZE)
  const known = c.select(user, c.i32(L.CODE_TLB_CODE_SIZES), L.CODE_TLB_CODE_SIZES + 4)
  c.if(c.load('i32', known).ne(size), () => {
    c.store('i32', known, size)
    c.fillMemory(base, 0xff, L.CODE_TLB_SIZE)
    c.call(forgetJumps, 0)
  })
}

/**
 * descriptorAddress(selector, ext): linear address of a descriptor; #GP(selector) with EXT where the table ends before it.
 * The caller looks at FAULT.
 */
function defineDescriptorAddress(module: ModuleBuilder): Callable {
  return module.func('descriptorAddress', ['i32', 'i32'], ['i64'], (c) => {
    const selector = c.param(0)
    const local = selector.and(4)
    const limit = c.select(local, at(c, 'i32', segmentField(L.LDTR, L.SEG_LIMIT)), at(c, 'i32', L.GDTR_LIMIT))
    const base = c.select(local, at(c, 'i64', segmentField(L.LDTR, L.SEG_BASE)), at(c, 'i64', L.GDTR_BASE))
    const missing = local.ne(0).and(at(c, 'i32', segmentField(L.LDTR, L.SEG_UNUSABLE)))
    c.if(selector.or(7).gtU(limit).or(missing), () => {
      raiseIn(c, EXCEPTION.GP, selector.and(0xfffc).or(c.param(1)))
      c.return(0)
    })
    c.return(base.add(selector.and(0xfff8).extendU()))
  })
}

export interface DescriptorRoutines {
  /** loadDescriptor(selector, ext): the 8 bytes, also in SCRATCH. */
  readonly loadDescriptor: Callable
  /** loadDescriptorHigh(selector): bytes 8–15 of a system descriptor in long mode, also in SCRATCH. */
  readonly loadDescriptorHigh: Callable
  /** markDescriptor(selector, set, clear): changes byte 5 (accessed, busy) in memory. */
  readonly markDescriptor: Callable
  /** setCode(selector, descriptor): loads CS's cache. */
  readonly setSegment: Callable
}

export function defineDescriptors(
  module: ModuleBuilder,
  access: { systemLoad: Callable; systemStore: Callable },
): DescriptorRoutines {
  const address = defineDescriptorAddress(module)
  const loadDescriptor = module.func('loadDescriptor', ['i32', 'i32'], ['i64'], (c) => {
    const where = c.call(address, c.param(0), c.param(1))
    c.if(at(c, 'i32', L.FAULT), () => c.return(0))
    const value = c.call(access.systemLoad, where, 8)
    put(c, 'i64', L.SCRATCH, value)
    c.return(value)
  })
  const loadDescriptorHigh = module.func('loadDescriptorHigh', ['i32'], ['i64'], (c) => {
    const where = c.call(address, c.param(0).add(8), 0)
    c.if(at(c, 'i32', L.FAULT), () => {
      put(c, 'i32', L.FAULT_ERROR, c.param(0).and(0xfffc))
      c.return(0)
    })
    const value = c.call(access.systemLoad, where, 8)
    put(c, 'i64', L.SCRATCH, value)
    c.return(value)
  })
  const markDescriptor = module.func('markDescriptor', ['i32', 'i32', 'i32'], [], (c) => {
    const where = c.call(address, c.param(0), 0).add(5)
    const byte = c.call(access.systemLoad, where, 1)
    const wanted = byte.wrap().or(c.param(1)).and(c.param(2).not()).extendU()
    c.if(wanted.ne(byte), () => c.call(access.systemStore, where, wanted, 1))
  })
  const setSegment = module.func('setSegment', ['i32', 'i32', 'i64'], [], (c) => {
    const [segment, selector, descriptor] = [c.param(0), c.param(1), c.param(2)]
    const cache = segment.mul(L.SEG_SIZE).add(L.SEG)
    const attributes = descriptor.shrU(40).wrap().and(0xffff)
    const raw = descriptor.and(0xffff).or(descriptor.shrU(32).and(0xf0000)).wrap()
    const limit = c.select(attributes.and(ATTRIBUTE_G), raw.shl(12).or(0xfff), raw)
    const base = descriptor.shrU(16).and(0xffffff).or(descriptor.shrU(32).and(0xff000000))
    c.store('i32', cache, selector, L.SEG_SELECTOR)
    c.store('i32', cache, attributes, L.SEG_ATTRIBUTES)
    c.store('i64', cache, base, L.SEG_BASE)
    c.store('i32', cache, limit, L.SEG_LIMIT)
    c.store('i32', cache, 0, L.SEG_UNUSABLE)
    noteFlat(c, segment)
    c.if(segment.eq(L.FS), () => put(c, 'i64', L.REGS + L.SLOT.fsBase * 8, base))
    c.if(segment.eq(L.GS), () => put(c, 'i64', L.REGS + L.SLOT.gsBase * 8, base))
  })
  return { loadDescriptor, loadDescriptorHigh, markDescriptor, setSegment }
}
