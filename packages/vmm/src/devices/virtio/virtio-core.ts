// VIRTIO 1.2, "Basic Facilities of a Virtio Device": what is the same for all transports: status, features, the life of
// queues, configuration changes. A transport translates its registers to calls of this.

import type { GuestRam } from '../../memory/guest-memory.ts'
import { expectVersion, type Saveable } from '../../snapshot/version.ts'
import {
  Features,
  RING_FEATURES,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from './features.ts'
import { RingFault } from './queue/segments.ts'
import { Virtqueue } from './queue/virtqueue.ts'
import type { VirtioCoreState } from './virtio-core.state.ts'
import type { DriverLink, VirtioDevice } from './virtio-device.ts'

/** "Device Status Field". */
export const STATUS = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  DEVICE_NEEDS_RESET: 64,
  FAILED: 128,
} as const

/** Areas of a queue, in the order of their registers. */
export const AREA = { descriptors: 0, driver: 1, device: 2 } as const

/** What whoever builds a machine may say of a virtio device. */
export interface VirtioOptions {
  /** The driver broke the rules, and how: for the log. */
  readonly onFault?: (reason: string) => void
  /** `false` offers split rings alone: for drivers that offer packed ones and get them wrong. */
  readonly packed?: boolean
}

export interface CorePins {
  readonly ram: GuestRam
  /** "Used Buffer Notification". */
  onUsed(queue: number): void
  /** "Configuration Change Notification". */
  onConfigChange(): void
}

/** What a driver says of a queue. */
export class QueueRegisters {
  readonly maximum: number
  size: number
  enabled = false
  resetting = false
  readonly addresses: Uint32Array<ArrayBuffer> = new Uint32Array(6)
  ring: Virtqueue | undefined

  constructor(maximum: number) {
    this.maximum = maximum
    this.size = maximum
  }

  gpa(area: number): number {
    return this.addresses[2 * area] + this.addresses[2 * area + 1] * 2 ** 32
  }

  clear(): void {
    this.ring?.close()
    this.ring = undefined
    this.size = this.maximum
    this.enabled = false
    this.resetting = false
    this.addresses.fill(0)
  }
}

export class VirtioCore implements DriverLink, Saveable<VirtioCoreState> {
  readonly device: VirtioDevice
  readonly ram: GuestRam
  readonly offered: Features
  readonly driverFeatures: Features = new Features()
  readonly queues: readonly QueueRegisters[]
  readonly #pins: CorePins
  readonly #onFault: (reason: string) => void
  #status = 0
  #configGeneration = 0
  /** Since it changed. */
  #configWasRead = true
  #isResetting = false

  constructor(device: VirtioDevice, pins: CorePins, { onFault, packed = true }: VirtioOptions = {}) {
    this.device = device
    this.ram = pins.ram
    this.#pins = pins
    this.#onFault = onFault ?? (() => {})
    const ringFeatures = RING_FEATURES.filter((bit) => packed || bit !== VIRTIO_F_RING_PACKED)
    this.offered = Features.of([...device.features, ...ringFeatures])
    this.queues = device.queueSizes.map((size) => new QueueRegisters(size))
    device.attach(this)
  }

  // DriverLink

  get isReady(): boolean {
    return (this.#status & STATUS.DRIVER_OK) !== 0 && !this.#isBroken
  }

  get #isBroken(): boolean {
    return this.#isResetting || (this.#status & STATUS.DEVICE_NEEDS_RESET) !== 0
  }

  get #featuresAgreed(): boolean {
    return (this.#status & STATUS.FEATURES_OK) !== 0
  }

  queue(index: number): Virtqueue | undefined {
    return this.isReady ? this.queues[index]?.ring : undefined
  }

  has(feature: number): boolean {
    return this.#featuresAgreed && this.driverFeatures.has(feature)
  }

  configChanged(): void {
    this.#configWasRead = false
    if (this.isReady) this.#pins.onConfigChange()
  }

  needsReset(reason: string): void {
    if (this.#isBroken) return
    const wasReady = this.isReady
    this.#status |= STATUS.DEVICE_NEEDS_RESET
    for (const { ring } of this.queues) ring?.close()
    this.#onFault(reason)
    if (wasReady) this.#pins.onConfigChange()
  }

  // For transports

  /**
   * Changes when the driver reads what has changed, and not with each change: then 256 of them would go unnoticed by PCI
   * drivers, who see 8 bits.
   */
  get configGeneration(): number {
    return this.#configGeneration
  }

  get #nextGeneration(): number {
    return (this.#configGeneration + 1) >>> 0
  }

  get status(): number {
    return this.#status
  }

  /** Bits are set by 1; only zero, which resets the device, clears any. */
  set status(value: number) {
    if (value === 0) this.reset()
    else if (!this.#isResetting) this.#setStatus(value & ~STATUS.DEVICE_NEEDS_RESET & ~this.#status & 0xff)
  }

  #setStatus(added: number): void {
    if (added & STATUS.FEATURES_OK && !this.#acceptsFeatures) added &= ~STATUS.FEATURES_OK
    if (!((this.#status | added) & STATUS.FEATURES_OK)) added &= ~STATUS.DRIVER_OK
    this.#status |= added
    if (added & STATUS.DRIVER_OK && this.isReady) this.device.start()
  }

  get #acceptsFeatures(): boolean {
    return this.driverFeatures.has(VIRTIO_F_VERSION_1) && this.driverFeatures.isSubsetOf(this.offered)
  }

  /** Features are the driver's to choose until it said FEATURES_OK. */
  setDriverFeatures(select: number, value: number): void {
    if (!this.#featuresAgreed) this.driverFeatures.setWord(select, value)
  }

  /** Ends when the device has let go of guest memory; until then the status stays. */
  reset(): void {
    if (this.#isResetting) return
    for (const queue of this.queues) queue.ring?.close()
    const pending = this.device.reset()
    if (!pending) {
      this.#cleared()
      return
    }
    this.#isResetting = true
    const done = () => this.#cleared()
    pending.then(done, done)
  }

  #cleared(): void {
    this.#isResetting = false
    this.#status = 0
    this.driverFeatures.clear()
    for (const queue of this.queues) queue.clear()
  }

  /** The driver enables a queue with the size and places that it wrote. */
  enableQueue(index: number): void {
    const queue = this.queues[index]
    if (!queue || queue.enabled || queue.resetting || !this.#featuresAgreed || this.#isBroken) return
    queue.enabled = true
    this.#open(index)
    if (this.isReady) this.device.notified(index)
  }

  #open(index: number): void {
    const queue = this.queues[index]
    if (queue.size > queue.maximum) {
      this.needsReset('a queue is larger than it may be')
      return
    }
    const ring = Virtqueue.open(
      {
        size: queue.size,
        descriptors: queue.gpa(AREA.descriptors),
        driver: queue.gpa(AREA.driver),
        device: queue.gpa(AREA.device),
      },
      {
        packed: this.has(VIRTIO_F_RING_PACKED),
        indirect: this.has(VIRTIO_F_INDIRECT_DESC),
        eventIndex: this.has(VIRTIO_F_EVENT_IDX),
      },
      {
        ram: this.ram,
        onUsed: () => this.isReady && this.#pins.onUsed(index),
        onFault: (reason) => this.needsReset(reason),
      },
    )
    if (ring instanceof RingFault) this.needsReset(ring.reason)
    else queue.ring = ring
  }

  /** "Virtqueue Reset": the queue is as if it had never been enabled. */
  resetQueue(index: number): void {
    const queue = this.queues[index]
    if (!queue?.enabled || queue.resetting) return
    queue.ring?.close()
    queue.ring = undefined
    const pending = this.device.resetQueue?.(index)
    if (!pending) {
      queue.clear()
      return
    }
    queue.resetting = true
    const done = () => {
      if (queue.resetting) queue.clear()
    }
    pending.then(done, done)
  }

  notify(index: number): void {
    if (this.queue(index)) this.device.notified(index)
  }

  /** Bytes beyond the device's configuration are zero. */
  readConfig(offset: number, size: number): number {
    if (!this.#configWasRead) this.#configGeneration = this.#nextGeneration
    this.#configWasRead = true
    const { config } = this.device
    let value = 0
    for (let i = 0; i < size; i++) value |= (config[offset + i] ?? 0) << (8 * i)
    return value >>> 0
  }

  writeConfig(offset: number, size: number, value: number): void {
    if (offset + size > this.device.config.length) return
    const bytes = Uint8Array.from({ length: size }, (_, i) => value >>> (8 * i))
    this.device.writeConfig?.(offset, bytes)
  }

  save(): VirtioCoreState {
    return {
      version: 1,
      status: this.#isResetting ? 0 : this.#status,
      driverFeatures: [...this.driverFeatures.words],
      configGeneration: this.#configWasRead ? this.#configGeneration : this.#nextGeneration,
      queues: this.queues.map(({ size, enabled, addresses, ring }) => ({
        size,
        enabled,
        addresses: [...addresses],
        ring: ring?.isOpen ? ring.save() : null,
      })),
      device: this.device.save(),
    }
  }

  /** Of a core that is as new. */
  restore(state: VirtioCoreState): void {
    expectVersion('virtio', state, 1)
    this.#status = state.status & 0xff
    this.#configGeneration = state.configGeneration >>> 0
    this.driverFeatures.words.set(state.driverFeatures.slice(0, 2))
    this.device.restore(state.device)
    this.queues.forEach((queue, index) => {
      const saved = state.queues[index]
      if (!saved) return
      queue.size = saved.size
      queue.enabled = saved.enabled
      queue.addresses.set(saved.addresses.slice(0, 6))
      if (!saved.ring) return
      this.#open(index)
      queue.ring?.restore(saved.ring)
    })
    if (this.isReady) this.device.start()
  }
}
