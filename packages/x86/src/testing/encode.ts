/**
 * Makes concrete test cases from an instruction's forms: bytes in every shape that the form allows, and a state in
 * which they mean something (addresses inside the data area or at its edges, operands at the values where
 * instructions change their minds). All of it follows from a seed.
 *
 * A case is built in this order, because each step needs what the one before decided: the random state; what the
 * mnemonic needs of it (`PREPARE`); ModRM operands, for which registers get values such that the effective address
 * is the chosen target; prefixes, REX, opcode, displacement, immediates; last, operand values that depend on others.
 */
import {
  type EncodableForm,
  type EncodableInstruction,
  type FormShape,
  floatKind,
  type OperandSize,
  parseForm,
} from './form.ts'
import { type Encoded, InstructionEncoder } from './instruction-encoder.ts'
import { type Preparation, prepare, RBX, RSP } from './prepare.ts'
import { Random } from './random.ts'
import {
  CODE_ADDRESS,
  DATA_ADDRESS,
  DATA_BYTES,
  FLAG,
  FX,
  gprOffset,
  type Mode,
  OFFSET,
  PAGE_BYTES,
  RECORD_BYTES,
  type StateRecord,
  set64,
  stOffset,
  xmmOffset,
} from './state-record.ts'
import { type ValueKind, writeInteger, writeValue } from './values.ts'

/** Counts every change of what a seed generates; part of each stored hash. */
export const GENERATOR_VERSION = 1

/** Builds cases; one object serves all, its parts are valid until the next case. */
export class CaseGenerator implements Preparation {
  readonly random: Random = new Random(0)
  #record!: StateRecord
  #mode: Mode = 64
  /** Registers whose values are set and must stay, by bit. */
  #pinned = 0
  /** In a sequence: registers that hold addresses and that nothing writes; 0 for single instructions. */
  #pointers = 0
  #at = 0
  readonly #shapes = new WeakMap<EncodableForm, FormShape>()

  /** Pointers of a sequence are R12 to R15, or EBX in 32-bit mode. */
  begin(record: StateRecord, seed: number, mode: Mode, mnemonic: string, sequence = false): void {
    this.random.seed(seed)
    this.#record = record
    this.#mode = mode
    this.#at = 0
    this.#pinned = 1 << RSP
    this.#pointers = 0
    const { bytes, view } = record
    bytes.fill(0, 0, OFFSET.code)
    bytes.fill(0xcc, OFFSET.code, OFFSET.data)
    this.random.fill(bytes.subarray(OFFSET.data, RECORD_BYTES))
    set64(view, OFFSET.rip, CODE_ADDRESS)
    view.setUint32(OFFSET.mode, mode, true)
    const other = mode === 64 ? 0 : 0x2b
    for (const [i, selector] of [0x2b, mode === 64 ? 0x33 : 0x23, 0x2b, 0x2b, other, other].entries())
      view.setUint16(OFFSET.selectors + 2 * i, selector, true)
    this.#registers()
    this.#flags()
    this.#vector(mnemonic, sequence)
    this.#x87(mnemonic, sequence)
    if (sequence) this.#choosePointers()
  }

  /** Gives YMM registers upper halves, and FS and GS bases that every kernel lets user mode set. */
  widen(mnemonic: string, sequence = false): void {
    const { random } = this
    const { view } = this.#record
    const kind: ValueKind = sequence
      ? random.pick(['integer', 'float32', 'float64'])
      : (floatKind(mnemonic) ?? 'integer')
    for (let i = 0; i < 16; i++) writeValue(random, view, OFFSET.ymmHigh + 16 * i, 16, kind)
    for (const at of [OFFSET.fsBase, OFFSET.gsBase])
      if (view.getInt32(at + 4, true) < 0) set64(view, at, 0x2000)
  }

  /** Appends an instruction to the case. */
  emit(instruction: EncodableInstruction, form: EncodableForm, size: OperandSize): Encoded {
    const mnemonic = instruction.mnemonic.toLowerCase()
    prepare(this, mnemonic)
    return new InstructionEncoder(this, mnemonic, form, this.shape(form), size).encode()
  }

  /** Gives a register a value: before the case, or in a sequence by a MOV r32, imm32 in front of the instruction. */
  put(register: number, value: number): void {
    if (!this.inSequence) {
      this.setRegister(register, value)
      return
    }
    if (this.isPointer(register)) return
    this.appendByte(0xb8 + register)
    for (let i = 0; i < 4; i++) this.appendByte((value >>> (8 * i)) & 0xff)
  }
  appendByte(byte: number): void {
    this.#record.bytes[OFFSET.code + this.#at++] = byte
    this.#record.view.setUint32(OFFSET.codeLength, this.#at, true)
  }

  shape(form: EncodableForm): FormShape {
    let shape = this.#shapes.get(form)
    if (!shape) this.#shapes.set(form, (shape = parseForm(form)))
    return shape
  }

  get record(): StateRecord {
    return this.#record
  }
  get mode(): Mode {
    return this.#mode
  }
  get at(): number {
    return this.#at
  }
  get inSequence(): boolean {
    return this.#pointers !== 0
  }

  isPinned(register: number): boolean {
    return (this.#pinned & (1 << register)) !== 0
  }
  pin(register: number): void {
    this.#pinned |= 1 << register
  }
  isPointer(register: number): boolean {
    return (this.#pointers & (1 << register)) !== 0
  }
  setRegister(register: number, value: number): void {
    set64(this.#record.view, gprOffset(register), value)
    this.pin(register)
  }
  registerValue(register: number): number {
    const { view } = this.#record
    const at = gprOffset(register)
    return view.getUint32(at, true) + view.getInt32(at + 4, true) * 0x1_0000_0000
  }

  #registers(): void {
    const { view } = this.#record
    for (let i = 0; i < 16; i++) writeInteger(this.random, view, gprOffset(i), 8)
    const near = this.random.oneIn(12)
      ? this.random.pick([0, 8, PAGE_BYTES + 3, DATA_BYTES, DATA_BYTES - 4])
      : 0
    const rsp =
      near ||
      PAGE_BYTES + 8 * this.random.between(-128, 128) + (this.random.oneIn(8) ? this.random.below(8) : 0)
    this.setRegister(RSP, DATA_ADDRESS + rsp)
    const base = this.random.pick([0, 0, 0x1000, DATA_ADDRESS, -0x2000, 0x123456780])
    if (this.#mode === 64) {
      set64(view, OFFSET.fsBase, base)
      set64(view, OFFSET.gsBase, this.random.pick([0, 8, DATA_ADDRESS - 0x40]))
    }
  }

  #flags(): void {
    const random = this.random.u32()
    const arithmetic = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.OF
    this.#record.view.setUint32(
      OFFSET.rflags,
      (random & arithmetic) | (this.random.oneIn(8) ? FLAG.DF : 0) | 2,
      true,
    )
  }

  #vector(mnemonic: string, sequence: boolean): void {
    const { random } = this
    const { view } = this.#record
    const kind: ValueKind = sequence
      ? random.pick(['integer', 'float32', 'float64'])
      : (floatKind(mnemonic) ?? 'integer')
    for (let i = 0; i < 16; i++) writeValue(random, view, xmmOffset(i), 16, kind)
    if (!sequence && random.oneIn(8)) this.#copyXmm(random.below(16), random.below(16))
    let mxcsr = 0x1f80
    if (kind !== 'integer' || random.oneIn(8)) {
      if (random.oneIn(2)) mxcsr |= random.below(4) << 13
      if (random.oneIn(8)) mxcsr |= 0x8000
      if (random.oneIn(8)) mxcsr |= 0x40
      if (random.oneIn(4)) mxcsr |= random.below(64)
      if (random.oneIn(6)) mxcsr &= ~(random.below(64) << 7)
    }
    view.setUint32(FX.mxcsr, mxcsr, true)
  }
  #copyXmm(to: number, from: number): void {
    const at = xmmOffset(from)
    this.#record.bytes.copyWithin(xmmOffset(to), at, at + 16)
  }

  #x87(mnemonic: string, sequence: boolean): void {
    const { random } = this
    const { view } = this.#record
    view.setUint16(FX.control, 0x37f, true)
    const isX87 = mnemonic.startsWith('f') || sequence
    const top = random.below(8)
    let control = 0x37f
    if (isX87) {
      if (random.oneIn(2))
        control = (control & ~0xf00) | (random.pick([0, 2, 3]) << 8) | (random.below(4) << 10)
      if (random.oneIn(5)) control &= ~random.below(64)
    }
    const flags = random.oneIn(3) ? random.below(64) & (random.oneIn(16) ? 63 : control) : 0
    const pending = flags & ~control & 63 ? 0x8080 : 0
    const codes = (random.u32() & 0x4700) | (flags & 1 && random.oneIn(2) ? 0x40 : 0)
    view.setUint16(FX.control, control, true)
    view.setUint16(FX.status, flags | pending | codes | (top << 11), true)
    const tags = random.pick([0xff, 0xff, 0xff, 0, random.below(256), random.below(256) | random.below(256)])
    view.setUint8(FX.tag, isX87 ? tags : random.below(256))
    for (let i = 0; i < 8; i++) writeValue(random, view, stOffset(i), 10, 'float80')
  }

  #choosePointers(): void {
    const pointers = this.#mode === 64 ? [12, 13, 14, 15] : [RBX]
    for (const register of pointers) {
      this.setRegister(register, DATA_ADDRESS + this.random.between(256, DATA_BYTES - 256))
      this.#pointers |= 1 << register
    }
  }
}
