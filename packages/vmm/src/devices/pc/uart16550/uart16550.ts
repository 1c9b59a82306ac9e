// National Semiconductor PC16550D, "Registers" and "FIFO Interrupt Mode Operation".

import type { AccessSize, PortDevice } from '../../../bus/port-bus.ts'
import type { Timer, TimerClock } from '../../../clock/clock.ts'
import type { InterruptLine } from '../../../interrupts/line.ts'
import { expectVersion, type Saveable } from '../../../snapshot/version.ts'
import type { Uart16550State } from './uart16550.state.ts'

/** Where a device's output goes. */
export interface ByteSink {
  write(byte: number): void
}

const IER_RECEIVED = 1
const IER_THR_EMPTY = 2
const IER_LINE_STATUS = 4
const IER_MODEM_STATUS = 8

const IIR_NONE = 0x01
const IIR_MODEM_STATUS = 0x00
const IIR_THR_EMPTY = 0x02
const IIR_RECEIVED = 0x04
const IIR_LINE_STATUS = 0x06
const IIR_TIMEOUT = 0x0c
const IIR_FIFOS = 0xc0

const FCR_ENABLE = 1
const FCR_CLEAR_RECEIVER = 2
const TRIGGER_LEVELS = [1, 4, 8, 14] as const

const LCR_DLAB = 0x80

const MCR_DTR = 1
const MCR_RTS = 2
const MCR_OUT1 = 4
const MCR_OUT2 = 8
const MCR_LOOP = 0x10

const LSR_DATA_READY = 1
const LSR_OVERRUN = 2
const LSR_THR_EMPTY = 0x20
const LSR_TRANSMITTER_EMPTY = 0x40

const MSR_DELTAS = 0x0f
const MSR_CTS = 0x10
const MSR_DSR = 0x20
const MSR_RI = 0x40
const MSR_DCD = 0x80

const FIFO_SIZE = 16
const QUEUE_LIMIT = 0x1_0000
const INPUT_CLOCK = 1_843_200

/**
 * 16550A UART. Knows its line, its clock and its sink; not the CPU, the machine, or its port number.
 *
 * The transmitter takes no time: a byte is out when it is written. Input waits in a queue, as at the far end of a
 * cable with hardware flow control: the receiver takes bytes when it has room and the guest listens, which it says
 * by RTS, or by enabling the receive interrupt if it does not drive the modem lines. So nothing is lost while a guest
 * boots, nor when it sets up the FIFOs after the interrupt and RTS last, as Linux does.
 */
export class Uart16550 implements PortDevice, Saveable<Uart16550State> {
  readonly #irq: InterruptLine
  readonly #clock: TimerClock
  readonly #output: ByteSink
  readonly #onRoom: () => void
  #ier = 0
  #fcr = 0
  #lcr = 0
  #mcr = 0
  #msr = MSR_CTS | MSR_DSR | MSR_DCD
  #scratch = 0
  #divisor = 12
  #lineErrors = 0
  #thrInterrupt = false
  #timeout = false
  #timer: Timer | undefined
  #fifo: number[] = []
  #queue = new Uint8Array(QUEUE_LIMIT)
  #queueHead = 0
  #queueLength = 0

  /** `onRoom` is called when the input queue has been emptied. */
  constructor(options: { irq: InterruptLine; clock: TimerClock; output: ByteSink; onRoom?: () => void }) {
    this.#irq = options.irq
    this.#clock = options.clock
    this.#output = options.output
    this.#onRoom = options.onRoom ?? (() => {})
  }

  /** Hands over input; returns how many bytes were taken. The rest is to be offered again after `onRoom`. */
  receive(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, QUEUE_LIMIT - this.#queueLength)
    for (let i = 0; i < taken; i++) {
      this.#queue[(this.#queueHead + this.#queueLength++) % QUEUE_LIMIT] = bytes[i]
    }
    this.#fill()
    return taken
  }

  portRead(offset: number): number {
    switch (offset) {
      case 0:
        return this.#lcr & LCR_DLAB ? this.#divisor & 0xff : this.#readReceiver()
      case 1:
        return this.#lcr & LCR_DLAB ? this.#divisor >> 8 : this.#ier
      case 2:
        return this.#readIdentification()
      case 3:
        return this.#lcr
      case 4:
        return this.#mcr
      case 5:
        return this.#readLineStatus()
      case 6:
        return this.#readModemStatus()
      default:
        return this.#scratch
    }
  }

  portWrite(offset: number, _size: AccessSize, value: number): void {
    switch (offset) {
      case 0:
        if (this.#lcr & LCR_DLAB) this.#divisor = (this.#divisor & 0xff00) | value
        else this.#transmit(value)
        break
      case 1:
        if (this.#lcr & LCR_DLAB) this.#divisor = (this.#divisor & 0x00ff) | (value << 8)
        else this.#writeInterruptEnable(value)
        break
      case 2:
        this.#writeFifoControl(value)
        break
      case 3:
        this.#lcr = value
        break
      case 4:
        this.#writeModemControl(value)
        break
      case 7:
        this.#scratch = value
    }
    this.#fill()
  }

  get #fifos(): boolean {
    return (this.#fcr & FCR_ENABLE) !== 0
  }

  get #looped(): boolean {
    return (this.#mcr & MCR_LOOP) !== 0
  }

  // --- receiver ------------------------------------------------------------------------------------------------

  #readReceiver(): number {
    const byte = this.#fifo.shift() ?? 0
    this.#timeout = false
    this.#fill()
    this.#startTimeout()
    return byte
  }

  /** Takes bytes from the queue while the guest listens and there is room. */
  #fill(): void {
    const room = this.#fifos ? FIFO_SIZE : 1
    if (this.#listening && this.#queueLength > 0 && this.#fifo.length < room) {
      while (this.#fifo.length < room && this.#queueLength > 0) this.#fifo.push(this.#dequeue())
      this.#startTimeout()
      if (this.#queueLength === 0) this.#onRoom()
    }
    this.#update()
  }

  /** A guest that asserts DTR drives the modem lines, and RTS off means that it wants the far end to wait. */
  get #listening(): boolean {
    if (this.#looped) return false
    if (this.#mcr & MCR_RTS) return true
    return (this.#mcr & MCR_DTR) === 0 && (this.#ier & IER_RECEIVED) !== 0
  }

  #dequeue(): number {
    const byte = this.#queue[this.#queueHead]
    this.#queueHead = (this.#queueHead + 1) % QUEUE_LIMIT
    this.#queueLength--
    return byte
  }

  /** "FIFO Interrupt Mode Operation": data that waits for four character times below the trigger level. */
  #startTimeout(): void {
    this.#clock.cancel(this.#timer)
    this.#timer = undefined
    if (!this.#fifos || this.#fifo.length === 0 || this.#fifo.length >= this.#trigger()) return
    const bits = 4 * 10
    const delay = (bits * 16 * Math.max(this.#divisor, 1) * 1e9) / INPUT_CLOCK
    this.#timer = this.#clock.at(this.#clock.now() + delay, () => {
      this.#timer = undefined
      this.#timeout = this.#fifo.length > 0
      this.#update()
    })
  }

  #trigger(): number {
    return this.#fifos ? TRIGGER_LEVELS[this.#fcr >> 6] : 1
  }

  // --- transmitter ---------------------------------------------------------------------------------------------

  #transmit(value: number): void {
    this.#thrInterrupt = false
    this.#update()
    if (this.#looped) this.#loopBack(value)
    else this.#output.write(value)
    this.#thrInterrupt = true
  }

  #loopBack(value: number): void {
    const room = this.#fifos ? FIFO_SIZE : 1
    if (this.#fifo.length < room) {
      this.#fifo.push(value)
    } else {
      this.#lineErrors |= LSR_OVERRUN
      if (!this.#fifos) this.#fifo[0] = value // the holding register is overwritten, a full FIFO is not
    }
    this.#startTimeout()
  }

  // --- control and status --------------------------------------------------------------------------------------

  #writeInterruptEnable(value: number): void {
    const enabled = value & ~this.#ier
    this.#ier = value & 0x0f
    if (enabled & IER_THR_EMPTY) this.#thrInterrupt = true // the THR is always empty here
  }

  #writeFifoControl(value: number): void {
    const changed = (value ^ this.#fcr) & FCR_ENABLE
    if (changed || (value & FCR_ENABLE && value & FCR_CLEAR_RECEIVER)) {
      this.#fifo = []
      this.#timeout = false
    }
    this.#fcr = value & FCR_ENABLE ? value & 0xc9 : 0
    this.#startTimeout()
  }

  #writeModemControl(value: number): void {
    this.#mcr = value & 0x1f
    this.#setModemInputs(this.#looped ? this.#loopedModemInputs() : MSR_CTS | MSR_DSR | MSR_DCD)
  }

  #loopedModemInputs(): number {
    const mcr = this.#mcr
    return (
      (mcr & MCR_RTS ? MSR_CTS : 0) |
      (mcr & MCR_DTR ? MSR_DSR : 0) |
      (mcr & MCR_OUT1 ? MSR_RI : 0) |
      (mcr & MCR_OUT2 ? MSR_DCD : 0)
    )
  }

  /** DCTS, DDSR, DDCD on a change; TERI when RI ends. */
  #setModemInputs(inputs: number): void {
    const changed = (inputs ^ this.#msr) & 0xf0
    const deltas = ((changed & ~MSR_RI) | (changed & MSR_RI & ~inputs)) >> 4
    this.#msr = inputs | (this.#msr & MSR_DELTAS) | deltas
  }

  #readLineStatus(): number {
    const status =
      this.#lineErrors | LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY | (this.#fifo.length > 0 ? LSR_DATA_READY : 0)
    this.#lineErrors = 0
    this.#update()
    return status
  }

  #readModemStatus(): number {
    const status = this.#msr
    this.#msr &= ~MSR_DELTAS
    this.#update()
    return status
  }

  #readIdentification(): number {
    const source = this.#source()
    if (source === IIR_THR_EMPTY) {
      this.#thrInterrupt = false
      this.#update()
    }
    return source | (this.#fifos ? IIR_FIFOS : 0)
  }

  /** "Interrupt Identification Register": the pending source with the highest priority. */
  #source(): number {
    if (this.#ier & IER_LINE_STATUS && this.#lineErrors) return IIR_LINE_STATUS
    if (this.#ier & IER_RECEIVED && this.#fifo.length >= this.#trigger()) return IIR_RECEIVED
    if (this.#ier & IER_RECEIVED && this.#timeout) return IIR_TIMEOUT
    if (this.#ier & IER_THR_EMPTY && this.#thrInterrupt) return IIR_THR_EMPTY
    if (this.#ier & IER_MODEM_STATUS && this.#msr & MSR_DELTAS) return IIR_MODEM_STATUS
    return IIR_NONE
  }

  /** On a PC the interrupt output passes a gate that OUT2 opens; in loopback OUT2 is not at the pin. */
  #update(): void {
    const open = (this.#mcr & MCR_OUT2) !== 0 && !this.#looped
    this.#irq.set(open && this.#source() !== IIR_NONE)
  }

  save(): Uart16550State {
    return {
      version: 1,
      ier: this.#ier,
      fcr: this.#fcr,
      lcr: this.#lcr,
      mcr: this.#mcr,
      msr: this.#msr,
      scratch: this.#scratch,
      divisor: this.#divisor,
      lineErrors: this.#lineErrors,
      thrInterrupt: this.#thrInterrupt,
      timeout: this.#timeout,
      fifo: [...this.#fifo],
      queue: Array.from(
        { length: this.#queueLength },
        (_, i) => this.#queue[(this.#queueHead + i) % QUEUE_LIMIT],
      ),
    }
  }

  restore(state: Uart16550State): void {
    expectVersion('uart16550', state, 1)
    this.#ier = state.ier
    this.#fcr = state.fcr
    this.#lcr = state.lcr
    this.#mcr = state.mcr
    this.#msr = state.msr
    this.#scratch = state.scratch
    this.#divisor = state.divisor
    this.#lineErrors = state.lineErrors
    this.#thrInterrupt = state.thrInterrupt
    this.#timeout = state.timeout
    this.#fifo = state.fifo.slice(0, FIFO_SIZE)
    this.#queueHead = 0
    this.#queueLength = 0
    this.receive(Uint8Array.from(state.queue))
    this.#startTimeout()
  }
}
