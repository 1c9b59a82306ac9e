// Intel 8259A Programmable Interrupt Controller, 231468: "Initialization Command Words", "Operation Command Words",
// "Automatic Rotation", "Special Mask Mode", "Poll Command", "Edge and Level Triggered Modes".
// ELCR: Intel 82371AB (PIIX4), "ELCR1—Edge/Level Control Register".

import type { PortDevice } from '../../bus/port-bus.ts'
import { expectVersion, type Saveable } from '../../snapshot/version.ts'
import type { InterruptLine } from '../line.ts'
import type { I8259State } from './i8259.state.ts'

const ICW1_IC4 = 0x01
const ICW1_SNGL = 0x02
const ICW1_LTIM = 0x08
const ICW1 = 0x10
const ICW4_AEOI = 0x02
const ICW4_SFNM = 0x10
const OCW3 = 0x08
const OCW3_RIS = 0x01
const OCW3_RR = 0x02
const OCW3_POLL = 0x04
const OCW3_SMM = 0x20
const OCW3_ESMM = 0x40

const CASCADE = 2

/** One 8259A. Its INT output is `intr`; `onChange` is told when that may have changed. */
export class I8259 implements PortDevice, Saveable<I8259State> {
  readonly edgeLevelControl: PortDevice
  readonly #elcrMask: number
  readonly #slave: I8259 | undefined
  readonly #onChange: () => void
  #lines = 0
  #irr = 0
  #isr = 0
  #imr = 0
  #elcr = 0
  #base = 0
  /** The IR level with the lowest priority; the one after it has the highest. */
  #lowest = 7
  #expectIcw: 0 | 2 | 3 | 4 = 0
  #icw1 = 0
  #icw4 = 0
  #readIsr = false
  #poll = false
  #specialMask = false
  #rotateInAutoEoi = false

  constructor(options: { elcrMask: number; slave?: I8259; onChange: () => void }) {
    this.#elcrMask = options.elcrMask
    this.#slave = options.slave
    this.#onChange = options.onChange
    this.edgeLevelControl = {
      portRead: () => this.#elcr,
      portWrite: (_offset, _size, value) => {
        this.#elcr = value & this.#elcrMask
        this.#sample()
      },
    }
  }

  get intr(): boolean {
    return this.#request() >= 0
  }

  setLine(level: number, asserted: boolean): void {
    const bit = 1 << level
    const rising = asserted && !(this.#lines & bit)
    if (asserted) this.#lines |= bit
    else this.#lines &= ~bit
    // "Edge and Level Triggered Modes": the request must stay high until it is acknowledged.
    if (rising) this.#irr |= bit
    else if (!asserted) this.#irr &= ~bit
    this.#onChange()
  }

  /** INTA: the vector of the highest request, in service from now; IR7's where the request is gone. */
  acknowledge(): number {
    const level = this.#request()
    if (level < 0) return this.#base | 7
    this.#take(level)
    const slave = level === CASCADE ? this.#slave : undefined
    const vector = slave ? slave.acknowledge() : this.#base | level
    this.#onChange()
    return vector
  }

  portRead(offset: number): number {
    if (this.#poll) return this.#readPoll()
    if (offset === 1) return this.#imr
    return this.#readIsr ? this.#isr : this.#irr
  }

  portWrite(offset: number, _size: number, value: number): void {
    if (offset === 1) this.#writeData(value)
    else if (value & ICW1) this.#initialize(value)
    else if (value & OCW3) this.#writeOcw3(value)
    else this.#writeOcw2(value)
    this.#onChange()
  }

  #initialize(value: number): void {
    this.#icw1 = value
    this.#imr = 0
    this.#isr = 0
    this.#irr = 0
    this.#lowest = 7
    this.#specialMask = false
    this.#readIsr = false
    this.#poll = false
    this.#rotateInAutoEoi = false
    if (!(value & ICW1_IC4)) this.#icw4 = 0
    this.#expectIcw = 2
    this.#sample()
  }

  #writeData(value: number): void {
    switch (this.#expectIcw) {
      case 0:
        this.#imr = value
        return
      case 2:
        this.#base = value & 0xf8
        this.#expectIcw = this.#icw1 & ICW1_SNGL ? this.#afterIcw3() : 3
        return
      case 3: // which level is the slave's is wired on this board
        this.#expectIcw = this.#afterIcw3()
        return
      case 4:
        this.#icw4 = value
        this.#expectIcw = 0
    }
  }

  #afterIcw3(): 0 | 4 {
    return this.#icw1 & ICW1_IC4 ? 4 : 0
  }

  /** R, SL, EOI in bits 7:5; L2-L0 in bits 2:0. */
  #writeOcw2(value: number): void {
    const level = value & 7
    switch (value >> 5) {
      case 0b000: // rotate in automatic EOI mode (clear)
        this.#rotateInAutoEoi = false
        return
      case 0b100: // rotate in automatic EOI mode (set)
        this.#rotateInAutoEoi = true
        return
      case 0b001: // non-specific EOI
        this.#endOfInterrupt(this.#highestInService(), false)
        return
      case 0b011: // specific EOI
        this.#endOfInterrupt(level, false)
        return
      case 0b101: // rotate on non-specific EOI
        this.#endOfInterrupt(this.#highestInService(), true)
        return
      case 0b111: // rotate on specific EOI
        this.#endOfInterrupt(level, true)
        return
      case 0b110: // set priority
        this.#lowest = level
    }
  }

  #writeOcw3(value: number): void {
    if (value & OCW3_POLL) this.#poll = true
    if (value & OCW3_RR) this.#readIsr = (value & OCW3_RIS) !== 0
    if (value & OCW3_ESMM) this.#specialMask = (value & OCW3_SMM) !== 0
  }

  #endOfInterrupt(level: number, rotate: boolean): void {
    if (level < 0) return
    this.#isr &= ~(1 << level)
    if (rotate) this.#lowest = level
    this.#sample()
  }

  /** "Poll Command": the read is the acknowledge; bit 7 says whether there was a request. */
  #readPoll(): number {
    this.#poll = false
    const level = this.#request()
    if (level < 0) return 0
    this.#take(level)
    this.#onChange()
    return 0x80 | level
  }

  #take(level: number): void {
    const bit = 1 << level
    if (!this.#isLevelTriggered(bit)) this.#irr &= ~bit
    if (!(this.#icw4 & ICW4_AEOI)) this.#isr |= bit
    else if (this.#rotateInAutoEoi) this.#lowest = level
  }

  #isLevelTriggered(bit: number): boolean {
    return (this.#icw1 & ICW1_LTIM) !== 0 || (this.#elcr & bit) !== 0
  }

  /** A level-triggered request is there as long as its line is. */
  #sample(): void {
    const level = this.#icw1 & ICW1_LTIM ? 0xff : this.#elcr
    this.#irr = (this.#irr & ~level) | (this.#lines & level)
    this.#onChange()
  }

  /** ISR bits that hold others back: in special mask mode a masked level does not. */
  #inService(): number {
    return this.#specialMask ? this.#isr & ~this.#imr : this.#isr
  }

  #highestInService(): number {
    const isr = this.#inService()
    for (let i = 1; i <= 8; i++) if (isr & (1 << ((this.#lowest + i) & 7))) return (this.#lowest + i) & 7
    return -1
  }

  /** The level to be served next, or -1. */
  #request(): number {
    const requests = this.#irr & ~this.#imr
    if (requests === 0 || this.#expectIcw !== 0) return -1
    const isr = this.#inService()
    for (let i = 1; i <= 8; i++) {
      const level = (this.#lowest + i) & 7
      const bit = 1 << level
      const nested = level === CASCADE && (this.#icw4 & ICW4_SFNM) !== 0 && this.#slave !== undefined
      if (requests & bit && (!(isr & bit) || nested)) return level
      if (isr & bit) return -1
    }
    return -1
  }

  save(): I8259State {
    return {
      version: 1,
      lines: this.#lines,
      irr: this.#irr,
      isr: this.#isr,
      imr: this.#imr,
      elcr: this.#elcr,
      base: this.#base,
      lowest: this.#lowest,
      expectIcw: this.#expectIcw,
      icw1: this.#icw1,
      icw4: this.#icw4,
      readIsr: this.#readIsr,
      poll: this.#poll,
      specialMask: this.#specialMask,
      rotateInAutoEoi: this.#rotateInAutoEoi,
    }
  }

  restore(state: I8259State): void {
    expectVersion('i8259', state, 1)
    this.#lines = state.lines
    this.#irr = state.irr
    this.#isr = state.isr
    this.#imr = state.imr
    this.#elcr = state.elcr
    this.#base = state.base
    this.#lowest = state.lowest
    this.#expectIcw = state.expectIcw
    this.#icw1 = state.icw1
    this.#icw4 = state.icw4
    this.#readIsr = state.readIsr
    this.#poll = state.poll
    this.#specialMask = state.specialMask
    this.#rotateInAutoEoi = state.rotateInAutoEoi
    this.#onChange()
  }
}

/** The AT's two 8259As: the slave's INT is the master's IR2. */
export class I8259Pair {
  readonly master: I8259
  readonly slave: I8259
  readonly #onIntr: () => void

  /** `onIntr` is told when `intr` may have changed. */
  constructor(onIntr: () => void) {
    this.#onIntr = onIntr
    this.slave = new I8259({ elcrMask: 0xde, onChange: () => this.#cascade() })
    this.master = new I8259({ elcrMask: 0xf8, slave: this.slave, onChange: () => this.#onIntr() })
  }

  get intr(): boolean {
    return this.master.intr
  }

  acknowledge(): number {
    return this.master.acknowledge()
  }

  /** The wire of ISA interrupt `irq`. IRQ2 does not leave the board. */
  line(irq: number): InterruptLine {
    const chip = irq < 8 ? this.master : this.slave
    return { set: (asserted) => chip.setLine(irq & 7, asserted) }
  }

  // The slave's INT drops and rises again around an acknowledge, so that a second request is an edge at the master.
  #cascade(): void {
    if (!this.master) return // while the pair is being built
    this.master.setLine(CASCADE, false)
    if (this.slave.intr) this.master.setLine(CASCADE, true)
  }
}
