/**
 * The interface through which an instruction's meaning is built.
 *
 * Integer values are i64. `read` gives operands sign-extended from their size, which makes flags of all sizes the same
 * computation (state/flags.ts); `write` takes the low bytes. A meaning first does everything that can fault, then
 * changes state, so that a fault leaves the instruction undone.
 *
 * The interpreter builds one handler per variant of a form: there operands are fields of a micro-op. The recompiler
 * builds the same meaning where operands are known. What differs between the two is abstract here.
 */

import { EXIT } from '../state/exits.ts'
import { FLAGS_ADD, FLAGS_EXPLICIT, FLAGS_PARTIAL, FLAGS_SUB, VM } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { CR0_PE, CR4_UMIP, EXCEPTION } from '../state/registers.ts'
import { isFlatAtZero } from '../system/flat-segments.ts'
import { type Callable, Code, type Expr, type Operandish, type ValueType } from '../wasm/code.ts'
import { LOAD, type LoadKind, type StoreKind } from '../wasm/opcodes.ts'
import { HOST_OPERATIONS, type HostOperation } from './host-operations.ts'
import type { Speculation } from './speculation.ts'

export type OperandSize = 1 | 2 | 4 | 8
export type RegisterFile = 'gpr' | 'xmm' | 'mmx' | 'segment' | 'control' | 'debug' | 'x87'

/** An operand as a meaning sees it. `size` in bytes. */
export type Operand =
  | {
      readonly kind: 'register'
      readonly file: RegisterFile
      readonly size: number
      /** ModRM.rm or the opcode, ModRM.reg, VEX.vvvv, imm8[7:4], SIB.index of a gather, or a byte offset. */
      readonly field: 'rm' | 'reg' | 'vvvv' | 'is4' | 'index' | number
    }
  | { readonly kind: 'memory'; readonly size: number }
  | { readonly kind: 'immediate'; readonly size: number }
  | { readonly kind: 'relative'; readonly size: number }
  | { readonly kind: 'constant'; readonly size: number; readonly value: number }

/** What an instruction is built for: one handler per variant. */
export interface Variant {
  /** Operand size in bytes: 2, 4 or 8. */
  readonly size: 2 | 4 | 8
  /** 64-bit code with flat segments, or everything else. */
  readonly mode: 'long' | 'legacy'
  /** ModRM names memory. */
  readonly memory: boolean
  readonly repeat: 'none' | 'rep' | 'repne'
  /** Address size in bytes, for string instructions and the like. */
  readonly addressSize: 2 | 4 | 8
}

/** Functions of the engine that meanings call. */
export interface Runtime {
  readonly handlerType: number
  readonly slowLoad: Callable
  readonly slowLoadForWrite: Callable
  readonly slowStore: Callable
  readonly slowLoad128: Callable
  readonly slowStore128: Callable
  readonly legacyLinear: Callable
  readonly flagCf: Callable
  readonly flagOf: Callable
  readonly flagSf: Callable
  readonly flagPf: Callable
  readonly flagAf: Callable
  /** The six flags at their places in RFLAGS, i64. */
  readonly arithmeticFlags: Callable
  readonly dispatch: Callable
  readonly branchSlow: Callable
  readonly findCode: Callable
  /** See interpreter/events.ts. */
  readonly goOn: Callable
  readonly fault: Callable
  /** Host call: host(operation) with arguments in SCRATCH; returns 0, or 1 when it raised a fault. */
  readonly host: Callable
  /** Named routines of instruction groups (soft float and the like). */
  readonly routines: ReadonlyMap<string, Callable>
}

const LOAD_SIGNED: Record<number, LoadKind> = { 1: 'i64_8s', 2: 'i64_16s', 4: 'i64_32s', 8: 'i64' }
const LOAD_NARROW: Record<number, LoadKind> = { 1: 'i32_8u', 2: 'i32_16u', 4: 'i32' }
const LOAD_UNSIGNED: Record<number, LoadKind> = { 1: 'i64_8u', 2: 'i64_16u', 4: 'i64_32u', 8: 'i64' }
const STORE_KIND: Record<number, StoreKind> = { 1: 'i64_8', 2: 'i64_16', 4: 'i64_32', 8: 'i64' }
const RAM = 1

export type Access = 'read' | 'write'

/** The page of RAM to which another access has been. */
export interface Window {
  /** Nonzero (i32) where this access lies in it, and then its host offset. */
  readonly isInside: Expr
  readonly host: Expr
}
/** Is told where an access went; `undefined` on the way of a miss. */
export interface WindowMaker {
  went(host: Expr | undefined): void
  done(): void
}

/** A memory access in two steps: the write is checked when the operand is read. */
interface PendingWrite {
  /** Host offset in RAM, or −1 when the store must take the slow path. */
  readonly host: Expr
  readonly address: Expr
}

export abstract class Meaning extends Code {
  readonly runtime: Runtime
  /** A recompiler changes it from instruction to instruction. */
  variant: Variant
  readonly #pending = new Map<Operand, PendingWrite>()
  readonly #addresses = new Map<Operand, Expr>()

  constructor(
    runtime: Runtime,
    variant: Variant,
    params: readonly ValueType[],
    results: readonly ValueType[],
  ) {
    super(params, results)
    this.runtime = runtime
    this.variant = variant
  }

  /** Forgets the operands of the instruction before, for code that holds several. */
  protected nextInstruction(): void {
    this.#pending.clear()
    this.#addresses.clear()
  }

  get long(): boolean {
    return this.variant.mode === 'long'
  }
  /** Undefined where every case of floating point is computed in place. */
  get speculation(): Speculation | undefined {
    return undefined
  }

  // ---- what the interpreter and the recompiler do differently ----

  /** The micro-op at work, as the slow paths want it. */
  abstract get uop(): Expr
  /** Byte offset of a register in its file. */
  protected abstract registerOffset(operand: Extract<Operand, { kind: 'register' }>): Expr
  /** Sign-extended immediate. */
  abstract immediate(operand: Operand): Expr
  /** 8-bit immediate as a number known while building where possible; always an i32 expression. */
  abstract immediate8(operand: Operand): Expr
  /** Linear address of the memory operand. */
  protected abstract memoryAddress(): Expr
  /** The second immediate of ENTER and far pointers, zero-extended. */
  abstract secondImmediate(): Expr
  /** i of ST(i), i32. */
  abstract stackIndex(): Expr
  /** Number of a segment, control or debug register operand, i64. */
  abstract fieldNumber(operand: Operand): Expr
  /** Segment of a string instruction's source, i32. */
  abstract stringSegment(): Expr
  /** Segment of the memory operand outside 64-bit mode, i32. */
  abstract memorySegment(): Expr
  /** Outside 64-bit mode: nonzero (i32) where the memory operand has a 16-bit address. */
  abstract memoryAddressIs16(): Expr
  /** Offset of a gather's element: base plus the scaled `index` (i64) plus displacement. */
  abstract vectorAddress(index: Expr): Expr
  /** Segment of a gather, i32. */
  abstract vectorSegment(): Expr
  /** Displacement of a relative operand, sign-extended. */
  abstract relative(operand: Operand): Expr
  abstract nextRip(): Expr
  abstract currentRip(): Expr
  /** Goes on with the next instruction. */
  abstract next(): void
  /** Nonzero (i32) where the next instruction surely runs before anything is looked at. */
  abstract nextIsSure(): Expr
  /** Jumps to nextRip + relative operand. */
  abstract jumpRelative(operand: Operand): void
  /** Goes to RIP (already checked and stored). */
  abstract dispatch(): void
  /** Leaves with an exit code. */
  abstract exit(code: number): void
  /** Charges `count` (i32) instructions; for string loops. */
  abstract chargeAndCheck(count: Expr, stop: () => void): void

  // ---- engine state ----

  state(kind: LoadKind, at: number): Expr {
    return this.load(kind, this.i32(0), at)
  }
  setState(kind: StoreKind, at: number, value: Operandish): void {
    this.store(kind, this.i32(0), value, at)
  }

  // ---- registers ----

  /** A general register named by the instruction, zero-extended. */
  gpr(index: number, size: number = 8): Expr {
    return this.state(LOAD_UNSIGNED[size]!, L.REGS + index * 8)
  }
  gprSigned(index: number, size: number): Expr {
    return this.state(LOAD_SIGNED[size]!, L.REGS + index * 8)
  }
  /** Writes a general register: 4 bytes clear the upper half, 1 and 2 leave the rest. */
  setGpr(index: number, size: number, value: Expr): void {
    if (size === 4) this.setState('i64', L.REGS + index * 8, value.and(0xffffffff))
    else this.setState(STORE_KIND[size]!, L.REGS + index * 8, value)
  }
  /** Byte 1 of RAX, RCX, RDX or RBX. */
  setHighByte(index: number, value: Expr): void {
    this.setState('i64_8', L.REGS + index * 8 + 1, value)
  }
  highByte(index: number): Expr {
    return this.state('i64_8u', L.REGS + index * 8 + 1)
  }

  // ---- operands ----

  /** Sign-extended value of an integer operand. */
  read(operand: Operand): Expr {
    return this.#read(operand, true)
  }
  /** Zero-extended value of an integer operand. */
  readUnsigned(operand: Operand): Expr {
    return this.#read(operand, false)
  }

  #read(operand: Operand, signed: boolean): Expr {
    switch (operand.kind) {
      case 'register':
        return this.load(
          (signed ? LOAD_SIGNED : LOAD_UNSIGNED)[operand.size]!,
          this.registerOffset(operand),
          L.REGS,
        )
      case 'memory':
        return this.loadMemory(this.address(operand), operand.size, { signed })
      case 'immediate': {
        const value = this.immediate(operand)
        return signed ? value : this.zeroExtend(value, operand.size)
      }
      case 'constant':
        return this.i64(operand.value)
      case 'relative':
        throw new Error('a relative operand has no value')
    }
  }

  /** Reads an operand that will be written: a fault of the write happens here. Sign-extended. */
  readForWrite(operand: Operand): Expr {
    if (operand.kind !== 'memory') return this.read(operand)
    const address = this.address(operand)
    const { value, host } = this.#modifyMemory(address, operand.size)
    this.#pending.set(operand, { host, address })
    return value
  }

  /** Reads what will be written: sign-extended, and its host offset, or −1 where the store must take the slow path. */
  #modifyMemory(address: Expr, size: number): { value: Expr; host: Expr } {
    const host = this.variable('i32')
    const value = this.variable('i64')
    this.#access(
      'write',
      address,
      size,
      (at) => {
        host.set(at)
        value.set(this.load(LOAD_SIGNED[size]!, at, 0, RAM))
      },
      () => {
        host.set(-1)
        value.set(this.signExtend(this.call(this.runtime.slowLoadForWrite, address, size, this.uop), size))
        this.exitOnAccessFault()
      },
    )
    return { value: value.get(), host: host.get() }
  }

  /** Writes an integer operand: the low bytes of `value`. */
  write(operand: Operand, value: Expr): void {
    if (operand.kind === 'memory') return this.#writeMemory(operand, value)
    if (operand.kind !== 'register') throw new Error(`cannot write ${operand.kind}`)
    const offset = this.registerOffset(operand)
    if (operand.size === 4) this.store('i64', offset, value.and(0xffffffff), L.REGS)
    else this.store(STORE_KIND[operand.size]!, offset, value, L.REGS)
  }

  #writeMemory(operand: Operand, value: Expr): void {
    const pending = this.#pending.get(operand)
    if (!pending) return this.storeMemory(this.address(operand), operand.size, value)
    this.if(
      pending.host.ne(-1).likely(),
      () => this.store(STORE_KIND[operand.size]!, pending.host, value, 0, RAM),
      () => this.#storeSlowly(pending.address, operand.size, value),
    )
  }
  #storeSlowly(address: Expr, size: number, value: Expr): void {
    this.call(this.runtime.slowStore, address, value, size, this.uop)
    this.exitOnAccessFault()
  }

  /** Linear address of a memory operand; computed once. */
  address(operand: Operand): Expr {
    if (operand.kind !== 'memory') throw new Error('only memory has an address')
    const known = this.#addresses.get(operand)
    if (known) return known
    const address = this.memoryAddress()
    this.#addresses.set(operand, address)
    return address
  }

  // ---- XMM and MMX ----

  /** All 128 bits of a register or memory operand. `aligned`: #GP(0) when memory is not 16-byte aligned. */
  readVector(operand: Operand, { aligned = true }: { aligned?: boolean } = {}): Expr {
    if (operand.kind === 'register') return this.load('v128', this.registerOffset(operand), L.XMM)
    const address = this.address(operand)
    if (aligned) this.checkAligned(address)
    return this.loadMemory128(address)
  }
  writeVector(operand: Operand, value: Expr, { aligned = true }: { aligned?: boolean } = {}): void {
    if (operand.kind === 'register') return this.store('v128', this.registerOffset(operand), value, L.XMM)
    const address = this.address(operand)
    if (aligned) this.checkAligned(address)
    this.storeMemory128(address, value)
  }
  checkAligned(address: Expr, bytes = 16): void {
    this.if(
      address
        .wrap()
        .and(bytes - 1)
        .unlikely(),
      () => this.raise(EXCEPTION.GP, 0),
    )
  }
  /** Low `operand.size` bytes (1 to 8) of an XMM register or memory, zero-extended to i64. */
  readLow(operand: Operand): Expr {
    if (operand.kind === 'register') {
      const base = operand.file === 'mmx' ? L.X87 : operand.file === 'xmm' ? L.XMM : L.REGS
      return this.load(LOAD_UNSIGNED[operand.size]!, this.registerOffset(operand), base)
    }
    return this.loadMemory(this.address(operand), operand.size, { signed: false })
  }
  /** The low float of an XMM register or memory: f32 or f64 by `operand.size`. */
  readFloat(operand: Operand): Expr {
    const [kind, reinterpret] =
      operand.size === 4 ? (['f32', 'f32ReinterpretI32'] as const) : (['f64', 'f64ReinterpretI64'] as const)
    if (operand.kind === 'register') return this.load(kind, this.registerOffset(operand), L.XMM)
    return this.#loadMemoryAs(this.address(operand), operand.size, kind, (bits) =>
      (kind === 'f32' ? bits.wrap() : bits).convert(reinterpret),
    )
  }
  /** The low 4 or 8 bytes of memory as a vector that is zero above. */
  readLowOfVector(operand: Operand): Expr {
    const kind = operand.size === 4 ? 'v128_32zero' : 'v128_64zero'
    return this.#loadMemoryAs(this.address(operand), operand.size, kind, (bits) =>
      this.zero('v128').withLane('i64x2', 0, bits),
    )
  }
  /** Writes the low bytes of an XMM register (the rest stays) or memory. */
  writeLow(operand: Operand, value: Expr): void {
    if (operand.kind === 'register') {
      const base = operand.file === 'mmx' ? L.X87 : operand.file === 'xmm' ? L.XMM : L.REGS
      return this.store(STORE_KIND[operand.size]!, this.registerOffset(operand), value, base)
    }
    this.storeMemory(this.address(operand), operand.size, value)
  }
  /** The 128-bit halves of an XMM or YMM register, or of memory: one or two, lowest first. */
  readHalves(operand: Operand, { aligned = false }: { aligned?: boolean } = {}): Expr[] {
    if (operand.kind === 'register') {
      const offset = this.registerOffset(operand)
      const low = this.load('v128', offset, L.XMM)
      return operand.size === 32 ? [low, this.load('v128', offset, L.YMM_HIGH)] : [low]
    }
    const address = this.address(operand)
    if (aligned) this.checkAligned(address, operand.size)
    return operand.size === 32 ? this.loadMemory256(address) : [this.loadMemory128(address)]
  }
  /** Writes a register or memory as VEX does: what lies above in a register becomes zero. */
  writeHalves(
    operand: Operand,
    halves: readonly Expr[],
    { aligned = false }: { aligned?: boolean } = {},
  ): void {
    const [low, high] = halves
    if (operand.kind === 'register') {
      const offset = this.registerOffset(operand)
      this.store('v128', offset, low!, L.XMM)
      return this.store('v128', offset, high ?? this.zero('v128'), L.YMM_HIGH)
    }
    const address = this.address(operand)
    if (aligned) this.checkAligned(address, operand.size)
    if (high) this.storeMemory256(address, low!, high)
    else this.storeMemory128(address, low!)
  }
  /** Bits 255 to 128 of a register become zero. */
  clearUpperHalf(operand: Operand): void {
    this.store('v128', this.offsetOf(operand), this.zero('v128'), L.YMM_HIGH)
  }
  /** Byte offset of a register operand in its file, for meanings that touch parts of it. */
  offsetOf(operand: Operand): Expr {
    if (operand.kind !== 'register') throw new Error('only a register has an offset')
    return this.registerOffset(operand)
  }

  // ---- memory ----

  #tlbEntry(address: Expr): Expr {
    return this.state('i32', L.TLB_BASE).add(
      address
        .lowHalf()
        .shrU(7)
        .and((L.TLB_ENTRIES - 1) << 5),
    )
  }
  #tlbTag(entry: Expr, access: Access): Expr {
    return this.load('i64', entry, access === 'read' ? L.TLB_READ : L.TLB_WRITE)
  }
  #tlbHit(entry: Expr, access: Access, address: Expr, size: number): Expr {
    return this.#isPage(this.#tlbTag(entry, access), address, size)
  }
  #isPage(tag: Expr, address: Expr, size: number): Expr {
    // An access that crosses a page misses: the entry of its first byte never holds the page of its last.
    const last = size > 1 ? address.add(size - 1) : address
    return tag.eq(last.and(-4096)).likely()
  }

  /** Where an access with the same base has been before: then no look into the TLB is needed. */
  protected windowFor(_access: Access, _address: Expr, _size: number): Window | undefined {
    return undefined
  }
  /** For accesses that come later. */
  protected makeWindow(_access: Access, _address: Expr): WindowMaker | undefined {
    return undefined
  }

  /** Goes to `hit` with the host offset where the TLB translates the access, else to `miss`. */
  #access(access: Access, address: Expr, size: number, hit: (host: Expr) => void, miss: () => void): void {
    const window = this.windowFor(access, address, size)
    if (window) return this.if(window.isInside.likely(), () => hit(window.host), miss)
    const entry = this.#tlbEntry(address)
    const tag = this.#tlbTag(entry, access)
    const maker = this.makeWindow(access, address)
    this.if(
      this.#isPage(tag, address, size),
      () => {
        const host = address.lowHalf().add(this.load('i32', entry, L.TLB_ADDEND))
        maker?.went(host)
        hit(host)
      },
      () => {
        // V8 makes a load that it joins with a comparison twice, unless it has another use: 10 % of `sieve`.
        this.setState('i64', L.MISSED_TAG, tag)
        maker?.went(undefined)
        miss()
      },
    )
    maker?.done()
  }

  /** Loads `size` bytes (1, 2, 4, 8) at a linear address. */
  loadMemory(address: Expr, size: number, { signed = false, stack = false } = {}): Expr {
    if (size === 8) return this.#loadMemoryAs(address, size, 'i64', (bits) => bits, { stack })
    // Without its sign: V8 makes a load that extends the sign to 64 bits twice.
    const value = this.#loadMemoryAs(address, size, LOAD_NARROW[size]!, (bits) => bits.wrap(), { stack })
    if (!signed) return value.extendU()
    return size === 4 ? value.extendS() : this.signExtend(value.extendU(), size)
  }

  /** Loads `size` bytes as something else than an integer; `convert` makes it of what the slow path gives. */
  #loadMemoryAs(
    address: Expr,
    size: number,
    kind: LoadKind,
    convert: (bits: Expr) => Expr,
    { stack = false } = {},
  ): Expr {
    const value = this.variable(LOAD[kind][0])
    this.#access(
      'read',
      address,
      size,
      (host) => value.set(this.load(kind, host, 0, RAM)),
      () => {
        value.set(convert(this.call(this.runtime.slowLoad, address, size | (stack ? 0x100 : 0), this.uop)))
        this.exitOnAccessFault()
      },
    )
    return value.get()
  }

  storeMemory(address: Expr, size: number, value: Expr, { stack = false } = {}): void {
    this.#access(
      'write',
      address,
      size,
      (host) => this.store(STORE_KIND[size]!, host, value, 0, RAM),
      () => {
        this.call(this.runtime.slowStore, address, value, size | (stack ? 0x100 : 0), this.uop)
        this.exitOnAccessFault()
      },
    )
  }

  loadMemory128(address: Expr): Expr {
    const value = this.variable('v128')
    this.#access(
      'read',
      address,
      16,
      (host) => value.set(this.load('v128', host, 0, RAM)),
      () => {
        value.set(this.call(this.runtime.slowLoad128, address, this.uop))
        this.exitOnAccessFault()
      },
    )
    return value.get()
  }
  storeMemory128(address: Expr, value: Expr): void {
    this.#access(
      'write',
      address,
      16,
      (host) => this.store('v128', host, value, 0, RAM),
      () => {
        this.call(this.runtime.slowStore128, address, value, this.uop)
        this.exitOnAccessFault()
      },
    )
  }

  loadMemory256(address: Expr): Expr[] {
    const [low, high] = [this.variable('v128'), this.variable('v128')]
    this.#access(
      'read',
      address,
      32,
      (host) => {
        low.set(this.load('v128', host, 0, RAM))
        high.set(this.load('v128', host, 16, RAM))
      },
      () => {
        low.set(this.call(this.runtime.slowLoad128, address, this.uop))
        this.exitOnAccessFault()
        high.set(this.call(this.runtime.slowLoad128, address.add(16), this.uop))
        this.exitOnAccessFault()
      },
    )
    return [low.get(), high.get()]
  }
  storeMemory256(address: Expr, low: Expr, high: Expr): void {
    this.#access(
      'write',
      address,
      32,
      (host) => {
        this.store('v128', host, low, 0, RAM)
        this.store('v128', host, high, 16, RAM)
      },
      () => {
        this.routine('slowStore256', address, low, high, this.uop)
        this.exitOnAccessFault()
      },
    )
  }

  /** Faults now if `size` bytes at the address cannot be written; changes nothing. */
  probeWrite(address: Expr, size: number): void {
    const entry = this.#tlbEntry(address)
    this.if(this.#tlbHit(entry, 'write', address, size).eqz().unlikely(), () => {
      this.call(this.runtime.slowLoadForWrite, address, size, this.uop)
      this.exitOnAccessFault()
    })
  }

  /** Host offset of a linear address when reads (or writes) of `size` bytes hit the TLB, else −1. */
  hostAddress(address: Expr, size: number, access: Access): Expr {
    const entry = this.#tlbEntry(address)
    const hit = this.#tlbHit(entry, access, address, size)
    return this.select(hit, address.lowHalf().add(this.load('i32', entry, L.TLB_ADDEND)), -1)
  }

  /**
   * Linear address of `offset` in a segment, checked against its limit and type outside 64-bit mode.
   * `segment` is L.ES … L.GS.
   */
  segmentAddress(segment: number | Expr, offset: Expr, size: number, write: boolean): Expr {
    if (this.long) {
      if (segment === L.FS) return offset.add(this.gpr(L.SLOT.fsBase))
      if (segment === L.GS) return offset.add(this.gpr(L.SLOT.gsBase))
      if (typeof segment === 'number') return offset
      // Micro-ops of string instructions hold the segment's number.
      const fs = this.select(segment.eq(L.FS), this.gpr(L.SLOT.fsBase), this.i64(0))
      return offset.add(this.select(segment.eq(L.GS), this.gpr(L.SLOT.gsBase), fs))
    }
    const number = this.coerce(segment, 'i32')
    return this.choose(
      'i64',
      isFlatAtZero(this, number).likely(),
      () => offset.and(0xffffffff),
      () => {
        const linear = this.call(this.runtime.legacyLinear, number, offset, size, write ? 1 : 0, this.uop)
        this.exitOnFault()
        return linear
      },
    )
  }

  // ---- stack ----

  /** RSP, ESP or SP plus `delta`, wrapped to the stack's address size. */
  #stackOffset(delta: number | Expr): Expr {
    const sp = this.gpr(4).add(delta)
    return this.long ? sp : sp.and(this.state('i64', L.STACK_MASK))
  }
  stackLoad(delta: number | Expr, size: number): Expr {
    const address = this.segmentAddress(L.SS, this.#stackOffset(delta), size, false)
    return this.loadMemory(address, size, { stack: true })
  }
  stackStore(delta: number | Expr, size: number, value: Expr): void {
    const address = this.segmentAddress(L.SS, this.#stackOffset(delta), size, true)
    this.storeMemory(address, size, value, { stack: true })
  }
  stackAdjust(delta: number | Expr): void {
    this.setStackPointer(this.gpr(4).add(delta))
  }
  /** Sets RSP, ESP or SP, whichever the stack uses. */
  setStackPointer(value: Expr): void {
    if (this.long) return this.setState('i64', L.REGS + 32, value)
    const mask = this.state('i64', L.STACK_MASK)
    const kept = this.gpr(4).and(mask.xor(-1)).and(0xffffffff)
    this.setState('i64', L.REGS + 32, value.and(mask).or(kept))
  }
  push(size: number, value: Expr): void {
    this.stackStore(-size, size, value)
    this.stackAdjust(-size)
  }
  /** Loads from the stack segment at RBP, EBP or BP plus `delta`. */
  framePointerLoad(delta: Expr, size: number): Expr {
    const offset = this.gpr(5).add(delta)
    const wrapped = this.long ? offset : offset.and(this.state('i64', L.STACK_MASK))
    return this.loadMemory(this.segmentAddress(L.SS, wrapped, size, false), size, { stack: true })
  }
  /** Faults now if the stack cannot be written at `delta`. */
  stackProbe(delta: Expr, size: number): void {
    this.probeWrite(this.segmentAddress(L.SS, this.#stackOffset(delta), size, true), size)
  }
  /** Selector in a segment register, i64. */
  selector(segment: number): Expr {
    return this.state('i64_16u', L.SEG + segment * L.SEG_SIZE + L.SEG_SELECTOR)
  }
  /** Pops a value, zero-extended. */
  pop(size: number): Expr {
    const value = this.stackLoad(0, size)
    this.stackAdjust(size)
    return value
  }

  // ---- flags ----

  #flags(kind: number, a: Operandish, b: Operandish | undefined, result: Operandish): void {
    this.setState('i32', L.FLAG_KIND, kind)
    this.setState('i64', L.FLAG_A, a)
    if (b !== undefined) this.setState('i64', L.FLAG_B, b)
    this.setState('i64', L.FLAG_RESULT, result)
  }
  /** Flags of result = a + b; all sign-extended. */
  flagsAdd(a: Expr, b: Expr, result: Expr): void {
    this.#flags(FLAGS_ADD, a, b, result)
  }
  /** Flags of result = a − b; all sign-extended. */
  flagsSub(a: Expr, b: Expr, result: Expr): void {
    this.#flags(FLAGS_SUB, a, b, result)
  }
  /** CF = OF = AF = 0, ZF, SF and PF from the sign-extended result. */
  flagsLogic(result: Expr): void {
    this.#flags(FLAGS_PARTIAL, 0, undefined, result)
  }
  /** CF, OF and AF as bits 0, 11 and 4 of `bits`; ZF, SF and PF from the sign-extended result. */
  flagsPartial(bits: Expr, result: Expr): void {
    this.#flags(FLAGS_PARTIAL, bits, undefined, result)
  }
  /** All six flags at their places in `bits`. */
  flagsExplicit(bits: Expr): void {
    this.#flags(FLAGS_EXPLICIT, bits, undefined, bits.shrU(6).and(1).xor(1))
  }
  /** Of an order of floats: CF where less, ZF where equal, the others zero. */
  flagsOrder(less: Expr, lessOrEqual: Expr): void {
    const equal = less.xor(lessOrEqual)
    this.#flags(FLAGS_EXPLICIT, less.or(equal.shl(6)).extendU(), undefined, equal.xor(1).extendU())
  }
  /** The six flags at their places in RFLAGS, i64. */
  arithmeticFlags(): Expr {
    return this.call(this.runtime.arithmeticFlags)
  }
  /** One flag as an i32, 0 or 1. */
  flag(name: 'C' | 'O' | 'S' | 'Z' | 'P' | 'A'): Expr {
    switch (name) {
      case 'C':
        return this.call(this.runtime.flagCf)
      case 'O':
        return this.call(this.runtime.flagOf)
      case 'S':
        return this.call(this.runtime.flagSf)
      case 'P':
        return this.call(this.runtime.flagPf)
      case 'A':
        return this.call(this.runtime.flagAf)
      case 'Z':
        return this.state('i64', L.FLAG_RESULT).eqz()
    }
  }

  /** A condition code (SDM Vol. 1, "EFLAGS Condition Codes"): i32, nonzero when true. */
  condition(code: number): Expr {
    const positive = this.#positiveCondition(code >> 1)
    return code & 1 ? positive.eqz() : positive
  }
  #positiveCondition(pair: number): Expr {
    switch (pair) {
      case 0:
        return this.flag('O')
      case 1:
        return this.#afterCompare(
          (a, b) => a.ltU(b),
          () => this.flag('C'),
        )
      case 2:
        return this.flag('Z')
      case 3:
        return this.#afterCompare(
          (a, b) => a.leU(b),
          () => this.flag('C').or(this.flag('Z')),
        )
      case 4:
        return this.flag('S')
      case 5:
        return this.flag('P')
      case 6:
        return this.#afterCompare(
          (a, b) => a.ltS(b),
          () => this.flag('S').xor(this.flag('O')),
        )
      default:
        return this.#afterCompare(
          (a, b) => a.leS(b),
          () => this.flag('S').xor(this.flag('O')).or(this.flag('Z')),
        )
    }
  }
  /** After SUB and CMP the operands themselves answer. */
  #afterCompare(compare: (a: Expr, b: Expr) => Expr, otherwise: () => Expr): Expr {
    const isSub = this.state('i32', L.FLAG_KIND).eq(FLAGS_SUB)
    return this.choose(
      'i32',
      isSub,
      () => compare(this.state('i64', L.FLAG_A), this.state('i64', L.FLAG_B)),
      otherwise,
    )
  }

  // ---- faults and the host ----

  /** Raises an exception and ends the instruction. */
  raise(vector: number, errorCode: Operandish = 0): void {
    this.setState('i32', L.FAULT, vector + 1)
    this.setState('i32', L.FAULT_ERROR, errorCode)
    this.setState('i32', L.CURRENT_UOP, this.uop)
    this.exit(EXIT.fault)
  }
  /** After a slow path of a memory access, which has noted the micro-op. */
  protected exitOnAccessFault(): void {
    this.exitOnFault()
  }
  exitOnFault(): void {
    this.if(this.state('i32', L.FAULT).unlikely(), () => {
      this.setState('i32', L.CURRENT_UOP, this.uop)
      this.exit(EXIT.fault)
    })
  }
  /** #GP(0) unless CPL is 0. */
  requirePrivilege(): void {
    this.if(this.state('i32', L.CPL), () => this.raise(EXCEPTION.GP, 0))
  }

  /** #GP(0) in user mode where CR4.UMIP keeps SGDT, SIDT, SLDT, STR and SMSW to the kernel. */
  requireUmipPermission(): void {
    const denied = this.state('i32', L.CPL).ne(0).and(this.state('i32', L.CR4).and(CR4_UMIP).ne(0))
    this.if(denied, () => this.raise(EXCEPTION.GP, 0))
  }
  /** Nonzero (i32) in protected mode, and not in virtual-8086 mode. */
  isProtectedMode(): Expr {
    const virtual = this.state('i32', L.RFLAGS_SYSTEM).and(VM).ne(0)
    return this.state('i32', L.CR0).and(CR0_PE).and(virtual.eqz())
  }
  /** Base of a segment, i64. */
  segmentBase(segment: Expr): Expr {
    return this.load('i64', segment.mul(L.SEG_SIZE), L.SEG + L.SEG_BASE)
  }

  /** #UD or #NM where the control registers keep x87, MMX, SSE or WAIT instructions from running. */
  requireX87(): void {
    this.#requireUnblocked(L.X87_BLOCKED)
  }
  requireMmx(): void {
    this.#requireUnblocked(L.MMX_BLOCKED)
  }
  requireSse(): void {
    this.#requireUnblocked(L.SSE_BLOCKED)
  }
  requireWait(): void {
    this.#requireUnblocked(L.WAIT_BLOCKED)
  }
  /** The same for instructions that VEX encodes: on vectors, or on general registers only. */
  requireAvx(): void {
    this.#requireUnblocked(L.AVX_BLOCKED)
  }
  requireVex(): void {
    this.#requireUnblocked(L.VEX_BLOCKED)
  }
  #requireUnblocked(slot: number): void {
    const blocked = this.state('i32', slot)
    this.if(blocked, () => {
      this.setState('i32', L.FAULT, blocked)
      this.setState('i32', L.FAULT_ERROR, 0)
      this.setState('i32', L.CURRENT_UOP, this.uop)
      this.exit(EXIT.fault)
    })
  }

  /** Runs a TypeScript routine with up to six i64 arguments; what it leaves in SCRATCH is its result. */
  host(operation: HostOperation, ...args: Operandish[]): void {
    for (const [i, arg] of args.entries()) this.setState('i64', L.SCRATCH + i * 8, arg)
    this.setState('i32', L.CURRENT_UOP, this.uop)
    this.call(this.runtime.host, HOST_OPERATIONS.indexOf(operation))
    this.exitOnFault()
  }
  /** Result word of the last host call. */
  hostResult(index = 0): Expr {
    return this.state('i64', L.SCRATCH + index * 8)
  }

  /** Ends the instruction and looks again at the mode, interrupts and RIP; leaves WebAssembly only where that is needed. */
  finishAndLookAgain(): void {
    this.setState('i64', L.RIP, this.nextRip())
    this.exit(EXIT.dispatch)
  }
  /** Ends an instruction that has set RIP and perhaps the mode. */
  leave(): void {
    this.exit(EXIT.dispatch)
  }
  halt(): void {
    this.exit(EXIT.halt)
  }

  /** Calls a routine that an instruction group registered. */
  routine(name: string, ...args: Operandish[]): Expr {
    const callable = this.runtime.routines.get(name)
    if (!callable) throw new Error(`no routine ${name}`)
    return this.call(callable, ...args)
  }

  // ---- widths ----

  signExtend(value: Expr, size: number): Expr {
    if (size === 1) return value.extend8S()
    if (size === 2) return value.extend16S()
    if (size === 4) return value.extend32S()
    return value
  }
  zeroExtend(value: Expr, size: number): Expr {
    if (size === 1) return value.and(0xff)
    if (size === 2) return value.and(0xffff)
    if (size === 4) return value.and(0xffffffff)
    return value
  }

  /** #GP(0) when a near branch would leave the code segment (or canonical addresses). */
  checkTarget(rip: Expr): void {
    const bad = this.long
      ? rip.shl(16).shrS(16).ne(rip)
      : rip.gtU(this.state('i64_32u', L.SEG + L.CS * L.SEG_SIZE + L.SEG_LIMIT))
    this.if(bad, () => this.raise(EXCEPTION.GP, 0))
  }
  /** Near branch to a checked target. */
  jump(rip: Expr): void {
    this.setState('i64', L.RIP, rip)
    this.dispatch()
  }
  /** The same, to a target that the instruction read. */
  jumpIndirect(rip: Expr): void {
    this.jump(rip)
  }
}
