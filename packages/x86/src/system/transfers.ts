/** Far jumps, calls and returns, IRET outside 64-bit mode, SYSENTER and SYSEXIT. SDM Vol. 3A, "Protection". */
import { AC, ARITHMETIC, DF, ID, IF, IOPL, NT, RF, TF, VM } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import {
  attributesOf,
  type Core,
  type Descriptor,
  dplOf,
  isCanonical,
  isCode,
  isConforming,
  isLongCode,
  isPresent,
  isWritableData,
  limitOf,
  typeOf,
} from './core.ts'
import { innerStack, innerStackSegment, pushOnto } from './interrupts.ts'
import { ATTRIBUTE_DB } from './mode.ts'
import { loadNullSegment, loadRealSegment } from './segments.ts'
import { switchTask } from './tasks.ts'

/** An offset of up to 64 bits. */
interface Offset {
  readonly low: number
  readonly high: number
}

type Size = 2 | 4 | 8

const errorOf = (selector: number): number => selector & 0xfffc

/** #GP(0) where the offset is outside the code segment, or not canonical in 64-bit code. */
function checkOffset(core: Core, code: Descriptor, { low, high }: Offset): void {
  const bad = core.isLongMode && isLongCode(code) ? !isCanonical(high) : low >>> 0 > limitOf(code)
  if (bad) core.fail(EXCEPTION.GP, 0)
}

/** The code descriptor that a transfer without a change of privilege may use. */
function sameLevelCode(core: Core, selector: number, d: Descriptor): void {
  const error = errorOf(selector)
  const allowed = isConforming(d) ? dplOf(d) <= core.cpl : (selector & 3) <= core.cpl && dplOf(d) === core.cpl
  if (!allowed) core.fail(EXCEPTION.GP, error)
  checkLongBits(core, selector, d)
  if (!isPresent(d)) core.fail(EXCEPTION.NP, error)
}

function checkLongBits(core: Core, selector: number, d: Descriptor): void {
  const both = isLongCode(d) && (attributesOf(d) & ATTRIBUTE_DB) !== 0
  if (core.isLongMode && both) core.fail(EXCEPTION.GP, errorOf(selector))
}

function enterCode(core: Core, selector: number, cpl: number, d: Descriptor, offset: Offset): void {
  core.exports.markDescriptor(selector, 1, 0)
  core.check()
  core.loadCache(L.CS, (selector & 0xfffc) | cpl, d)
  core.setWord(L.CPL, cpl)
  core.setRip(offset.low, core.isLongMode && isLongCode(d) ? offset.high : 0)
  core.exports.updateMode()
}

function jumpReal(core: Core, selector: number, offset: number): void {
  if (offset >>> 0 > core.segmentWord(L.CS, L.SEG_LIMIT) >>> 0) core.fail(EXCEPTION.GP, 0)
  loadRealSegment(core, L.CS, selector)
  core.setRip(offset)
}

const CALL_GATES: ReadonlySet<number> = new Set([4, 12])
const CALL_GATE_64: ReadonlySet<number> = new Set([12])
const TASK_GATE = 5
const TSS_TYPES: ReadonlySet<number> = new Set([1, 9])

function farDescriptor(core: Core, selector: number): Descriptor {
  if (errorOf(selector) === 0) core.fail(EXCEPTION.GP, 0)
  return core.descriptor(selector)
}

export function farJump(core: Core, selector: number, offset: Offset, size: Size): void {
  if (!core.isProtected) return jumpReal(core, selector, size === 2 ? offset.low & 0xffff : offset.low)
  const d = farDescriptor(core, selector)
  if (isCode(d)) {
    sameLevelCode(core, selector, d)
    checkOffset(core, d, offset)
    return enterCode(core, selector, core.cpl, d, offset)
  }
  throughSystemDescriptor(core, selector, d, 'jump')
}

export function farCall(core: Core, selector: number, offset: Offset, size: Size): void {
  core.ripFromUop(true)
  if (!core.isProtected) {
    const target = size === 2 ? offset.low & 0xffff : offset.low
    if (target >>> 0 > core.segmentWord(L.CS, L.SEG_LIMIT) >>> 0) core.fail(EXCEPTION.GP, 0)
    pushReturn(core, size)
    return jumpReal(core, selector, target)
  }
  const d = farDescriptor(core, selector)
  if (isCode(d)) {
    sameLevelCode(core, selector, d)
    checkOffset(core, d, offset)
    pushReturn(core, size)
    return enterCode(core, selector, core.cpl, d, offset)
  }
  throughSystemDescriptor(core, selector, d, 'call')
}

function pushReturn(core: Core, size: Size): void {
  const [low, high] = [core.word(L.RIP), core.word(L.RIP + 4)]
  core.writeStack(-size, size, core.selector(L.CS))
  core.writeStack(-2 * size, size, low, high)
  core.adjustStack(-2 * size)
}

function throughSystemDescriptor(core: Core, selector: number, d: Descriptor, how: 'jump' | 'call'): void {
  const type = typeOf(d)
  const error = errorOf(selector)
  const gates = core.isLongMode ? CALL_GATE_64 : CALL_GATES
  const isTask = !core.isLongMode && (type === TASK_GATE || TSS_TYPES.has(type))
  if (!gates.has(type) && !isTask) core.fail(EXCEPTION.GP, error)
  if (dplOf(d) < Math.max(core.cpl, selector & 3)) core.fail(EXCEPTION.GP, error)
  if (!isPresent(d)) core.fail(EXCEPTION.NP, error)
  if (!isTask) return throughCallGate(core, selector, d, how)
  core.ripFromUop(true)
  switchTask(core, type === TASK_GATE ? d.low >>> 16 : selector, how)
}

function throughCallGate(core: Core, gateSelector: number, gate: Descriptor, how: 'jump' | 'call'): void {
  const selector = gate.low >>> 16
  let high = 0
  if (core.isLongMode) {
    core.exports.fetchDescriptorHigh(gateSelector)
    core.check()
    high = core.argument(0)
    if ((core.argumentHigh(0) & 0x1f00) !== 0) core.fail(EXCEPTION.GP, errorOf(gateSelector))
  }
  const wide = (typeOf(gate) & 8) !== 0
  const size: Size = core.isLongMode ? 8 : wide ? 4 : 2
  const offset = { low: (gate.low & 0xffff) | (wide ? gate.high & 0xffff0000 : 0), high }
  const error = errorOf(selector)
  if (error === 0) core.fail(EXCEPTION.GP, 0)
  const code = core.descriptor(selector)
  if (!isCode(code) || dplOf(code) > core.cpl) core.fail(EXCEPTION.GP, error)
  if (core.isLongMode && (!isLongCode(code) || (attributesOf(code) & ATTRIBUTE_DB) !== 0))
    core.fail(EXCEPTION.GP, error)
  if (!isPresent(code)) core.fail(EXCEPTION.NP, error)
  checkOffset(core, code, offset)
  const inner = !isConforming(code) && dplOf(code) < core.cpl
  if (how === 'jump') {
    if (inner) core.fail(EXCEPTION.GP, error)
    return enterCode(core, selector, core.cpl, code, offset)
  }
  if (!inner) {
    pushReturn(core, size)
    return enterCode(core, selector, core.cpl, code, offset)
  }
  if (size === 8) callInnerLong(core, dplOf(code))
  else callInner(core, dplOf(code), size, gate.high & 31)
  enterCode(core, selector, dplOf(code), code, offset)
}

/** A call to an inner ring switches stacks and copies the parameters. */
function callInner(core: Core, level: number, size: 2 | 4, parameters: number): void {
  const stack = innerStack(core, level, 0)
  const descriptor = innerStackSegment(core, stack.selector, level, 0)
  const copied = Array.from({ length: parameters }, (_, i) =>
    core.readStack((parameters - 1 - i) * size, size),
  )
  const values = [core.selector(L.SS), core.gprLow(4), ...copied, core.selector(L.CS), core.word(L.RIP)]
  const top = pushOnto(core, { ...stack, descriptor }, size, values, 0)
  core.loadCache(L.SS, stack.selector, descriptor)
  core.exports.updateMode()
  core.setStackPointer(top)
}

function callInnerLong(core: Core, level: number): void {
  const at = 4 + level * 8
  if (at + 7 > core.segmentWord(L.TR, L.SEG_LIMIT) >>> 0)
    core.fail(EXCEPTION.TS, errorOf(core.selector(L.TR)))
  const old = { ss: core.selector(L.SS), low: core.word(L.REGS + 32), high: core.word(L.REGS + 36) }
  const [cs, ripLow, ripHigh] = [core.selector(L.CS), core.word(L.RIP), core.word(L.RIP + 4)]
  core.loadInnerPointer(at)
  core.setWord(L.CODE_SIZE, 8)
  try {
    core.writeStack(-8, 8, old.ss)
    core.writeStack(-16, 8, old.low, old.high)
    core.writeStack(-24, 8, cs)
    core.writeStack(-32, 8, ripLow, ripHigh)
    core.adjustStack(-32)
  } catch (error) {
    core.setPair(L.REGS + 32, old.low, old.high)
    core.exports.updateMode()
    throw error
  }
  loadNullSegment(core, L.SS, level)
}

export function farReturn(core: Core, release: number, size: Size): void {
  const low = core.readStack(0, size)
  const high = size === 8 ? core.stackHigh : 0
  const selector = core.readStack(size, size) & 0xffff
  if (!core.isProtected) {
    if (low > core.segmentWord(L.CS, L.SEG_LIMIT) >>> 0) core.fail(EXCEPTION.GP, 0)
    core.adjustStack(2 * size + release)
    loadRealSegment(core, L.CS, selector)
    return core.setRip(low)
  }
  const code = returnCode(core, selector)
  checkOffset(core, code, { low, high })
  const level = selector & 3
  if (level === core.cpl) {
    core.adjustStack(2 * size + release)
    return enterCode(core, selector, level, code, { low, high })
  }
  const pointer = core.readStack(2 * size + release, size)
  const pointerHigh = size === 8 ? core.stackHigh : 0
  const ss = core.readStack(3 * size + release, size) & 0xffff
  const stack = returnStack(core, ss, level, code)
  enterCode(core, selector, level, code, { low, high })
  enterStack(core, ss, stack)
  core.exports.updateMode()
  setWholeStackPointer(core, pointer, pointerHigh)
  core.adjustStack(release)
  dropSegments(core)
}

/** The code segment that a return may go to. */
function returnCode(core: Core, selector: number): Descriptor {
  const error = errorOf(selector)
  if (error === 0) core.fail(EXCEPTION.GP, 0)
  const level = selector & 3
  const d = core.descriptor(selector)
  const rightLevel = isConforming(d) ? dplOf(d) <= level : dplOf(d) === level
  if (level < core.cpl || !isCode(d) || !rightLevel) core.fail(EXCEPTION.GP, error)
  checkLongBits(core, selector, d)
  if (!isPresent(d)) core.fail(EXCEPTION.NP, error)
  return d
}

/** The stack segment of an outer level; undefined for the null selector that 64-bit code may have. */
function returnStack(core: Core, selector: number, level: number, code: Descriptor): Descriptor | undefined {
  const error = errorOf(selector)
  if (error === 0) {
    const allowed = core.isLongMode && isLongCode(code) && level !== 3 && (selector & 3) === level
    if (!allowed) core.fail(EXCEPTION.GP, 0)
    return undefined
  }
  const d = core.descriptor(selector)
  if ((selector & 3) !== level || !isWritableData(d) || dplOf(d) !== level) core.fail(EXCEPTION.GP, error)
  if (!isPresent(d)) core.fail(EXCEPTION.SS, error)
  return d
}

function enterStack(core: Core, selector: number, d: Descriptor | undefined): void {
  if (!d) return loadNullSegment(core, L.SS, selector)
  core.exports.markDescriptor(selector, 1, 0)
  core.loadCache(L.SS, selector, d)
}

function setWholeStackPointer(core: Core, low: number, high: number): void {
  if (core.codeSize === 8) core.setPair(L.REGS + 32, low, high)
  else core.setStackPointer(low)
}

/** Data segments more privileged than the new CPL become null. */
function dropSegments(core: Core): void {
  for (const segment of [L.ES, L.DS, L.FS, L.GS]) {
    const attributes = core.segmentWord(segment, L.SEG_ATTRIBUTES)
    const conforming = (attributes & 0xc) === 0xc
    const usable = core.segmentWord(segment, L.SEG_UNUSABLE) === 0
    if (usable && !conforming && ((attributes >> 5) & 3) < core.cpl) loadNullSegment(core, segment, 0)
  }
}

/** IRET outside 64-bit mode. */
export function interruptReturn(core: Core, size: Size): void {
  if (!core.isProtected) {
    if (core.isVirtual8086 && (core.word(L.RFLAGS_SYSTEM) & IOPL) !== IOPL) core.fail(EXCEPTION.GP, 0)
    return interruptReturnReal(core, size)
  }
  if (core.word(L.RFLAGS_SYSTEM) & NT) {
    if (core.isLongMode) core.fail(EXCEPTION.GP, 0)
    const link = core.read(core.segmentWord(L.TR, L.SEG_BASE), 2)
    core.ripFromUop(true)
    return switchTask(core, link, 'return')
  }
  const ip = core.readStack(0, size)
  const selector = core.readStack(size, size) & 0xffff
  const flags = core.readStack(2 * size, size)
  if (size === 4 && flags & VM && core.cpl === 0 && !core.isLongMode)
    return toVirtual8086(core, ip, selector, flags)
  const code = returnCode(core, selector)
  checkOffset(core, code, { low: ip, high: 0 })
  const level = selector & 3
  const mask = returnMask(core, size)
  if (level === core.cpl) {
    core.adjustStack(3 * size)
    setFlags(core, flags, mask)
    return enterCode(core, selector, level, code, { low: ip, high: 0 })
  }
  const pointer = core.readStack(3 * size, size)
  const ss = core.readStack(4 * size, size) & 0xffff
  const stack = returnStack(core, ss, level, code)
  setFlags(core, flags, mask)
  enterCode(core, selector, level, code, { low: ip, high: 0 })
  enterStack(core, ss, stack)
  core.exports.updateMode()
  setWholeStackPointer(core, pointer, 0)
  dropSegments(core)
}

const FLAGS16 = ARITHMETIC | TF | DF | NT

function returnMask(core: Core, size: Size): number {
  const mayIf = core.cpl <= ((core.word(L.RFLAGS_SYSTEM) >> 12) & 3)
  const wide = size === 2 ? FLAGS16 : FLAGS16 | RF | AC | ID
  return wide | (mayIf ? IF : 0) | (core.cpl === 0 ? IOPL : 0)
}

function setFlags(core: Core, flags: number, mask: number): void {
  core.returnFlags((core.flags & ~mask) | (flags & mask))
}

function interruptReturnReal(core: Core, size: Size): void {
  const ip = core.readStack(0, size)
  const selector = core.readStack(size, size) & 0xffff
  const flags = core.readStack(2 * size, size)
  if (ip > core.segmentWord(L.CS, L.SEG_LIMIT) >>> 0) core.fail(EXCEPTION.GP, 0)
  core.adjustStack(3 * size)
  const wide = size === 2 ? FLAGS16 : FLAGS16 | RF | AC | ID
  setFlags(core, flags, wide | IF | (core.isVirtual8086 ? 0 : IOPL))
  loadRealSegment(core, L.CS, selector)
  core.setRip(ip)
  core.exports.updateMode()
}

function toVirtual8086(core: Core, ip: number, cs: number, flags: number): void {
  const words = [3, 4, 5, 6, 7, 8].map((i) => core.readStack(i * 4, 4))
  const [pointer, ss, es, ds, fs, gs] = words as [number, number, number, number, number, number]
  core.returnFlags(flags)
  core.setWord(L.CPL, 3)
  const selectors: [number, number][] = [
    [L.CS, cs],
    [L.SS, ss],
    [L.ES, es],
    [L.DS, ds],
    [L.FS, fs],
    [L.GS, gs],
  ]
  for (const [segment, selector] of selectors) loadRealSegment(core, segment, selector & 0xffff)
  core.setRip(ip & 0xffff)
  core.exports.updateMode()
  core.setGpr32(4, pointer)
}

const FLAT_CODE32 = 0xcf9b
const FLAT_CODE64 = 0xaf9b
const FLAT_DATA = 0xcf93
const DPL3 = 0x60

export function sysenter(core: Core): void {
  const selector = core.word(L.MSR_SYSENTER_CS) & 0xfffc
  if (!core.isProtected || selector === 0) core.fail(EXCEPTION.GP, 0)
  core.setWord(L.RFLAGS_SYSTEM, core.word(L.RFLAGS_SYSTEM) & ~(VM | IF | RF))
  core.exports.setFlat(L.CS, selector, core.isLongMode ? FLAT_CODE64 : FLAT_CODE32)
  core.exports.setFlat(L.SS, selector + 8, FLAT_DATA)
  core.setWord(L.CPL, 0)
  const high = core.isLongMode ? core.word(L.MSR_SYSENTER_ESP + 4) : 0
  core.setPair(L.REGS + 32, core.word(L.MSR_SYSENTER_ESP), high)
  const ripHigh = core.isLongMode ? core.word(L.MSR_SYSENTER_EIP + 4) : 0
  core.setRip(core.word(L.MSR_SYSENTER_EIP), ripHigh)
  core.exports.updateMode()
}

export function sysexit(core: Core, size: Size): void {
  const base = core.word(L.MSR_SYSENTER_CS) & 0xfffc
  if (!core.isProtected || base === 0) core.fail(EXCEPTION.GP, 0)
  const to64 = size === 8
  const [rcx, rdx] = [L.REGS + 8, L.REGS + 16]
  if (to64 && !(isCanonical(core.word(rcx + 4)) && isCanonical(core.word(rdx + 4))))
    core.fail(EXCEPTION.GP, 0)
  core.exports.setFlat(L.CS, (base + (to64 ? 32 : 16)) | 3, (to64 ? FLAT_CODE64 : FLAT_CODE32) | DPL3)
  core.exports.setFlat(L.SS, (base + (to64 ? 40 : 24)) | 3, FLAT_DATA | DPL3)
  core.setWord(L.CPL, 3)
  core.setPair(L.REGS + 32, core.word(rcx), to64 ? core.word(rcx + 4) : 0)
  core.setRip(core.word(rdx), to64 ? core.word(rdx + 4) : 0)
  core.exports.updateMode()
}
