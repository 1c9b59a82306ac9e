// VIRTIO 1.2, "Virtio Over MMIO", version 2.

import type { MmioDevice } from '../../../bus/mmio-bus.ts'
import type { InterruptLine } from '../../../interrupts/line.ts'
import type { GuestRam } from '../../../memory/guest-memory.ts'
import { expectVersion, type Saveable } from '../../../snapshot/version.ts'
import { AREA, type QueueRegisters, VirtioCore, type VirtioOptions } from '../virtio-core.ts'
import type { VirtioDevice } from '../virtio-device.ts'
import type { VirtioMmioState } from './virtio-mmio.state.ts'

/** "virt", little-endian. */
const MAGIC = 0x7472_6976
const VERSION = 2
/** "TVSR": any that is not another's. */
const VENDOR = 0x5253_5654

const USED_BUFFER = 1
const CONFIG_CHANGE = 2

const CONFIG = 0x100
/** Bytes of the registers and the largest configuration space. */
export const VIRTIO_MMIO_LENGTH = 0x200

interface Register {
  read?: () => number
  write?: (value: number) => void
}

/** A virtio device at an address, with one interrupt. */
export class VirtioMmio implements MmioDevice, Saveable<VirtioMmioState> {
  readonly core: VirtioCore
  readonly #irq: InterruptLine
  readonly #registers: ReadonlyMap<number, Register>
  #deviceFeaturesSel = 0
  #driverFeaturesSel = 0
  #queueSel = 0
  #interruptStatus = 0

  constructor(options: { device: VirtioDevice; ram: GuestRam; irq: InterruptLine } & VirtioOptions) {
    this.#irq = options.irq
    const pins = {
      ram: options.ram,
      onUsed: () => this.#interrupt(USED_BUFFER),
      onConfigChange: () => this.#interrupt(CONFIG_CHANGE),
    }
    this.core = new VirtioCore(options.device, pins, options)
    this.#registers = this.#makeRegisters()
  }

  #interrupt(cause: number): void {
    this.#interruptStatus |= cause
    this.#irq.set(true)
  }

  get #queue(): QueueRegisters | undefined {
    return this.core.queues[this.#queueSel]
  }

  /** "MMIO Device Register Layout". */
  #makeRegisters(): Map<number, Register> {
    const { core } = this
    const registers: [number, Register][] = [
      [0x000, { read: () => MAGIC }],
      [0x004, { read: () => VERSION }],
      [0x008, { read: () => core.device.deviceId }],
      [0x00c, { read: () => VENDOR }],
      [0x010, { read: () => core.offered.word(this.#deviceFeaturesSel) }],
      [0x014, { write: (value) => (this.#deviceFeaturesSel = value) }],
      [0x020, { write: (value) => core.setDriverFeatures(this.#driverFeaturesSel, value) }],
      [0x024, { write: (value) => (this.#driverFeaturesSel = value) }],
      [0x030, { write: (value) => (this.#queueSel = value) }],
      [0x034, { read: () => this.#queue?.maximum ?? 0 }],
      [0x038, { write: (value) => this.#setSize(value) }],
      [0x044, { read: () => Number(this.#queue?.enabled ?? false), write: (value) => this.#setReady(value) }],
      [0x050, { write: (value) => core.notify(value & 0xffff) }],
      [0x060, { read: () => this.#interruptStatus }],
      [0x064, { write: (value) => this.#acknowledge(value) }],
      [0x070, { read: () => core.status, write: (value) => this.#setStatus(value) }],
      [
        0x0c0,
        { read: () => Number(this.#queue?.resetting ?? false), write: (value) => this.#resetQueue(value) },
      ],
      [0x0fc, { read: () => core.configGeneration }],
      // No shared memory: a region that does not exist has all ones for its length.
      ...[0x0b0, 0x0b4, 0x0b8, 0x0bc].map((at): [number, Register] => [at, { read: () => 0xffff_ffff }]),
    ]
    for (const [at, word] of [
      [0x080, 2 * AREA.descriptors],
      [0x084, 2 * AREA.descriptors + 1],
      [0x090, 2 * AREA.driver],
      [0x094, 2 * AREA.driver + 1],
      [0x0a0, 2 * AREA.device],
      [0x0a4, 2 * AREA.device + 1],
    ]) {
      registers.push([at, { write: (value) => this.#setAddress(word, value) }])
    }
    return new Map(registers)
  }

  #setSize(value: number): void {
    if (this.#queue && !this.#queue.enabled) this.#queue.size = value
  }

  #setAddress(word: number, value: number): void {
    if (this.#queue && !this.#queue.enabled) this.#queue.addresses[word] = value
  }

  #setReady(value: number): void {
    if (value & 1) this.core.enableQueue(this.#queueSel)
    else this.core.resetQueue(this.#queueSel)
  }

  #resetQueue(value: number): void {
    if (value & 1) this.core.resetQueue(this.#queueSel)
  }

  #acknowledge(value: number): void {
    this.#interruptStatus &= ~value
    this.#irq.set(this.#interruptStatus !== 0)
  }

  #setStatus(value: number): void {
    this.core.status = value
    if (value === 0) this.#acknowledge(0xff)
  }

  mmioRead(offset: number, size: number): number {
    if (offset >= CONFIG) return this.core.readConfig(offset - CONFIG, size)
    return size === 4 ? (this.#registers.get(offset)?.read?.() ?? 0) >>> 0 : 0
  }

  mmioWrite(offset: number, size: number, value: number): void {
    if (offset >= CONFIG) this.core.writeConfig(offset - CONFIG, size, value)
    else if (size === 4) this.#registers.get(offset)?.write?.(value >>> 0)
  }

  save(): VirtioMmioState {
    return {
      version: 1,
      deviceFeaturesSel: this.#deviceFeaturesSel,
      driverFeaturesSel: this.#driverFeaturesSel,
      queueSel: this.#queueSel,
      interruptStatus: this.#interruptStatus,
      core: this.core.save(),
    }
  }

  restore(state: VirtioMmioState): void {
    expectVersion('virtio-mmio', state, 1)
    this.#deviceFeaturesSel = state.deviceFeaturesSel
    this.#driverFeaturesSel = state.driverFeaturesSel
    this.#queueSel = state.queueSel
    this.#interruptStatus = state.interruptStatus & 3
    this.#irq.set(this.#interruptStatus !== 0)
    this.core.restore(state.core)
  }
}
