/** The state of a CPU as TypeScript sees it: 32-bit words of engine memory, the module's exports, faults. */

import type { CpuPins } from '../pins.ts'
import { ARITHMETIC, FLAGS_EXPLICIT, RF, VM } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { CR0_PE, EFER_LMA } from '../state/registers.ts'
import { isFlat } from './flat-segments.ts'

/** What the interpreter's module exports. */
export interface EngineExports {
  dispatch(budget: number): number
  fault(budget: number): number
  runUop(uop: number, budget: number): number
  flushTlb(keepGlobal: number): void
  forgetJumps(keepGlobal: number): void
  invalidatePage(): void
  protectPage(host: number): void
  updateMode(): void
  deliverLong(vector: number, kind: number, errorCode: number): number
  setFlat(segment: number, selector: number, attributes: number): void
  markDescriptor(selector: number, set: number, clear: number): void
  readSystem(address: number, size: number): number
  writeSystem(address: number, value: number, size: number): void
  readStack(delta: number, size: number): void
  writeStack(delta: number, size: number): void
  translateAt(access: number): number
  fetchDescriptor(selector: number, ext: number): void
  fetchDescriptorHigh(selector: number): void
  loadCache(segment: number, selector: number): void
  readFlags(): number
  /** For rare operations: 64-bit addresses are bigints. */
  systemLoad(address: bigint, size: number): bigint
}

/** Thrown inside a host operation when a fault is pending; never leaves it. */
export const FAULTED = Symbol('fault')

/** A segment descriptor's two words. */
export interface Descriptor {
  readonly low: number
  readonly high: number
}

/** Bits 63 to 47 are all equal. */
export const isCanonical = (high: number): boolean => high >> 15 === 0 || high >> 15 === -1

export class Core {
  readonly words: Int32Array
  readonly pins: CpuPins
  exports!: EngineExports
  /** Ticks that a write to the time-stamp counter added. */
  tscAdjust = 0

  constructor(memory: ArrayBuffer, pins: CpuPins) {
    this.words = new Int32Array(memory)
    this.pins = pins
  }

  word(at: number): number {
    return this.words[at >> 2]!
  }
  setWord(at: number, value: number): void {
    this.words[at >> 2] = value
  }
  setPair(at: number, low: number, high: number): void {
    this.words[at >> 2] = low
    this.words[(at >> 2) + 1] = high
  }
  copyPair(to: number, from: number): void {
    this.words[to >> 2] = this.words[from >> 2]!
    this.words[(to >> 2) + 1] = this.words[(from >> 2) + 1]!
  }
  /** Low word of argument `i` of a host operation. */
  argument(i: number): number {
    return this.words[(L.SCRATCH >> 2) + i * 2]!
  }
  argumentHigh(i: number): number {
    return this.words[(L.SCRATCH >> 2) + i * 2 + 1]!
  }
  setResult(i: number, low: number, high = 0): void {
    this.setPair(L.SCRATCH + i * 8, low, high)
  }

  segmentWord(segment: number, field: number): number {
    return this.words[(L.SEG + segment * L.SEG_SIZE + field) >> 2]!
  }
  setSegmentWord(segment: number, field: number, value: number): void {
    this.words[(L.SEG + segment * L.SEG_SIZE + field) >> 2] = value
    this.noteFlat(segment)
  }
  /** A segment's cache was written. */
  noteFlat(segment: number): void {
    const bit = 1 << segment
    const others = this.word(L.FLAT_SEGMENTS) & ~bit
    this.setWord(L.FLAT_SEGMENTS, isFlat(this.words, segment) ? others | bit : others)
  }
  selector(segment: number): number {
    return this.segmentWord(segment, L.SEG_SELECTOR) & 0xffff
  }

  get cpl(): number {
    return this.word(L.CPL)
  }
  get codeSize(): number {
    return this.word(L.CODE_SIZE)
  }
  get isLongMode(): boolean {
    return (this.word(L.EFER) & EFER_LMA) !== 0
  }
  get isVirtual8086(): boolean {
    return (this.word(L.RFLAGS_SYSTEM) & VM) !== 0
  }
  /** Protected mode, and not virtual-8086 mode. */
  get isProtected(): boolean {
    return (this.word(L.CR0) & CR0_PE) !== 0 && !this.isVirtual8086
  }

  /** RFLAGS, low word. */
  get flags(): number {
    return this.word(L.RFLAGS_SYSTEM) | this.exports.readFlags() | 2
  }
  set flags(value: number) {
    this.setWord(L.RFLAGS_SYSTEM, value & ~(ARITHMETIC | 0x2a) & 0x3fffff)
    this.setWord(L.FLAG_KIND, FLAGS_EXPLICIT)
    this.setPair(L.FLAG_A, value & ARITHMETIC, 0)
    this.setPair(L.FLAG_RESULT, ((value >> 6) & 1) ^ 1, 0)
  }

  /**
   * RFLAGS of a return or a task. RF lasts for one instruction, which only breakpoints make visible: without any it is dropped
   * here rather than after that instruction.
   */
  returnFlags(value: number): void {
    this.flags = this.word(L.WATCHING) === 0 ? value & ~RF : value
  }

  gprLow(register: number): number {
    return this.words[(L.REGS >> 2) + register * 2]!
  }
  setGpr32(register: number, value: number): void {
    this.setPair(L.REGS + register * 8, value, 0)
  }
  setGpr16(register: number, value: number): void {
    const at = (L.REGS >> 2) + register * 2
    this.words[at] = (this.words[at]! & 0xffff0000) | (value & 0xffff)
  }

  // ---- faults ----

  fail(vector: number, errorCode = 0): never {
    this.setWord(L.FAULT, vector + 1)
    this.setWord(L.FAULT_ERROR, errorCode)
    throw FAULTED
  }
  /** Throws when an access left a fault pending. */
  check(): void {
    if (this.word(L.FAULT) !== 0) throw FAULTED
  }

  // ---- memory as the supervisor, 32-bit linear addresses ----

  read(address: number, size: 1 | 2 | 4): number {
    const value = this.exports.readSystem(address, size)
    this.check()
    return value >>> 0
  }
  write(address: number, value: number, size: 1 | 2 | 4): void {
    this.exports.writeSystem(address, value, size)
    this.check()
  }

  // ---- the stack, with the rights of the program ----

  /** Value at the stack pointer plus `delta`; the high word is `stackHigh`. */
  readStack(delta: number, size: number): number {
    this.exports.readStack(delta, size)
    this.check()
    return this.argument(0) >>> 0
  }
  get stackHigh(): number {
    return this.argumentHigh(0)
  }
  writeStack(delta: number, size: number, low: number, high = 0): void {
    this.setResult(0, low, high)
    this.exports.writeStack(delta, size)
    this.check()
  }
  /** Adds to RSP, ESP or SP, whichever the stack uses. */
  adjustStack(delta: number): void {
    this.setStackPointer(this.gprLow(4) + delta, delta)
  }
  /** Sets the stack pointer's low word; `delta` tells which way a 64-bit one carries. */
  setStackPointer(value: number, delta = 0): void {
    const mask = this.word(L.STACK_MASK)
    const at = (L.REGS >> 2) + 8
    if (this.codeSize === 8) {
      const sum = BigInt.asUintN(64, this.pair(L.REGS + 32) + BigInt(delta))
      this.setPair(L.REGS + 32, Number(BigInt.asIntN(32, sum)), Number(BigInt.asIntN(32, sum >> 32n)))
    } else if (mask === 0xffff) this.words[at] = (this.words[at]! & 0xffff0000) | (value & 0xffff)
    else this.setPair(L.REGS + 32, value, 0)
  }
  /** Loads RSP from the TSS at `offset`, in long mode. */
  loadInnerPointer(offset: number): void {
    const address = this.pair(L.SEG + L.TR * L.SEG_SIZE + L.SEG_BASE) + BigInt(offset)
    const value = this.exports.systemLoad(BigInt.asIntN(64, address), 8)
    this.check()
    const high = Number(BigInt.asIntN(32, value >> 32n))
    this.setPair(L.REGS + 32, Number(BigInt.asIntN(32, value)), high)
  }
  /** 64 bits as a bigint: for reports and rare operations. */
  pair(at: number): bigint {
    return (BigInt(this.words[(at >> 2) + 1]! >>> 0) << 32n) | BigInt(this.words[at >> 2]! >>> 0)
  }

  // ---- descriptors ----

  /** The descriptor that a selector names; #GP(selector) where there is none. */
  descriptor(selector: number, ext = 0): Descriptor {
    this.exports.fetchDescriptor(selector, ext)
    this.check()
    return { low: this.argument(0), high: this.argumentHigh(0) }
  }
  /** Loads a segment's cache from a descriptor. */
  loadCache(segment: number, selector: number, { low, high }: Descriptor): void {
    this.setResult(0, low, high)
    this.exports.loadCache(segment, selector)
  }
  /** Sets the base of a segment, and of its register slot. */
  setBase(segment: number, low: number, high = 0): void {
    this.setPair(L.SEG + segment * L.SEG_SIZE + L.SEG_BASE, low, high)
    if (segment === L.FS) this.setPair(L.REGS + L.SLOT.fsBase * 8, low, high)
    if (segment === L.GS) this.setPair(L.REGS + L.SLOT.gsBase * 8, low, high)
    this.noteFlat(segment)
  }
  /** Base of a segment outside 64-bit mode. */
  base(segment: number): number {
    if (segment === L.FS) return this.word(L.REGS + L.SLOT.fsBase * 8)
    if (segment === L.GS) return this.word(L.REGS + L.SLOT.gsBase * 8)
    return this.segmentWord(segment, L.SEG_BASE)
  }

  setRip(low: number, high = 0): void {
    this.setPair(L.RIP, low, high)
  }
  /** Address of the instruction at work, or of the one after it, to RIP; where there is none RIP is right. */
  ripFromUop(after: boolean): void {
    if (this.word(L.CURRENT_UOP) === 0) return
    const place = (this.words[(this.word(L.CURRENT_UOP) + L.UOP_HANDLER) >> 2]! >>> 16) & 0xffff
    const offset = (place & 0xfff) + (after ? place >> 12 : 0)
    const at = (L.REGS >> 2) + L.SLOT.ripBase * 2
    const low = (this.words[at]! >>> 0) + offset
    const long = this.codeSize === 8
    this.setPair(L.RIP, low | 0, long ? this.words[at + 1]! + (low > 0xffffffff ? 1 : 0) : 0)
  }
}

export const attributesOf = (d: Descriptor): number => (d.high >>> 8) & 0xffff
export const baseOf = (d: Descriptor): number =>
  (d.low >>> 16) | ((d.high & 0xff) << 16) | (d.high & 0xff000000)
export const limitOf = (d: Descriptor): number => {
  const raw = (d.low & 0xffff) | (d.high & 0xf0000)
  return (d.high & (1 << 23) ? (raw << 12) | 0xfff : raw) >>> 0
}
export const dplOf = (d: Descriptor): number => (d.high >>> 13) & 3
export const isPresent = (d: Descriptor): boolean => (d.high & 0x8000) !== 0
/** S flag and type: bits 0–4. */
export const typeOf = (d: Descriptor): number => (d.high >>> 8) & 31
export const isCode = (d: Descriptor): boolean => (typeOf(d) & 0x18) === 0x18
export const isConforming = (d: Descriptor): boolean => (typeOf(d) & 0x1c) === 0x1c
export const isWritableData = (d: Descriptor): boolean => (typeOf(d) & 0x1a) === 0x12
export const isReadable = (d: Descriptor): boolean =>
  (typeOf(d) & 0x18) === 0x10 || (typeOf(d) & 0x1a) === 0x1a
export const isLongCode = (d: Descriptor): boolean => (d.high & (1 << 21)) !== 0
