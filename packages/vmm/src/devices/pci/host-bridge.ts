// PCI Local Bus Specification 3.0, "Software Generation of Configuration Transactions": configuration mechanism #1.
// CONFIG_ADDRESS at port CF8h takes accesses of 32 bits alone; CONFIG_DATA is the four ports behind it.

import type { AccessSize, PortDevice } from '../../bus/port-bus.ts'
import { allOnes } from '../../bus/port-bus.ts'
import { assert } from '../../errors.ts'
import { expectVersion, type Saveable } from '../../snapshot/version.ts'
import type { HostBridgeState } from './host-bridge.state.ts'
import { PciFunction } from './pci-function.ts'

const ENABLE = 0x8000_0000
const ADDRESS_BITS = 0x80ff_fffc
export const SLOT_COUNT = 32

/** QEMU, "PCI IDs for QEMU": a host bridge that is no particular chipset. */
const IDENTITY = { vendorId: 0x1b36, deviceId: 0x0008, classCode: 0x06_0000 }

/** Bus 0 with the bridge itself in slot 0. Each slot has one function. */
export class HostBridge implements Saveable<HostBridgeState> {
  readonly function = new PciFunction(IDENTITY)
  readonly #slots: (PciFunction | undefined)[] = [this.function]
  #address = 0

  /** Puts a function into a slot that is free. */
  plug(slot: number, fn: PciFunction): void {
    assert(slot > 0 && slot < SLOT_COUNT && !this.#slots[slot], 'a PCI slot is free')
    this.#slots[slot] = fn
  }

  /** CONFIG_ADDRESS: what is not 32 bits wide is not for it. */
  readonly address: PortDevice = {
    portRead: (_, size) => (size === 4 ? this.#address : allOnes(size)),
    portWrite: (_, size, value) => {
      if (size === 4) this.#address = value & ADDRESS_BITS
    },
  }

  /** CONFIG_DATA. */
  readonly data: PortDevice = {
    portRead: (offset, size) => {
      const fn = this.#selected()
      return fn ? fn.configRead((this.#address & 0xfc) + offset, size) : allOnes(size)
    },
    portWrite: (offset, size: AccessSize, value) =>
      this.#selected()?.configWrite((this.#address & 0xfc) + offset, size, value),
  }

  #selected(): PciFunction | undefined {
    const [bus, slot, fn] = [
      (this.#address >>> 16) & 0xff,
      (this.#address >>> 11) & 31,
      (this.#address >>> 8) & 7,
    ]
    return this.#address & ENABLE && bus === 0 && fn === 0 ? this.#slots[slot] : undefined
  }

  save(): HostBridgeState {
    return { version: 1, address: this.#address >>> 0, function: this.function.save() }
  }

  restore(state: HostBridgeState): void {
    expectVersion('pci-host-bridge', state, 1)
    this.#address = state.address & ADDRESS_BITS
    this.function.restore(state.function)
  }
}
