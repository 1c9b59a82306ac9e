// IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller" and "Keyboard".
// There is a keyboard that nobody types on, and no auxiliary device.

import type { AccessSize, PortDevice } from '../../../bus/port-bus.ts'
import type { InterruptLine } from '../../../interrupts/line.ts'
import { expectVersion, type Saveable } from '../../../snapshot/version.ts'
import type { I8042State } from './i8042.state.ts'

const STATUS_OUTPUT_FULL = 0x01
const STATUS_SYSTEM = 0x04
const STATUS_COMMAND = 0x08
const STATUS_UNLOCKED = 0x10

const COMMAND_INTERRUPT = 0x01
const COMMAND_SYSTEM = 0x04
const COMMAND_DISABLE_KEYBOARD = 0x10
const COMMAND_DISABLE_AUXILIARY = 0x20

const ACK = 0xfa
const RESEND = 0xfe
const OUTPUT_LIMIT = 16
const OUTPUT_PORT_RESET = 0x01

/** Keyboard controller: offset 0 is the data port (0x60), offset 4 the command and status port (0x64). */
export class I8042 implements PortDevice, Saveable<I8042State> {
  readonly #irq: InterruptLine
  readonly #onReset: () => void
  #command = COMMAND_SYSTEM | COMMAND_DISABLE_AUXILIARY
  #outputPort = 0x03
  #output: number[] = []
  /** The controller command whose parameter comes next, or 0. */
  #pending = 0
  /** The keyboard command whose parameter comes next, or 0. */
  #keyboardParameter = 0
  #scanCodeSet = 2
  #wasCommand = false

  constructor({ irq, onReset }: { irq: InterruptLine; onReset: () => void }) {
    this.#irq = irq
    this.#onReset = onReset
  }

  portRead(offset: number): number {
    return offset === 0 ? this.#readData() : this.#status()
  }

  portWrite(offset: number, _size: AccessSize, value: number): void {
    this.#wasCommand = offset !== 0
    if (offset !== 0) this.#controllerCommand(value)
    else if (this.#pending !== 0) this.#parameter(value)
    else this.#keyboardCommand(value)
    this.#update()
  }

  #readData(): number {
    const byte = this.#output.shift() ?? 0
    this.#irq.set(false) // the next byte makes an edge of its own
    this.#update()
    return byte
  }

  #status(): number {
    return (
      (this.#output.length > 0 ? STATUS_OUTPUT_FULL : 0) |
      (this.#command & COMMAND_SYSTEM ? STATUS_SYSTEM : 0) |
      (this.#wasCommand ? STATUS_COMMAND : 0) |
      STATUS_UNLOCKED
    )
  }

  #controllerCommand(value: number): void {
    this.#pending = 0
    if (value >= 0xf0) {
      if (!(value & OUTPUT_PORT_RESET)) this.#onReset() // pulse output port bit 0
      return
    }
    switch (value) {
      case 0x20: // read command byte
        this.#put(this.#command)
        return
      case 0x60: // write command byte
      case 0xd1: // write output port
      case 0xd2: // write keyboard output buffer
      case 0xd3: // write auxiliary output buffer
      case 0xd4: // write to auxiliary device
        this.#pending = value
        return
      case 0xa7:
        this.#command |= COMMAND_DISABLE_AUXILIARY
        return
      case 0xaa: // self test
        this.#output = []
        this.#put(0x55)
        return
      case 0xab: // keyboard interface test
        this.#put(0x00)
        return
      case 0xad:
        this.#command |= COMMAND_DISABLE_KEYBOARD
        return
      case 0xae:
        this.#command &= ~COMMAND_DISABLE_KEYBOARD
        return
      case 0xc0: // read input port: not inhibited
        this.#put(0x80)
        return
      case 0xd0:
        this.#put(this.#outputPort)
    }
  }

  #parameter(value: number): void {
    const command = this.#pending
    this.#pending = 0
    if (command === 0x60) {
      this.#command = (value & 0x57) | COMMAND_DISABLE_AUXILIARY
    } else if (command === 0xd1) {
      this.#outputPort = value | OUTPUT_PORT_RESET
      if (!(value & OUTPUT_PORT_RESET)) this.#onReset()
    } else if (command === 0xd2) {
      this.#put(value)
    }
  }

  #keyboardCommand(value: number): void {
    this.#command &= ~COMMAND_DISABLE_KEYBOARD // a byte to the keyboard enables its interface
    if (this.#keyboardParameter !== 0) {
      this.#keyboardArgument(value)
      return
    }
    switch (value) {
      case 0xed: // set indicators
      case 0xf0: // select scan code set
      case 0xf3: // set typematic rate
        this.#keyboardParameter = value
        this.#put(ACK)
        return
      case 0xee:
        this.#put(0xee)
        return
      case 0xf2: // read ID
        this.#put(ACK, 0xab, 0x83)
        return
      case 0xff: // reset, and basic assurance test passed
        this.#scanCodeSet = 2
        this.#put(ACK, 0xaa)
        return
      case 0xf4: // enable
      case 0xf5: // default disable
      case 0xf6: // set default
        this.#put(ACK)
        return
      default:
        this.#put(RESEND)
    }
  }

  #keyboardArgument(value: number): void {
    const command = this.#keyboardParameter
    this.#keyboardParameter = 0
    this.#put(ACK)
    if (command !== 0xf0) return
    if (value === 0) this.#put(this.#scanCodeSet)
    else if (value <= 3) this.#scanCodeSet = value
  }

  #put(...bytes: number[]): void {
    if (this.#output.length + bytes.length <= OUTPUT_LIMIT) this.#output.push(...bytes)
  }

  #update(): void {
    this.#irq.set(this.#output.length > 0 && (this.#command & COMMAND_INTERRUPT) !== 0)
  }

  save(): I8042State {
    return {
      version: 1,
      command: this.#command,
      outputPort: this.#outputPort,
      output: [...this.#output],
      pending: this.#pending,
      keyboardParameter: this.#keyboardParameter,
      scanCodeSet: this.#scanCodeSet,
      wasCommand: this.#wasCommand,
    }
  }

  restore(state: I8042State): void {
    expectVersion('i8042', state, 1)
    this.#command = state.command
    this.#outputPort = state.outputPort
    this.#output = state.output.slice(0, OUTPUT_LIMIT)
    this.#pending = state.pending
    this.#keyboardParameter = state.keyboardParameter
    this.#scanCodeSet = state.scanCodeSet
    this.#wasCommand = state.wasCommand
    this.#update()
  }
}
