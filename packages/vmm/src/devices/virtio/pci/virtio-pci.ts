// VIRTIO 1.2, "Virtio Over PCI Bus": a non-transitional device.
//
//   BAR 1   MSI-X table and pending bits
//   BAR 4   a page each for the common configuration, ISR status, device configuration, notifications

import type { MmioDevice } from '../../../bus/mmio-bus.ts'
import type { AccessSize } from '../../../bus/port-bus.ts'
import type { GuestRam } from '../../../memory/guest-memory.ts'
import { expectVersion } from '../../../snapshot/version.ts'
import { MSI_X_LENGTH, MSI_X_LIMIT, MsiX } from '../../pci/msi-x.ts'
import { type PciDevice, PciFunction } from '../../pci/pci-function.ts'
import { CAPABILITY } from '../../pci/registers.ts'
import { AREA, type QueueRegisters, VirtioCore, type VirtioOptions } from '../virtio-core.ts'
import type { VirtioDevice } from '../virtio-device.ts'
import type { VirtioPciState } from './virtio-pci.state.ts'

const VENDOR_ID = 0x1af4
/** "PCI Device Discovery": the device ID is this and the virtio device ID. */
const FIRST_DEVICE_ID = 0x1040

const MSI_X_BAR = 1
const REGISTER_BAR = 4
const REGISTER_LENGTH = 0x4000
const COMMON = 0x0000
const ISR = 0x1000
const DEVICE = 0x2000
const NOTIFY = 0x3000
const PAGE = 0x1000
const COMMON_LENGTH = 60
const NOTIFY_OFF_MULTIPLIER = 4

/** "Virtio Structure PCI Capabilities": cfg_type. */
const VIRTIO_PCI_CAP = { COMMON_CFG: 1, NOTIFY_CFG: 2, ISR_CFG: 3, DEVICE_CFG: 4, PCI_CFG: 5 } as const
const VIRTIO_MSI_NO_VECTOR = 0xffff

const ISR_QUEUE = 1
const ISR_CONFIG = 2

interface Field {
  readonly size: AccessSize
  readonly read: () => number
  readonly write?: (value: number) => void
}

/** A virtio device in a PCI slot. */
export class VirtioPci implements PciDevice<VirtioPciState>, MmioDevice {
  readonly function: PciFunction
  readonly core: VirtioCore
  readonly #msiX: MsiX
  readonly #common: ReadonlyMap<number, Field>
  readonly #queueVectors: Uint16Array
  readonly #accessCapability: number
  #deviceFeatureSelect = 0
  #driverFeatureSelect = 0
  #queueSelect = 0
  #isr = 0
  #configVector = VIRTIO_MSI_NO_VECTOR

  constructor(options: { device: VirtioDevice; ram: GuestRam } & VirtioOptions) {
    const { device, ram } = options
    const queues = device.queueSizes.length
    this.#msiX = new MsiX(Math.min(queues + 1, MSI_X_LIMIT))
    this.#queueVectors = new Uint16Array(queues).fill(VIRTIO_MSI_NO_VECTOR)
    this.function = new PciFunction({
      vendorId: VENDOR_ID,
      deviceId: FIRST_DEVICE_ID + device.deviceId,
      revision: 1,
      classCode: device.pciClass,
      subsystemVendorId: VENDOR_ID,
      subsystemId: FIRST_DEVICE_ID + device.deviceId,
      interrupt: true,
      bars: [
        { index: MSI_X_BAR, kind: 'memory', length: MSI_X_LENGTH, device: this.#msiX },
        { index: REGISTER_BAR, kind: 'memory', length: REGISTER_LENGTH, device: this },
      ],
    })
    this.#msiX.addTo(this.function, MSI_X_BAR)
    this.#accessCapability = this.#addCapabilities(queues, device.config.length)
    this.function.onChange = () => {
      this.#msiX.flush()
      this.#updateLine()
    }
    const pins = {
      ram,
      onUsed: (queue: number) => this.#interrupt(ISR_QUEUE, this.#queueVectors[queue]),
      onConfigChange: () => this.#interrupt(ISR_CONFIG, this.#configVector),
    }
    this.core = new VirtioCore(device, pins, options)
    this.#common = this.#makeCommon()
  }

  #addCapabilities(queues: number, configLength: number): number {
    const add = (type: number, offset: number, length: number, extra: readonly number[] = []) =>
      this.function.addCapability({ id: CAPABILITY.VENDOR, body: structure(type, offset, length, extra) })
    add(VIRTIO_PCI_CAP.COMMON_CFG, COMMON, COMMON_LENGTH)
    add(VIRTIO_PCI_CAP.ISR_CFG, ISR, 1)
    if (configLength > 0) add(VIRTIO_PCI_CAP.DEVICE_CFG, DEVICE, configLength)
    add(VIRTIO_PCI_CAP.NOTIFY_CFG, NOTIFY, queues * NOTIFY_OFF_MULTIPLIER, [NOTIFY_OFF_MULTIPLIER, 0, 0, 0])
    const body = structure(VIRTIO_PCI_CAP.PCI_CFG, 0, 0, [0, 0, 0, 0])
    const mask = new Uint8Array(body.length).fill(0xff, 6)
    mask[2] = 0xff // cap.bar
    return this.function.addCapability({
      id: CAPABILITY.VENDOR,
      body,
      mask,
      beforeRead: (offset, size) => this.#access(offset, size, false),
      afterWrite: (offset, size) => this.#access(offset, size, true),
    })
  }

  /** "PCI configuration access capability": pci_cfg_data is a window into the BARs. */
  #access(offset: number, size: number, isWrite: boolean): void {
    const DATA = 16
    if (offset + size <= DATA || offset >= DATA + 4) return
    const { config } = this.function
    const at = this.#accessCapability
    const where = config.getUint32(at + 8, true)
    const length = config.getUint32(at + 12, true)
    if (config.getUint8(at + 4) !== REGISTER_BAR || where % length !== 0) return
    if (length !== 1 && length !== 2 && length !== 4) return
    if (where + length > REGISTER_LENGTH) return
    const data = config.getUint32(at + DATA, true)
    if (isWrite) this.mmioWrite(where, length, length === 4 ? data : data & ((1 << (8 * length)) - 1))
    else config.setUint32(at + DATA, this.mmioRead(where, length), true)
  }

  /** "ISR status capability": with MSI-X the bit for queues stays as it is, that for the configuration is set. */
  #interrupt(cause: number, vector: number): void {
    if (!this.#msiX.enabled || cause === ISR_CONFIG) this.#isr |= cause
    if (this.#msiX.enabled) this.#msiX.trigger(vector)
    this.#updateLine()
  }

  #updateLine(): void {
    this.function.setInterrupt(this.#isr !== 0 && !this.#msiX.enabled)
  }

  get #queue(): QueueRegisters | undefined {
    return this.core.queues[this.#queueSelect]
  }

  /** "Common configuration structure layout". */
  #makeCommon(): Map<number, Field> {
    const { core } = this
    const fields: [number, Field][] = [
      [
        0,
        {
          size: 4,
          read: () => this.#deviceFeatureSelect,
          write: (value) => (this.#deviceFeatureSelect = value),
        },
      ],
      [4, { size: 4, read: () => core.offered.word(this.#deviceFeatureSelect) }],
      [
        8,
        {
          size: 4,
          read: () => this.#driverFeatureSelect,
          write: (value) => (this.#driverFeatureSelect = value),
        },
      ],
      [
        12,
        {
          size: 4,
          read: () => core.driverFeatures.word(this.#driverFeatureSelect),
          write: (value) => core.setDriverFeatures(this.#driverFeatureSelect, value),
        },
      ],
      [
        16,
        {
          size: 2,
          read: () => this.#configVector,
          write: (value) => (this.#configVector = this.#vector(value)),
        },
      ],
      [18, { size: 2, read: () => core.queues.length }],
      [20, { size: 1, read: () => core.status, write: (value) => this.#setStatus(value) }],
      [21, { size: 1, read: () => core.configGeneration & 0xff }],
      [22, { size: 2, read: () => this.#queueSelect, write: (value) => (this.#queueSelect = value) }],
      [24, { size: 2, read: () => this.#queue?.size ?? 0, write: (value) => this.#setSize(value) }],
      [
        26,
        {
          size: 2,
          read: () => this.#queueVectors[this.#queueSelect] ?? VIRTIO_MSI_NO_VECTOR,
          write: (value) => this.#setQueueVector(value),
        },
      ],
      [
        28,
        {
          size: 2,
          read: () => Number(this.#queue?.enabled ?? false),
          write: (value) => value === 1 && core.enableQueue(this.#queueSelect),
        },
      ],
      [30, { size: 2, read: () => this.#queueSelect }],
      [56, { size: 2, read: () => this.#queueSelect }],
      [
        58,
        {
          size: 2,
          read: () => Number(this.#queue?.resetting ?? false),
          write: (value) => value === 1 && core.resetQueue(this.#queueSelect),
        },
      ],
    ]
    for (const area of Object.values(AREA)) {
      for (const half of [0, 1]) {
        const word = 2 * area + half
        const read = () => this.#queue?.addresses[word] ?? 0
        const write = (value: number) => {
          if (this.#queue && !this.#queue.enabled) this.#queue.addresses[word] = value
        }
        fields.push([32 + 4 * word, { size: 4, read, write }])
      }
    }
    return new Map(fields)
  }

  /** A vector that the table does not have is none, and the driver sees that. */
  #vector(value: number): number {
    return value < this.#msiX.vectors ? value : VIRTIO_MSI_NO_VECTOR
  }

  #setQueueVector(value: number): void {
    if (this.#queueSelect < this.#queueVectors.length)
      this.#queueVectors[this.#queueSelect] = this.#vector(value)
  }

  #setSize(value: number): void {
    if (this.#queue && !this.#queue.enabled) this.#queue.size = value
  }

  #setStatus(value: number): void {
    this.core.status = value
    if (value !== 0) return
    this.#isr = 0
    this.#configVector = VIRTIO_MSI_NO_VECTOR
    this.#queueVectors.fill(VIRTIO_MSI_NO_VECTOR)
    this.#updateLine()
  }

  mmioRead(offset: number, size: AccessSize): number {
    const at = offset % PAGE
    switch (offset - at) {
      case COMMON:
        return this.#readCommon(at, size)
      case ISR:
        return at === 0 ? this.#takeIsr() : 0
      case DEVICE:
        return this.core.readConfig(at, size)
      default:
        return 0
    }
  }

  /** "ISR status capability": reading clears it. */
  #takeIsr(): number {
    const isr = this.#isr
    this.#isr = 0
    this.#updateLine()
    return isr
  }

  /** A field is read by accesses of its width, or by narrower ones within it. */
  #readCommon(at: number, size: number): number {
    for (let first = at; first > at - 4; first--) {
      const field = this.#common.get(first)
      if (!field) continue
      if (at + size > first + field.size) return 0
      const value = field.read() >>> (8 * (at - first))
      return size === 4 ? value >>> 0 : value & ((1 << (8 * size)) - 1)
    }
    return 0
  }

  mmioWrite(offset: number, size: AccessSize, value: number): void {
    const at = offset % PAGE
    switch (offset - at) {
      case COMMON: {
        const field = this.#common.get(at)
        if (field?.size === size) field.write?.(value >>> 0)
        return
      }
      case DEVICE:
        this.core.writeConfig(at, size, value)
        return
      case NOTIFY:
        this.core.notify(Math.floor(at / NOTIFY_OFF_MULTIPLIER))
    }
  }

  save(): VirtioPciState {
    return {
      version: 1,
      function: this.function.save(),
      msiX: this.#msiX.save(),
      deviceFeatureSelect: this.#deviceFeatureSelect,
      driverFeatureSelect: this.#driverFeatureSelect,
      queueSelect: this.#queueSelect,
      isr: this.#isr,
      configVector: this.#configVector,
      queueVectors: [...this.#queueVectors],
      core: this.core.save(),
    }
  }

  restore(state: VirtioPciState): void {
    expectVersion('virtio-pci', state, 1)
    this.#deviceFeatureSelect = state.deviceFeatureSelect >>> 0
    this.#driverFeatureSelect = state.driverFeatureSelect >>> 0
    this.#queueSelect = state.queueSelect & 0xffff
    this.#isr = state.isr & (ISR_QUEUE | ISR_CONFIG)
    this.#configVector = this.#vector(state.configVector)
    this.#queueVectors.set(state.queueVectors.slice(0, this.#queueVectors.length).map((v) => this.#vector(v)))
    this.#msiX.restore(state.msiX)
    this.function.restore(state.function)
    this.core.restore(state.core)
  }
}

/** struct virtio_pci_cap behind its first two bytes. */
function structure(type: number, offset: number, length: number, extra: readonly number[]): Uint8Array {
  const body = new Uint8Array(14 + extra.length)
  const view = new DataView(body.buffer)
  view.setUint8(0, 16 + extra.length)
  view.setUint8(1, type)
  view.setUint8(2, REGISTER_BAR)
  view.setUint32(6, offset, true)
  view.setUint32(10, length, true)
  body.set(extra, 14)
  return body
}
