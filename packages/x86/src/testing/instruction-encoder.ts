/** Encodes one instruction of a case: operands, prefixes, ModRM, SIB, displacement, immediates. SDM Vol. 2A, "Instruction Format". */
import {
  type EncodableForm,
  type FormShape,
  floatKind,
  type OperandShape,
  type OperandSize,
  typeBytes,
  type VexShape,
} from './form.ts'
import { adjust, type Preparation, RSP, writeSelector } from './prepare.ts'
import type { Random } from './random.ts'
import {
  CODE_ADDRESS,
  DATA_ADDRESS,
  DATA_BYTES,
  get64,
  gprOffset,
  type Mode,
  OFFSET,
  PAGE_BYTES,
  set64,
  xmmOffset,
} from './state-record.ts'
import { type ValueKind, writeInteger, writeValue } from './values.ts'

/** What was generated, for whoever masks undefined results or reports a difference. */
export interface Encoded {
  readonly mnemonic: string
  readonly form: EncodableForm
  readonly mode: Mode
  readonly size: OperandSize
  /** Where it lies in the code. */
  readonly start: number
  readonly length: number
  /** Address and length of the ModRM or moffs memory operand. */
  readonly memory: { readonly address: number; readonly bytes: number } | undefined
  /** Register in ModRM.reg, in ModRM.rm or the opcode; −1 without. */
  readonly reg: number
  readonly rm: number
  /** Last immediate, as an unsigned number of its low 32 bits; 0 without. */
  readonly immediate: number
}

/** The case around an instruction. */
export interface EncodingContext extends Preparation {
  readonly at: number
  appendByte(byte: number): void
  setRegister(register: number, value: number): void
}

const FS_PREFIX = 0x64
const GS_PREFIX = 0x65
const IGNORED_SEGMENTS = [0x26, 0x2e, 0x36, 0x3e]
const BIT_STRING = /^bt[src]?$/

export class InstructionEncoder {
  readonly #case: EncodingContext
  readonly #random: Random
  readonly #mnemonic: string
  readonly #form: EncodableForm
  readonly #shape: FormShape
  readonly #size: OperandSize
  readonly #mode: Mode
  #memory: { address: number; bytes: number } | undefined
  #mod = 3
  #reg = -1
  #rm = -1
  #regField = 0
  #rmField = 0
  #sib = -1
  #rexX = 0
  #dispBytes = 0
  #disp = 0
  #ripTarget: number | undefined
  #forceRex = false
  #refuseRex = false
  #segment = 0
  #addressPrefix = false
  #immediate = 0
  #vvvv = 0
  #is4 = 0

  constructor(
    owner: EncodingContext,
    mnemonic: string,
    form: EncodableForm,
    shape: FormShape,
    size: OperandSize,
  ) {
    this.#case = owner
    this.#random = owner.random
    this.#mnemonic = mnemonic
    this.#form = form
    this.#shape = shape
    this.#size = size
    this.#mode = owner.mode
  }

  encode(): Encoded {
    const start = this.#case.at
    this.#choosePrefixes()
    this.#chooseOperands()
    const memory = this.#memory
    if (!this.#case.inSequence)
      adjust(this.#case, this.#mnemonic, this.#size, { memory, reg: this.#reg, rm: this.#rm })
    this.#emit()
    return {
      mnemonic: this.#mnemonic,
      form: this.#form,
      mode: this.#mode,
      size: this.#size,
      start,
      length: this.#case.at - start,
      memory,
      reg: this.#reg,
      rm: this.#rm,
      immediate: this.#immediate,
    }
  }

  /** Whether it may have an address-size or segment prefix without changing what it is. */
  #choosePrefixes(): void {
    const random = this.#random
    const named = this.#shape.operands.some((o) => o.memory && o.place !== 'string')
    const strings = this.#shape.operands.some((o) => o.place === 'string')
    if (named && random.oneIn(12)) this.#segment = random.pick([FS_PREFIX, GS_PREFIX, ...IGNORED_SEGMENTS])
    else if (strings && random.oneIn(12)) this.#segment = random.pick(IGNORED_SEGMENTS)
    const narrow = this.#mode === 64 || this.#form.access === 'none'
    if ((named || strings) && narrow && random.oneIn(12))
      this.#addressPrefix = this.#segmentBase() === 0 && !this.#case.inSequence
  }

  #segmentBase(): number {
    if (this.#mode === 32) return 0
    if (this.#segment === FS_PREFIX) return get64(this.#case.record.view, OFFSET.fsBase)
    return this.#segment === GS_PREFIX ? get64(this.#case.record.view, OFFSET.gsBase) : 0
  }

  #chooseOperands(): void {
    const { operands, extension, modrm, stackRegister } = this.#shape
    if (modrm >= 0) {
      this.#regField = (modrm >> 3) & 7
      this.#rmField = stackRegister ? this.#random.below(8) : modrm & 7
      return
    }
    if (extension >= 0) this.#regField = extension
    const rm = operands.find((o) => o.place === 'rm' || o.place === 'vsib')
    for (const operand of operands)
      if (operand.place === 'reg' || operand.place === 'opcode') this.#chooseRegister(operand)
      else if (operand.place === 'vvvv' || operand.place === 'is4') this.#chooseVexRegister(operand)
    if (rm?.place === 'vsib') this.#chooseIndices(rm)
    else if (rm?.memory && (!rm.register || this.#random.below(5) < 3)) this.#chooseMemory(this.#bytesOf(rm))
    else if (rm) this.#chooseRegister(rm)
    else if (this.#shape.hasModrm && this.#form.memoryBytes) this.#chooseMemory(this.#form.memoryBytes)
    else if (operands.some((o) => o.place === 'offset')) this.#chooseOffset()
    this.#afterOperands(rm)
  }

  #bytesOf(operand: OperandShape): number {
    if (this.#mnemonic.startsWith('cmpxchg8b')) return this.#size === 8 ? 16 : 8
    return this.#form.memoryBytes ?? typeBytes(operand.type, this.#size, this.#form)
  }

  /** A register, not one that holds a sequence's pointers or the stack; sometimes the other operand's. */
  #chooseRegister(operand: OperandShape): void {
    const byte = operand.type === 'b' && operand.kind === 'gpr'
    let field: number
    do field = this.#registerNumber(operand.kind)
    while (operand.kind === 'gpr' && !this.#mayUse(field, byte))
    if (byte && field >= 4 && field < 8 && this.#mode === 64) {
      if (this.#refuseRex || (!this.#forceRex && this.#random.oneIn(2) && this.#size !== 8))
        this.#refuseRex = true
      else this.#forceRex = true
    }
    const high = byte && field >= 4 && field < 8 && !this.#forceRex
    if (field >= 8 && this.#refuseRex) field -= 8
    const register = high ? field - 4 : field
    if (operand.place === 'reg') {
      this.#reg = register
      this.#regField = field
    } else {
      this.#rm = register
      this.#rmField = field
    }
  }

  /** A register in VEX.vvvv or an immediate byte. */
  #chooseVexRegister({ place, kind }: OperandShape): void {
    let number: number
    do number = this.#registerNumber(kind)
    while (kind === 'gpr' && !this.#mayUse(number, false))
    if (place === 'vvvv') this.#vvvv = number
    else this.#is4 = number
  }

  #registerNumber(kind: OperandShape['kind']): number {
    if (kind === 'segment') return this.#random.pick([0, 2, 3, 3, 4, 5])
    if (kind === 'mmx' || this.#mode === 32) return this.#random.below(8)
    return this.#random.below(16)
  }

  #mayUse(field: number, byte: boolean): boolean {
    const candidates = byte && field >= 4 && field < 8 ? [field, field - 4] : [field]
    if (this.#refuseRex && field >= 8) return false
    if (!this.#case.inSequence) return true
    return candidates.every((r) => r !== RSP && !this.#case.isPointer(r))
  }

  /** Base, scale and displacement, and a vector of indices that with them point near a target each. */
  #chooseIndices({ type }: OperandShape): void {
    const random = this.#random
    const { view } = this.#case.record
    const [bytes, count] = [Number(type.slice(0, 2)) / 8, type.endsWith('x') ? 16 : 32]
    const base = this.#chooseBase()
    const scale = random.below(4)
    const index = this.#chooseIndexRegister()
    const middle = DATA_ADDRESS + random.between(1024, DATA_BYTES - 1024)
    this.#sib = (scale << 6) | ((index & 7) << 3) | (base & 7)
    this.#rexX = index >> 3
    this.#rmField = 4 | (base & 8)
    this.#reach(base, middle - this.#segmentBase())
    for (let at = 0; at < count; at += bytes) {
      const near = random.oneIn(12) ? random.between(-12000, 12000) : random.between(-1000, 1000)
      const offset = at < 16 ? xmmOffset(index) + at : OFFSET.ymmHigh + index * 16 + at - 16
      if (bytes === 4) view.setInt32(offset, near >> scale, true)
      else set64(view, offset, near >> scale)
    }
  }
  /** Usually another register than the destination and the mask: three different ones are needed. */
  #chooseIndexRegister(): number {
    const random = this.#random
    const same = (a: number, b: number): boolean => a === b && !random.oneIn(40)
    while (same(this.#vvvv, this.#reg)) this.#vvvv = this.#registerNumber('xmm')
    let index = this.#registerNumber('xmm')
    while (same(index, this.#reg) || same(index, this.#vvvv)) index = this.#registerNumber('xmm')
    return index
  }

  /** A target inside the data area, across its pages, or leaving it. */
  #chooseTarget(bytes: number): number {
    const random = this.#random
    const safe = this.#case.inSequence
    const where = safe ? random.between(5, 31) : random.below(40)
    const margin = BIT_STRING.test(this.#mnemonic) ? 1100 : 40
    if (where === 0) return DATA_ADDRESS - random.between(1, bytes)
    if (where === 1) return DATA_ADDRESS + DATA_BYTES - random.between(0, bytes - 1)
    let offset =
      where < 5
        ? PAGE_BYTES - random.between(1, Math.max(1, bytes - 1))
        : random.between(margin, DATA_BYTES - margin - bytes)
    if (where >= 5 && bytes >= 16) offset -= random.oneIn(5) && !safe ? 0 : offset & 15
    else if (where >= 5 && random.oneIn(2)) offset -= offset % Math.max(1, bytes & -bytes)
    return DATA_ADDRESS + offset
  }

  #chooseMemory(bytes: number): void {
    const target = this.#chooseTarget(bytes)
    this.#memory = { address: target, bytes }
    this.#writeMemory(target, bytes)
    const offset = target - this.#segmentBase()
    if (this.#addressPrefix && this.#mode === 32) {
      this.#address16()
      return
    }
    const addressing = this.#random.below(8)
    if (addressing === 0 && this.#absolute(target, offset)) return
    if (addressing < 4 && this.#baseAndIndex(offset, addressing)) return
    this.#baseOnly(offset)
  }

  /** 16-bit addressing computes an address only: nothing is mapped where it could point. */
  #address16(): void {
    this.#mod = this.#random.below(3)
    this.#rmField = this.#random.below(8)
    this.#dispBytes = this.#mod === 1 ? 1 : this.#mod === 2 || this.#rmField === 6 ? 2 : 0
    this.#disp = this.#random.u32() | 0
    this.#memory = undefined
  }

  /** RIP-relative, or a displacement alone (through a SIB byte in 64-bit mode). */
  #absolute(target: number, offset: number): boolean {
    if (offset < -0x80000000 || offset > 0x7fffffff) return false
    this.#mod = 0
    this.#dispBytes = 4
    this.#disp = offset
    this.#rmField = 5
    if (this.#mode === 64) {
      if (this.#random.oneIn(3)) {
        this.#rmField = 4
        this.#sib = (this.#random.below(4) << 6) | (4 << 3) | 5
      } else {
        this.#ripTarget = target - this.#segmentBase()
        if (this.#addressPrefix && this.#random.oneIn(2)) this.#addressPrefix = false
      }
    }
    return true
  }

  #baseAndIndex(offset: number, addressing: number): boolean {
    const index = this.#freeRegister(RSP)
    if (index < 0) return false
    const scale = this.#random.below(4)
    const known = this.#case.isPinned(index)
    if (!known) this.#case.setRegister(index, this.#random.between(-64, 64))
    const scaled = this.#case.registerValue(index) * (1 << scale)
    this.#rexX = index >> 3
    this.#rmField = 4
    if (addressing === 1) {
      this.#mod = 0
      this.#sib = (scale << 6) | ((index & 7) << 3) | 5
      return this.#useDisplacement(offset - scaled, 4)
    }
    const base = this.#chooseBase()
    this.#sib = (scale << 6) | ((index & 7) << 3) | (base & 7)
    this.#rmField = 4 | (base & 8)
    return this.#reach(base, offset - scaled)
  }

  #baseOnly(offset: number): void {
    const base = this.#chooseBase()
    this.#rmField = base
    this.#rexX = 0
    this.#sib = -1
    if ((base & 7) === 4) {
      this.#sib = (this.#random.below(4) << 6) | (4 << 3) | 4
      this.#rmField = 4 | (base & 8)
    }
    if (!this.#reach(base, offset)) this.#disp = this.#random.u32() | 0
  }

  /** Makes `base` plus a displacement equal `offset`. */
  #reach(base: number, offset: number): boolean {
    const needsDisp = (base & 7) === 5
    if (this.#case.isPinned(base)) {
      const disp = offset - this.#case.registerValue(base)
      const short = disp >= -128 && disp <= 127 && !this.#random.oneIn(4)
      if (disp === 0 && !needsDisp) {
        this.#mod = 0
        this.#dispBytes = 0
        return true
      }
      this.#mod = short ? 1 : 2
      return this.#useDisplacement(disp, short ? 1 : 4)
    }
    const kind = needsDisp ? this.#random.between(1, 2) : this.#random.below(3)
    const disp = kind === 0 ? 0 : kind === 1 ? this.#random.between(-128, 127) : this.#random.u32() | 0
    this.#mod = kind
    this.#useDisplacement(disp, kind === 0 ? 0 : kind === 1 ? 1 : 4)
    this.#setAddress(base, offset - disp)
    return true
  }

  /** With 32-bit addresses, what is above the low half must not matter. */
  #setAddress(register: number, value: number): void {
    const narrow = this.#addressPrefix && this.#mode === 64
    this.#case.setRegister(register, value)
    if (narrow) this.#case.record.view.setUint32(gprOffset(register) + 4, this.#random.u32(), true)
    else if (this.#mode === 32) set64(this.#case.record.view, gprOffset(register), value | 0)
  }

  #useDisplacement(disp: number, bytes: number): boolean {
    this.#disp = this.#mode === 32 || this.#addressPrefix ? disp | 0 : disp
    this.#dispBytes = bytes
    return this.#disp >= -0x80000000 && this.#disp <= 0x7fffffff
  }

  #chooseBase(): number {
    const register = this.#freeRegister(-1)
    return register < 0 ? RSP : register
  }

  /** A register for an address: one that is free to be set; in a sequence, a pointer. */
  #freeRegister(except: number): number {
    const count = this.#mode === 64 ? 16 : 8
    for (let attempt = 0; attempt < 40; attempt++) {
      const register = this.#random.below(this.#refuseRex ? 8 : count)
      if (register === except) continue
      if (this.#case.inSequence ? this.#case.isPointer(register) : this.#isUsable(register)) return register
    }
    return -1
  }

  /** Free to be set, or within a displacement's reach of the data area. */
  #isUsable(register: number): boolean {
    if (!this.#case.isPinned(register)) return true
    return !this.#addressPrefix && Math.abs(this.#case.registerValue(register)) < 0x70000000
  }

  /** moffs: the address itself, of the address size. */
  #chooseOffset(): void {
    const bytes = typeBytes(
      this.#shape.operands.find((o) => o.place === 'offset')!.type,
      this.#size,
      this.#form,
    )
    const target = this.#chooseTarget(bytes)
    this.#memory = { address: target, bytes }
    this.#writeMemory(target, bytes)
    this.#disp = target - this.#segmentBase()
    this.#dispBytes = this.#mode === 32 ? (this.#addressPrefix ? 2 : 4) : this.#addressPrefix ? 4 : 8
  }

  #valueKind(bytes: number): ValueKind {
    if (this.#mnemonic === 'fbld') return 'bcd'
    if (/^f(i|rstor|xrstor|ldenv|ldcw)/.test(this.#mnemonic)) return 'integer'
    const [first] = this.#shape.opcode
    if (first! >= 0xd8 && first! <= 0xdf) return bytes === 4 ? 'float32' : bytes === 8 ? 'float64' : 'float80'
    return floatKind(this.#mnemonic) ?? 'integer'
  }

  #writeMemory(address: number, bytes: number): void {
    const from = address - DATA_ADDRESS
    if (this.#form.access === 'none' || from < 0 || from + bytes > DATA_BYTES || bytes > 32) return
    writeValue(this.#random, this.#case.record.view, OFFSET.data + from, bytes, this.#valueKind(bytes))
  }

  #afterOperands(rm: OperandShape | undefined): void {
    const { view } = this.#case.record
    const segment = this.#shape.operands.find((o) => o.kind === 'segment')
    if (segment && this.#memory) {
      const from = this.#memory.address - DATA_ADDRESS
      if (from >= 0 && from + 2 <= DATA_BYTES) writeSelector(this.#case, OFFSET.data + from)
    } else if (segment && rm && this.#shape.operands[0] === segment)
      writeSelector(this.#case, gprOffset(this.#rm))
    const bitString = BIT_STRING.test(this.#mnemonic) && this.#memory && this.#reg >= 0
    if (bitString && !this.#case.isPinned(this.#reg)) {
      writeInteger(this.#random, view, gprOffset(this.#reg), 8)
      const bit = this.#random.between(-8000, 8000)
      if (!this.#random.oneIn(24)) set64(view, gprOffset(this.#reg), bit)
    }
  }

  // Emission.

  #emit(): void {
    const prefixes = this.#legacyPrefixes()
    for (const prefix of prefixes) this.#case.appendByte(prefix)
    const { vex } = this.#shape
    if (vex) this.#vex(vex)
    else this.#mandatoryPrefixes()
    const { opcode, plusRegister, hasModrm } = this.#shape
    for (const [i, byte] of opcode.entries())
      this.#case.appendByte(plusRegister && i === opcode.length - 1 ? byte + (this.#rmField & 7) : byte)
    if (hasModrm) {
      this.#case.appendByte((this.#mod << 6) | ((this.#regField & 7) << 3) | (this.#rmField & 7))
      if (this.#mod !== 3 && this.#sib >= 0) this.#case.appendByte(this.#sib)
    }
    const displacementAt = this.#case.at
    this.#number(this.#disp, this.#dispBytes)
    this.#immediates()
    if (this.#ripTarget !== undefined) {
      const disp = this.#ripTarget - (CODE_ADDRESS + this.#case.at)
      this.#case.record.view.setInt32(OFFSET.code + displacementAt, disp | 0, true)
    }
  }

  #mandatoryPrefixes(): void {
    if (this.#shape.prefix.length === 2 && this.#shape.prefix !== 'NP')
      this.#case.appendByte(Number.parseInt(this.#shape.prefix, 16))
    const rex = this.#rex()
    if (rex) this.#case.appendByte(rex)
  }

  /** Two or three bytes; what the instruction does not look at is random. */
  #vex({ l, w, map }: VexShape): void {
    const random = this.#random
    const byWidth = this.#form.sized || this.#shape.operands.some((o) => o.type === 'y')
    const wide = w ?? (byWidth ? (this.#size === 8 ? 1 : 0) : random.below(2))
    const length = l ?? random.below(2)
    const pp = ['NP', '66', 'F3', 'F2'].indexOf(this.#shape.prefix)
    const r = (this.#regField & 8) === 0 ? 0x80 : 0
    const x = this.#rexX === 0 ? 0x40 : 0
    const b = (this.#rmField & 8) === 0 ? 0x20 : 0
    const rest = ((~this.#vvvv & 15) << 3) | (length << 2) | pp
    if (map === 1 && x && b && wide === 0 && random.oneIn(2)) {
      this.#case.appendByte(0xc5)
      return this.#case.appendByte(r | rest)
    }
    this.#case.appendByte(0xc4)
    this.#case.appendByte(r | x | b | map)
    this.#case.appendByte((wide << 7) | rest)
  }

  #legacyPrefixes(): number[] {
    const random = this.#random
    const list: number[] = []
    if (this.#size === 2) list.push(0x66)
    if (this.#addressPrefix) list.push(0x67)
    if (this.#segment) list.push(this.#segment)
    const lockable = this.#form.lockable && (this.#memory || random.oneIn(8))
    if (lockable && random.oneIn(this.#memory ? 4 : 8)) list.push(0xf0)
    if (this.#form.repeat && random.below(3) > 0)
      list.push(this.#form.repeat === 'rep' ? (random.oneIn(4) ? 0xf2 : 0xf3) : random.pick([0xf2, 0xf3]))
    if (list.length > 1 && random.oneIn(2)) list.reverse()
    return list
  }

  #rex(): number {
    if (this.#mode === 32) return 0
    const byDefault = this.#form.size64 !== undefined
    const w = this.#size === 8 && (!byDefault || this.#random.oneIn(8)) ? 8 : 0
    const hasRm = this.#shape.hasModrm || this.#shape.plusRegister
    const mmxReg = this.#shape.operands.some(
      (o) => o.place === 'reg' && (o.kind === 'mmx' || o.kind === 'segment'),
    )
    const r = mmxReg ? 0 : (this.#regField & 8) >> 1
    const b = hasRm ? (this.#rmField & 8) >> 3 : 0
    const bits = w | r | (this.#rexX << 1) | b
    if (bits || this.#forceRex) return 0x40 | bits
    return !this.#refuseRex && this.#random.oneIn(16) ? 0x40 : 0
  }

  #number(value: number, bytes: number): void {
    let low = (value % 0x1_0000_0000) | 0
    const high = Math.floor(value / 0x1_0000_0000)
    for (let i = 0; i < bytes; i++) {
      if (i === 4) low = high
      this.#case.appendByte(low & 0xff)
      low >>= 8
    }
  }

  #immediates(): void {
    for (const operand of this.#shape.operands) {
      if (operand.place === 'is4') this.#case.appendByte((this.#is4 << 4) | this.#random.below(16))
      else if (operand.place === 'immediate')
        this.#emitImmediate(typeBytes(operand.type, this.#size, this.#form))
      else if (operand.place === 'relative')
        this.#emitRelative(typeBytes(operand.type, this.#mode === 64 ? 4 : this.#size, this.#form))
    }
  }

  #emitImmediate(bytes: number): void {
    const scratch = new DataView(new ArrayBuffer(8))
    writeInteger(this.#random, scratch, 0, bytes)
    if (this.#mnemonic === 'enter')
      scratch.setUint16(0, scratch.getUint16(0, true) & (this.#random.oneIn(4) ? 0x7fff : 0x1ff), true)
    const doubleShift = /^sh[lr]d$/.test(this.#mnemonic)
    if (doubleShift && this.#size === 2)
      scratch.setUint8(0, (scratch.getUint8(0) & 0xe0) | this.#random.below(16))
    for (let i = 0; i < bytes; i++) this.#case.appendByte(scratch.getUint8(i))
    this.#immediate = scratch.getUint32(0, true)
  }

  /** To the next instruction, to INT3s behind the code, or before the code page; never into itself. */
  #emitRelative(bytes: number): void {
    const next = this.#case.at + bytes
    const random = this.#random
    const free = !this.#case.inSequence
    let target = random.oneIn(3) ? next : random.between(Math.min(200, next + 100), Math.min(250, next + 120))
    if (free && random.oneIn(6)) target = -random.between(1, bytes === 1 ? 128 - next : 4096)
    if (free && bytes === 4 && random.oneIn(16)) target = random.u32() | 0
    this.#number(target - next, bytes)
  }
}
