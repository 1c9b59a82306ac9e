/** Task switches. SDM Vol. 3A, "Task Management". */
import { NT, VM } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { CR0_TS, EXCEPTION } from '../state/registers.ts'
import {
  type Core,
  dplOf,
  isCode,
  isConforming,
  isPresent,
  isReadable,
  isWritableData,
  limitOf,
  typeOf,
} from './core.ts'
import { loadNullSegment, loadRealSegment } from './segments.ts'

export type TaskSwitch = 'jump' | 'call' | 'interrupt' | 'return'

/** Offsets in a TSS. */
interface Layout {
  readonly bytes: 2 | 4
  readonly limit: number
  readonly cr3: number
  readonly ip: number
  readonly flags: number
  readonly registers: number
  readonly segments: number
  readonly segmentStep: number
  readonly segmentCount: number
  readonly ldt: number
}
const TSS32: Layout = {
  bytes: 4,
  limit: 0x67,
  cr3: 0x1c,
  ip: 0x20,
  flags: 0x24,
  registers: 0x28,
  segments: 0x48,
  segmentStep: 4,
  segmentCount: 6,
  ldt: 0x60,
}
const TSS16: Layout = {
  bytes: 2,
  limit: 0x2b,
  cr3: -1,
  ip: 0x0e,
  flags: 0x10,
  registers: 0x12,
  segments: 0x22,
  segmentStep: 2,
  segmentCount: 4,
  ldt: 0x2a,
}
const BUSY = 2

/** The TSS's layout for a descriptor type. */
const layoutOf = (type: number): Layout => (type & 8 ? TSS32 : TSS16)

/** Switches to the task of a TSS selector. CS:RIP becomes the new task's; a fault after the commit point is the new task's. */
export function switchTask(core: Core, selector: number, how: TaskSwitch, ext = 0): void {
  const error = (selector & 0xfffc) | ext
  const bad = how === 'return' ? EXCEPTION.TS : EXCEPTION.GP
  if (selector & 4 || error <= 1) core.fail(bad, error)
  const d = core.descriptor(selector, ext)
  const type = typeOf(d)
  const wanted = how === 'return' ? [3, 11] : [1, 9]
  if (!wanted.includes(type)) core.fail(bad, error)
  if (!isPresent(d)) core.fail(EXCEPTION.NP, error)
  const layout = layoutOf(type)
  if (limitOf(d) < layout.limit) core.fail(EXCEPTION.TS, error)
  const old = core.selector(L.TR)
  saveTask(core, how)
  if (how === 'jump' || how === 'return') core.exports.markDescriptor(old, 0, BUSY)
  if (how !== 'return') core.exports.markDescriptor(selector, BUSY, 0)
  const base = (d.low >>> 16) | ((d.high & 0xff) << 16) | (d.high & 0xff000000)
  if (how === 'call' || how === 'interrupt') core.write(base, old, 2)
  core.check()
  core.setSegmentWord(L.TR, L.SEG_SELECTOR, selector)
  core.setSegmentWord(L.TR, L.SEG_ATTRIBUTES, ((d.high >>> 8) & 0xffff) | BUSY)
  core.setSegmentWord(L.TR, L.SEG_LIMIT, limitOf(d))
  core.setSegmentWord(L.TR, L.SEG_UNUSABLE, 0)
  core.setBase(L.TR, base)
  core.setWord(L.CR0, core.word(L.CR0) | CR0_TS)
  loadTask(core, base, layout, how)
}

function saveTask(core: Core, how: TaskSwitch): void {
  const layout = layoutOf(core.segmentWord(L.TR, L.SEG_ATTRIBUTES))
  const base = core.segmentWord(L.TR, L.SEG_BASE)
  const { bytes } = layout
  const flags = how === 'return' ? core.flags & ~NT : core.flags
  core.write(base + layout.ip, core.word(L.RIP), bytes)
  core.write(base + layout.flags, flags, bytes)
  for (let i = 0; i < 8; i++) core.write(base + layout.registers + i * bytes, core.gprLow(i), bytes)
  for (let i = 0; i < layout.segmentCount; i++)
    core.write(base + layout.segments + i * layout.segmentStep, core.selector(i), 2)
}

function loadTask(core: Core, base: number, layout: Layout, how: TaskSwitch): void {
  const { bytes } = layout
  const registers = Array.from({ length: 8 }, (_, i) => core.read(base + layout.registers + i * bytes, bytes))
  const selectors = Array.from({ length: layout.segmentCount }, (_, i) =>
    core.read(base + layout.segments + i * layout.segmentStep, 2),
  )
  const ip = core.read(base + layout.ip, bytes)
  const flags = core.read(base + layout.flags, bytes)
  const ldt = core.read(base + layout.ldt, 2)
  if (layout.cr3 >= 0 && core.word(L.CR0) < 0) {
    core.setPair(L.CR3, core.read(base + layout.cr3, 4), 0)
    core.exports.flushTlb(1)
  }
  const nested = how === 'call' || how === 'interrupt' ? NT : 0
  core.returnFlags(flags | nested)
  for (const [i, value] of registers.entries()) {
    if (bytes === 4) core.setGpr32(i, value)
    else core.setGpr32(i, value | 0xffff0000)
  }
  core.setRip(ip)
  for (let i = selectors.length; i < 6; i++) selectors.push(0)
  // Until they are loaded the segments are unusable: a fault now belongs to the new task.
  for (const [i, selector] of selectors.entries()) core.setSegmentWord(i, L.SEG_SELECTOR, selector)
  loadTaskLdt(core, ldt)
  loadTaskSegments(core, selectors)
  core.exports.updateMode()
  if (ip > core.segmentWord(L.CS, L.SEG_LIMIT) >>> 0) core.fail(EXCEPTION.GP, 0)
}

function loadTaskLdt(core: Core, selector: number): void {
  if ((selector & 0xfffc) === 0) return loadNullSegment(core, L.LDTR, selector)
  const error = selector & 0xfffc
  if (selector & 4) core.fail(EXCEPTION.TS, error)
  const d = core.descriptor(selector)
  if (typeOf(d) !== 2 || !isPresent(d)) core.fail(EXCEPTION.TS, error)
  core.loadCache(L.LDTR, selector, d)
}

function loadTaskSegments(core: Core, selectors: readonly number[]): void {
  if (core.word(L.RFLAGS_SYSTEM) & VM) {
    core.setWord(L.CPL, 3)
    for (const [i, selector] of selectors.entries()) loadRealSegment(core, i, selector)
    return
  }
  const cs = selectors[L.CS]!
  const cpl = cs & 3
  core.setWord(L.CPL, cpl)
  const fail = (selector: number): never => core.fail(EXCEPTION.TS, selector & 0xfffc)
  if ((cs & 0xfffc) === 0) fail(cs)
  const code = core.descriptor(cs)
  const rightPrivilege = isConforming(code) ? dplOf(code) <= cpl : dplOf(code) === cpl
  if (!isCode(code) || !rightPrivilege) fail(cs)
  if (!isPresent(code)) core.fail(EXCEPTION.NP, cs & 0xfffc)
  core.loadCache(L.CS, cs, code)
  const ss = selectors[L.SS]!
  if ((ss & 0xfffc) === 0) fail(ss)
  const stack = core.descriptor(ss)
  if (!isWritableData(stack) || dplOf(stack) !== cpl || (ss & 3) !== cpl) fail(ss)
  if (!isPresent(stack)) core.fail(EXCEPTION.SS, ss & 0xfffc)
  core.loadCache(L.SS, ss, stack)
  for (const segment of [L.ES, L.DS, L.FS, L.GS]) {
    const selector = selectors[segment]!
    if ((selector & 0xfffc) === 0) {
      loadNullSegment(core, segment, selector)
      continue
    }
    const d = core.descriptor(selector)
    if (!isReadable(d) || (!isConforming(d) && Math.max(selector & 3, cpl) > dplOf(d))) fail(selector)
    if (!isPresent(d)) core.fail(EXCEPTION.NP, selector & 0xfffc)
    core.loadCache(segment, selector, d)
  }
}
