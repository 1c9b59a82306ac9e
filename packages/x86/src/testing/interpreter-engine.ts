/** The interpreter behind the interface of a test engine: a user-mode program on page tables of its own. */
import { Cpu } from '../cpu.ts'
import * as L from '../state/layout.ts'
import {
  CR0_AM,
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_PE,
  CR0_PG,
  CR0_WP,
  CR4_FSGSBASE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
} from '../state/registers.ts'
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '../system/model.ts'
import type { Engine } from './engine.ts'
import { INERT_PINS } from './inert-pins.ts'
import {
  CODE_ADDRESS,
  CODE_BYTES,
  DATA_ADDRESS,
  DATA_BYTES,
  FX,
  OFFSET,
  type StateRecord,
  stOffset,
} from './state-record.ts'

const RAM_BYTES = 1 << 20
const PAGE = 4096
const CODE = 0x10000
const DATA = 0x20000
const GDT = 0x8000
const PML4 = 0x1000
const PDPT = 0x2000
const DIRECTORY = 0x3000
const CODE_TABLE = 0x4000
const DATA_TABLE = 0x5000

const PRESENT_USER = 5
const WRITABLE = 2
const NX_HIGH = 0x80000000 | 0
const CODE64 = 0x33
const CODE32 = 0x23
const DATA32 = 0x2b

/** Flat user segments, as Linux lays them out. */
function writeTables(ram: DataView): void {
  const entry = (at: number, low: number, high = 0) => {
    ram.setInt32(at, low, true)
    ram.setInt32(at + 4, high, true)
  }
  entry(PML4, PDPT | PRESENT_USER | WRITABLE)
  entry(PDPT, DIRECTORY | PRESENT_USER | WRITABLE)
  entry(DIRECTORY + (CODE_ADDRESS >>> 21) * 8, CODE_TABLE | PRESENT_USER | WRITABLE)
  entry(DIRECTORY + (DATA_ADDRESS >>> 21) * 8, DATA_TABLE | PRESENT_USER | WRITABLE)
  entry(CODE_TABLE + ((CODE_ADDRESS >>> 12) & 511) * 8, CODE | PRESENT_USER)
  for (let i = 0; i < DATA_BYTES / PAGE; i++) {
    const at = DATA_TABLE + (((DATA_ADDRESS >>> 12) & 511) + i) * 8
    entry(at, (DATA + i * PAGE) | PRESENT_USER | WRITABLE, NX_HIGH)
  }
  entry(GDT + (CODE64 & ~7), 0x0000ffff, 0x00affb00)
  entry(GDT + (CODE32 & ~7), 0x0000ffff, 0x00cffb00)
  entry(GDT + (DATA32 & ~7), 0x0000ffff, 0x00cff300)
}

const FIXED_FLAGS = 0x202

export class InterpreterEngine implements Engine {
  readonly name: string
  readonly #ram: Uint8Array
  readonly #cpu: Cpu
  readonly #state: DataView
  #stop = -1
  #begun = 0
  #errorCode = 0

  readonly #extendedState: number

  constructor(model: string, recompile: boolean) {
    const { name, cr4, xcr0 } = CPU_MODELS.find((candidate) => candidate.name === model)!
    this.name = `${recompile ? 'jit' : 'interpreter'} (${name})`
    this.#extendedState = cr4 & CR4_OSXSAVE && xcr0 === 7 ? xcr0 : 0
    const memory = new WebAssembly.Memory({ initial: RAM_BYTES / 65536, maximum: RAM_BYTES / 65536 })
    this.#ram = new Uint8Array(memory.buffer)
    writeTables(new DataView(memory.buffer))
    this.#ram.fill(0xcc, CODE, CODE + PAGE)
    this.#cpu = new Cpu({
      model,
      memory: { memory, bytes: RAM_BYTES, lowBytes: RAM_BYTES },
      ...(recompile ? { recompile: { hotAfter: 1 } } : {}),
      intercept: (vector, errorCode) => {
        this.#stop = vector
        this.#errorCode = errorCode
        return true
      },
      pins: INERT_PINS,
    })
    this.#state = this.#cpu.state
  }

  run(input: StateRecord, outcome: StateRecord): void {
    this.begin(input)
    // A case is a few instructions; loops of REP are the longest.
    for (let slices = 0; this.#stop < 0 && slices < 100; slices++) this.#cpu.run(10_000)
    this.store(input, outcome)
  }

  // ---- in steps, for programs that do not end ----

  begin(input: StateRecord): void {
    this.#load(input)
    this.#stop = -1
    this.#errorCode = 0
    this.#begun = this.#cpu.retired
  }
  /** Instructions run since `begin`. */
  get retired(): number {
    return this.#cpu.retired - this.#begun
  }
  /** RCX: how far a string instruction still has to go that a slice's end has stopped in its middle. */
  get count(): bigint {
    return this.#state.getBigUint64(L.REGS + 8, true)
  }
  /** An exception has ended the program. */
  get hasStopped(): boolean {
    return this.#stop >= 0
  }
  /** Runs about so many instructions, to a branch. */
  advance(instructions: number): void {
    this.#cpu.run(instructions)
  }
  /** Runs one instruction. */
  step(): void {
    this.#cpu.step()
  }
  get recompiled(): Cpu['recompiled'] {
    return this.#cpu.recompiled
  }

  #load({ bytes, view }: StateRecord): void {
    const mode = view.getUint32(OFFSET.mode, true)
    const s = this.#state
    this.#ram.set(bytes.subarray(OFFSET.code, OFFSET.code + CODE_BYTES), CODE)
    this.#cpu.memoryWritten(CODE, CODE_BYTES)
    this.#cpu.forgetHeat()
    this.#ram.set(bytes.subarray(OFFSET.data, OFFSET.data + DATA_BYTES), DATA)
    const copy = (to: number, from: number, length: number) => {
      for (let i = 0; i < length; i += 4) s.setInt32(to + i, view.getInt32(from + i, true), true)
    }
    copy(L.REGS, OFFSET.gpr, 128)
    copy(L.RIP, OFFSET.rip, 8)
    copy(L.REGS + L.SLOT.fsBase * 8, OFFSET.fsBase, 16)
    this.#loadFpu(view, copy)
    this.#loadFlags(view.getUint32(OFFSET.rflags, true) | FIXED_FLAGS)
    this.#loadSegments(mode)
    const set = (at: number, value: number) => {
      s.setInt32(at, value, true)
      s.setInt32(at + 4, 0, true)
    }
    set(L.CR0, CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG)
    set(L.CR3, PML4)
    const osxsave = this.#extendedState ? CR4_OSXSAVE : 0
    set(L.CR4, CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | osxsave)
    set(L.XCR0, this.#extendedState || 1)
    set(L.EFER, EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
    s.setInt32(L.CPL, 3, true)
    s.setInt32(L.FAULT, 0, true)
    s.setInt32(L.SHADOW, 0, true)
    set(L.GDTR_BASE, GDT)
    s.setInt32(L.GDTR_LIMIT, 0x7f, true)
    this.#cpu.stateChanged()
  }

  #loadFpu(view: DataView, copy: (to: number, from: number, length: number) => void): void {
    const s = this.#state
    const status = view.getUint16(FX.status, true)
    const top = (status >> 11) & 7
    s.setInt32(L.FPU_CONTROL, view.getUint16(FX.control, true), true)
    s.setInt32(L.FPU_STATUS, status & ~0x3800, true)
    s.setInt32(L.FPU_TOP, top, true)
    s.setInt32(L.FPU_TAGS, view.getUint8(FX.tag), true)
    s.setInt32(L.MXCSR, view.getUint32(FX.mxcsr, true), true)
    for (let i = 0; i < 8; i++) copy(L.X87 + ((top + i) & 7) * 16, stOffset(i), 12)
    copy(L.XMM, FX.xmm, 256)
    copy(L.YMM_HIGH, OFFSET.ymmHigh, 256)
  }

  #loadFlags(flags: number): void {
    const s = this.#state
    s.setInt32(L.RFLAGS_SYSTEM, flags & ~0x8d7, true)
    s.setInt32(L.FLAG_KIND, 3, true)
    s.setInt32(L.FLAG_A, flags & 0x8d5, true)
    s.setInt32(L.FLAG_A + 4, 0, true)
    s.setInt32(L.FLAG_RESULT, ((flags >> 6) & 1) ^ 1, true)
    s.setInt32(L.FLAG_RESULT + 4, 0, true)
  }

  #loadSegments(mode: number): void {
    const long = mode === 64
    for (let i = L.ES; i <= L.GS; i++) {
      const at = L.SEG + i * L.SEG_SIZE
      const isNull = long && i >= L.FS
      const selector = i === L.CS ? (long ? CODE64 : CODE32) : isNull ? 0 : DATA32
      const attributes = i === L.CS ? (long ? 0xaffb : 0xcffb) : isNull ? 0 : 0xcff3
      const s = this.#state
      s.setInt32(at + L.SEG_SELECTOR, selector, true)
      s.setInt32(at + L.SEG_ATTRIBUTES, attributes, true)
      s.setInt32(at + L.SEG_BASE, 0, true)
      s.setInt32(at + L.SEG_BASE + 4, 0, true)
      s.setInt32(at + L.SEG_LIMIT, -1, true)
      s.setInt32(at + L.SEG_UNUSABLE, isNull ? 1 : 0, true)
    }
  }

  store(input: StateRecord, { bytes, view }: StateRecord): void {
    const s = this.#state
    bytes.set(input.bytes)
    const copy = (to: number, from: number, length: number) => {
      for (let i = 0; i < length; i += 4) view.setInt32(to + i, s.getInt32(from + i, true), true)
    }
    copy(OFFSET.gpr, L.REGS, 128)
    copy(OFFSET.rip, L.RIP, 8)
    copy(OFFSET.fsBase, L.REGS + L.SLOT.fsBase * 8, 16)
    view.setUint32(OFFSET.rflags, this.#cpu.flags, true)
    view.setUint32(OFFSET.rflags + 4, 0, true)
    const top = s.getInt32(L.FPU_TOP, true) & 7
    view.setUint16(FX.control, s.getInt32(L.FPU_CONTROL, true), true)
    view.setUint16(FX.status, s.getInt32(L.FPU_STATUS, true) | (top << 11), true)
    view.setUint8(FX.tag, s.getInt32(L.FPU_TAGS, true))
    copy(FX.mxcsr, L.MXCSR, 4)
    for (let i = 0; i < 8; i++) copy(stOffset(i), L.X87 + ((top + i) & 7) * 16, 12)
    copy(FX.xmm, L.XMM, 256)
    copy(OFFSET.ymmHigh, L.YMM_HIGH, 256)
    view.setUint32(OFFSET.stop, this.#stop < 0 ? 0x100 : this.#stop, true)
    view.setUint32(OFFSET.errorCode, this.#errorCode, true)
    const faulted = this.#stop === 14
    view.setInt32(OFFSET.cr2, faulted ? s.getInt32(L.FAULT_ADDRESS, true) : 0, true)
    view.setInt32(OFFSET.cr2 + 4, faulted ? s.getInt32(L.FAULT_ADDRESS + 4, true) : 0, true)
    for (let i = L.ES; i <= L.GS; i++)
      view.setUint16(OFFSET.selectors + i * 2, s.getUint16(L.SEG + i * L.SEG_SIZE, true), true)
    bytes.set(this.#ram.subarray(DATA, DATA + DATA_BYTES), OFFSET.data)
  }
}

/** A fresh engine for tests. */
export function createEngine(
  model: string = DEFAULT_CPU_MODEL,
  { recompile = false }: { recompile?: boolean } = {},
): InterpreterEngine {
  return new InterpreterEngine(model, recompile)
}
