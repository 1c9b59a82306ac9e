// How PCI is wired in this PC: configuration ports, windows, INTx at pins 16 to 19 of the I/O APIC, messages to the local APICs.

import type { MmioBus } from '../bus/mmio-bus.ts'
import type { PortBus, PortDevice } from '../bus/port-bus.ts'
import type { TimerClock } from '../clock/clock.ts'
import { HostBridge } from '../devices/pci/host-bridge.ts'
import type { Bar, PciDevice, PciSlot } from '../devices/pci/pci-function.ts'
import { REGISTER } from '../devices/pci/registers.ts'
import { VirtioPci } from '../devices/virtio/pci/virtio-pci.ts'
import type { VirtioOptions } from '../devices/virtio/virtio-core.ts'
import type { VirtioDevice } from '../devices/virtio/virtio-device.ts'
import { SnapshotStateError } from '../errors.ts'
import { type InterruptLine, SharedLine } from '../interrupts/line.ts'
import type { ApicMessage, DeliveryMode } from '../interrupts/local-apic/message.ts'
import type { GuestRam } from '../memory/guest-memory.ts'
import { PCI_IO, PCI_MEMORY } from '../memory/memory-map.ts'
import { expectVersion, type Saveable } from '../snapshot/version.ts'
import type { PciBusState } from './pci.state.ts'

/** What a device in a slot may be made from. */
export interface PciSurroundings {
  readonly ram: GuestRam
  readonly clock: TimerClock
  /** 32 bits of entropy. */
  readonly random: () => number
}

/** A device for a slot, in a machine's list of parts. */
export type PciPart = (surroundings: PciSurroundings) => PciDevice

/** A virtio device on the PCI bus. */
export function virtioPci(
  make: (surroundings: PciSurroundings) => VirtioDevice,
  options: VirtioOptions = {},
): PciPart {
  return (surroundings) => new VirtioPci({ ...options, device: make(surroundings), ram: surroundings.ram })
}

/** An INTx of a slot and the global system interrupt that it is. */
export interface PciRoute {
  readonly slot: number
  readonly gsi: number
}

const FIRST_GSI = 16
const GSI_COUNT = 4
const CONFIG_ADDRESS = 0xcf8
const CONFIG_DATA = 0xcfc

export interface PciWiring {
  readonly ports: PortBus
  readonly mmio: MmioBus
  /** A pin of the I/O APIC. */
  readonly gsi: (pin: number) => InterruptLine
  readonly message: (address: number, data: number) => void
  /** Port CF9h, which lies amid CONFIG_ADDRESS. */
  readonly resetControl: PortDevice
}

/** The bus with its devices in slots 1 and up. */
export class PciBus implements Saveable<PciBusState> {
  readonly bridge = new HostBridge()
  readonly devices: readonly PciDevice[]
  readonly routes: readonly PciRoute[]
  readonly #wiring: PciWiring
  #nextMemory: number = PCI_MEMORY.base
  #nextPort: number = PCI_IO.base

  constructor(parts: readonly PciPart[], surroundings: PciSurroundings, wiring: PciWiring) {
    this.#wiring = wiring
    const { ports, resetControl } = wiring
    const { address, data } = this.bridge
    const withReset: PortDevice = {
      portRead: (offset, size) =>
        offset === 1 && size === 1 ? resetControl.portRead(0, 1) : address.portRead(offset, size),
      portWrite: (offset, size, value) =>
        offset === 1 && size === 1
          ? resetControl.portWrite(0, 1, value)
          : address.portWrite(offset, size, value),
    }
    ports.register({ name: 'pci-address', base: CONFIG_ADDRESS, length: 4, device: withReset, width: 4 })
    ports.register({ name: 'pci-data', base: CONFIG_DATA, length: 4, device: data, width: 4 })
    const lines = Array.from({ length: GSI_COUNT }, (_, i) => new SharedLine(wiring.gsi(FIRST_GSI + i)))
    this.devices = parts.map((make) => make(surroundings))
    this.routes = this.devices.map((_, i) => ({ slot: i + 1, gsi: FIRST_GSI + ((i + 1) % GSI_COUNT) }))
    this.devices.forEach((device, i) => {
      const { slot, gsi } = this.routes[i]
      this.#plug(device, slot, lines[gsi - FIRST_GSI].source())
    })
  }

  #plug(device: PciDevice, slot: number, interrupt: InterruptLine): void {
    const fn = device.function
    for (const bar of fn.bars) this.#register(bar, `pci-${slot}-bar-${bar.index}`)
    fn.plug({ interrupt, message: this.#wiring.message, map: this.#map })
    this.bridge.plug(slot, fn)
    for (const bar of fn.bars) fn.configWrite(REGISTER.BAR0 + 4 * bar.index, 4, this.#place(bar))
  }

  #register(bar: Bar, name: string): void {
    const { length } = bar
    if (bar.kind === 'io') this.#wiring.ports.registerMovable({ name, length, device: bar.device, width: 4 })
    else this.#wiring.mmio.register({ name, length, device: bar.device, base: NaN })
  }

  readonly #map: PciSlot['map'] = (bar, base) => {
    if (bar.kind === 'io') this.#wiring.ports.relocate(bar.device, base)
    else this.#wiring.mmio.relocate(bar.device, base)
  }

  /** Addresses as firmware would give them out. */
  #place({ kind, length }: Bar): number {
    const next = Math.ceil((kind === 'io' ? this.#nextPort : this.#nextMemory) / length) * length
    if (kind === 'io') this.#nextPort = next + length
    else this.#nextMemory = next + length
    return next
  }

  save(): PciBusState {
    return {
      version: 1,
      bridge: this.bridge.save(),
      devices: this.devices.map((device) => device.save()),
    }
  }

  /** Of a machine that was given the same devices. */
  restore(state: PciBusState): void {
    expectVersion('pci-bus', state, 1)
    if (state.devices.length !== this.devices.length) {
      throw new SnapshotStateError('pci-bus', `${state.devices.length} devices, not ${this.devices.length}`)
    }
    this.bridge.restore(state.bridge)
    this.devices.forEach((device, i) => {
      device.restore(state.devices[i])
    })
  }
}

/** A message-signaled interrupt: SDM Vol. 3A, "Message Signalled Interrupts". What goes elsewhere is lost. */
export function interruptMessage(address: number, data: number): ApicMessage | undefined {
  if (address >>> 20 !== 0xfee) return undefined
  return {
    destination: (address >>> 12) & 0xff,
    logical: (address & 4) !== 0,
    mode: ((data >>> 8) & 7) as DeliveryMode,
    vector: data & 0xff,
    level: (data & 0x8000) !== 0,
  }
}
