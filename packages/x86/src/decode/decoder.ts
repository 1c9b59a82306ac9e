/**
 * Decoding one instruction: prefixes, opcode, ModRM, SIB, displacement, immediates.
 * SDM Vol. 2A, "Instruction Format".
 */
import { DS, SS } from '../state/layout.ts'
import { type Entry, selector, sizeIndex } from './entry.ts'
import type { DecodeTables } from './tables.ts'

/** Default operand size of the code segment in bytes: 2, 4, or 8 for 64-bit mode. */
export type CodeSize = 2 | 4 | 8

export const MAX_LENGTH = 15

/** Result of `decode`: `ok`; more bytes are needed; or an exception that decoding raises. */
export type DecodeStatus = 'ok' | 'truncated' | 'undefined' | 'too-long'

/** Legacy prefixes; and REX, which is one in 64-bit mode only. */
const LEGACY = 1
const REX = 2
const PREFIXES = Uint8Array.from({ length: 256 }, (_, byte) => {
  if ([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(byte)) return LEGACY
  return (byte & 0xf0) === 0x40 ? REX : 0
})

/** `repeat` that VEX.pp stands for. */
const VEX_REPEAT = [0, 0, 1, 2] as const

/** Registers of 16-bit addresses, by ModRM.rm. */
const BASES_16 = [3, 3, 5, 5, 6, 7, 5, 3] as const
const INDICES_16 = [6, 7, 6, 7, -1, -1, -1, -1] as const

/** Decodes instructions into its own fields; one object serves all. */
export class Decoder {
  readonly #tables: DecodeTables
  entry: Entry | undefined
  /** Bytes that were looked at: those of the instruction, or those that make it none. */
  length = 0
  operandSize = 4
  addressSize = 8
  lock = false
  /** 0 none, 1 F3, 2 F2. */
  repeat = 0
  /** Segment override, or −1. */
  override = -1
  rex = 0
  hasMemory = false
  /** Register in ModRM.rm (with REX.B) or in the opcode, and in ModRM.reg (with REX.R). */
  rm = 0
  reg = 0
  /** Base and index register, or −1; base −2 is RIP. */
  base = -1
  index = -1
  scale = 0
  disp = 0
  /** moffs64: upper half of the displacement. */
  dispHigh = 0
  immediate = 0
  immediateHigh = 0
  /** VEX.vvvv, and VEX.L. */
  vvvv = 0
  vexLength = 0
  /** The segment that a memory operand uses. */
  segment = DS

  #bytes: Uint8Array = new Uint8Array(0)
  #at = 0
  #end = 0
  #start = 0
  #mode: CodeSize = 8
  #operandPrefix = false
  #addressPrefix = false
  #map = 0
  #modrm = 0
  #opcode = 0
  #isVex = false
  #truncated = false
  #vexW = 0

  constructor(tables: DecodeTables) {
    this.#tables = tables
  }

  get codeSize(): CodeSize {
    return this.#mode
  }

  /** Decodes the instruction at `at`; `end` is where the readable bytes end. */
  decode(bytes: Uint8Array, at: number, end: number, mode: CodeSize): DecodeStatus {
    this.#reset(bytes, at, end, mode)
    const status = this.#instruction()
    this.length = this.#at - at
    return status
  }

  #instruction(): DecodeStatus {
    this.#prefixes()
    if (!this.#isVex) this.#opcodeBytes()
    if (this.#truncated) return this.#short()
    const entry = this.#match()
    if (this.#truncated) return this.#short()
    if (!entry) return 'undefined'
    this.entry = entry
    this.#sizes(entry)
    if (entry.hasModrm) this.#modrmOperands()
    this.#immediates(entry)
    if (this.#truncated) return this.#short()
    if (this.lock && !(entry.lockable && this.hasMemory)) return 'undefined'
    if (entry.isVex && !this.#isVexLegal(entry)) return 'undefined'
    return 'ok'
  }

  /** VEX.vvvv is ones where it names nothing. Gathers need a SIB byte, and three different registers. */
  #isVexLegal(entry: Entry): boolean {
    if (!entry.vvvv && this.vvvv !== 0) return false
    if (!entry.vsib) return true
    const { reg, index, vvvv } = this
    return (
      this.addressSize !== 2 && (this.#modrm & 7) === 4 && reg !== index && reg !== vvvv && index !== vvvv
    )
  }

  #short(): DecodeStatus {
    return this.#at - this.#start >= MAX_LENGTH ? 'too-long' : 'truncated'
  }

  #reset(bytes: Uint8Array, at: number, end: number, mode: CodeSize): void {
    this.#bytes = bytes
    this.#start = this.#at = at
    this.#end = Math.min(end, at + MAX_LENGTH)
    this.#mode = mode
    this.#operandPrefix = this.#addressPrefix = this.#isVex = this.#truncated = false
    this.#map = this.#opcode = this.#modrm = this.#vexW = 0
    this.entry = undefined
    this.lock = this.hasMemory = false
    this.repeat = this.rex = this.rm = this.reg = this.scale = 0
    this.disp = this.dispHigh = this.immediate = this.immediateHigh = this.vvvv = this.vexLength = 0
    this.override = this.base = this.index = -1
    this.segment = DS
  }

  #byte(): number {
    if (this.#at < this.#end) return this.#bytes[this.#at++]!
    this.#truncated = true
    return 0
  }

  #prefixes(): void {
    let byte = this.#byte()
    for (let kind = PREFIXES[byte]!; kind !== 0; kind = PREFIXES[byte]!) {
      if (kind === LEGACY) {
        // REX counts only right before the opcode.
        this.rex = 0
        this.#legacyPrefix(byte)
      } else if (this.#mode === 8) this.rex = byte
      else break
      byte = this.#byte()
    }
    if ((byte === 0xc4 || byte === 0xc5) && this.rex === 0 && this.#startsVex()) this.#vex(byte)
    else this.#opcode = byte
  }

  #legacyPrefix(byte: number): void {
    switch (byte) {
      case 0x66:
        this.#operandPrefix = true
        break
      case 0x67:
        this.#addressPrefix = true
        break
      case 0xf0:
        this.lock = true
        break
      case 0xf2:
        this.repeat = 2
        break
      case 0xf3:
        this.repeat = 1
        break
      case 0x64:
      case 0x65:
        this.override = byte - 0x60
        break
      default:
        // Ignored in 64-bit mode, but a later FS or GS prefix still counts.
        if (this.#mode !== 8) this.override = (byte >> 3) & 3
    }
  }

  /** In 16- and 32-bit code C4 and C5 are LES and LDS unless the next byte would be a ModRM byte with a register. */
  #startsVex(): boolean {
    if (this.#mode === 8) return true
    return this.#at < this.#end && (this.#bytes[this.#at]! & 0xc0) === 0xc0
  }

  #vex(first: number): void {
    this.#isVex = true
    const second = this.#byte()
    let rest = second
    this.rex = 0x40 | (second & 0x80 ? 0 : 4)
    this.#map = 1
    if (first === 0xc4) {
      this.rex |= (second & 0x40 ? 0 : 2) | (second & 0x20 ? 0 : 1)
      this.#map = second & 31
      rest = this.#byte()
      this.#vexW = rest >> 7
      if (this.#vexW) this.rex |= 8
    }
    if (this.#mode !== 8) this.rex &= 0x48
    this.vvvv = (~rest >> 3) & (this.#mode === 8 ? 15 : 7)
    this.vexLength = (rest >> 2) & 1
    // Legacy prefixes that VEX replaces must not come before it.
    if (this.#operandPrefix || this.repeat || this.lock) this.#map = 0
    this.#operandPrefix = (rest & 3) === 1
    this.repeat = VEX_REPEAT[rest & 3]!
    this.#opcode = this.#byte()
  }

  #opcodeBytes(): void {
    if (this.#opcode !== 0x0f) return
    this.#map = 1
    this.#opcode = this.#byte()
    if (this.#opcode === 0x38 || this.#opcode === 0x3a) {
      this.#map = this.#opcode === 0x38 ? 2 : 3
      this.#opcode = this.#byte()
    }
  }

  #match(): Entry | undefined {
    if (this.#map > 3) return undefined
    const { slots, vexSlots } = this.#tables
    const { entries, hasModrm } = (this.#isVex ? vexSlots : slots)[this.#map * 256 + this.#opcode]!
    if (hasModrm) this.#modrm = this.#byte()
    if (this.#truncated) return undefined
    const prefix = this.repeat || (this.#operandPrefix ? 3 : 0)
    const selected = 1 << selector(prefix, this.vexLength, this.#vexW, this.#mode === 8)
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i]!
      if ((entry.selectors & selected) === 0 || !matchesModrm(entry, this.#modrm)) continue
      if (hasModrm && !entry.hasModrm) this.#at--
      return entry
    }
    return undefined
  }

  #sizes(entry: Entry): void {
    const long = this.#mode === 8
    // A prefix that selected the form is not an operand size.
    const operandPrefix = this.#operandPrefix && entry.sizedByPrefix
    const { size64 } = entry
    if (!long) this.operandSize = (this.#mode === 2) !== operandPrefix ? 2 : 4
    else if (this.rex & 8 || size64 === 'f64') this.operandSize = 8
    else if (operandPrefix) this.operandSize = 2
    else this.operandSize = size64 === 'd64' ? 8 : 4
    if (long) this.addressSize = this.#addressPrefix ? 4 : 8
    else this.addressSize = (this.#mode === 2) !== this.#addressPrefix ? 2 : 4
    if (this.override >= 0) this.segment = this.override
    if (!entry.hasModrm) this.rm = (this.#opcode & 7) | ((this.rex & 1) << 3)
  }

  #modrmOperands(): void {
    const modrm = this.#modrm
    this.reg = ((modrm >> 3) & 7) | ((this.rex & 4) << 1)
    this.rm = (modrm & 7) | ((this.rex & 1) << 3)
    if (modrm >= 0xc0) return
    this.hasMemory = true
    if (this.addressSize === 2) this.#address16(modrm)
    else this.#address32(modrm)
    if (this.override < 0 && (this.base === 4 || this.base === 5)) this.segment = SS
  }

  #address16(modrm: number): void {
    const mod = modrm >> 6
    const rm = modrm & 7
    this.base = BASES_16[rm]!
    this.index = INDICES_16[rm]!
    if (mod === 0 && rm === 6) {
      this.base = -1
      this.disp = this.#signed(2) & 0xffff
    } else if (mod === 1) this.disp = this.#signed(1)
    else if (mod === 2) this.disp = this.#signed(2)
  }

  #address32(modrm: number): void {
    const mod = modrm >> 6
    if ((modrm & 7) === 4) {
      const sib = this.#byte()
      this.scale = sib >> 6
      this.index = ((sib >> 3) & 7) | ((this.rex & 2) << 2)
      if (this.index === 4 && !this.entry!.vsib) this.index = -1
      this.base = (sib & 7) | ((this.rex & 1) << 3)
      if ((sib & 7) === 5 && mod === 0) {
        this.base = -1
        this.disp = this.#signed(4)
      }
    } else if ((modrm & 7) === 5 && mod === 0) {
      this.base = this.#mode === 8 ? -2 : -1
      this.disp = this.#signed(4)
    } else this.base = this.rm
    if (mod === 1) this.disp = this.#signed(1)
    else if (mod === 2) this.disp = this.#signed(4)
  }

  #signed(bytes: number): number {
    if (bytes === 1) return (this.#byte() << 24) >> 24
    let value = 0
    for (let shift = 0; shift < 8 * bytes; shift += 8) value |= this.#byte() << shift
    return bytes === 2 ? (value << 16) >> 16 : value
  }

  #immediates(entry: Entry): void {
    const bytes = entry.immediateBytes[sizeIndex(this.operandSize)]!
    if (bytes !== 0) {
      this.immediate = this.#signed(Math.min(bytes, 4))
      this.immediateHigh = bytes === 8 ? this.#signed(4) : this.immediate >> 31
      if (entry.secondImmediate !== 0) this.immediateHigh = this.#signed(entry.secondImmediate)
    } else if (entry.hasOffset) this.#offset()
  }

  /** moffs: an address without ModRM. */
  #offset(): void {
    this.hasMemory = true
    this.disp = this.addressSize === 2 ? this.#signed(2) & 0xffff : this.#signed(4)
    if (this.addressSize === 8) this.dispHigh = this.#signed(4)
  }
}

function matchesModrm(entry: Entry, modrm: number): boolean {
  if (!entry.hasModrm) return true
  if ((modrm & entry.modrmMask) !== entry.modrmBits) return false
  return modrm >= 0xc0 ? entry.register : entry.memory
}
