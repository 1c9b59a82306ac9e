/** Writing micro-ops: what the decoder found, as 16 bytes for a handler. */
import type { Decoder } from '../decode/decoder.ts'
import { type Entry, variantKey } from '../decode/tables.ts'
import * as L from '../state/layout.ts'

/** Handlers that stand for no instruction of the manual; their numbers come first. */
export const INTERNAL = {
  /** The code of this micro-op was changed: look again at RIP. */
  stale: 0,
  /** Goes to the instruction at offset UOP_IMM from the page's start. */
  goto: 1,
  /** Raises the exception in UOP_IMM, error code in UOP_DISP. */
  raise: 2,
  /** The instruction continues on the next page. */
  cross: 3,
  /** Address micro-ops: 32-bit address in 64-bit mode; 64-bit with a segment base; absolute; with segment checks. */
  ea32: 4,
  eaSegment: 5,
  eaAbsolute: 6,
  eaLegacy: 7,
} as const
export const INTERNAL_COUNT = 8

/** UOP_IMM of `eaLegacy`. */
export const EA_WRITE = 1 << 12
export const EA_SEGMENT_SHIFT = 16
export const EA_ADDRESS16 = 1 << 24

const REPEATS = ['none', 'rep', 'repne'] as const

/** Bytes between the first micro-op and the end of all of one instruction: at most two micro-ops. */
export const MAX_UOPS = 2

export class MicroOpWriter {
  readonly #memory: DataView
  readonly #decoder: Decoder

  constructor(memory: ArrayBuffer, decoder: Decoder) {
    this.#memory = new DataView(memory)
    this.#decoder = decoder
  }

  /** Writes an internal micro-op; returns the address after it. */
  internal(at: number, handler: number, offset: number, length: number, immediate: number, disp = 0): number {
    this.#head(at, handler, offset, length)
    this.#memory.setUint32(at + 4, (L.SLOT.zero * 8) | ((L.SLOT.zero * 8) << 8), true)
    this.#memory.setInt32(at + L.UOP_DISP, disp, true)
    this.#memory.setInt32(at + L.UOP_IMM, immediate, true)
    return at + L.UOP_SIZE
  }

  #head(at: number, handler: number, offset: number, length: number): void {
    this.#memory.setUint16(at + L.UOP_HANDLER, handler, true)
    this.#memory.setUint16(at + L.UOP_PLACE, offset | (length << 12), true)
  }

  /** Writes the decoded instruction at page offset `offset`; returns the address after it, or −1 where #UD is due. */
  instruction(start: number, offset: number, codeSize: number): number {
    const d = this.#decoder
    const entry = d.entry!
    const legacy = codeSize !== 8
    const key = this.#variantKey(entry, legacy)
    const handler = entry.handlers[key]!
    if (handler < 0) return -1
    let at = start
    const m = this.#memory
    if (d.hasMemory) at = this.#address(at, entry, offset, legacy)
    else {
      m.setUint8(at + L.UOP_BASE, this.#registerField(entry, 'rm'))
      m.setUint8(at + L.UOP_INDEX, entry.instruction.addressSensitive ? d.segment : 0)
      m.setUint8(at + L.UOP_SCALE, 0)
      m.setInt32(at + L.UOP_DISP, 0, true)
    }
    this.#head(at, handler, offset, d.length)
    m.setUint8(at + L.UOP_REG, this.#registerField(entry, 'reg'))
    this.#immediate(at, entry)
    return at + L.UOP_SIZE
  }

  #variantKey(entry: Entry, legacy: boolean): number {
    const d = this.#decoder
    const size = entry.sizes.length === 1 ? entry.sizes[0]! : Math.max(d.operandSize, entry.sizes[0]!)
    const repeat =
      entry.form.repeat === undefined ? 0 : entry.form.repeat === 'rep' ? Math.min(d.repeat, 1) : d.repeat
    const addressSize = entry.instruction.addressSensitive ? d.addressSize : 8
    return variantKey(
      size,
      d.hasMemory,
      legacy && !!entry.instruction.modeSensitive,
      REPEATS[repeat]!,
      addressSize,
    )
  }

  #registerField(entry: Entry, which: 'rm' | 'reg'): number {
    const d = this.#decoder
    for (const operand of entry.operands) {
      const cls = operand.class
      if (which === 'rm') {
        if (cls === 'rm' || cls === 'opcode') return this.#gpr(d.rm, operand.size(d.operandSize))
        if (cls === 'xmmRm') return d.rm * 16
        if (cls === 'mmxRm') return (d.rm & 7) * 16
      } else {
        if (cls === 'reg') return this.#gpr(d.reg, operand.size(d.operandSize))
        if (cls === 'xmmReg') return d.reg * 16
        if (cls === 'mmxReg') return (d.reg & 7) * 16
        if (
          (cls === 'segment' && operand.fixedRegister === undefined) ||
          cls === 'control' ||
          cls === 'debug'
        )
          return d.reg
        if (cls === 'x87') return d.rm & 7
      }
    }
    return which === 'rm' ? L.SLOT.zero * 8 : d.rm & 7
  }

  #gpr(register: number, size: number): number {
    if (size === 1 && this.#decoder.rex === 0 && register >= 4 && register < 8) return (register - 4) * 8 + 1
    return register * 8
  }

  #immediate(at: number, entry: Entry): void {
    if (entry.vex) return this.#vexFields(at, entry)
    const d = this.#decoder
    const m = this.#memory
    const wide = entry.operands.some((o) => o.class === 'immediate' && o.size(d.operandSize) === 8)
    if (wide) {
      m.setInt32(at + L.UOP_DISP, d.immediate, true)
      m.setInt32(at + L.UOP_IMM, d.immediateHigh, true)
      return
    }
    m.setInt32(at + L.UOP_IMM, d.immediate, true)
    const immediates = entry.operands.filter((o) => o.class === 'immediate').length
    if (immediates === 2) m.setInt32(at + L.UOP_DISP, d.immediateHigh, true)
  }

  /** The immediate byte, the registers that VEX adds, and the segment of a gather. */
  #vexFields(at: number, entry: Entry): void {
    const d = this.#decoder
    const is4 = (d.immediate >> 4) & (d.codeSize === 8 ? 15 : 7)
    const scale = entry.operands.some((o) => o.class === 'gprVvvv') ? 8 : 16
    const segment = d.codeSize === 8 && d.override < L.FS ? L.DS : d.segment
    const fields = (d.immediate & 0xff) | ((d.vvvv * scale) << 8) | ((is4 * 16) << 16) | (segment << 24)
    this.#memory.setInt32(at + L.UOP_IMM, fields, true)
  }

  /** Fills the address fields of the instruction's micro-op, after an address micro-op where they cannot say it. */
  #address(start: number, entry: Entry, offset: number, legacy: boolean): number {
    const d = this.#decoder
    const access = entry.form.access
    if (entry.vsib) return this.#vectorAddress(start)
    const none = access === 'none'
    if (entry.form.addressAfterPop && d.base === 4) d.disp += d.operandSize
    if (legacy) return this.#legacyAddress(start, entry, offset)
    const segmentSlot =
      none || d.override < L.FS ? L.SLOT.zero : d.override === L.FS ? L.SLOT.fsBase : L.SLOT.gsBase
    const rip = d.base === -2
    const base = rip ? L.SLOT.ripBase : d.base < 0 ? L.SLOT.zero : d.base
    const disp = rip ? d.disp + offset + d.length : d.disp
    const absolute = d.dispHigh !== 0 && d.dispHigh !== d.disp >> 31
    const isOffset = entry.operands.some((o) => o.class === 'offset')
    if (d.addressSize === 4) {
      this.#addressFields(start, base, d.index < 0 ? L.SLOT.zero : d.index, d.scale, disp)
      this.#head(start, INTERNAL.ea32, offset, d.length)
      this.#memory.setInt32(start + L.UOP_IMM, segmentSlot * 8, true)
      return this.#afterEa(start + L.UOP_SIZE)
    }
    if (isOffset && (absolute || d.disp < 0)) {
      this.#addressFields(start, segmentSlot, L.SLOT.zero, 0, d.disp)
      this.#head(start, INTERNAL.eaAbsolute, offset, d.length)
      this.#memory.setInt32(start + L.UOP_IMM, d.dispHigh, true)
      return this.#afterEa(start + L.UOP_SIZE)
    }
    if (segmentSlot !== L.SLOT.zero && d.index >= 0) {
      this.#addressFields(start, base, d.index, d.scale, disp)
      this.#head(start, INTERNAL.eaSegment, offset, d.length)
      this.#memory.setInt32(start + L.UOP_IMM, segmentSlot * 8, true)
      return this.#afterEa(start + L.UOP_SIZE)
    }
    if (segmentSlot !== L.SLOT.zero) this.#addressFields(start, base, segmentSlot, 0, disp)
    else this.#addressFields(start, base, d.index < 0 ? L.SLOT.zero : d.index, d.scale, disp)
    return start
  }

  /** The instruction itself adds each of its indices, and the segment's base. */
  #vectorAddress(start: number): number {
    const d = this.#decoder
    this.#addressFields(start, d.base < 0 ? L.SLOT.zero : d.base, d.index * 2, d.scale, d.disp)
    return start
  }

  #legacyAddress(start: number, entry: Entry, offset: number): number {
    const d = this.#decoder
    const { access, memoryBytes } = entry.form
    const operand = entry.operands[entry.memoryOperand]
    const bytes =
      access === 'none' || access === 'bit' ? 0 : (memoryBytes ?? operand?.size(d.operandSize) ?? 0)
    const write = access ? access === 'w' : entry.memoryOperand === 0
    this.#addressFields(
      start,
      d.base < 0 ? L.SLOT.zero : d.base,
      d.index < 0 ? L.SLOT.zero : d.index,
      d.scale,
      d.disp,
    )
    this.#head(start, INTERNAL.eaLegacy, offset, d.length)
    const immediate =
      bytes |
      (write ? EA_WRITE : 0) |
      (d.segment << EA_SEGMENT_SHIFT) |
      (d.addressSize === 2 ? EA_ADDRESS16 : 0)
    this.#memory.setInt32(start + L.UOP_IMM, immediate, true)
    const at = this.#afterEa(start + L.UOP_SIZE)
    this.#memory.setUint8(at + L.UOP_SCALE, d.segment | (d.addressSize === 2 ? 8 : 0))
    return at
  }

  #afterEa(at: number): number {
    this.#addressFields(at, L.SLOT.ea, L.SLOT.zero, 0, 0)
    return at
  }

  #addressFields(at: number, base: number, index: number, scale: number, disp: number): void {
    const m = this.#memory
    m.setUint8(at + L.UOP_BASE, base * 8)
    m.setUint8(at + L.UOP_INDEX, index * 8)
    m.setUint8(at + L.UOP_REG, 0)
    m.setUint8(at + L.UOP_SCALE, scale)
    m.setInt32(at + L.UOP_DISP, disp, true)
  }
}
