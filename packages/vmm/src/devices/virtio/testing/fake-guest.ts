// A guest with one virtio device over MMIO, for the tests of devices: it negotiates, and has a driver for each queue.

import { allocateGuestMemory, GuestRam } from '../../../memory/guest-memory.ts'
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_VERSION_1,
} from '../features.ts'
import { VirtioMmio } from '../mmio/virtio-mmio.ts'
import type { VirtioDevice } from '../virtio-device.ts'
import { FakeDriver } from './fake-driver.ts'

const QUEUE_SIZE = 16
const QUEUE_SPACE = 0x4_0000

export interface FakeGuestOptions {
  /** The device's own features that the guest accepts; all by default. */
  readonly features?: readonly number[]
  readonly packed?: boolean
  readonly eventIndex?: boolean
  /** RAM of its own by default. */
  readonly ram?: GuestRam
}

export class FakeGuest {
  readonly ram: GuestRam
  readonly transport: VirtioMmio
  readonly faults: string[] = []
  queues: FakeDriver[] = []
  interrupted = false
  readonly #options: FakeGuestOptions

  constructor(device: VirtioDevice, options: FakeGuestOptions = {}) {
    this.#options = options
    this.ram = options.ram ?? new GuestRam(allocateGuestMemory(8 << 20))
    this.transport = new VirtioMmio({
      device,
      ram: this.ram,
      irq: { set: (asserted) => (this.interrupted = asserted) },
      onFault: (reason) => this.faults.push(reason),
    })
  }

  read(offset: number, size = 4): number {
    return this.transport.mmioRead(offset, size)
  }

  write(offset: number, value: number, size = 4): void {
    this.transport.mmioWrite(offset, size, value)
  }

  get status(): number {
    return this.read(0x70)
  }

  /** "Device Initialization" up to DRIVER_OK. */
  begin(): this {
    this.negotiate()
    const { packed = false, eventIndex = false } = this.#options
    this.queues = this.transport.core.queues.map((_, index) => {
      const base = 0x1_0000 + QUEUE_SPACE * index
      return FakeDriver.make({ ram: this.ram, size: QUEUE_SIZE, packed, eventIndex, base })
    })
    this.queues.forEach((queue, index) => {
      this.enable(index, queue)
    })
    this.write(0x70, 4)
    return this
  }

  negotiate(): void {
    const { device } = this.transport.core
    const { features = device.features, packed = false, eventIndex = false } = this.#options
    const bits = [...features, VIRTIO_F_VERSION_1, VIRTIO_F_INDIRECT_DESC]
    if (packed) bits.push(VIRTIO_F_RING_PACKED)
    if (eventIndex) bits.push(VIRTIO_F_EVENT_IDX)
    this.write(0x70, 0)
    this.write(0x70, 3)
    for (const select of [0, 1]) {
      this.write(0x24, select)
      this.write(
        0x20,
        bits.reduce((word, bit) => (bit >> 5 === select ? word | (1 << (bit & 31)) : word), 0) >>> 0,
      )
    }
    this.write(0x70, 8)
  }

  enable(index: number, { layout }: FakeDriver): void {
    this.write(0x30, index)
    this.write(0x38, layout.size)
    for (const [offset, gpa] of [
      [0x80, layout.descriptors],
      [0x90, layout.driver],
      [0xa0, layout.device],
    ]) {
      this.write(offset, gpa % 2 ** 32)
      this.write(offset + 4, Math.floor(gpa / 2 ** 32))
    }
    this.write(0x44, 1)
  }

  kick(index: number): void {
    this.write(0x50, index)
  }
}
