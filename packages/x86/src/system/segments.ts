/** Loading and examining segments. SDM Vol. 3A, "Segment Loading Instructions in IA-32e Mode", "Protection". */
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import {
  attributesOf,
  baseOf,
  type Core,
  type Descriptor,
  dplOf,
  isConforming,
  isPresent,
  isReadable,
  isWritableData,
  limitOf,
  typeOf,
} from './core.ts'

/** Attributes of a data segment in virtual-8086 mode: present, DPL 3, writable, accessed. */
const VIRTUAL_8086_DATA = 0xf3

/** loadSegment(segment, selector), for ES, SS, DS, FS and GS. */
export function loadSegment(core: Core, segment: number, selector: number): void {
  if (!core.isProtected) loadRealSegment(core, segment, selector)
  else if (segment === L.SS) loadStackSegment(core, selector)
  else loadDataSegment(core, segment, selector)
  if (segment === L.SS) {
    core.setWord(L.SHADOW, 1)
    core.exports.updateMode()
  }
}

/** Real and virtual-8086 mode: the base is the selector times 16. */
export function loadRealSegment(core: Core, segment: number, selector: number): void {
  core.setSegmentWord(segment, L.SEG_SELECTOR, selector)
  core.setSegmentWord(segment, L.SEG_UNUSABLE, 0)
  core.setBase(segment, selector << 4)
  if (core.isVirtual8086) {
    core.setSegmentWord(segment, L.SEG_LIMIT, 0xffff)
    core.setSegmentWord(segment, L.SEG_ATTRIBUTES, VIRTUAL_8086_DATA)
  }
}

function loadStackSegment(core: Core, selector: number): void {
  if ((selector & 0xfffc) === 0) {
    const allowed = core.codeSize === 8 && core.cpl !== 3 && (selector & 3) === core.cpl
    if (!allowed) core.fail(EXCEPTION.GP, 0)
    return loadNullSegment(core, L.SS, selector)
  }
  const error = selector & 0xfffc
  const d = core.descriptor(selector)
  if ((selector & 3) !== core.cpl || !isWritableData(d) || dplOf(d) !== core.cpl)
    core.fail(EXCEPTION.GP, error)
  if (!isPresent(d)) core.fail(EXCEPTION.SS, error)
  finish(core, L.SS, selector, d)
}

function loadDataSegment(core: Core, segment: number, selector: number): void {
  if ((selector & 0xfffc) === 0) return loadNullSegment(core, segment, selector)
  const error = selector & 0xfffc
  const d = core.descriptor(selector)
  if (!isReadable(d)) core.fail(EXCEPTION.GP, error)
  if (!isConforming(d) && Math.max(selector & 3, core.cpl) > dplOf(d)) core.fail(EXCEPTION.GP, error)
  if (!isPresent(d)) core.fail(EXCEPTION.NP, error)
  finish(core, segment, selector, d)
}

function finish(core: Core, segment: number, selector: number, d: Descriptor): void {
  core.exports.markDescriptor(selector, 1, 0)
  core.check()
  core.loadCache(segment, selector, d)
}

/** A null selector makes the segment unusable; its base becomes zero, as on Intel's CPUs. */
export function loadNullSegment(core: Core, segment: number, selector: number): void {
  core.setSegmentWord(segment, L.SEG_SELECTOR, selector)
  core.setSegmentWord(segment, L.SEG_ATTRIBUTES, segment === L.SS ? core.cpl << 5 : 0)
  core.setSegmentWord(segment, L.SEG_UNUSABLE, 1)
  core.setBase(segment, 0)
}

const SYSTEM_LDT = 2
const TSS16_AVAILABLE = 1
const TSS32_AVAILABLE = 9
const BUSY = 2

/** A system segment's base above 4 GiB comes from the descriptor's second half in long mode. */
function loadSystemSegment(core: Core, segment: number, selector: number, d: Descriptor): void {
  let high = 0
  if (core.isLongMode) {
    core.exports.fetchDescriptorHigh(selector)
    core.check()
    high = core.argument(0)
    if ((core.argumentHigh(0) & 0x1f00) !== 0) core.fail(EXCEPTION.GP, selector & 0xfffc)
  }
  core.setSegmentWord(segment, L.SEG_SELECTOR, selector)
  core.setSegmentWord(segment, L.SEG_ATTRIBUTES, attributesOf(d))
  core.setSegmentWord(segment, L.SEG_LIMIT, limitOf(d))
  core.setSegmentWord(segment, L.SEG_UNUSABLE, 0)
  core.setBase(segment, baseOf(d), high)
}

export function loadLdt(core: Core, selector: number): void {
  const error = selector & 0xfffc
  if (error === 0) return loadNullSegment(core, L.LDTR, selector)
  if (selector & 4) core.fail(EXCEPTION.GP, error)
  const d = core.descriptor(selector)
  if (typeOf(d) !== SYSTEM_LDT) core.fail(EXCEPTION.GP, error)
  if (!isPresent(d)) core.fail(EXCEPTION.NP, error)
  loadSystemSegment(core, L.LDTR, selector, d)
}

export function loadTask(core: Core, selector: number): void {
  const error = selector & 0xfffc
  if (error === 0 || selector & 4) core.fail(EXCEPTION.GP, error)
  const d = core.descriptor(selector)
  const type = typeOf(d)
  const available = type === TSS32_AVAILABLE || (type === TSS16_AVAILABLE && !core.isLongMode)
  if (!available) core.fail(EXCEPTION.GP, error)
  if (!isPresent(d)) core.fail(EXCEPTION.NP, error)
  loadSystemSegment(core, L.TR, selector, d)
  core.exports.markDescriptor(selector, BUSY, 0)
  core.check()
  core.setSegmentWord(L.TR, L.SEG_ATTRIBUTES, attributesOf(d) | BUSY)
}

/** The descriptor for LAR, LSL, VERR and VERW: where it cannot be had, that is an answer and no fault. */
function examined(core: Core, selector: number): Descriptor | undefined {
  if ((selector & 0xfffc) === 0) return undefined
  core.exports.fetchDescriptor(selector, 0)
  const fault = core.word(L.FAULT)
  if (fault === EXCEPTION.GP + 1) {
    core.setWord(L.FAULT, 0)
    return undefined
  }
  core.check()
  return { low: core.argument(0), high: core.argumentHigh(0) }
}

function isVisible(core: Core, selector: number, d: Descriptor): boolean {
  return isConforming(d) || Math.max(selector & 3, core.cpl) <= dplOf(d)
}

export function verify(core: Core, selector: number, write: boolean): boolean {
  const d = examined(core, selector)
  if (!d || (typeOf(d) & 16) === 0 || !isVisible(core, selector, d)) return false
  return write ? isWritableData(d) : isReadable(d)
}

const LAR_TYPES = new Set([1, 2, 3, 4, 5, 9, 11, 12])
const LAR_TYPES_LONG = new Set([2, 9, 11, 12])
const LSL_TYPES = new Set([1, 2, 3, 9, 11])
const LSL_TYPES_LONG = new Set([2, 9, 11])

function known(d: Descriptor, types: ReadonlySet<number>): boolean {
  return (typeOf(d) & 16) !== 0 || types.has(typeOf(d))
}

/** Access rights as LAR gives them, or undefined. */
export function accessRights(core: Core, selector: number): number | undefined {
  const d = examined(core, selector)
  if (!d || !known(d, core.isLongMode ? LAR_TYPES_LONG : LAR_TYPES)) return undefined
  return isVisible(core, selector, d) ? d.high & 0xf0ff00 : undefined
}

/** Limit in bytes as LSL gives it, or undefined. */
export function segmentLimit(core: Core, selector: number): number | undefined {
  const d = examined(core, selector)
  if (!d || !known(d, core.isLongMode ? LSL_TYPES_LONG : LSL_TYPES)) return undefined
  return isVisible(core, selector, d) ? limitOf(d) : undefined
}
