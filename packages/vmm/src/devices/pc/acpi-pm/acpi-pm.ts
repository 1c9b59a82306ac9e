// ACPI 6.5, "ACPI Register Model": PM1 Event and Control Grouping, Power Management Timer.

import type { AccessSize, PortDevice } from '../../../bus/port-bus.ts'
import type { Timer, TimerClock } from '../../../clock/clock.ts'
import type { InterruptLine } from '../../../interrupts/line.ts'
import { expectVersion, type Saveable } from '../../../snapshot/version.ts'
import type { AcpiPmState } from './acpi-pm.state.ts'

export const PM_TIMER_FREQUENCY = 3_579_545
/** SLP_TYP of soft off, as the DSDT's \_S5 says. */
export const SLP_TYP_S5 = 5

const TMR_STS = 1 << 0
const PWRBTN_STS = 1 << 8
const STATUS_BITS = 0x8d31
const ENABLE_BITS = 0x4521
const SCI_EN = 1 << 0
const SLP_EN = 1 << 13
const CONTROL_BITS = 0x1c02
/** "Power Management Timer": the status is set when the most significant bit (31 here) changes. */
const CARRY_TICKS = 2 ** 31

/**
 * PM1a event block at offset 0 (status, enable), PM1a control block at 4, timer at 8. There is no SMI: the machine is
 * always in ACPI mode.
 */
export class AcpiPm implements PortDevice, Saveable<AcpiPmState> {
  readonly #sci: InterruptLine
  readonly #clock: TimerClock
  readonly #onSoftOff: () => void
  #status = 0
  #enable = 0
  #control = SCI_EN
  #carryCount = 0
  #timer: Timer | undefined

  constructor(options: { sci: InterruptLine; clock: TimerClock; onSoftOff: () => void }) {
    this.#sci = options.sci
    this.#clock = options.clock
    this.#onSoftOff = options.onSoftOff
  }

  /** A press of the power button: the operating system is asked to shut down. */
  pressPowerButton(): void {
    this.#status |= PWRBTN_STS
    this.#update()
  }

  portRead(offset: number, size: AccessSize): number {
    const word = offset & ~3
    const value = this.#readWord(word) >>> ((offset & 3) * 8)
    return size === 4 ? value >>> 0 : value & ((1 << (size * 8)) - 1)
  }

  #readWord(offset: number): number {
    this.#catchUp()
    if (offset === 0) return this.#status | (this.#enable << 16)
    if (offset === 4) return this.#control
    return this.#ticks() >>> 0
  }

  /** Bytes are written at their place in the registers; a status bit is cleared by 1. */
  portWrite(offset: number, size: AccessSize, value: number): void {
    this.#catchUp()
    for (let i = 0; i < size; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff)
    this.#update()
  }

  #writeByte(offset: number, byte: number): void {
    const shift = (offset & 1) * 8
    switch (offset & ~1) {
      case 0:
        this.#status &= ~((byte << shift) & STATUS_BITS)
        return
      case 2:
        this.#enable = ((this.#enable & ~(0xff << shift)) | (byte << shift)) & ENABLE_BITS
        return
      case 4:
        this.#writeControl((this.#control & ~(0xff << shift)) | (byte << shift))
    }
  }

  #writeControl(value: number): void {
    this.#control = (value & CONTROL_BITS) | SCI_EN
    // Other sleep states do not exist here: the DSDT offers none.
    if (value & SLP_EN && ((value >> 10) & 7) === SLP_TYP_S5) this.#onSoftOff()
  }

  #ticks(): number {
    return Math.floor((this.#clock.now() * PM_TIMER_FREQUENCY) / 1e9) % 2 ** 32
  }

  #carries(): number {
    return Math.floor((this.#clock.now() * PM_TIMER_FREQUENCY) / 1e9 / CARRY_TICKS)
  }

  #catchUp(): void {
    const carries = this.#carries()
    if (carries !== this.#carryCount) this.#status |= TMR_STS
    this.#carryCount = carries
  }

  #update(): void {
    this.#sci.set((this.#status & this.#enable) !== 0)
    this.#clock.cancel(this.#timer)
    this.#timer = undefined
    if (!(this.#enable & TMR_STS) || this.#status & TMR_STS) return
    const deadline = Math.ceil(((this.#carryCount + 1) * CARRY_TICKS * 1e9) / PM_TIMER_FREQUENCY) + 1
    this.#timer = this.#clock.at(deadline, () => {
      this.#timer = undefined
      this.#catchUp()
      this.#update()
    })
  }

  save(): AcpiPmState {
    return {
      version: 1,
      status: this.#status,
      enable: this.#enable,
      control: this.#control,
      carryCount: this.#carryCount,
    }
  }

  restore(state: AcpiPmState): void {
    expectVersion('acpi-pm', state, 1)
    this.#status = state.status
    this.#enable = state.enable
    this.#control = state.control
    this.#carryCount = state.carryCount
    this.#update()
  }
}
