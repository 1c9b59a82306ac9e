// Intel 82093AA I/O APIC, 290566, "Register Description"; the EOI register is of version 0x20
// (Intel 82801 ICH, "EOIR—EOI Register").

import type { MmioDevice } from '../../bus/mmio-bus.ts'
import { expectVersion, type Saveable } from '../../snapshot/version.ts'
import type { ApicMessage, DeliveryMode } from '../local-apic/message.ts'
import type { IoApicState } from './io-apic.state.ts'

export const IOAPIC_PINS = 24
const VERSION = 0x20

const IOREGSEL = 0x00
const IOWIN = 0x10
const EOIR = 0x40

const REMOTE_IRR = 1 << 14
const DELIVERY_STATUS = 1 << 12
const LEVEL = 1 << 15
const MASKED = 1 << 16
const WRITABLE_LOW = 0x1_afff

/** 24 pins with a redirection table; its messages go to `deliver`. */
export class IoApic implements MmioDevice, Saveable<IoApicState> {
  readonly #deliver: (message: ApicMessage) => void
  readonly #onExtInt: () => void
  #select = 0
  #id = 0
  #lines = 0
  readonly #low = new Uint32Array(IOAPIC_PINS).fill(MASKED)
  readonly #high = new Uint32Array(IOAPIC_PINS)

  /** `onExtInt` is told when a pin's ExtINT routing may have changed. */
  constructor(options: { deliver: (message: ApicMessage) => void; onExtInt?: () => void }) {
    this.#deliver = options.deliver
    this.#onExtInt = options.onExtInt ?? (() => {})
  }

  /** Whether an unmasked pin is asserted whose delivery mode is ExtINT: the 8259A then supplies the vector. */
  get extInt(): boolean {
    return this.#low.some(
      (entry, pin) => modeOf(entry) === 7 && !(entry & MASKED) && (this.#lines >> pin) & 1,
    )
  }

  setLine(pin: number, asserted: boolean): void {
    const bit = 1 << pin
    const rising = asserted && !(this.#lines & bit)
    if (asserted) this.#lines |= bit
    else this.#lines &= ~bit
    if (this.#low[pin] & LEVEL) this.#serviceLevel(pin)
    else if (rising && !(this.#low[pin] & MASKED)) this.#send(pin)
    if (modeOf(this.#low[pin]) === 7) this.#onExtInt()
  }

  /** The local APIC ended a level-triggered interrupt. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      const entry = this.#low[pin]
      if ((entry & 0xff) !== vector || !(entry & LEVEL)) continue
      this.#low[pin] &= ~REMOTE_IRR
      this.#serviceLevel(pin)
    }
  }

  mmioRead(offset: number, size: number): number {
    const shift = (offset & 3) * 8
    const value = this.#readRegister(offset & ~3) >>> shift
    return size === 4 ? value : value & ((1 << (size * 8)) - 1)
  }

  mmioWrite(offset: number, size: number, value: number): void {
    if (offset === IOREGSEL) this.#select = value & 0xff
    else if (size !== 4) return
    else if (offset === IOWIN) this.#writeSelected(value)
    else if (offset === EOIR) this.endOfInterrupt(value & 0xff)
  }

  #readRegister(offset: number): number {
    if (offset === IOREGSEL) return this.#select
    return offset === IOWIN ? this.#readSelected() : 0
  }

  #readSelected(): number {
    const index = this.#select
    if (index === 0 || index === 2) return this.#id << 24
    if (index === 1) return ((IOAPIC_PINS - 1) << 16) | VERSION
    const pin = (index - 0x10) >> 1
    if (pin < 0 || pin >= IOAPIC_PINS) return 0
    return index & 1 ? this.#high[pin] : this.#low[pin]
  }

  #writeSelected(value: number): void {
    const index = this.#select
    if (index === 0) this.#id = (value >>> 24) & 0xf
    const pin = (index - 0x10) >> 1
    if (pin < 0 || pin >= IOAPIC_PINS) return
    if (index & 1) this.#high[pin] = value & 0xff00_0000
    else this.#writeEntry(pin, value)
  }

  #writeEntry(pin: number, value: number): void {
    const kept = this.#low[pin] & (REMOTE_IRR | DELIVERY_STATUS)
    // Remote IRR is undefined for an edge-triggered pin; software clears it by a change to edge.
    this.#low[pin] = (value & WRITABLE_LOW) | (value & LEVEL ? kept : 0)
    this.#serviceLevel(pin)
    this.#onExtInt()
  }

  #serviceLevel(pin: number): void {
    const entry = this.#low[pin]
    if (!(entry & LEVEL) || entry & (MASKED | REMOTE_IRR) || !((this.#lines >> pin) & 1)) return
    const mode = modeOf(entry)
    if (mode === 0 || mode === 1) this.#low[pin] |= REMOTE_IRR
    this.#send(pin)
  }

  #send(pin: number): void {
    const entry = this.#low[pin]
    const mode = modeOf(entry)
    if (mode === 7) return // ExtINT: the vector comes from the 8259A by INTA, see extInt
    this.#deliver({
      destination: this.#high[pin] >>> 24,
      logical: (entry & (1 << 11)) !== 0,
      mode,
      vector: entry & 0xff,
      level: (entry & LEVEL) !== 0,
    })
  }

  save(): IoApicState {
    return {
      version: 1,
      select: this.#select,
      id: this.#id,
      lines: this.#lines,
      low: [...this.#low],
      high: [...this.#high],
    }
  }

  restore(state: IoApicState): void {
    expectVersion('io-apic', state, 1)
    this.#select = state.select
    this.#id = state.id
    this.#lines = state.lines
    this.#low.set(state.low.slice(0, IOAPIC_PINS))
    this.#high.set(state.high.slice(0, IOAPIC_PINS))
    this.#onExtInt()
  }
}

function modeOf(entry: number): DeliveryMode {
  return ((entry >> 8) & 7) as DeliveryMode
}
