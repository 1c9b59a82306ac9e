// The driver's side of a virtqueue, for tests: it makes chains available, looks at what was used, and keeps the rules.
// Buffers are at places that it never uses again, so a test can look at them later.

import type { GuestRam } from '../../../memory/guest-memory.ts'
import type { RingLayout } from '../queue/ring.ts'
import {
  DESCRIPTOR_SIZE,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from '../queue/segments.ts'

export interface Descriptor {
  readonly gpa: number
  readonly length: number
  readonly flags: number
}

export interface UsedChain {
  readonly id: number
  /** What the device said that it wrote, and the writable bytes up to there. */
  readonly written: number
  readonly bytes: Uint8Array
}

export interface FakeDriverOptions {
  readonly ram: GuestRam
  readonly size: number
  readonly packed?: boolean
  readonly eventIndex?: boolean
  /** Where its rings and buffers begin. */
  readonly base?: number
}

interface Outstanding {
  readonly slots: number[]
  readonly writable: readonly Descriptor[]
}

export abstract class FakeDriver {
  readonly layout: RingLayout
  protected readonly ram: GuestRam
  protected readonly size: number
  protected readonly eventIndex: boolean
  protected readonly outstanding = new Map<number, Outstanding>()
  #next: number

  constructor({ ram, size, eventIndex = false, base = 0x1_0000 }: FakeDriverOptions) {
    this.ram = ram
    this.size = size
    this.eventIndex = eventIndex
    this.#next = base
    const descriptors = this.allocate(size * DESCRIPTOR_SIZE, 16)
    const driver = this.allocate(6 + 2 * size, 4)
    const device = this.allocate(6 + 8 * size, 4)
    this.layout = { size, descriptors, driver, device }
    ram.fill(descriptors, this.#next - descriptors)
  }

  static make(options: FakeDriverOptions): FakeDriver {
    return options.packed ? new FakePackedDriver(options) : new FakeSplitDriver(options)
  }

  allocate(length: number, alignment = 1): number {
    const gpa = Math.ceil(this.#next / alignment) * alignment
    this.#next = gpa + length
    return gpa
  }

  protected put(table: number, index: number, { gpa, length, flags }: Descriptor): number {
    const at = table + index * DESCRIPTOR_SIZE
    this.ram.writeU64(at, BigInt(gpa))
    this.ram.writeU32(at + 8, length)
    this.ram.writeU16(at + 12, flags)
    return at
  }

  /** Makes a chain available: contents that the device reads, and lengths that it may write. Returns its ID. */
  add(readable: readonly Uint8Array[], writable: readonly number[] = [], indirect = false): number {
    const parts = readable.map((bytes): Descriptor => {
      const gpa = this.allocate(bytes.length)
      this.ram.write(gpa, bytes)
      return { gpa, length: bytes.length, flags: 0 }
    })
    for (const length of writable)
      parts.push({ gpa: this.allocate(length), length, flags: VIRTQ_DESC_F_WRITE })
    return this.addDescriptors(indirect ? [this.#intoTable(parts)] : parts, parts)
  }

  #intoTable(parts: readonly Descriptor[]): Descriptor {
    const length = parts.length * DESCRIPTOR_SIZE
    const gpa = this.allocate(length, 16)
    parts.forEach((part, i) => {
      this.putIndirect(gpa, i, part, i === parts.length - 1)
    })
    return { gpa, length, flags: VIRTQ_DESC_F_INDIRECT }
  }

  /** Collects the next chain that the device used. */
  used(): UsedChain | undefined {
    const next = this.takeUsed()
    if (!next) return undefined
    const { writable } = this.outstanding.get(next.id)!
    this.outstanding.delete(next.id)
    const bytes = new Uint8Array(next.written)
    let at = 0
    for (const { gpa, length } of writable) {
      const count = Math.min(length, next.written - at)
      bytes.set(this.ram.read(gpa, count), at)
      at += count
    }
    return { ...next, bytes }
  }

  usedAll(): UsedChain[] {
    const all: UsedChain[] = []
    for (let used = this.used(); used; used = this.used()) all.push(used)
    return all
  }

  /** The descriptors as they are; `parts` are those behind an indirect one. */
  abstract addDescriptors(chain: readonly Descriptor[], parts?: readonly Descriptor[]): number
  protected abstract putIndirect(table: number, index: number, part: Descriptor, isLast: boolean): void
  protected abstract takeUsed(): { id: number; written: number } | undefined
  /** Whether the device wants to be notified of what was added since this was asked last. */
  abstract kickWanted(): boolean
  /** Wants interrupts, or none; with event indices: for the entry that is `after` behind the next one. */
  abstract wantInterrupts(wanted: boolean, after?: number): void
}

class FakeSplitDriver extends FakeDriver {
  #free: number[]
  #available = 0
  #told = 0
  #seen = 0

  constructor(options: FakeDriverOptions) {
    super(options)
    this.#free = Array.from({ length: this.size }, (_, i) => this.size - 1 - i)
  }

  protected override putIndirect(table: number, index: number, part: Descriptor, isLast: boolean): void {
    const at = this.put(table, index, {
      ...part,
      flags: part.flags | (isLast ? 0 : VIRTQ_DESC_F_NEXT),
    })
    this.ram.writeU16(at + 14, index + 1)
  }

  override addDescriptors(chain: readonly Descriptor[], parts: readonly Descriptor[] = chain): number {
    if (this.#free.length < chain.length) throw new Error('the fake driver has no free descriptors')
    const slots = chain.map(() => this.#free.pop()!)
    chain.forEach((part, i) => {
      const next = slots[i + 1]
      const flags = part.flags | (next === undefined ? 0 : VIRTQ_DESC_F_NEXT)
      const at = this.put(this.layout.descriptors, slots[i], { ...part, flags })
      this.ram.writeU16(at + 14, next ?? 0)
    })
    this.outstanding.set(slots[0], { slots, writable: parts.filter(isWritable) })
    this.ram.writeU16(this.layout.driver + 4 + 2 * (this.#available % this.size), slots[0])
    this.#available = (this.#available + 1) & 0xffff
    this.ram.writeU16(this.layout.driver + 2, this.#available)
    return slots[0]
  }

  protected override takeUsed(): { id: number; written: number } | undefined {
    const { device } = this.layout
    if (this.ram.readU16(device + 2) === this.#seen) return undefined
    const at = device + 4 + 8 * (this.#seen % this.size)
    this.#seen = (this.#seen + 1) & 0xffff
    const id = this.ram.readU32(at)
    this.#free.push(...this.outstanding.get(id)!.slots)
    return { id, written: this.ram.readU32(at + 4) }
  }

  override kickWanted(): boolean {
    const old = this.#told
    this.#told = this.#available
    const { device } = this.layout
    if (!this.eventIndex) return this.#available !== old && !(this.ram.readU16(device) & 1)
    const event = this.ram.readU16(device + 4 + 8 * this.size)
    return ((this.#available - event - 1) & 0xffff) < ((this.#available - old) & 0xffff)
  }

  override wantInterrupts(wanted: boolean, after = 0): void {
    const { driver } = this.layout
    this.ram.writeU16(driver, wanted ? 0 : 1)
    const event = (this.#seen + (wanted ? after : -1)) & 0xffff
    this.ram.writeU16(driver + 4 + 2 * this.size, event)
  }
}

class FakePackedDriver extends FakeDriver {
  /** Positions in two rounds of the ring, the wrap counter being 1 in the first. */
  #available = 0
  #told = 0
  #seen = 0
  #id = 0
  #room: number

  constructor(options: FakeDriverOptions) {
    super(options)
    this.#room = this.size
  }

  protected override putIndirect(table: number, index: number, part: Descriptor): void {
    const at = this.put(table, index, { ...part, flags: 0 })
    this.ram.writeU16(at + 14, part.flags)
  }

  override addDescriptors(chain: readonly Descriptor[], parts: readonly Descriptor[] = chain): number {
    if (this.#room < chain.length) throw new Error('the fake driver has no free descriptors')
    this.#room -= chain.length
    while (this.outstanding.has(this.#id)) this.#id = (this.#id + 1) % this.size
    const id = this.#id
    const writes = chain.map((part, i) => {
      const position = (this.#available + i) % (2 * this.size)
      const at = this.put(this.layout.descriptors, position % this.size, { ...part, flags: id })
      const next = i < chain.length - 1 ? VIRTQ_DESC_F_NEXT : 0
      const owner = position < this.size ? 1 << 7 : 1 << 15
      return () => this.ram.writeU16(at + 14, part.flags | next | owner)
    })
    for (const write of writes.reverse()) write()
    this.#available = (this.#available + chain.length) % (2 * this.size)
    this.outstanding.set(id, { slots: chain.map(() => 0), writable: parts.filter(isWritable) })
    this.#id = (id + 1) % this.size
    return id
  }

  protected override takeUsed(): { id: number; written: number } | undefined {
    const at = this.layout.descriptors + (this.#seen % this.size) * DESCRIPTOR_SIZE
    const flags = this.ram.readU16(at + 14)
    const wrap = this.#seen < this.size
    if (((flags >> 7) & 1) !== Number(wrap) || flags >> 15 !== Number(wrap)) return undefined
    const id = this.ram.readU16(at + 12)
    const slots = this.outstanding.get(id)!.slots.length
    this.#seen = (this.#seen + slots) % (2 * this.size)
    this.#room += slots
    return { id, written: flags & VIRTQ_DESC_F_WRITE ? this.ram.readU32(at + 8) : 0 }
  }

  override kickWanted(): boolean {
    const cycle = 2 * this.size
    const added = (this.#available - this.#told + cycle) % cycle
    const old = this.#told
    this.#told = this.#available
    const { device } = this.layout
    const flags = this.ram.readU16(device + 2)
    if (flags !== 2) return added > 0 && flags === 0
    const event = this.ram.readU16(device)
    const position = (event & 0x7fff) + (event & 0x8000 ? 0 : this.size)
    return (position - old + cycle) % cycle < added
  }

  override wantInterrupts(wanted: boolean, after = 0): void {
    const { driver } = this.layout
    const position = (this.#seen + after) % (2 * this.size)
    this.ram.writeU16(driver, (position % this.size) | (position < this.size ? 0x8000 : 0))
    this.ram.writeU16(driver + 2, wanted ? (this.eventIndex ? 2 : 0) : 1)
  }
}

function isWritable({ flags }: Descriptor): boolean {
  return (flags & VIRTQ_DESC_F_WRITE) !== 0
}
