// Intel 82371AB (PIIX4), "RC—Reset Control Register" (0xCF9) and "Port 92 Register".

import type { AccessSize, PortDevice } from '../../../bus/port-bus.ts'
import { expectVersion, type Saveable } from '../../../snapshot/version.ts'
import type { ResetControlState } from './reset-control.state.ts'

const FAST_INIT = 0x01
const A20_GATE = 0x02
const RESET_CPU = 0x04

/** The two reset registers of a PC chip set. A20 is always open here; its bit is only kept. */
export class ResetControl implements Saveable<ResetControlState> {
  /** System control port A (0x92). */
  readonly portA: PortDevice
  /** Reset control register (0xCF9). */
  readonly resetControl: PortDevice
  #portA = A20_GATE
  #resetControl = 0

  constructor({ onReset }: { onReset: () => void }) {
    this.portA = {
      portRead: () => this.#portA,
      portWrite: (_offset, _size, value) => {
        const rising = value & ~this.#portA & FAST_INIT
        this.#portA = value & (FAST_INIT | A20_GATE)
        if (rising) onReset()
      },
    }
    this.resetControl = {
      portRead: () => this.#resetControl,
      portWrite: (_offset: number, _size: AccessSize, value: number) => {
        const rising = value & ~this.#resetControl & RESET_CPU
        this.#resetControl = value & 0x06
        if (rising) onReset()
      },
    }
  }

  save(): ResetControlState {
    return { version: 1, portA: this.#portA, resetControl: this.#resetControl }
  }

  restore(state: ResetControlState): void {
    expectVersion('reset-control', state, 1)
    this.#portA = state.portA
    this.#resetControl = state.resetControl
  }
}
