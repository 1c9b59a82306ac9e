/**
 * A meaning built as recompiled code: operands are known, registers are WebAssembly locals.
 *
 * Meanings reach the state of the CPU by loads and stores at places in engine memory. Where the place is known while
 * building, and is a register or a flag source, this class gives a local instead; where it is a field of the micro-op,
 * the field's value. So the meanings that made the interpreter's handlers make recompiled code unchanged.
 *
 *   registers   a local each; what it holds is tracked as an expression, so that the next reader needs no load of it
 *   flags       tracked as the four expressions that they come from (state/flags.ts); locals get them only where paths
 *               meet and somebody reads them (flag-recipes.ts), where a fault or an exit can observe them, and nowhere else
 *   memory      an access with a base that has been used before compares its offset in the page instead of a TLB tag
 *   exits       leave the body for a common tail that stores the registers that the region writes
 */
import { Handler } from '../interpreter/handler.ts'
import { countEntry, countHeat } from '../interpreter/heat.ts'
import { EA_ADDRESS16, EA_SEGMENT_SHIFT, EA_WRITE, INTERNAL } from '../interpreter/micro-op.ts'
import { isOrdinary, requireOrdinary, requirePlain, scalarFloats } from '../isa/float-lanes.ts'
import { highProduct, highProductSigned } from '../isa/integer-routines.ts'
import type { Access, Operand, Runtime, Variant, Window, WindowMaker } from '../isa/meaning.ts'
import type { Speculation } from '../isa/speculation.ts'
import { FAULT_SPECULATION } from '../mmu/access.ts'
import { EXIT } from '../state/exits.ts'
import { FLAGS_ADD, FLAGS_EXPLICIT, FLAGS_PARTIAL, FLAGS_SUB } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import {
  type Callable,
  type Expr,
  isSame,
  Label,
  type Operandish,
  type Statement,
  splitSum,
  type Variable,
} from '../wasm/code.ts'
import type { LoadKind, StoreKind } from '../wasm/opcodes.ts'
import { type FlagNeed, LIVE, type Recipe, recipeOf, type Source } from './flag-recipes.ts'
import { commonFloats, FloatFacts, type FloatKnowledge, type Wishes } from './float-facts.ts'
import type { FloatMode, Plan } from './plan.ts'

/** Registers and slots of 8 bytes, then vectors of 16 bytes (XMM, and the upper halves of YMM). */
const SLOTS = 22
const VECTORS = 32
/** The slots that are general registers come first. */
const GPRS = 16

/** Where control goes when it leaves a block; the region decides how. */
export interface Edges {
  /** To an instruction of the region's code, by its offset from the region's base page. */
  goTo(code: RegionCode, offset: number): void
  /** To an address known when it runs only. */
  goToRip(code: RegionCode, rip: Expr): void
}

interface Flags {
  /** Undefined where it is known at run time only. */
  readonly kind: number | undefined
  /** Undefined: in the locals. */
  readonly a: Expr | undefined
  readonly b: Expr | undefined
  readonly result: Expr | undefined
  /** The locals hold the same. */
  readonly kept: boolean
  /** Nobody reads them, and a fault finds them by a recipe (flag-recipes.ts). */
  readonly lost?: boolean | undefined
  /** After a comparison of floats: the relations that the flags tell. */
  readonly order?: Order | undefined
}
interface Order {
  readonly less: Expr
  readonly lessOrEqual: Expr
}

const KEPT: Flags = { kind: undefined, a: undefined, b: undefined, result: undefined, kept: true }
const LOST: Flags = { ...KEPT, kept: false, lost: true }

/** What is known at a point of the code. */
export interface Knowledge {
  readonly slots: readonly (Expr | undefined)[]
  readonly vectors: readonly (Expr | undefined)[]
  readonly flags: Flags
  readonly floats: FloatKnowledge
  readonly windows: readonly PageWindow[]
  readonly charged: number
  readonly page: number
}

/**
 * Where an access with an address of `base` plus `displacement` went. What it takes to remember that is put to the two ways of
 * that access, hit and miss, when another one asks for it. It stays right as long as the region runs: no instruction in a region
 * drops translations, and none decodes code.
 */
interface PageWindow {
  readonly access: Access
  readonly base: Expr
  readonly displacement: number
  readonly ways: { readonly host: Expr | undefined; readonly statements: Statement[] }[]
  /** The offset in the page, or `NOWHERE`, and the host offset. */
  remembered?: { readonly offset: Variable; readonly host: Variable }
}
const NOWHERE = 0x7fffffff
/** How far apart two accesses may be: where they are on two pages the second one takes the slow path. */
const WINDOW_REACH = 256

/** The copy of a micro-op that is being built, and its page's offset from the region's base page. */
export interface Place {
  readonly uop: number
  readonly page: number
}

export interface RegionInputs {
  readonly runtime: Runtime
  /** Flags of (kind, a, b, result), by name. */
  readonly flagFunctions: Readonly<Record<string, Callable>>
  /** Copies of the micro-ops. */
  readonly microOps: DataView
  readonly edges: Edges
  readonly long: boolean
  /** Entries after which a small region is made again. */
  readonly hotAfter: number
  /** Handlers that are no regions. */
  readonly handlers: number
  readonly floats: FloatMode
  /** Collects the functions that the code calls. */
  readonly used: Set<Callable>
}

/** Conditions on the CPU's state that the code relies on, checked when the region is entered. */
export interface Guards {
  /** Segments that must be flat. */
  readonly segments: Set<number>
  /** Words that must be zero: what keeps SSE, x87 or MMX instructions from running. */
  readonly zeroWords: Set<number>
}

/** In the address of a micro-op to go to: not by a branch. */
const STRAIGHT_ON = 1
/** In place of a micro-op: to RIP; and out of the slice, at RIP. */
const LEAVE_TO_RIP = 0
const LEAVE_SLICE = 2
const LEAVE_UNDONE = 4
const LOCAL_GET = 0x20
const PLAIN: Variant = { size: 4, mode: 'long', memory: false, repeat: 'none', addressSize: 8 }

export class RegionCode extends Handler {
  readonly #inputs: RegionInputs
  readonly #slotVariables: (Variable | undefined)[] = []
  readonly #vectorVariables: (Variable | undefined)[] = []
  readonly #slotsWritten = new Set<number>()
  readonly #vectorsWritten = new Set<number>()
  #flagVariables: { kind: Variable; a: Variable; b: Variable; result: Variable } | undefined
  #flagsWritten = false
  #slots: (Expr | undefined)[] = []
  #vectors: (Expr | undefined)[] = []
  #flags: Flags = KEPT
  readonly #floats = new FloatFacts(() => this.#leaveUndone())
  #windows: readonly PageWindow[] = []
  #head = 0
  #charged = 0
  #page = 0
  #ended = false
  readonly #budget: Variable
  readonly #base: Variable
  readonly #leavePage: Variable
  readonly #epochs: Epoch[] = []
  #tlbBase: Variable | undefined
  readonly #faultLabel = new Label()
  /** Where faults go that find the flags lost. */
  readonly #lostLabel = new Label()
  /** The recipes, by what they say; `recipe` holds a number from 1, or 0 where the flags are in their locals. */
  readonly #recipes = new Map<string, Recipe>()
  #recipe: Variable | undefined
  #scan: { live: boolean; faults: boolean; clobbered: Set<number> } | undefined
  readonly #leaveLabel = new Label()
  readonly #leaveUop: Variable
  #uop: Expr
  #place: Place = { uop: 0, page: 0 }
  #fields = 0
  #length = 0
  readonly guards: Guards = { segments: new Set(), zeroWords: new Set() }

  constructor(inputs: RegionInputs) {
    super(inputs.runtime, PLAIN)
    this.#inputs = inputs
    this.#budget = this.variable('i32')
    this.#base = this.variable('i64')
    this.#leavePage = this.variable('i64')
    this.#leaveUop = this.variable('i32')
    this.#uop = this.i32(0)
  }

  override get uop(): Expr {
    return this.#uop
  }
  override get long(): boolean {
    return this.#inputs.long
  }
  override get speculation(): Speculation | undefined {
    return this.#inputs.floats === 'speculate' ? this.#floats : undefined
  }

  // ---- the whole function ----

  /** Builds the function around `body`. */
  region(plan: Pick<Plan, 'slot' | 'head' | 'original' | 'extent' | 'blocks'>, body: () => void): void {
    this.#head = plan.head
    const prologue = this.#group()
    this.#body(body)
    prologue.push(
      ...this.nested(() => {
        this.#enter(plan)
        if (plan.extent === 'small') this.#countEntry(plan)
      }),
    )
  }

  #countEntry({ slot, blocks }: Pick<Plan, 'slot' | 'blocks'>): void {
    countEntry(this, slot, this.#inputs.hotAfter, () => {
      const rip = this.#base.get().add(blocks[0]!.at)
      this.setRaw('i64', L.RIP, this.long ? rip : rip.and(0xffffffff))
      this.setRaw('i32', L.BUDGET, this.param(1))
      super.return(EXIT.hot)
    })
  }

  #group(): Statement[] {
    const statements: Statement[] = []
    this.statement({ kind: 'group', body: statements })
    return statements
  }

  #body(body: () => void): void {
    const leave = this.nested(() => {
      const fault = this.nested(() => {
        const lost = this.nested(() => {
          this.#budget.set(this.param(1))
          body()
        })
        if (!this.#recipe) return this.statement({ kind: 'group', body: lost })
        this.statement({ kind: 'block', label: this.#lostLabel, body: lost })
        this.#followRecipe(this.#recipe.get())
      })
      this.statement({ kind: 'block', label: this.#faultLabel, body: fault })
      const note = super.load('i32', this.i32(0), L.FAULT_NOTE)
      this.#spill(this.#base.get().add(note.and(-1 << L.FAULT_NOTE_PAGE).extendS()))
      const charged = note.and((1 << L.FAULT_NOTE_PAGE) - 1)
      this.tailCall(this.runtime.fault, this.#budget.get().sub(charged))
    })
    this.statement({ kind: 'block', label: this.#leaveLabel, body: leave })
    // To the micro-op in `leaveUop`, or to RIP where there is none.
    this.#spill(this.#base.get().add(this.#leavePage.get()))
    const uop = this.#leaveUop.get()
    super.if(uop.gtU(LEAVE_UNDONE).likely(), () => this.#goToUop(uop))
    super.if(uop.eqz().likely(), () => this.tailCall(this.runtime.dispatch, this.#budget.get()))
    this.setRaw('i32', L.BUDGET, this.#budget.get())
    super.if(uop.eq(LEAVE_SLICE), () => super.return(EXIT.slice))
    this.#failSpeculation(0)
    super.return(EXIT.fault)
  }

  #goToUop(uop: Expr): void {
    const { handlers, hotAfter } = this.#inputs
    const target = uop.and(~STRAIGHT_ON)
    const stopAtTarget = (code: number) => {
      const offset = super.load('i64_16u', target, L.UOP_PLACE).and(0xfff)
      const rip = this.#base.get().add(this.#leavePage.get()).add(offset)
      this.setRaw('i64', L.RIP, this.long ? rip : rip.and(0xffffffff))
      this.setRaw('i32', L.BUDGET, this.#budget.get())
      super.return(code)
    }
    super.if(uop.and(STRAIGHT_ON).eqz().likely(), () =>
      super.if(this.isSpent().unlikely(), () => stopAtTarget(EXIT.slice)),
    )
    const handler = super.load('i32_16u', target, L.UOP_HANDLER)
    super.if(handler.ltU(handlers).unlikely(), () =>
      countHeat(this, target, hotAfter, () => stopAtTarget(EXIT.hot)),
    )
    super.tailCallIndirect(this.runtime.handlerType, handler, [target, this.#budget.get()])
  }

  #spill(ripBase: Expr): void {
    const at = this.i32(0)
    for (const slot of this.#slotsWritten)
      super.store('i64', at, this.#slotVariables[slot]!.get(), L.REGS + slot * 8)
    for (const vector of this.#vectorsWritten)
      super.store('v128', at, this.#vectorVariables[vector]!.get(), L.XMM + vector * 16)
    super.store('i64', at, ripBase, L.REGS + L.SLOT.ripBase * 8)
    const flags = this.#flagVariables
    if (!flags || !this.#flagsWritten) return
    super.store('i32', at, flags.kind.get(), L.FLAG_KIND)
    super.store('i64', at, flags.a.get(), L.FLAG_A)
    super.store('i64', at, flags.b.get(), L.FLAG_B)
    super.store('i64', at, flags.result.get(), L.FLAG_RESULT)
  }

  /** Checks the guards, without which the head's own handler runs, and loads the locals. */
  #enter({ head, original }: Pick<Plan, 'head' | 'original'>): void {
    const at = this.i32(0)
    const refuse = () =>
      super.tailCallIndirect(this.runtime.handlerType, this.i32(original), [this.i32(head), this.param(1)])
    const refuseIf = (bad: Expr) => super.if(bad, refuse)
    const word = (offset: number) => super.load('i32', at, offset)
    for (const zero of this.guards.zeroWords) refuseIf(word(zero))
    if (this.#inputs.floats === 'await-ordinary') {
      super.if(isOrdinary(this), () => {
        this.#failSpeculation(this.i32(head))
        this.setRaw('i32', L.BUDGET, this.param(1))
        super.return(EXIT.fault)
      })
    }
    const base = super.load('i64', at, L.REGS + L.SLOT.ripBase * 8)
    if (this.long) {
      // Relative branches from here stay canonical.
      const reach = base.add(0x7ffe00000000)
      refuseIf(reach.gtU(0xfffc00000000))
    } else {
      this.guards.segments.add(L.CS)
      refuseIf(base.sub(0x100000).gtU(0xffe00000))
      refuseIf(super.load('i64', at, L.STACK_MASK).ne(0xffffffff))
      const flat = [...this.guards.segments].reduce((bits, segment) => bits | (1 << segment), 0)
      refuseIf(word(L.FLAT_SEGMENTS).and(flat).ne(flat))
    }
    this.#base.set(base)
    this.#tlbBase?.set(word(L.TLB_BASE))
    this.#slotVariables.forEach((variable, slot) => {
      variable?.set(super.load('i64', at, L.REGS + slot * 8))
    })
    this.#vectorVariables.forEach((variable, vector) => {
      variable?.set(super.load('v128', at, L.XMM + vector * 16))
    })
    const flags = this.#flagVariables
    if (!flags) return
    flags.kind.set(word(L.FLAG_KIND))
    flags.a.set(super.load('i64', at, L.FLAG_A))
    flags.b.set(super.load('i64', at, L.FLAG_B))
    flags.result.set(super.load('i64', at, L.FLAG_RESULT))
  }

  override call(callee: Callable, ...args: Operandish[]): Expr {
    this.#inputs.used.add(callee)
    return super.call(callee, ...args)
  }
  override pureCall(callee: Callable, ...args: Operandish[]): Expr {
    this.#inputs.used.add(callee)
    return super.pureCall(callee, ...args)
  }
  override tailCall(callee: Callable, ...args: Operandish[]): void {
    this.#inputs.used.add(callee)
    super.tailCall(callee, ...args)
    this.#ended = true
  }

  // ---- what is known ----

  knowledge(): Knowledge {
    return {
      slots: [...this.#slots],
      vectors: [...this.#vectors],
      flags: this.#flags,
      floats: this.#floats.knowledge,
      windows: this.#windows,
      charged: this.#charged,
      page: this.#page,
    }
  }
  restore(known: Knowledge): void {
    this.#slots = [...known.slots]
    this.#vectors = [...known.vectors]
    this.#flags = known.flags
    this.#floats.restore(known.floats)
    this.#windows = known.windows
    this.#charged = known.charged
    this.#page = known.page
    this.#ended = false
  }
  /** At a point where paths meet: everything is in the locals, and no more is known. */
  forget(): void {
    this.#slots = []
    this.#vectors = []
    this.#flags = KEPT
    this.#floats.forget()
    this.#windows = []
    this.#charged = 0
    this.#ended = false
  }
  /** The same where `known` has been made sure of; notes what else would be wished to be known of floats. */
  forgetMost(known: Wishes, wished: Wishes, need: FlagNeed): void {
    this.forget()
    if (!need.live) this.#flags = LOST
    this.#floats.begin(known, wished)
  }
  /** Makes sure of wishes on the way to an offset; leaves where they do not hold. */
  makeSure(wishes: Wishes, offset: number): void {
    const leave = this.#floats.leave
    this.#floats.leave = () => this.#leaveUndoneAt(offset)
    if (wishes.isOrdinary) requireOrdinary(this, this.#floats)
    for (const { vector, byte, width } of wishes.plain.values()) {
      const float = this.#vectorPart(width === 32 ? 'f32' : 'f64', this.#vector(vector), byte)
      requirePlain(this, this.#floats, scalarFloats(this, width), float)
    }
    this.#floats.leave = leave
  }
  get ended(): boolean {
    return this.#ended
  }
  /** The page of the instruction at work, in pages from the base. */
  get page(): number {
    return this.#page
  }

  /** Brings flags and budget into their locals. */
  settle(): void {
    this.#keepFlags()
    this.charge()
  }
  /** The same on the way to where paths meet. */
  settleFor({ live, faults, clobbered }: FlagNeed): void {
    this.charge()
    if (live) this.#keepFlags()
    else if (faults) this.#noteRecipe(clobbered)
  }
  /** Brings the budget into its local. */
  charge(): void {
    if (this.#charged === 0) return
    this.#budget.set(this.#budget.get().sub(this.#charged))
    this.#charged = 0
  }

  // ---- instructions ----

  /** Builds the instruction at `place`, `length` bytes; meaning and operands come with it. */
  instruction(place: Place, variant: Variant, address: number | undefined, build: () => void): void {
    this.variant = variant
    this.nextInstruction()
    this.#setPlace(place)
    this.#charged++
    if (address !== undefined) this.#addressMicroOp(address)
    build()
  }

  #setPlace(place: Place): void {
    const { microOps } = this.#inputs
    this.#place = place
    this.#page = place.page
    this.#fields = place.uop
    const bits = microOps.getUint16(place.uop + L.UOP_PLACE, true)
    this.#length = bits >> 12
    const base = microOps.getUint8(place.uop + L.UOP_BASE)
    const stack = base === 4 * 8 || base === 5 * 8 ? L.PLACE_STACK : 0
    this.#uop = this.i32(L.PLACES + bits * L.PLACE_SIZE + stack)
  }

  /** The address micro-op before the instruction's own. */
  #addressMicroOp(uop: number): void {
    const { microOps } = this.#inputs
    const own = this.#fields
    this.#fields = uop
    const raw = this.rawAddress()
    const kind = microOps.getUint16(uop + L.UOP_HANDLER, true)
    this.#slots[L.SLOT.ea] = this.#linearOf(kind, raw, microOps.getInt32(uop + L.UOP_IMM, true))
    this.#fields = own
  }

  #linearOf(kind: number, raw: Expr, immediate: number): Expr {
    const base = () => this.#slot(immediate >> 3)
    switch (kind) {
      case INTERNAL.ea32:
        return raw.and(0xffffffff).add(base())
      case INTERNAL.eaSegment:
        return raw.add(base())
      case INTERNAL.eaAbsolute: {
        const start = this.load('i64', this.load('i32_8u', this.uop, L.UOP_BASE), L.REGS)
        return start.add(this.load('i64', this.uop, L.UOP_DISP))
      }
      default: {
        const offset = raw.and(immediate & EA_ADDRESS16 ? 0xffff : 0xffffffff)
        this.#slots[L.SLOT.eaOffset] = offset
        if ((immediate & 0xfff) === 0) return offset
        return this.#flatLinear((immediate >> EA_SEGMENT_SHIFT) & 7, offset, (immediate & EA_WRITE) !== 0)
      }
    }
  }
  #flatLinear(segment: number, offset: Expr, write: boolean): Expr {
    if (segment === L.CS && write) this.raise(EXCEPTION.GP, 0)
    this.guards.segments.add(segment)
    if (segment !== L.FS && segment !== L.GS) return offset
    return offset.add(this.#slot(segment === L.FS ? L.SLOT.fsBase : L.SLOT.gsBase)).and(0xffffffff)
  }

  override segmentAddress(segment: number | Expr, offset: Expr, size: number, write: boolean): Expr {
    if (this.long) return super.segmentAddress(segment, offset, size, write)
    const number = typeof segment === 'number' ? segment : Number(segment.immediate)
    return this.#flatLinear(number, offset.and(0xffffffff), write)
  }

  // ---- places in engine memory ----

  override load(kind: LoadKind, address: Expr, offset = 0, memory = 0): Expr {
    if (memory === 0) {
      if (address === this.#uop) return this.#field(kind, offset)
      if (address.isConstant) {
        const known = this.#loadPlace(kind, Number(address.immediate) + offset)
        if (known) return known
      }
    }
    return super.load(kind, address, offset, memory)
  }

  override store(kind: StoreKind, address: Expr, value: Operandish, offset = 0, memory = 0): void {
    if (memory === 0 && address.isConstant) {
      if (this.#storePlace(kind, Number(address.immediate) + offset, value)) return
    }
    super.store(kind, address, value, offset, memory)
  }
  /** A store to the state in memory itself. */
  setRaw(kind: StoreKind, at: number, value: Operandish): void {
    super.store(kind, this.i32(0), value, at)
  }

  /** A field of the micro-op: known. */
  #field(kind: LoadKind, offset: number): Expr {
    const { microOps } = this.#inputs
    const at = this.#fields + offset
    switch (kind) {
      case 'i32_8u':
        return this.i32(microOps.getUint8(at))
      case 'i64_8u':
        return this.i64(microOps.getUint8(at))
      case 'i32_16u':
        return this.i32(microOps.getUint16(at, true))
      case 'i64_16u':
        return this.i64(microOps.getUint16(at, true))
      case 'i32':
        return this.i32(microOps.getInt32(at, true))
      case 'i64_32s':
        return this.i64(microOps.getInt32(at, true))
      case 'i64_32u':
        return this.i64(microOps.getUint32(at, true))
      case 'i64':
        return this.i64(microOps.getBigInt64(at, true))
      default:
        throw new Error(`a micro-op has no field to read as ${kind}`)
    }
  }

  #loadPlace(kind: LoadKind, at: number): Expr | undefined {
    if (at >= L.REGS && at < L.REGS + SLOTS * 8)
      return this.#part(kind, this.#slot((at - L.REGS) >> 3), (at - L.REGS) & 7)
    if (at >= L.XMM && at < L.XMM + VECTORS * 16)
      return this.#vectorPart(kind, this.#vector((at - L.XMM) >> 4), (at - L.XMM) & 15)
    switch (at) {
      case L.FLAG_KIND:
        return this.#flagKind()
      case L.FLAG_A:
        return this.#flagSource('a')
      case L.FLAG_B:
        return this.#flagSource('b')
      case L.FLAG_RESULT:
        return this.#flagSource('result')
      case L.TLB_BASE:
        this.#tlbBase ??= this.variable('i32')
        return this.#tlbBase.get()
      case L.CODE_SIZE:
        return this.i32(this.long ? 8 : 4)
      case L.STACK_MASK:
        return this.i64(this.long ? -1 : 0xffffffff)
      case L.SSE_BLOCKED:
      case L.X87_BLOCKED:
      case L.MMX_BLOCKED:
        this.guards.zeroWords.add(at)
        return this.i32(0)
      default:
        return undefined
    }
  }

  #storePlace(kind: StoreKind, at: number, value: Operandish): boolean {
    if (at >= L.REGS && at < L.REGS + SLOTS * 8) {
      this.#setSlot((at - L.REGS) >> 3, this.#replace(kind, (at - L.REGS) >> 3, (at - L.REGS) & 7, value))
      return true
    }
    if (at >= L.XMM && at < L.XMM + VECTORS * 16) {
      this.#setVectorPart(kind, (at - L.XMM) >> 4, (at - L.XMM) & 15, value)
      return true
    }
    switch (at) {
      case L.FLAG_KIND:
        this.#flags = { kind: value as number, a: undefined, b: undefined, result: undefined, kept: false }
        return true
      case L.FLAG_A:
        this.#flags = { ...this.#flags, a: this.coerce(value, 'i64') }
        return true
      case L.FLAG_B:
        this.#flags = { ...this.#flags, b: this.coerce(value, 'i64') }
        return true
      case L.FLAG_RESULT:
        this.#flags = { ...this.#flags, result: this.coerce(value, 'i64') }
        return true
      case L.MXCSR:
        this.#floats.controlWritten()
        return false
      default:
        return false
    }
  }

  // ---- memory ----

  protected override makeWindow(access: Access, address: Expr): WindowMaker {
    const { base, constant } = splitSum(address)
    const window: PageWindow = { access, base, displacement: constant, ways: [] }
    return {
      went: (host) => window.ways.push({ host, statements: this.#group() }),
      done: () => {
        this.#windows = [window, ...this.#windows]
      },
    }
  }
  protected override windowFor(access: Access, address: Expr, size: number): Window | undefined {
    if (size > 8) return undefined
    const { base, constant } = splitSum(address)
    const window = this.#windows.find(
      (known) =>
        (access === 'read' || known.access === 'write') &&
        Math.abs(constant - known.displacement) <= WINDOW_REACH &&
        isSame(base, known.base),
    )
    if (!window) return undefined
    const distance = constant - window.displacement
    window.remembered ??= this.#remember(window)
    const offset = window.remembered.offset.get()
    const isInside = distance < 0 ? offset.add(distance).leU(4096 - size) : offset.leU(4096 - size - distance)
    return { isInside, host: window.remembered.host.get().add(distance) }
  }
  #remember({ ways }: PageWindow): { offset: Variable; host: Variable } {
    const [offset, host] = [this.variable('i32'), this.variable('i32')]
    for (const way of ways)
      way.statements.push(
        ...this.nested(() => {
          offset.set(way.host ? way.host.and(4095) : NOWHERE)
          if (way.host) host.set(way.host)
        }),
      )
    return { offset, host }
  }

  // ---- registers ----

  #slot(slot: number): Expr {
    if (slot === L.SLOT.zero) return this.i64(0)
    if (slot === L.SLOT.ripBase) return this.#rip(0)
    const known = this.#slots[slot]
    if (known) return known
    const value = this.#slotVariable(slot).get()
    this.#slots[slot] = value
    return value
  }
  #slotVariable(slot: number): Variable {
    this.#slotVariables[slot] ??= this.variable('i64')
    return this.#slotVariables[slot]
  }
  #setSlot(slot: number, value: Expr): void {
    if (slot === L.SLOT.zero || slot === L.SLOT.ripBase)
      throw new Error('Invariant broken: a fixed slot is written')
    this.#slotVariable(slot).set(value)
    this.#slotsWritten.add(slot)
    this.#slots[slot] = value
  }

  #part(kind: LoadKind, value: Expr, byte: number): Expr {
    const shifted = value.shrU(byte * 8)
    switch (kind) {
      case 'i64':
        return value
      case 'i64_32u':
        return shifted.and(0xffffffff)
      case 'i64_32s':
        return shifted.extend32S()
      case 'i64_16u':
        return shifted.and(0xffff)
      case 'i64_16s':
        return shifted.extend16S()
      case 'i64_8u':
        return shifted.and(0xff)
      case 'i64_8s':
        return shifted.extend8S()
      case 'i32':
        return shifted.wrap()
      case 'i32_8u':
        return shifted.wrap().and(0xff)
      default:
        throw new Error(`a register is not read as ${kind}`)
    }
  }
  #replace(kind: StoreKind, slot: number, byte: number, operand: Operandish): Expr {
    const value = this.coerce(operand, 'i64')
    if (kind === 'i64') return value
    const mask = kind === 'i64_8' ? 0xffn : kind === 'i64_16' ? 0xffffn : 0xffffffffn
    const hole = BigInt.asIntN(64, ~(mask << BigInt(byte * 8)))
    const kept = this.#slot(slot).and(this.i64(hole))
    return kept.or(value.and(this.i64(mask)).shl(byte * 8))
  }

  // ---- vectors ----

  #vector(vector: number): Expr {
    const known = this.#vectors[vector]
    if (known) return known
    const value = this.#vectorVariable(vector).get()
    this.#vectors[vector] = value
    this.#floats.vectorRead(vector, value)
    return value
  }
  #vectorVariable(vector: number): Variable {
    this.#vectorVariables[vector] ??= this.variable('v128')
    return this.#vectorVariables[vector]
  }
  #vectorPart(kind: LoadKind, value: Expr, byte: number): Expr {
    switch (kind) {
      case 'v128':
        return value
      case 'i64':
        return value.lane('i64x2', byte >> 3)
      case 'i64_32u':
        return value.lane('i32x4', byte >> 2).extendU()
      case 'i64_32s':
        return value.lane('i32x4', byte >> 2).extendS()
      case 'i64_16u':
        return value.lane('i16x8', byte >> 1).extendU()
      case 'i64_8u':
        return value.lane('i8x16', byte).extendU()
      case 'i32':
        return value.lane('i32x4', byte >> 2)
      case 'f32':
        return value.lane('f32x4', byte >> 2)
      case 'f64':
        return value.lane('f64x2', byte >> 3)
      default:
        throw new Error(`a vector is not read as ${kind}`)
    }
  }
  #setVectorPart(kind: StoreKind, vector: number, byte: number, operand: Operandish): void {
    const value = this.#withPart(kind, vector, byte, operand)
    this.#vectorVariable(vector).set(value)
    this.#vectorsWritten.add(vector)
    this.#vectors[vector] = value
    this.#floats.vectorWritten(vector)
  }
  #withPart(kind: StoreKind, vector: number, byte: number, operand: Operandish): Expr {
    if (kind === 'v128') return this.coerce(operand, 'v128')
    const value = this.coerce(operand, kind === 'i32' ? 'i32' : 'i64')
    const old = this.#vector(vector)
    switch (kind) {
      case 'i64':
        return old.withLane('i64x2', byte >> 3, value)
      case 'i64_32':
        return old.withLane('i32x4', byte >> 2, value.wrap())
      case 'i64_16':
        return old.withLane('i16x8', byte >> 1, value.wrap())
      case 'i64_8':
        return old.withLane('i8x16', byte, value.wrap())
      case 'i32':
        return old.withLane('i32x4', byte >> 2, value)
      default:
        throw new Error(`a vector is not written as ${kind}`)
    }
  }

  // ---- flags ----

  #flagLocals() {
    this.#flagVariables ??= {
      kind: this.variable('i32'),
      a: this.variable('i64'),
      b: this.variable('i64'),
      result: this.variable('i64'),
    }
    return this.#flagVariables
  }
  /** Flags are read. */
  #need(): void {
    if (!this.#flags.lost) return
    if (!this.#scan) throw new Error('Invariant broken: flags are read that are lost')
    this.#scan.live = true
    this.#flags = KEPT
  }
  #flagKind(): Expr {
    this.#need()
    return this.#flags.kind === undefined ? this.#flagLocals().kind.get() : this.i32(this.#flags.kind)
  }
  #flagSource(name: 'a' | 'b' | 'result'): Expr {
    this.#need()
    this.#tellOrder()
    const known = this.#flags[name]
    if (known) return known
    const value = this.#flagLocals()[name].get()
    if (this.#flags.kept) this.#flags = { ...this.#flags, [name]: value }
    return value
  }
  /** Writes the flags' sources to their locals, unless they are there. */
  #keepFlags(): void {
    this.#need()
    if (this.#flags.kept) return
    this.#tellOrder()
    const { kind, a, b, result } = this.#flags
    const locals = this.#flagLocals()
    this.#flagsWritten = true
    if (kind !== undefined) locals.kind.set(kind)
    if (a) locals.a.set(a)
    if (b) locals.b.set(b)
    if (result) locals.result.set(result)
    this.#flags = { ...this.#flags, kept: true }
  }

  // ---- flags that only faults want ----

  /**
   * What of the flags is wanted where nothing but `forget` came before: `build` builds what comes there, an instruction at a time,
   * until it is told that this is known. The code is thrown away.
   */
  flagNeed(build: (isKnown: () => boolean) => void): FlagNeed {
    const scan = { live: false, faults: false, clobbered: new Set<number>() }
    this.#scan = scan
    this.#flags = LOST
    build(() => scan.live || !this.#flags.lost)
    return this.#flags.lost ? LIVE : scan
  }
  #noteRecipe(clobbered: ReadonlySet<number>): void {
    const { kind, kept, order } = this.#flags
    this.#recipe ??= this.variable('i32')
    if (kept || order || kind === undefined) {
      this.#keepFlags()
      return this.#recipe.set(0)
    }
    const registers = this.#slots
      .slice(0, GPRS)
      .map((value, slot) => (clobbered.has(slot) ? undefined : value))
    const recipe = recipeOf({ ...this.#flags, kind }, registers)
    for (const [name, { from }] of recipe.sources) {
      const value = this.#flags[name]
      if (from === 'local' && value) this.#flagLocals()[name].set(value)
    }
    const key = JSON.stringify(recipe, (_, value) => (typeof value === 'bigint' ? `${value}` : value))
    this.#recipes.set(key, recipe)
    this.#flagsWritten = true
    this.#recipe.set([...this.#recipes.keys()].indexOf(key) + 1)
  }
  #followRecipe(number: Expr): void {
    const locals = this.#flagLocals()
    for (const [i, { kind, sources }] of [...this.#recipes.values()].entries()) {
      super.if(number.eq(i + 1), () => {
        locals.kind.set(kind)
        for (const [name, source] of sources)
          if (source.from !== 'local') locals[name].set(this.#made(source, name))
      })
    }
  }
  #made(source: Exclude<Source, { from: 'local' }>, name: 'a' | 'b' | 'result'): Expr {
    if (source.from === 'constant') return this.i64(source.value)
    const extended = (value: Expr) => this.signExtend(value, source.bits / 8)
    if (source.from === 'register') return extended(this.#slotVariable(source.register).get())
    const { a, b, result } = this.#flagLocals()
    const other = (name === 'result' ? a : result).get()
    return extended(source.from === 'sum' ? other.add(b.get()) : other.sub(b.get()))
  }

  override flag(name: 'C' | 'O' | 'S' | 'Z' | 'P' | 'A'): Expr {
    const { order } = this.#flags
    if (order && name === 'C') return order.less
    if (order && name === 'Z') return order.less.xor(order.lessOrEqual)
    if (order) return this.i32(0)
    if (name === 'Z') return this.#flagSource('result').eqz()
    const { kind } = this.#flags
    if (kind === undefined) return this.#flagAtRunTime(name)
    const a = this.#flagSource('a')
    const bit = (x: Expr, n: number) => x.shrU(n).wrap().and(1)
    const result = () => this.#flagSource('result')
    const b = () => this.#flagSource('b')
    switch (name) {
      case 'C':
        return kind === FLAGS_SUB ? a.ltU(b()) : kind === FLAGS_ADD ? result().ltU(a) : bit(a, 0)
      case 'O':
        if (kind === FLAGS_SUB) return bit(a.xor(b()).and(a.xor(result())), 63)
        return kind === FLAGS_ADD ? bit(a.xor(result()).and(b().xor(result())), 63) : bit(a, 11)
      case 'S':
        return kind === FLAGS_EXPLICIT ? bit(a, 7) : result().ltS(0)
      case 'P':
        return kind === FLAGS_EXPLICIT ? bit(a, 2) : result().wrap().and(0xff).popcnt().and(1).xor(1)
      default:
        return kind <= FLAGS_SUB ? bit(a.xor(b()).xor(result()), 4) : bit(a, 4)
    }
  }
  #flagAtRunTime(name: 'C' | 'O' | 'S' | 'P' | 'A'): Expr {
    const callee = this.#inputs.flagFunctions[`${name === 'A' ? 'a' : name.toLowerCase()}fOf`]!
    return this.pureCall(
      callee,
      this.#flagKind(),
      this.#flagSource('a'),
      this.#flagSource('b'),
      this.#flagSource('result'),
    )
  }
  override flagsOrder(less: Expr, lessOrEqual: Expr): void {
    const unknown = { a: undefined, b: undefined, result: undefined, kept: false }
    this.#flags = { ...unknown, kind: FLAGS_EXPLICIT, order: { less, lessOrEqual } }
  }
  /** Makes flags of an order, where they are asked for. */
  #tellOrder(): void {
    const { order, kept, a } = this.#flags
    if (!order || kept || a) return
    super.flagsOrder(order.less, order.lessOrEqual)
    this.#flags = { ...this.#flags, order }
  }
  override condition(code: number): Expr {
    const order = this.#flags.order
    if (order && code >> 1 === 3) return code & 1 ? order.lessOrEqual.eqz() : order.lessOrEqual
    return super.condition(code)
  }
  override arithmeticFlags(): Expr {
    if (this.#flags.kind === FLAGS_EXPLICIT) return this.#flagSource('a')
    const sources = [this.#flagSource('a'), this.#flagSource('b'), this.#flagSource('result')]
    return this.pureCall(this.#inputs.flagFunctions.flagsOf!, this.#flagKind(), ...sources)
  }
  override routine(name: string, ...args: Operandish[]): Expr {
    const arg = (i: number, type: 'i32' | 'i64') => this.coerce(args[i]!, type)
    switch (name) {
      case 'replaceCf':
      case 'replaceCfOf':
        this.#replaceCarry(arg(0, 'i32'), name === 'replaceCf' ? this.flag('O') : arg(1, 'i32'))
        return this.i32(0)
      // In place: what only the flags want of a product is not computed unless they are read.
      case 'mulHighU':
        return highProduct(arg(0, 'i64'), arg(1, 'i64'))
      case 'mulHighS':
        return highProductSigned(arg(0, 'i64'), arg(1, 'i64'))
      case 'divide128':
        return this.choose(
          'i64',
          arg(0, 'i64').eqz().likely(),
          () => arg(1, 'i64').divU(arg(2, 'i64')),
          () => super.routine(name, ...args),
        )
      default:
        return super.routine(name, ...args)
    }
  }
  /** CF and OF change, the other flags stay. */
  #replaceCarry(carry: Expr, overflow: Expr): void {
    const { kind } = this.#flags
    const bits = carry.and(1).extendU().or(overflow.and(1).extendU().shl(11))
    if (kind === undefined || kind === FLAGS_EXPLICIT) {
      // Mostly only a fault would observe the others: then they are made there.
      const others = this.arithmeticFlags()
      const isChain = chainLength(others) < MAX_CHAIN && (kind === undefined || others.demanded)
      const kept = (isChain ? others.onDemand() : others).and(~0x801)
      return this.flagsExplicit(isChain ? kept.onDemand().or(bits).onDemand() : kept.or(bits))
    }
    const auxiliary =
      kind === FLAGS_PARTIAL ? this.#flagSource('a').and(0x10) : this.flag('A').extendU().shl(4)
    this.flagsPartial(bits.or(auxiliary), this.#flagSource('result'))
  }

  // ---- control within a meaning ----

  override if(condition: Expr, then: () => void, otherwise?: () => void): void {
    if (condition.isConstant) return super.if(condition, then, otherwise)
    const before = this.knowledge()
    const yes = this.#arm(then)
    this.restore(before)
    const no = otherwise ? this.#arm(otherwise) : { statements: [] as Statement[], known: before }
    this.#join(yes, no)
    this.statement({ kind: 'if', condition, body: yes.statements, otherwise: no.statements })
  }
  #join(yes: Arm, no: Arm): void {
    if (yes.known && no.known)
      this.#merge(yes as Arm & { known: Knowledge }, no as Arm & { known: Knowledge })
    else if (yes.known) this.restore(yes.known)
    else if (no.known) this.restore(no.known)
    else this.#ended = true
  }
  #arm(build: () => void): Arm {
    this.#ended = false
    const statements = this.nested(build)
    return { statements, known: this.#ended ? undefined : this.knowledge() }
  }

  /** Two paths meet: what is not the same on both must be in the locals. */
  #merge(yes: Arm & { known: Knowledge }, no: Arm & { known: Knowledge }): void {
    const same = (a: Flags, b: Flags) =>
      a.kind === b.kind && a.a === b.a && a.b === b.b && a.result === b.result && a.order === b.order
    const differ = !same(yes.known.flags, no.known.flags)
    for (const arm of [yes, no]) {
      this.restore(arm.known)
      const settle = this.nested(() => {
        if (differ) this.#keepFlags()
        if (yes.known.charged !== no.known.charged) this.charge()
      })
      arm.statements.push(...settle)
    }
    const charged = yes.known.charged === no.known.charged ? yes.known.charged : 0
    const { kind } = yes.known.flags
    const agreed = kind === no.known.flags.kind ? kind : undefined
    const common = (a: readonly (Expr | undefined)[], b: readonly (Expr | undefined)[]) =>
      a.map((value, i) => (value === b[i] ? value : undefined))
    this.restore({
      slots: common(yes.known.slots, no.known.slots),
      vectors: common(yes.known.vectors, no.known.vectors),
      flags: differ
        ? { ...KEPT, kind: agreed }
        : { ...yes.known.flags, kept: yes.known.flags.kept && no.known.flags.kept },
      floats: commonFloats(yes.known.floats, no.known.floats),
      windows: yes.known.windows.filter((window) => no.known.windows.includes(window)),
      charged,
      page: this.#page,
    })
  }

  override loop(body: (again: Label) => void): void {
    this.#keepFlags()
    this.#forgetValues()
    super.loop((again) => {
      body(again)
      this.#keepFlags()
    })
    this.#forgetValues()
  }
  override block(body: (end: Label) => void): void {
    this.#keepFlags()
    this.#forgetValues()
    super.block((end) => {
      body(end)
      this.#keepFlags()
    })
    this.#forgetValues()
    this.#ended = false
  }
  #forgetValues(): void {
    const { ea, eaOffset } = L.SLOT
    const address = [this.#slots[ea], this.#slots[eaOffset]]
    this.#slots = []
    ;[this.#slots[ea], this.#slots[eaOffset]] = address
    this.#vectors = []
    this.#floats.vectorsWritten()
    this.#windows = []
    this.#flags = KEPT
  }
  override branch(label: Label): void {
    this.#keepFlags()
    super.branch(label)
    this.#ended = true
  }
  override branchIf(label: Label, condition: Expr): void {
    this.#keepFlags()
    super.branchIf(label, condition)
  }
  override return(...values: Operandish[]): void {
    super.return(...values)
    this.#ended = true
  }

  // ---- where control goes ----

  /** RIP of an offset from the start of the block's page. */
  #rip(offset: number): Expr {
    const rip = this.#base.get().add(this.#page * 4096 + offset)
    return this.long ? rip : rip.and(0xffffffff)
  }
  get #offset(): number {
    return this.#inputs.microOps.getUint16(this.#place.uop + L.UOP_PLACE, true) & 0xfff
  }
  override currentRip(): Expr {
    return this.#rip(this.#offset)
  }
  override nextRip(): Expr {
    return this.#rip(this.#offset + this.#length)
  }
  /** Targets of relative branches are canonical by the region's guard. */
  override checkTarget(rip: Expr): void {
    if (!this.long) return
    const [base, offset] = rip.args
    if (offset?.isConstant && base!.opcode === LOCAL_GET && base!.immediate === this.#base.local) return
    super.checkTarget(rip)
  }

  override next(): void {
    throw new Error('Invariant broken: a region goes on by its edges')
  }
  override jumpRelative(operand: Operand): void {
    const relative = Number(this.relative(operand).immediate)
    this.#inputs.edges.goTo(this, this.#page * 4096 + this.#offset + this.#length + relative)
    this.#ended = true
  }
  override jump(rip: Expr): void {
    this.#inputs.edges.goToRip(this, rip)
    this.#ended = true
  }
  override dispatch(): void {
    throw new Error('Invariant broken: only near branches leave an instruction')
  }

  override exit(code: number): void {
    if (code !== EXIT.fault) throw new Error('Invariant broken: this instruction is not for a region')
    this.setRaw('i32', L.FAULT_NOTE, this.#note)
    super.branch(this.#faultTarget())
    this.#ended = true
  }
  protected override exitOnAccessFault(): void {
    this.setRaw('i32', L.FAULT_NOTE, this.#note)
    super.branchIf(this.#faultTarget(), super.load('i32', this.i32(0), L.FAULT).unlikely())
  }
  /** See L.FAULT_NOTE. The driver charges the instruction that faults. */
  get #note(): number {
    return (this.#charged - 1) | (this.#page << L.FAULT_NOTE_PAGE)
  }
  #faultTarget(): Label {
    if (this.#flags.lost) return this.#lostTarget()
    return this.#flags.kept ? this.#faultLabel : this.#epochLabel()
  }
  #lostTarget(): Label {
    if (this.#scan) {
      this.#scan.faults = true
      for (const slot of this.#slotsWritten) this.#scan.clobbered.add(slot)
    }
    return this.#lostLabel
  }
  /** Leaves an instruction that has changed nothing yet to the interpreter. */
  #leaveUndone(): void {
    this.#failSpeculation(this.uop)
    this.exit(EXIT.fault)
  }
  #failSpeculation(uop: Operandish): void {
    this.setRaw('i32', L.FAULT, FAULT_SPECULATION)
    this.setRaw('i32', L.FAULT_ERROR, this.#head)
    this.setRaw('i32', L.CURRENT_UOP, uop)
  }
  /**
   * From here on the statements stand in a block behind which the flags, as they are here, are brought into their locals: a
   * fault that finds them so leaves by its end. Only where control does not fall off the end of the statements.
   */
  openEpoch(): void {
    if (this.#flags.kept || this.#flags.lost || this.#epochs.at(-1)?.flags === this.#flags) return
    this.#epochs.push({ ...this.here(), flags: this.#flags, label: new Label(), used: false })
  }
  #epochLabel(): Label {
    const epoch = this.#epochs.find(({ flags }) => flags === this.#flags)
    if (epoch) {
      epoch.used = true
      return epoch.label
    }
    this.#keepFlags()
    return this.#faultLabel
  }
  /** Closes the epochs that were opened among these statements. */
  protected override nested(body: () => void): Statement[] {
    const open = this.#epochs.length
    const statements = super.nested(body)
    while (this.#epochs.length > open) this.#closeEpoch(this.#epochs.pop()!)
    return statements
  }
  #closeEpoch({ statements, index, flags, label, used }: Epoch): void {
    if (!used) return
    const body = statements.splice(index)
    const known = this.knowledge()
    const settle = super.nested(() => {
      this.#flags = flags
      this.#keepFlags()
      super.branch(this.#faultLabel)
    })
    const { ended } = this
    this.restore(known)
    this.#ended = ended
    statements.push({ kind: 'block', label, body }, ...settle)
  }

  override chargeAndCheck(count: Expr, stop: () => void): void {
    const left = this.#budget.get().sub(count)
    // The instruction itself is charged when it is done.
    this.if(left.leS(this.#charged - 1), () => {
      stop()
      this.setRaw('i32', L.REPEAT_SPENT, count)
      this.#charged--
      this.#leave(this.currentRip(), LEAVE_SLICE)
    })
  }

  /**
   * Goes to the micro-op at an address in engine memory; it is in the page at `page` (in pages from the base). A slice ends
   * at a branch that was taken, not between other instructions.
   */
  leaveTo(uop: number, page: number, { branch }: { branch: boolean }): void {
    this.settle()
    this.#leavePage.set(page * 4096)
    this.#leaveUop.set(branch ? uop : uop | STRAIGHT_ON)
    super.branch(this.#leaveLabel)
    this.#ended = true
  }
  /** Goes to RIP. */
  leaveToRip(rip: Expr): void {
    this.#leave(rip, LEAVE_TO_RIP)
  }
  #leave(rip: Expr, how: number): void {
    this.settle()
    this.setRaw('i64', L.RIP, rip)
    this.#leaveUop.set(how)
    super.branch(this.#leaveLabel)
    this.#ended = true
  }
  /** Leaves the instruction at an offset, which is the next, to the interpreter. */
  #leaveUndoneAt(offset: number): void {
    this.#leave(this.ripAt(offset), LEAVE_UNDONE)
  }
  leaveToOffset(offset: number): void {
    this.leaveToRip(this.ripAt(offset))
  }
  /** RIP at an offset from the base page. */
  ripAt(offset: number): Expr {
    const rip = this.#base.get().add(offset)
    return this.long ? rip : rip.and(0xffffffff)
  }
  /** Nonzero where the slice is used up. */
  isSpent(): Expr {
    return this.#budget
      .get()
      .or(super.load('i32', this.i32(0), L.EXIT_REQUEST))
      .leS(0)
  }
  /** Raw control for the region's graph. */
  graphBlock(label: Label, body: () => void): void {
    const statements = this.nested(body)
    this.statement({ kind: 'block', label, body: statements })
  }
  graphLoop(body: (again: Label) => void): void {
    super.loop(body)
  }
  graphBranch(label: Label): void {
    super.branch(label)
    this.#ended = true
  }
}

/** Of rotates in a row, each of which leaves most flags as they were. */
const MAX_CHAIN = 4
function chainLength(flags: Expr): number {
  const before = flags.args[0]?.args[0]
  return before?.demanded ? 1 + chainLength(before) : 0
}

/** A stretch of code with the same flags: see `openEpoch`. */
interface Epoch {
  readonly statements: Statement[]
  readonly index: number
  readonly flags: Flags
  readonly label: Label
  used: boolean
}

interface Arm {
  readonly statements: Statement[]
  readonly known: Knowledge | undefined
}
