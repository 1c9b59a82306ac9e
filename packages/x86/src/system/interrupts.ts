/** Interrupts and exceptions. SDM Vol. 3A, "Interrupt and Exception Handling". */
import { AC, IF, NT, RF, TF, VM } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION, HAS_ERROR_CODE } from '../state/registers.ts'
import {
  type Core,
  type Descriptor,
  dplOf,
  FAULTED,
  isCode,
  isConforming,
  isPresent,
  isWritableData,
  limitOf,
  typeOf,
} from './core.ts'
import { DELIVER_ERROR_CODE, DELIVER_RF, DELIVER_SOFTWARE } from './long-mode.ts'
import { ATTRIBUTE_DB } from './mode.ts'
import { loadNullSegment, loadRealSegment } from './segments.ts'
import { switchTask } from './tasks.ts'

/** Where an event comes from. */
export type Source =
  /** An exception of the instruction at RIP. */
  | 'fault'
  /** An exception reported after an instruction: RIP is the next one's. */
  | 'trap'
  /** INT n, INT3, INTO: the gate's privilege counts. */
  | 'software'
  /** From outside, or INT1. */
  | 'hardware'

const CONTRIBUTORY: ReadonlySet<number> = new Set([0, 10, 11, 12, 13])

/** What a fault during the delivery of another makes of the two. SDM Vol. 3A, "Interrupt 8—Double Fault Exception". */
function combine(first: number, second: number): number {
  const isDouble =
    (CONTRIBUTORY.has(first) && CONTRIBUTORY.has(second)) ||
    (first === EXCEPTION.PF && (second === EXCEPTION.PF || CONTRIBUTORY.has(second)))
  return isDouble ? EXCEPTION.DF : second
}

/**
 * Goes through the IDT; faults on the way are delivered in turn. Returns false for a triple fault, with the CPU as it was
 * at the first event.
 */
export function deliver(core: Core, vector: number, errorCode: number, source: Source): boolean {
  let current = vector
  let code = errorCode
  let from = source
  for (;;) {
    if (current === EXCEPTION.PF && from !== 'software') core.copyPair(L.CR2, L.FAULT_ADDRESS)
    if (tryDeliver(core, current, code, from)) return true
    const next = core.word(L.FAULT) - 1
    const nextCode = core.word(L.FAULT_ERROR)
    core.setWord(L.FAULT, 0)
    if (next === EXCEPTION.PF) core.copyPair(L.CR2, L.FAULT_ADDRESS)
    if (current === EXCEPTION.DF && from === 'fault') return false
    const isException = from === 'fault' || from === 'trap'
    current = isException ? combine(current, next) : next
    code = current === EXCEPTION.DF ? 0 : nextCode
    from = 'fault'
  }
}

function tryDeliver(core: Core, vector: number, errorCode: number, source: Source): boolean {
  const isException = source === 'fault' || source === 'trap'
  const hasCode = isException && HAS_ERROR_CODE.has(vector)
  const rf = source === 'fault'
  if (core.isLongMode) {
    const kind =
      (source === 'software' ? DELIVER_SOFTWARE : 0) |
      (hasCode ? DELIVER_ERROR_CODE : 0) |
      (rf ? DELIVER_RF : 0)
    return core.exports.deliverLong(vector, kind, errorCode) === 0
  }
  try {
    if ((core.word(L.CR0) & 1) === 0) deliverReal(core, vector)
    else deliverProtected(core, vector, hasCode ? errorCode : undefined, source)
    return true
  } catch (error) {
    if (error !== FAULTED) throw error
    return false
  }
}

/** SDM Vol. 3B, "Interrupt and Exception Handling" of real-address mode. */
function deliverReal(core: Core, vector: number): void {
  const entry = vector * 4
  if (entry + 3 > core.word(L.IDTR_LIMIT) >>> 0) core.fail(EXCEPTION.GP)
  const base = core.word(L.IDTR_BASE)
  const offset = core.read(base + entry, 2)
  const selector = core.read(base + entry + 2, 2)
  const flags = core.flags
  core.writeStack(-2, 2, flags)
  core.writeStack(-4, 2, core.selector(L.CS))
  core.writeStack(-6, 2, core.word(L.RIP))
  core.adjustStack(-6)
  core.setWord(L.RFLAGS_SYSTEM, core.word(L.RFLAGS_SYSTEM) & ~(IF | TF | AC | RF))
  loadRealSegment(core, L.CS, selector)
  core.setRip(offset)
  core.exports.updateMode()
}

const GATE_TASK = 5
const GATE_TYPES: ReadonlySet<number> = new Set([GATE_TASK, 6, 7, 14, 15])

function deliverProtected(core: Core, vector: number, errorCode: number | undefined, source: Source): void {
  const ext = source === 'software' ? 0 : 1
  const gateError = vector * 8 + 2
  if (vector * 8 + 7 > core.word(L.IDTR_LIMIT) >>> 0) core.fail(EXCEPTION.GP, gateError | ext)
  const base = core.word(L.IDTR_BASE)
  const gate = { low: core.read(base + vector * 8, 4), high: core.read(base + vector * 8 + 4, 4) }
  if (!GATE_TYPES.has(typeOf(gate))) core.fail(EXCEPTION.GP, gateError | ext)
  if (source === 'software' && dplOf(gate) < core.cpl) core.fail(EXCEPTION.GP, gateError)
  if (!isPresent(gate)) core.fail(EXCEPTION.NP, gateError | ext)
  const selector = gate.low >>> 16
  if (typeOf(gate) === GATE_TASK) return throughTask(core, selector, errorCode, ext)
  if ((selector & 0xfffc) === 0) core.fail(EXCEPTION.GP, ext)
  const error = (selector & 0xfffc) | ext
  const code = core.descriptor(selector, ext)
  const cpl = core.cpl
  if (!isCode(code) || dplOf(code) > cpl) core.fail(EXCEPTION.GP, error)
  if (!isPresent(code)) core.fail(EXCEPTION.NP, error)
  const newCpl = isConforming(code) ? cpl : dplOf(code)
  if (core.isVirtual8086 && newCpl !== 0) core.fail(EXCEPTION.GP, error)
  const size = typeOf(gate) & 8 ? 4 : 2
  const offset = (gate.low & 0xffff) | (size === 4 ? gate.high & 0xffff0000 : 0)
  if (offset >>> 0 > limitOf(code)) core.fail(EXCEPTION.GP, ext)
  const frame = [core.flags | (source === 'fault' ? RF : 0), core.selector(L.CS), core.word(L.RIP)]
  if (errorCode !== undefined) frame.push(errorCode)
  if (newCpl < cpl) pushInner(core, newCpl, size, frame, ext)
  else pushSame(core, size, frame)
  const cleared = TF | NT | RF | VM | (typeOf(gate) & 1 ? 0 : IF)
  core.setWord(L.RFLAGS_SYSTEM, core.word(L.RFLAGS_SYSTEM) & ~cleared)
  core.exports.markDescriptor(selector, 1, 0)
  core.loadCache(L.CS, (selector & 0xfffc) | newCpl, code)
  core.setWord(L.CPL, newCpl)
  core.setRip(offset)
  core.exports.updateMode()
}

function throughTask(core: Core, selector: number, errorCode: number | undefined, ext: number): void {
  switchTask(core, selector, 'interrupt', ext)
  if (errorCode === undefined) return
  const size = core.segmentWord(L.TR, L.SEG_ATTRIBUTES) & 8 ? 4 : 2
  core.writeStack(-size, size, errorCode)
  core.adjustStack(-size)
}

function pushSame(core: Core, size: 2 | 4, frame: readonly number[]): void {
  for (const [i, value] of frame.entries()) core.writeStack(-size * (i + 1), size, value)
  core.adjustStack(-size * frame.length)
}

/** Stack pointer and segment for a privilege level, from the TSS. */
export function innerStack(core: Core, level: number, ext: number): { selector: number; pointer: number } {
  const wide = (core.segmentWord(L.TR, L.SEG_ATTRIBUTES) & 8) !== 0
  const at = wide ? 4 + level * 8 : 2 + level * 4
  const limit = core.segmentWord(L.TR, L.SEG_LIMIT) >>> 0
  if (at + (wide ? 5 : 3) > limit) core.fail(EXCEPTION.TS, (core.selector(L.TR) & 0xfffc) | ext)
  const base = core.segmentWord(L.TR, L.SEG_BASE)
  const pointer = core.read(base + at, wide ? 4 : 2)
  const selector = core.read(base + at + (wide ? 4 : 2), 2)
  return { selector, pointer }
}

/** Checks a stack segment for a privilege level. */
export function innerStackSegment(core: Core, selector: number, level: number, ext: number): Descriptor {
  const error = (selector & 0xfffc) | ext
  if ((selector & 0xfffc) === 0) core.fail(EXCEPTION.TS, ext)
  if ((selector & 3) !== level) core.fail(EXCEPTION.TS, error)
  core.exports.fetchDescriptor(selector, ext)
  if (core.word(L.FAULT) === EXCEPTION.GP + 1) core.fail(EXCEPTION.TS, error)
  core.check()
  const d = { low: core.argument(0), high: core.argumentHigh(0) }
  if (dplOf(d) !== level || !isWritableData(d)) core.fail(EXCEPTION.TS, error)
  if (!isPresent(d)) core.fail(EXCEPTION.SS, error)
  return d
}

/** Pushes onto a stack that is not the current one yet; returns the new stack pointer. */
export function pushOnto(
  core: Core,
  stack: { readonly descriptor: Descriptor; readonly selector: number; readonly pointer: number },
  size: 2 | 4,
  values: readonly number[],
  ext: number,
): number {
  const { descriptor } = stack
  const attributes = (descriptor.high >>> 8) & 0xffff
  const mask = attributes & ATTRIBUTE_DB ? 0xffffffff : 0xffff
  const base = (descriptor.low >>> 16) | ((descriptor.high & 0xff) << 16) | (descriptor.high & 0xff000000)
  const limit = limitOf(descriptor)
  const expandsDown = (attributes & 4) !== 0
  let pointer = stack.pointer
  for (const value of values) {
    pointer = ((pointer - size) & mask) >>> 0
    const last = pointer + size - 1
    const outside = expandsDown ? pointer <= limit || last > mask >>> 0 : last > limit
    if (outside) core.fail(EXCEPTION.SS, (stack.selector & 0xfffc) | ext)
    core.write((base + pointer) | 0, value, size)
  }
  return pointer
}

function pushInner(core: Core, level: number, size: 2 | 4, frame: readonly number[], ext: number): void {
  const { selector, pointer } = innerStack(core, level, ext)
  const descriptor = innerStackSegment(core, selector, level, ext)
  const virtual = core.isVirtual8086
  const data = virtual ? [L.GS, L.FS, L.DS, L.ES].map((segment) => core.selector(segment)) : []
  const values = [...data, core.selector(L.SS), core.gprLow(4), ...frame]
  const top = pushOnto(core, { descriptor, selector, pointer }, size, values, ext)
  core.exports.markDescriptor(selector, 1, 0)
  if (virtual) {
    core.setWord(L.RFLAGS_SYSTEM, core.word(L.RFLAGS_SYSTEM) & ~VM)
    for (const segment of [L.GS, L.FS, L.DS, L.ES]) loadNullSegment(core, segment, 0)
  }
  core.loadCache(L.SS, selector, descriptor)
  core.exports.updateMode()
  core.setStackPointer(top)
}
