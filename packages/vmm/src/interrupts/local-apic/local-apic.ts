// Local APIC in xAPIC and x2APIC mode: SDM Vol. 3A, "Advanced Programmable Interrupt Controller (APIC)".

import type { MmioDevice } from '../../bus/mmio-bus.ts'
import type { Timer, TimerClock } from '../../clock/clock.ts'
import { expectVersion, type Saveable } from '../../snapshot/version.ts'
import { Bits256 } from './bits256.ts'
import type { LocalApicState } from './local-apic.state.ts'
import type { ApicMessage, DeliveryMode } from './message.ts'
import {
  APIC_BASE_BSP,
  APIC_BASE_EN,
  APIC_BASE_EXTD,
  ESR,
  IA32_APIC_BASE,
  IA32_TSC_DEADLINE,
  LVT_LEVEL,
  LVT_MASKED,
  LVT_WRITABLE,
  REGISTER,
  SVR_ENABLED,
  X2APIC_FIRST,
  X2APIC_LAST,
} from './registers.ts'

/** Version 0x14 with six LVT entries, no EOI-broadcast suppression. */
const VERSION = 0x0005_0014
export const LOCAL_APIC_DEFAULT_BASE = 0xfee0_0000

const TIMER = 0
const LINT0 = 3
const LINT1 = 4
const ERROR = 5
const TIMER_PERIODIC = 1
const TIMER_TSC_DEADLINE = 2

/** What a local APIC reaches outside itself. */
export interface LocalApicPins {
  /** The INTR output or the acceptance of ExtINT may have changed. */
  onChange(): void
  /** Sends an IPI. `self` says that this APIC is addressed whatever the destination is, `others` that all others are. */
  send(message: ApicMessage, shorthand: 'none' | 'self' | 'all' | 'others'): void
  /** A level-triggered interrupt ended: the I/O APICs are told. */
  endOfInterrupt(vector: number): void
  /** The register page moved (or is off the bus: undefined). */
  onBase(base: number | undefined): void
  onNmi?(): void
  onInit?(): void
  onStartup?(vector: number): void
}

export class LocalApic implements MmioDevice, Saveable<LocalApicState> {
  readonly #clock: TimerClock
  readonly #pins: LocalApicPins
  readonly #physicalId: number
  readonly #bootstrap: boolean
  readonly #isr = new Bits256()
  readonly #tmr = new Bits256()
  readonly #irr = new Bits256()
  #baseLow = 0
  #baseHigh = 0
  #id = 0
  #tpr = 0
  #ldr = 0
  #dfr = 0
  #svr = 0
  #esr = 0
  #pendingErrors = 0
  #icrLow = 0
  #icrHigh = 0
  readonly #lvt = new Uint32Array(6)
  #initialCount = 0
  #divide = 0
  #timerStart = 0
  #deadline = { low: 0, high: 0 }
  #timer: Timer | undefined
  #lint0 = false

  /** The timer and the time-stamp counter both count nanoseconds: 1 GHz. */
  constructor(options: { clock: TimerClock; pins: LocalApicPins; id?: number; bootstrap?: boolean }) {
    this.#clock = options.clock
    this.#pins = options.pins
    this.#physicalId = options.id ?? 0
    this.#bootstrap = options.bootstrap ?? true
    this.#powerUp()
  }

  #powerUp(): void {
    this.#baseLow = LOCAL_APIC_DEFAULT_BASE | APIC_BASE_EN | (this.#bootstrap ? APIC_BASE_BSP : 0)
    this.#baseHigh = 0
    this.#id = this.#physicalId
    this.#resetRegisters()
  }

  // "Local APIC State After Power-Up or Reset".
  #resetRegisters(): void {
    for (const bits of [this.#irr, this.#isr, this.#tmr]) bits.words.fill(0)
    this.#tpr = this.#ldr = this.#esr = this.#pendingErrors = this.#icrLow = this.#icrHigh = 0
    this.#dfr = 0xffff_ffff
    this.#svr = 0xff
    this.#lvt.fill(LVT_MASKED)
    this.#initialCount = this.#divide = 0
    this.#deadline = { low: 0, high: 0 }
    this.#disarm()
  }

  /**
   * What firmware leaves to the operating system: the 8259As' interrupts pass through LINT0, NMI comes at LINT1.
   * MultiProcessor Specification 1.4, "Virtual Wire Mode".
   */
  enterVirtualWireMode(): void {
    this.#writeSvr(SVR_ENABLED | 0xff)
    this.#lvt[LINT0] = 0x700
    this.#lvt[LINT1] = 0x400
    this.#pins.onChange()
  }

  get id(): number {
    return this.#id
  }

  get #enabled(): boolean {
    return (this.#baseLow & APIC_BASE_EN) !== 0
  }

  get #x2apic(): boolean {
    return (this.#baseLow & APIC_BASE_EXTD) !== 0
  }

  /** INTR to the core from the IRR, by processor priority. */
  get intr(): boolean {
    const vector = this.#irr.highest()
    return this.#enabled && vector >= 0 && vector >> 4 > this.#processorPriority() >> 4
  }

  /** Whether the 8259A's INTR reaches the core: APIC off the bus, or LINT0 unmasked in ExtINT mode (virtual wire). */
  get acceptsExtInt(): boolean {
    if (!this.#enabled) return true
    const lint0 = this.#lvt[LINT0]
    return !(lint0 & LVT_MASKED) && ((lint0 >> 8) & 7) === 7
  }

  /** INTA for `intr`: the vector, or the spurious vector where the priority rose meanwhile. */
  acknowledge(): number {
    if (!this.intr) return this.#svr & 0xff
    const vector = this.#irr.highest()
    this.#irr.set(vector, false)
    this.#isr.set(vector, true)
    this.#pins.onChange()
    return vector
  }

  /** The wire at LINT0. As ExtINT it is level information that the machine reads from the 8259A itself. */
  setLint0(asserted: boolean): void {
    const rising = asserted && !this.#lint0
    this.#lint0 = asserted
    const entry = this.#lvt[LINT0]
    if (!rising || entry & LVT_MASKED || !this.#enabled) return
    const mode = ((entry >> 8) & 7) as DeliveryMode
    if (mode === 0) this.#accept(entry & 0xff, (entry & LVT_LEVEL) !== 0)
    else if (mode === 4) this.#pins.onNmi?.()
  }

  /** CR8 is TPR[7:4]. */
  get taskPriority(): number {
    return this.#tpr >> 4
  }

  set taskPriority(value: number) {
    this.#tpr = (value & 0xf) << 4
    this.#pins.onChange()
  }

  /** A message that addresses this APIC. */
  receive(message: ApicMessage): void {
    if (!this.#enabled) return
    switch (message.mode) {
      case 0:
      case 1:
        if (this.#svr & SVR_ENABLED) this.#accept(message.vector, message.level)
        return
      case 4:
        this.#pins.onNmi?.()
        return
      case 5:
        this.#pins.onInit?.()
        return
      case 6:
        this.#pins.onStartup?.(message.vector)
    }
  }

  /** "Determining IPI Destination": whether a message's destination names this APIC. */
  matches({ destination, logical, wide }: ApicMessage): boolean {
    if (destination === (wide ? 0xffff_ffff : 0xff)) return true
    if (!logical) return destination === (this.#x2apic && !wide ? this.#id & 0xff : this.#id)
    if (this.#x2apic) {
      const ldr = this.#x2apicLdr()
      return destination >>> 16 === ldr >>> 16 && (destination & ldr & 0xffff) !== 0
    }
    const ldr = this.#ldr >>> 24
    if (this.#dfr >>> 28 === 0xf) return (destination & ldr & 0xff) !== 0
    return destination >> 4 === ldr >> 4 && (destination & ldr & 0xf) !== 0
  }

  #x2apicLdr(): number {
    return (((this.#id >>> 4) << 16) | (1 << (this.#id & 15))) >>> 0
  }

  #accept(vector: number, level: boolean): void {
    if (vector < 16) {
      this.#error(ESR.receiveIllegalVector)
      return
    }
    this.#irr.set(vector, true)
    this.#tmr.set(vector, level)
    this.#pins.onChange()
  }

  #error(bit: number): void {
    const isNew = !(this.#pendingErrors & bit)
    this.#pendingErrors |= bit
    const entry = this.#lvt[ERROR]
    const vector = entry & 0xff
    // An illegal vector in the error entry itself must not report itself for ever.
    if (isNew && !(entry & LVT_MASKED) && vector >= 16) this.#accept(vector, false)
  }

  #processorPriority(): number {
    const inService = Math.max(this.#isr.highest(), 0) & 0xf0
    return this.#tpr >> 4 >= inService >> 4 ? this.#tpr : inService
  }

  #endOfInterrupt(): void {
    const vector = this.#isr.highest()
    if (vector < 0) return
    this.#isr.set(vector, false)
    if (this.#tmr.get(vector)) this.#pins.endOfInterrupt(vector)
    this.#pins.onChange()
  }

  // --- registers -----------------------------------------------------------------------------------------------

  mmioRead(offset: number, size: number): number {
    if (!this.#enabled || this.#x2apic) return size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1
    const value = offset & 0xc ? 0 : this.#read(offset >> 4) >>> ((offset & 3) * 8)
    return size === 4 ? value : value & ((1 << (size * 8)) - 1)
  }

  /** Registers are written as aligned 32-bit words; what else comes is dropped ("Local APIC Register Address Map"). */
  mmioWrite(offset: number, size: number, value: number): void {
    if (!this.#enabled || this.#x2apic || size !== 4 || offset & 0xf) return
    this.#write(offset >> 4, value >>> 0)
  }

  #read(index: number): number {
    if (index >= REGISTER.isr && index < REGISTER.isr + 8) return this.#isr.words[index - REGISTER.isr]
    if (index >= REGISTER.tmr && index < REGISTER.tmr + 8) return this.#tmr.words[index - REGISTER.tmr]
    if (index >= REGISTER.irr && index < REGISTER.irr + 8) return this.#irr.words[index - REGISTER.irr]
    if (index >= REGISTER.lvtTimer && index <= REGISTER.lvtError) return this.#lvt[index - REGISTER.lvtTimer]
    switch (index) {
      case REGISTER.id:
        return this.#x2apic ? this.#id : (this.#id << 24) >>> 0
      case REGISTER.version:
        return VERSION
      case REGISTER.tpr:
        return this.#tpr
      case REGISTER.ppr:
        return this.#processorPriority()
      case REGISTER.ldr:
        return this.#x2apic ? this.#x2apicLdr() : this.#ldr
      case REGISTER.dfr:
        return this.#dfr
      case REGISTER.svr:
        return this.#svr
      case REGISTER.esr:
        return this.#esr
      case REGISTER.icrLow:
        return this.#icrLow
      case REGISTER.icrHigh:
        return this.#icrHigh
      case REGISTER.initialCount:
        return this.#initialCount
      case REGISTER.currentCount:
        return this.#currentCount()
      case REGISTER.divide:
        return this.#divide
      case REGISTER.apr:
      case REGISTER.rrd:
      case REGISTER.eoi:
        return 0
      default:
        this.#error(ESR.illegalRegister)
        return 0
    }
  }

  #write(index: number, value: number): void {
    if (index >= REGISTER.lvtTimer && index <= REGISTER.lvtError) {
      this.#writeLvt(index - REGISTER.lvtTimer, value)
      return
    }
    switch (index) {
      case REGISTER.id:
        this.#id = value >>> 24
        return
      case REGISTER.tpr:
        this.#tpr = value & 0xff
        this.#pins.onChange()
        return
      case REGISTER.eoi:
        this.#endOfInterrupt()
        return
      case REGISTER.ldr:
        this.#ldr = (value & 0xff00_0000) >>> 0
        return
      case REGISTER.dfr:
        this.#dfr = (value | 0x0fff_ffff) >>> 0
        return
      case REGISTER.svr:
        this.#writeSvr(value)
        return
      case REGISTER.esr:
        this.#esr = this.#pendingErrors
        this.#pendingErrors = 0
        return
      case REGISTER.icrLow:
        this.#icrLow = value & 0xc_cfff
        this.#sendIpi(this.#icrHigh >>> 24, false)
        return
      case REGISTER.icrHigh:
        this.#icrHigh = (value & 0xff00_0000) >>> 0
        return
      case REGISTER.initialCount:
        this.#writeInitialCount(value)
        return
      case REGISTER.divide:
        this.#writeDivide(value)
        return
      case REGISTER.version:
      case REGISTER.ppr:
      case REGISTER.currentCount:
        return // read-only
      default:
        if (index < REGISTER.isr || index >= REGISTER.irr + 8) this.#error(ESR.illegalRegister)
    }
  }

  #writeSvr(value: number): void {
    this.#svr = value & 0x3ff
    // "Local APIC State After It Has Been Software Disabled": the mask bits of all LVT entries are set.
    if (!(value & SVR_ENABLED)) for (let i = 0; i < 6; i++) this.#lvt[i] |= LVT_MASKED
    this.#pins.onChange()
  }

  #writeLvt(entry: number, value: number): void {
    const before = this.#timerMode()
    const masked = this.#svr & SVR_ENABLED ? 0 : LVT_MASKED
    this.#lvt[entry] = (value & LVT_WRITABLE[entry]) | masked
    if (entry === TIMER && before !== this.#timerMode()) this.#changeTimerMode(before)
    this.#pins.onChange()
  }

  #sendIpi(destination: number, wide: boolean): void {
    const low = this.#icrLow
    const mode = ((low >> 8) & 7) as DeliveryMode
    const vector = low & 0xff
    if (mode <= 1 && vector < 16) {
      this.#error(ESR.sendIllegalVector)
      return
    }
    const level = (low & LVT_LEVEL) !== 0
    if (mode === 5 && level && !(low & (1 << 14))) return // INIT level de-assert: no effect on these processors
    const shorthand = (['none', 'self', 'all', 'others'] as const)[(low >> 18) & 3]
    const message = { destination, logical: (low & (1 << 11)) !== 0, mode, vector, level: false, wide }
    this.#pins.send(message, shorthand)
  }

  // --- model-specific registers --------------------------------------------------------------------------------

  /** IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC registers; undefined means #GP(0). */
  readMsr(index: number): { low: number; high: number } | undefined {
    if (index === IA32_APIC_BASE) return { low: this.#baseLow >>> 0, high: this.#baseHigh }
    if (index === IA32_TSC_DEADLINE) return { ...this.#deadline }
    if (index < X2APIC_FIRST || index > X2APIC_LAST || !this.#x2apic) return undefined
    const register = index - X2APIC_FIRST
    if (!X2APIC_READABLE.has(register)) return undefined
    const high = register === REGISTER.icrLow ? this.#icrHigh >>> 0 : 0
    return { low: this.#read(register) >>> 0, high }
  }

  /** False means #GP(0). */
  writeMsr(index: number, low: number, high: number): boolean {
    if (index === IA32_APIC_BASE) return this.#writeBase(low >>> 0, high >>> 0)
    if (index === IA32_TSC_DEADLINE) return this.#writeDeadline(low >>> 0, high >>> 0)
    if (index < X2APIC_FIRST || index > X2APIC_LAST || !this.#x2apic) return false
    return this.#writeX2apic(index - X2APIC_FIRST, low >>> 0, high >>> 0)
  }

  #writeX2apic(register: number, low: number, high: number): boolean {
    const writable = x2apicWritable(register)
    if (writable === undefined || (low & ~writable) !== 0) return false
    if (register === REGISTER.icrLow) {
      this.#icrHigh = high
      this.#icrLow = low
      this.#sendIpi(high, true)
      return true
    }
    if (high !== 0) return false
    if (register === REGISTER.selfIpi) {
      this.#pins.send({ destination: 0, logical: false, mode: 0, vector: low, level: false }, 'self')
    } else {
      this.#write(register, low)
    }
    return true
  }

  // "x2APIC State Transitions": only off, xAPIC and x2APIC in this order, and back to off.
  #writeBase(low: number, high: number): boolean {
    if ((low & 0x2ff) !== 0 || high > 0xff) return false
    const from = this.#baseLow & (APIC_BASE_EN | APIC_BASE_EXTD)
    const to = low & (APIC_BASE_EN | APIC_BASE_EXTD)
    if (to === APIC_BASE_EXTD) return false
    if (to === (APIC_BASE_EN | APIC_BASE_EXTD) && from === 0) return false
    if (to === APIC_BASE_EN && from === (APIC_BASE_EN | APIC_BASE_EXTD)) return false
    this.#baseLow = low
    this.#baseHigh = high
    if (to === 0 && from !== 0) this.#resetRegisters()
    if (to & APIC_BASE_EXTD && !(from & APIC_BASE_EXTD)) this.#id = this.#physicalId
    this.#pins.onBase(to === APIC_BASE_EN ? high * 2 ** 32 + ((low & 0xffff_f000) >>> 0) : undefined)
    this.#pins.onChange()
    return true
  }

  // --- timer ---------------------------------------------------------------------------------------------------

  #timerMode(): number {
    return (this.#lvt[TIMER] >> 17) & 3
  }

  /** Nanoseconds per count: "Divide Configuration Register", bits 3, 1, 0. */
  #period(): number {
    const code = ((this.#divide >> 1) & 4) | (this.#divide & 3)
    return code === 7 ? 1 : 2 << code
  }

  #currentCount(): number {
    if (this.#timerMode() === TIMER_TSC_DEADLINE || this.#initialCount === 0 || !this.#timer) return 0
    const elapsed = Math.floor((this.#clock.now() - this.#timerStart) / this.#period())
    if (this.#timerMode() !== TIMER_PERIODIC) return Math.max(this.#initialCount - elapsed, 0)
    return this.#initialCount - (elapsed % this.#initialCount)
  }

  #writeInitialCount(value: number): void {
    if (this.#timerMode() === TIMER_TSC_DEADLINE) return
    this.#initialCount = value
    this.#timerStart = this.#clock.now()
    this.#armCount()
  }

  #writeDivide(value: number): void {
    const remaining = this.#currentCount()
    this.#divide = value & 0xb
    if (!this.#timer || this.#timerMode() === TIMER_TSC_DEADLINE) return
    this.#timerStart = this.#clock.now() - (this.#initialCount - remaining) * this.#period()
    this.#armCount()
  }

  #changeTimerMode(before: number): void {
    const after = this.#timerMode()
    // "TSC-Deadline Mode": a change from or to it disarms the timer.
    if (before !== TIMER_TSC_DEADLINE && after !== TIMER_TSC_DEADLINE) return
    this.#disarm()
    this.#initialCount = 0
    this.#deadline = { low: 0, high: 0 }
  }

  #armCount(): void {
    this.#disarm()
    if (this.#initialCount === 0) return
    const deadline = this.#timerStart + this.#initialCount * this.#period()
    this.#timer = this.#clock.at(deadline, () => this.#expire())
  }

  #writeDeadline(low: number, high: number): boolean {
    if (this.#timerMode() !== TIMER_TSC_DEADLINE) return true // ignored
    this.#deadline = { low, high }
    this.#disarm()
    if (low === 0 && high === 0) return true
    this.#timer = this.#clock.at(high * 2 ** 32 + low, () => this.#expire())
    return true
  }

  #expire(): void {
    this.#timer = undefined
    this.#deadline = { low: 0, high: 0 }
    if (this.#timerMode() === TIMER_PERIODIC) {
      // Periods that the host was too late for are not made up: the guest would drown in them.
      const period = this.#initialCount * this.#period()
      this.#timerStart += Math.max(1, Math.floor((this.#clock.now() - this.#timerStart) / period)) * period
      this.#armCount()
    }
    const entry = this.#lvt[TIMER]
    if (!(entry & LVT_MASKED)) this.#accept(entry & 0xff, false)
  }

  #disarm(): void {
    this.#clock.cancel(this.#timer)
    this.#timer = undefined
  }

  // --- state ---------------------------------------------------------------------------------------------------

  save(): LocalApicState {
    return {
      version: 1,
      baseLow: this.#baseLow >>> 0,
      baseHigh: this.#baseHigh,
      id: this.#id,
      tpr: this.#tpr,
      ldr: this.#ldr,
      dfr: this.#dfr,
      svr: this.#svr,
      isr: [...this.#isr.words],
      tmr: [...this.#tmr.words],
      irr: [...this.#irr.words],
      esr: this.#esr,
      pendingErrors: this.#pendingErrors,
      icrLow: this.#icrLow,
      icrHigh: this.#icrHigh,
      lvt: [...this.#lvt],
      initialCount: this.#timer ? this.#initialCount : 0,
      divide: this.#divide,
      timerStart: this.#timerStart,
      deadline: { ...this.#deadline },
      lint0: this.#lint0,
    }
  }

  restore(state: LocalApicState): void {
    expectVersion('local-apic', state, 1)
    this.#baseLow = state.baseLow
    this.#baseHigh = state.baseHigh
    this.#id = state.id
    this.#tpr = state.tpr
    this.#ldr = state.ldr
    this.#dfr = state.dfr
    this.#svr = state.svr
    this.#isr.words.set(state.isr.slice(0, 8))
    this.#tmr.words.set(state.tmr.slice(0, 8))
    this.#irr.words.set(state.irr.slice(0, 8))
    this.#esr = state.esr
    this.#pendingErrors = state.pendingErrors
    this.#icrLow = state.icrLow
    this.#icrHigh = state.icrHigh
    this.#lvt.set(state.lvt.slice(0, 6))
    this.#initialCount = state.initialCount
    this.#divide = state.divide
    this.#timerStart = state.timerStart
    this.#lint0 = state.lint0
    if (this.#timerMode() === TIMER_TSC_DEADLINE) this.#writeDeadline(state.deadline.low, state.deadline.high)
    else this.#armCount()
    const mode = this.#baseLow & (APIC_BASE_EN | APIC_BASE_EXTD)
    this.#pins.onBase(
      mode === APIC_BASE_EN ? this.#baseHigh * 2 ** 32 + ((this.#baseLow & 0xffff_f000) >>> 0) : undefined,
    )
    this.#pins.onChange()
  }
}

const X2APIC_READABLE: ReadonlySet<number> = new Set([
  ...[0x02, 0x03, 0x08, 0x0a, 0x0d, 0x0f, 0x28, 0x30, 0x38, 0x39, 0x3e],
  ...Array.from({ length: 24 }, (_, i) => REGISTER.isr + i),
  ...Array.from({ length: 6 }, (_, i) => REGISTER.lvtTimer + i),
])

/** The bits that may be set in a write of an x2APIC register, or undefined where none may be written. */
function x2apicWritable(register: number): number | undefined {
  if (register >= REGISTER.lvtTimer && register <= REGISTER.lvtError) {
    return LVT_WRITABLE[register - REGISTER.lvtTimer] | 0x5000
  }
  switch (register) {
    case REGISTER.tpr:
    case REGISTER.selfIpi:
      return 0xff
    case REGISTER.eoi:
    case REGISTER.esr:
      return 0
    case REGISTER.svr:
      return 0x3ff
    case REGISTER.icrLow:
      return 0xc_cfff
    case REGISTER.initialCount:
      return -1
    case REGISTER.divide:
      return 0xb
    default:
      return undefined
  }
}
