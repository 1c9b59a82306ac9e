/** Writing micro-ops: what the decoder found, as 16 bytes for a handler. */
import type { Decoder } from '../decode/decoder.ts'
import { type Entry, type RegisterField, sizeIndex } from '../decode/entry.ts'
import { variantKey } from '../decode/tables.ts'
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

const ZERO = L.SLOT.zero

/** Bytes between the first micro-op and the end of all of one instruction: at most two micro-ops. */
export const MAX_UOPS = 2

export class MicroOpWriter {
  readonly #words: Int32Array
  readonly #decoder: Decoder
  /** What the next micro-op has in UOP_PLACE, and in the fields of its address. */
  #place = 0
  #base = 0
  #index = 0
  #scale = 0
  #disp = 0

  constructor(memory: ArrayBuffer, decoder: Decoder) {
    this.#words = new Int32Array(memory)
    this.#decoder = decoder
  }

  /** Writes an internal micro-op; returns the address after it. */
  internal(at: number, handler: number, offset: number, length: number, immediate: number, disp = 0): number {
    this.#place = offset | (length << 12)
    this.#setAddress(ZERO * 8, ZERO * 8, 0, disp)
    return this.#write(at, handler, 0, immediate)
  }

  /** Writes the decoded instruction at page offset `offset`; returns the address after it, or −1 where #UD is due. */
  instruction(start: number, offset: number, codeSize: number): number {
    const d = this.#decoder
    const entry = d.entry!
    const legacy = codeSize !== 8
    const handler = entry.handlers[this.#variantKey(entry, legacy)]!
    if (handler < 0) return -1
    this.#place = offset | (d.length << 12)
    let at = start
    if (d.hasMemory) at = this.#address(start, entry, offset, legacy)
    else this.#setAddress(this.#register(entry.rmField, d.rm), entry.addressSensitive ? d.segment : 0, 0, 0)
    const immediate = entry.isVex ? this.#vexFields(entry) : this.#immediate(entry)
    return this.#write(at, handler, this.#register(entry.regField, d.reg), immediate)
  }

  #variantKey(entry: Entry, legacy: boolean): number {
    const d = this.#decoder
    const { sizes } = entry
    const size = sizes.length === 1 ? sizes[0]! : Math.max(d.operandSize, sizes[0]!)
    const repeat = Math.min(d.repeat, entry.repeats)
    const addressSize = entry.addressSensitive ? d.addressSize : 8
    return variantKey(size, d.hasMemory, legacy && entry.modeSensitive, repeat, addressSize)
  }

  #register(field: RegisterField, register: number): number {
    switch (field) {
      case 'gpr':
        return register * 8
      case 'byte':
        return register >= 4 && register < 8 && this.#decoder.rex === 0 ? register * 8 - 31 : register * 8
      case 'xmm':
        return register * 16
      case 'mmx':
        return (register & 7) * 16
      case 'number':
        return register
      case 'stack':
        return this.#decoder.rm & 7
      case 'none':
        return ZERO * 8
    }
  }

  /** UOP_IMM; of an immediate of 64 bits, and of two, the other half is in UOP_DISP. */
  #immediate(entry: Entry): number {
    const d = this.#decoder
    if (entry.immediateBytes[sizeIndex(d.operandSize)] === 8) {
      this.#disp = d.immediate
      return d.immediateHigh
    }
    if (entry.secondImmediate !== 0) this.#disp = d.immediateHigh
    return d.immediate
  }

  /** UOP_IMM with VEX: the immediate byte, the registers that VEX adds, and the segment of a gather. */
  #vexFields(entry: Entry): number {
    const d = this.#decoder
    const is4 = (d.immediate >> 4) & (d.codeSize === 8 ? 15 : 7)
    const segment = d.codeSize === 8 && d.override < L.FS ? L.DS : d.segment
    return (d.immediate & 0xff) | ((d.vvvv * entry.vvvvScale) << 8) | ((is4 * 16) << 16) | (segment << 24)
  }

  /** Fills the address fields of the instruction's micro-op, after an address micro-op where they cannot say it. */
  #address(start: number, entry: Entry, offset: number, legacy: boolean): number {
    const d = this.#decoder
    if (entry.vsib) return this.#vectorAddress(start)
    if (entry.addressAfterPop && d.base === 4) d.disp += d.operandSize
    if (legacy) return this.#legacyAddress(start, entry)
    const segment =
      entry.offsetOnly || d.override < L.FS ? ZERO : d.override === L.FS ? L.SLOT.fsBase : L.SLOT.gsBase
    if (entry.hasOffset && d.addressSize === 8 && (d.disp < 0 || d.dispHigh !== 0)) {
      this.#setAddress(segment * 8, ZERO * 8, 0, d.disp)
      return this.#writeEa(start, INTERNAL.eaAbsolute, d.dispHigh)
    }
    const isRip = d.base === -2
    const base = isRip ? L.SLOT.ripBase : d.base < 0 ? ZERO : d.base
    const index = d.index < 0 ? ZERO : d.index
    this.#setAddress(base * 8, index * 8, d.scale, isRip ? d.disp + offset + d.length : d.disp)
    if (d.addressSize === 4) return this.#writeEa(start, INTERNAL.ea32, segment * 8)
    if (segment === ZERO) return start
    if (d.index >= 0) return this.#writeEa(start, INTERNAL.eaSegment, segment * 8)
    this.#index = segment * 8
    this.#scale = 0
    return start
  }

  /** The instruction itself adds each of its indices, and the segment's base. */
  #vectorAddress(start: number): number {
    const d = this.#decoder
    this.#setAddress((d.base < 0 ? ZERO : d.base) * 8, d.index * 16, d.scale, d.disp)
    return start
  }

  #legacyAddress(start: number, entry: Entry): number {
    const d = this.#decoder
    const base = d.base < 0 ? ZERO : d.base
    const index = d.index < 0 ? ZERO : d.index
    const isAddress16 = d.addressSize === 2
    this.#setAddress(base * 8, index * 8, d.scale, d.disp)
    const immediate =
      entry.accessBytes[sizeIndex(d.operandSize)]! |
      (entry.writesMemory ? EA_WRITE : 0) |
      (d.segment << EA_SEGMENT_SHIFT) |
      (isAddress16 ? EA_ADDRESS16 : 0)
    const at = this.#writeEa(start, INTERNAL.eaLegacy, immediate)
    this.#scale = d.segment | (isAddress16 ? 8 : 0)
    return at
  }

  /** Writes an address micro-op; the next one's address is what it makes. */
  #writeEa(at: number, handler: number, immediate: number): number {
    const next = this.#write(at, handler, 0, immediate)
    this.#setAddress(L.SLOT.ea * 8, ZERO * 8, 0, 0)
    return next
  }

  #setAddress(base: number, index: number, scale: number, disp: number): void {
    this.#base = base
    this.#index = index
    this.#scale = scale
    this.#disp = disp
  }

  /** All of a micro-op as four words: see `UOP_HANDLER` and on. */
  #write(at: number, handler: number, reg: number, immediate: number): number {
    const word = at >> 2
    this.#words[word] = handler | (this.#place << 16)
    this.#words[word + 1] = this.#base | (this.#index << 8) | (reg << 16) | (this.#scale << 24)
    this.#words[word + 2] = this.#disp
    this.#words[word + 3] = immediate
    return at + L.UOP_SIZE
  }
}
