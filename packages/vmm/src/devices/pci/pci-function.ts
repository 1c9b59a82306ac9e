// A function on a PCI bus: PCI Local Bus Specification 3.0, "Configuration Space" and "Message Signaled Interrupts".
//
// Configuration space is 256 bytes with a mask of those bits that software may write; sizing a BAR needs no more than
// that, since its low bits are not writable. What follows from a write, mapping and interrupts, is looked at behind it.

import type { MmioDevice } from '../../bus/mmio-bus.ts'
import type { AccessSize, PortDevice } from '../../bus/port-bus.ts'
import { assert } from '../../errors.ts'
import type { InterruptLine } from '../../interrupts/line.ts'
import { expectVersion, type Saveable } from '../../snapshot/version.ts'
import type { PciFunctionState } from './pci-function.state.ts'
import { BAR_COUNT, BAR_IO, COMMAND, CONFIG_SIZE, REGISTER, STATUS } from './registers.ts'

/** A base address register: 32-bit memory, not prefetchable, or I/O. `length` is a power of 2. */
export type Bar =
  | { readonly index: number; readonly kind: 'memory'; readonly length: number; readonly device: MmioDevice }
  | { readonly index: number; readonly kind: 'io'; readonly length: number; readonly device: PortDevice }

export interface PciIdentity {
  readonly vendorId: number
  readonly deviceId: number
  readonly revision?: number
  /** Class, subclass and interface: 24 bits. */
  readonly classCode: number
  readonly subsystemVendorId?: number
  readonly subsystemId?: number
}

export interface PciFunctionOptions extends PciIdentity {
  readonly bars?: readonly Bar[]
  /** It has INTA#. */
  readonly interrupt?: boolean
}

/** What a slot gives to the function in it. */
export interface PciSlot {
  /** INTA#. */
  readonly interrupt: InterruptLine
  /** A function's memory write of 32 bits: a message-signaled interrupt. */
  message(address: number, data: number): void
  /** Where a BAR is now; undefined while its space is disabled. */
  map(bar: Bar, base: number | undefined): void
}

/** What stands in a slot. */
export interface PciDevice<State extends { version: number } = { version: number }> extends Saveable<State> {
  readonly function: PciFunction
}

export interface Capability {
  readonly id: number
  /** What follows the ID and the pointer to the next one. */
  readonly body: Uint8Array
  /** Which bits of the body are writable; none by default. */
  readonly mask?: Uint8Array
  /** Called before bytes of it are read, and after some were written, with the offset in the capability. */
  readonly beforeRead?: (offset: number, size: number) => void
  readonly afterWrite?: (offset: number, size: number) => void
}

const FIRST_CAPABILITY = 0x40

export class PciFunction implements Saveable<PciFunctionState> {
  readonly bars: readonly Bar[]
  readonly #config = new Uint8Array(CONFIG_SIZE)
  readonly #mask = new Uint8Array(CONFIG_SIZE)
  readonly #view = new DataView(this.#config.buffer)
  readonly #capabilities: { at: number; end: number; capability: Capability }[] = []
  #slot: PciSlot | undefined
  #interrupt = false
  #onChange = () => {}

  constructor(options: PciFunctionOptions) {
    const { bars = [] } = options
    this.bars = bars
    this.#identify(options)
    const command =
      COMMAND.BUS_MASTER |
      COMMAND.INTERRUPT_DISABLE |
      (bars.some(({ kind }) => kind === 'io') ? COMMAND.IO_SPACE : 0) |
      (bars.some(({ kind }) => kind === 'memory') ? COMMAND.MEMORY_SPACE : 0)
    const mask = new DataView(this.#mask.buffer)
    mask.setUint16(REGISTER.COMMAND, command, true)
    mask.setUint8(REGISTER.CACHE_LINE_SIZE, 0xff)
    mask.setUint8(REGISTER.LATENCY_TIMER, 0xff)
    mask.setUint8(REGISTER.INTERRUPT_LINE, 0xff)
    for (const { index, kind, length } of bars) {
      assert(index < BAR_COUNT && (length & (length - 1)) === 0, 'a BAR has a number and a power of 2')
      mask.setUint32(REGISTER.BAR0 + 4 * index, -length, true)
      this.#view.setUint32(REGISTER.BAR0 + 4 * index, kind === 'io' ? BAR_IO : 0, true)
    }
  }

  #identify(options: PciFunctionOptions): void {
    const view = this.#view
    view.setUint16(REGISTER.VENDOR_ID, options.vendorId, true)
    view.setUint16(REGISTER.DEVICE_ID, options.deviceId, true)
    view.setUint32(REGISTER.REVISION_ID, (options.classCode << 8) | (options.revision ?? 0), true)
    view.setUint16(REGISTER.SUBSYSTEM_VENDOR_ID, options.subsystemVendorId ?? 0, true)
    view.setUint16(REGISTER.SUBSYSTEM_ID, options.subsystemId ?? 0, true)
    view.setUint8(REGISTER.INTERRUPT_PIN, options.interrupt ? 1 : 0)
  }

  plug(slot: PciSlot): void {
    this.#slot = slot
  }

  /** Told when configuration space was written. */
  set onChange(callback: () => void) {
    this.#onChange = callback
  }

  /** Adds it behind those that are there; returns its place. */
  addCapability(capability: Capability): number {
    const last = this.#capabilities.at(-1)
    const at = last ? (last.end + 3) & ~3 : FIRST_CAPABILITY
    const end = at + 2 + capability.body.length
    assert(end <= CONFIG_SIZE, 'capabilities fit into configuration space')
    this.#config[last ? last.at + 1 : REGISTER.CAPABILITIES_POINTER] = at
    this.#config[at] = capability.id
    this.#config.set(capability.body, at + 2)
    if (capability.mask) this.#mask.set(capability.mask, at + 2)
    this.#view.setUint16(REGISTER.STATUS, STATUS.CAPABILITIES_LIST, true)
    this.#capabilities.push({ at, end, capability })
    return at
  }

  get #command(): number {
    return this.#view.getUint16(REGISTER.COMMAND, true)
  }

  /** Whether it may write to memory, and so send messages. */
  get isBusMaster(): boolean {
    return (this.#command & COMMAND.BUS_MASTER) !== 0
  }

  /** Configuration space as the function itself sees and writes it. */
  get config(): DataView {
    return this.#view
  }

  /** INTA#, as the function would have it. */
  setInterrupt(asserted: boolean): void {
    this.#interrupt = asserted
    const status = this.#view.getUint16(REGISTER.STATUS, true)
    this.#view.setUint16(
      REGISTER.STATUS,
      asserted ? status | STATUS.INTERRUPT : status & ~STATUS.INTERRUPT,
      true,
    )
    this.#slot?.interrupt.set(asserted && !(this.#command & COMMAND.INTERRUPT_DISABLE))
  }

  message(address: number, data: number): void {
    this.#slot?.message(address, data)
  }

  configRead(offset: number, size: AccessSize): number {
    for (const { at, end, capability } of this.#capabilities) {
      if (offset < end && offset + size > at) capability.beforeRead?.(offset - at, size)
    }
    let value = 0
    for (let i = 0; i < size; i++) value |= (this.#config[offset + i] ?? 0xff) << (8 * i)
    return value >>> 0
  }

  configWrite(offset: number, size: AccessSize, value: number): void {
    for (let i = 0; i < size && offset + i < CONFIG_SIZE; i++) {
      const mask = this.#mask[offset + i]
      this.#config[offset + i] = (this.#config[offset + i] & ~mask) | ((value >>> (8 * i)) & mask)
    }
    this.#follow()
    for (const { at, end, capability } of this.#capabilities) {
      if (offset < end && offset + size > at) capability.afterWrite?.(offset - at, size)
    }
  }

  /** What is mapped, and whether INTA# is asserted, follows from the registers. */
  #follow(): void {
    for (const bar of this.bars) this.#slot?.map(bar, this.base(bar))
    this.setInterrupt(this.#interrupt)
    this.#onChange()
  }

  /** Where software put a BAR; undefined while its space is disabled, or it has no address yet. */
  base({ index, kind }: Bar): number | undefined {
    const enabled = this.#command & (kind === 'io' ? COMMAND.IO_SPACE : COMMAND.MEMORY_SPACE)
    const base = this.#view.getUint32(REGISTER.BAR0 + 4 * index, true) & (kind === 'io' ? ~3 : ~15)
    if (!enabled || base === 0) return undefined
    return kind === 'io' ? base & 0xffff : base >>> 0
  }

  save(): PciFunctionState {
    return { version: 1, config: [...this.#config] }
  }

  restore(state: PciFunctionState): void {
    expectVersion('pci-function', state, 1)
    for (let i = 0; i < CONFIG_SIZE; i++) {
      const mask = this.#mask[i]
      this.#config[i] = (this.#config[i] & ~mask) | (state.config[i] & mask)
    }
    this.#follow()
  }
}
