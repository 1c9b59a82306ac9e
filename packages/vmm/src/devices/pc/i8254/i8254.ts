import type { AccessSize, PortDevice } from '../../../bus/port-bus.ts'
import type { Timer, TimerClock } from '../../../clock/clock.ts'
import type { InterruptLine } from '../../../interrupts/line.ts'
import { expectVersion, type Saveable } from '../../../snapshot/version.ts'
import { Counter } from './counter.ts'
import type { I8254State } from './i8254.state.ts'

export const PIT_FREQUENCY = 1_193_182

/** Port B (0x61) of the AT: Intel 82371AB (PIIX4), "NMISC—NMI Status and Control Register". */
const PORT_B_GATE2 = 0x01
const PORT_B_REFRESH = 0x10
const PORT_B_OUT2 = 0x20
const PORT_B_WRITABLE = 0x0f
const REFRESH_TOGGLE_NS = 15_085

/** 8254 PIT: counter 0's OUT is the interrupt line, counter 2's gate and OUT are at port B. */
export class I8254 implements PortDevice, Saveable<I8254State> {
  /** System control port B. */
  readonly portB: PortDevice
  readonly #irq: InterruptLine
  readonly #clock: TimerClock
  readonly #counters = [new Counter(true), new Counter(true), new Counter(false)]
  #timer: Timer | undefined
  #portB = 0

  constructor({ irq, clock }: { irq: InterruptLine; clock: TimerClock }) {
    this.#irq = irq
    this.#clock = clock
    this.portB = {
      portRead: () => this.#readPortB(),
      portWrite: (_offset, _size, value) => this.#writePortB(value),
    }
  }

  #tick(): number {
    return Math.floor((this.#clock.now() * PIT_FREQUENCY) / 1e9)
  }

  portRead(offset: number): number {
    return offset === 3 ? 0xff : this.#counters[offset].read(this.#tick())
  }

  portWrite(offset: number, _size: AccessSize, value: number): void {
    if (offset === 3) this.#control(value)
    else this.#counters[offset].write(value, this.#tick())
    if (offset === 0 || (offset === 3 && value >> 6 === 0)) this.#update()
  }

  #control(value: number): void {
    const select = value >> 6
    if (select === 3) this.#readBack(value)
    else if ((value & 0x30) === 0) this.#counters[select].latchCount(this.#tick())
    else this.#counters[select].control(value)
  }

  #readBack(value: number): void {
    const tick = this.#tick()
    this.#counters.forEach((counter, i) => {
      if (!(value & (2 << i))) return
      if (!(value & 0x20)) counter.latchCount(tick)
      if (!(value & 0x10)) counter.latchStatus(tick)
    })
  }

  #readPortB(): number {
    const out = this.#counters[2].out(this.#tick()) ? PORT_B_OUT2 : 0
    const refresh = Math.floor(this.#clock.now() / REFRESH_TOGGLE_NS) & 1 ? PORT_B_REFRESH : 0
    return this.#portB | out | refresh
  }

  #writePortB(value: number): void {
    this.#portB = value & PORT_B_WRITABLE
    this.#counters[2].setGate((value & PORT_B_GATE2) !== 0, this.#tick())
  }

  /** Drives the line as OUT is now, and waits for its next rise. */
  #update(): void {
    const tick = this.#tick()
    this.#clock.cancel(this.#timer)
    this.#timer = undefined
    this.#irq.set(this.#counters[0].out(tick))
    const rise = this.#counters[0].nextRise(tick)
    if (rise !== Infinity) this.#timer = this.#clock.at(nanosecondsAt(rise), () => this.#rise())
  }

  #rise(): void {
    this.#irq.set(false)
    this.#irq.set(true)
    this.#update()
  }

  save(): I8254State {
    return { version: 1, counters: this.#counters.map((counter) => counter.state), portB: this.#portB }
  }

  restore(state: I8254State): void {
    expectVersion('i8254', state, 1)
    this.#counters.forEach((counter, i) => {
      counter.state = state.counters[i]
    })
    this.#portB = state.portB
    this.#update()
  }
}

/** The first nanosecond that belongs to `tick`. */
function nanosecondsAt(tick: number): number {
  const ns = Math.floor((tick * 1e9) / PIT_FREQUENCY)
  return Math.floor((ns * PIT_FREQUENCY) / 1e9) >= tick ? ns : ns + 1
}
