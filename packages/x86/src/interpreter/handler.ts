/** A meaning built as an interpreter handler: operands are fields of the micro-op at parameter 0. */
import { Meaning, type Operand, type Runtime, type Variant } from '../isa/meaning.ts'
import { EXIT } from '../state/exits.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import type { Expr } from '../wasm/code.ts'
import type { LoadKind } from '../wasm/opcodes.ts'
import { countHeat } from './heat.ts'
import { INTERNAL } from './micro-op.ts'
import { recordTarget } from './targets.ts'

/** Handlers take the micro-op and the instructions left, and return an exit code. */
export const HANDLER_PARAMS = ['i32', 'i32'] as const
export const HANDLER_RESULTS = ['i32'] as const

/** Where a micro-op holds the offset of a register operand. */
const REGISTER_FIELD = {
  rm: L.UOP_BASE,
  reg: L.UOP_REG,
  index: L.UOP_INDEX,
  vvvv: L.UOP_VVVV,
  is4: L.UOP_IS4,
} as const

const IMMEDIATE_LOAD: Record<number, LoadKind> = { 1: 'i64_32s', 2: 'i64_32s', 4: 'i64_32s' }

export class Handler extends Meaning {
  readonly hotAfter: number | undefined

  /** `hotAfter`: branches count how often they arrive where, and leave when it is that often. */
  constructor(runtime: Runtime, variant: Variant, { hotAfter }: { hotAfter?: number | undefined } = {}) {
    super(runtime, variant, HANDLER_PARAMS, HANDLER_RESULTS)
    this.hotAfter = hotAfter
  }

  get uop(): Expr {
    return this.param(0)
  }
  get budget(): Expr {
    return this.param(1)
  }

  protected registerOffset(operand: Extract<Operand, { kind: 'register' }>): Expr {
    if (typeof operand.field === 'number') return this.i32(operand.field)
    return this.load('i32_8u', this.uop, REGISTER_FIELD[operand.field])
  }

  /** The decoder stores immediates sign-extended from their size to 32 bits; 8-byte ones use the displacement as low half. */
  immediate(operand: Operand): Expr {
    if (operand.size === 8) return this.load('i64', this.uop, L.UOP_DISP)
    return this.load(IMMEDIATE_LOAD[operand.size]!, this.uop, L.UOP_IMM)
  }
  immediate8(_operand: Operand): Expr {
    return this.load('i32_8u', this.uop, L.UOP_IMM)
  }

  protected memoryAddress(): Expr {
    return this.rawAddress()
  }
  /** Base plus scaled index plus displacement. */
  rawAddress(): Expr {
    const base = this.load('i64', this.load('i32_8u', this.uop, L.UOP_BASE), L.REGS)
    const index = this.load('i64', this.load('i32_8u', this.uop, L.UOP_INDEX), L.REGS)
    const scale = this.load('i64_8u', this.uop, L.UOP_SCALE)
    return base.add(index.shl(scale)).add(this.load('i64_32s', this.uop, L.UOP_DISP))
  }

  secondImmediate(): Expr {
    return this.load('i64_32u', this.uop, L.UOP_DISP)
  }
  stackIndex(): Expr {
    return this.load('i32_8u', this.uop, L.UOP_REG)
  }
  fieldNumber(_operand: Operand): Expr {
    return this.load('i64_8u', this.uop, L.UOP_REG)
  }
  stringSegment(): Expr {
    return this.load('i32_8u', this.uop, L.UOP_INDEX)
  }
  memorySegment(): Expr {
    return this.load('i32_8u', this.uop, L.UOP_SCALE).and(7)
  }
  memoryAddressIs16(): Expr {
    return this.load('i32_8u', this.uop, L.UOP_SCALE).and(8)
  }
  vectorAddress(index: Expr): Expr {
    const base = this.load('i64', this.load('i32_8u', this.uop, L.UOP_BASE), L.REGS)
    const scaled = index.shl(this.load('i64_8u', this.uop, L.UOP_SCALE))
    return base.add(scaled).add(this.load('i64_32s', this.uop, L.UOP_DISP))
  }
  vectorSegment(): Expr {
    return this.load('i32_8u', this.uop, L.UOP_SEGMENT)
  }
  relative(_operand: Operand): Expr {
    return this.load('i64_32s', this.uop, L.UOP_IMM)
  }

  currentRip(): Expr {
    return this.#rip(this.load('i64_16u', this.uop, L.UOP_PLACE).and(0xfff))
  }
  nextRip(): Expr {
    const place = this.load('i64_16u', this.uop, L.UOP_PLACE)
    return this.#rip(place.and(0xfff).add(place.shrU(12)))
  }
  #rip(offset: Expr): Expr {
    const rip = this.gpr(L.SLOT.ripBase).add(offset)
    return this.long ? rip : rip.and(0xffffffff)
  }

  next(): void {
    this.#continueAt(this.uop.add(L.UOP_SIZE), this.load('i32_16u', this.uop, L.UOP_SIZE + L.UOP_HANDLER))
  }
  nextIsSure(): Expr {
    return this.load('i32_16u', this.uop, L.UOP_SIZE + L.UOP_HANDLER).gtU(INTERNAL.cross)
  }
  /** The next micro-op of the same instruction: not charged. */
  nextMicroOp(): void {
    const handler = this.load('i32_16u', this.uop, L.UOP_SIZE + L.UOP_HANDLER)
    this.tailCallIndirect(this.runtime.handlerType, handler, [this.uop.add(L.UOP_SIZE), this.budget])
  }
  #continueAt(uop: Expr, handler: Expr): void {
    this.tailCallIndirect(this.runtime.handlerType, handler, [uop, this.budget.sub(1)])
  }

  /** UOP_DISP holds the micro-op of a target in the same page once it is known; UOP_IMM the displacement. */
  jumpRelative(operand: Operand): void {
    if (this.variant.size === 2) return this.#jumpRelative16(operand)
    const link = this.load('i32', this.uop, L.UOP_DISP)
    const stop = this.budget.or(this.state('i32', L.EXIT_REQUEST)).leS(1)
    this.if(link.eqz().or(stop), () => this.tailCall(this.runtime.branchSlow, this.uop, this.budget))
    if (this.hotAfter !== undefined) countHeat(this, link, this.hotAfter, () => this.#hot(link))
    this.#continueAt(link, this.load('i32_16u', link, L.UOP_HANDLER))
  }

  override jumpIndirect(rip: Expr): void {
    if (this.hotAfter !== undefined) recordTarget(this, this.uop, rip.sub(this.gpr(L.SLOT.ripBase)).wrap())
    this.jump(rip)
  }

  #hot(uop: Expr): void {
    this.setState('i64', L.RIP, this.#rip(this.load('i64_16u', uop, L.UOP_PLACE).and(0xfff)))
    this.setState('i32', L.BUDGET, this.budget.sub(1))
    this.return(EXIT.hot)
  }

  /** With a 16-bit operand size the target wraps at 64 KiB. */
  #jumpRelative16(operand: Operand): void {
    const target = this.nextRip().add(this.relative(operand)).and(0xffff)
    const limit = this.state('i64_32u', L.SEG + L.CS * L.SEG_SIZE + L.SEG_LIMIT)
    this.if(target.gtU(limit), () => this.raise(EXCEPTION.GP, 0))
    this.jump(target)
  }

  dispatch(): void {
    this.tailCall(this.runtime.dispatch, this.budget.sub(1))
  }

  exit(code: number): void {
    if (code === EXIT.fault) return this.tailCall(this.runtime.fault, this.budget)
    if (code === EXIT.dispatch) return this.tailCall(this.runtime.goOn, this.budget.sub(1))
    this.setState('i32', L.BUDGET, this.budget.sub(1))
    this.return(code)
  }

  /** Leaves before the instruction, to be started again, when the budget is used up. */
  chargeAndCheck(count: Expr, stop: () => void): void {
    const left = this.budget.sub(count)
    this.if(left.or(this.state('i32', L.EXIT_REQUEST)).leS(0), () => {
      stop()
      this.setState('i64', L.RIP, this.currentRip())
      this.setState('i32', L.BUDGET, this.budget)
      this.setState('i32', L.REPEAT_SPENT, count)
      this.return(EXIT.slice)
    })
  }
}
