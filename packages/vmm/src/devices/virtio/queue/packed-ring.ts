// VIRTIO 1.2, "Packed Virtqueues".
//
// One ring of descriptors that driver and device both write. Each of them goes around with a wrap counter that is 1 in
// its first round and changes with each; by two flags of a descriptor, compared with the counter, one knows whose it is.
// A position here runs through two rounds: from 0 to below `size` the wrap counter is 1, from there to below twice the
// size it is 0. So index and counter are one number, and distances are differences.

import type { GuestRam } from '../../../memory/guest-memory.ts'
import type { Ring, RingFeatures, RingLayout, RingPosition, TakenChain } from './ring.ts'
import {
  addressAt,
  DESCRIPTOR_SIZE,
  indirectTable,
  RingFault,
  SegmentList,
  tableAt,
  VIRTQ_DESC_F_INDIRECT,
  VIRTQ_DESC_F_NEXT,
  VIRTQ_DESC_F_WRITE,
} from './segments.ts'

const VIRTQ_DESC_F_AVAIL = 1 << 7
const VIRTQ_DESC_F_USED = 1 << 15
const SIZE_LIMIT = 0x8000

/** "Event Suppression Structure Format": offset and wrap counter, then flags. */
const EVENT_SIZE = 4
const RING_EVENT_FLAGS_ENABLE = 0
const RING_EVENT_FLAGS_DISABLE = 1
const RING_EVENT_FLAGS_DESC = 2

export function makePackedRing(ram: GuestRam, layout: RingLayout, features: RingFeatures): Ring | RingFault {
  const { size } = layout
  if (size < 1 || size > SIZE_LIMIT) return new RingFault('a queue has no such size')
  const descriptors = tableAt(ram, layout.descriptors, size * DESCRIPTOR_SIZE, 16)
  const driver = tableAt(ram, layout.driver, EVENT_SIZE, 4)
  const device = tableAt(ram, layout.device, EVENT_SIZE, 4)
  if (!descriptors || !driver || !device) return new RingFault('a queue is not in RAM, or not aligned')
  return new PackedRing(ram, layout, features, { descriptors, driver, device })
}

interface Areas {
  readonly descriptors: DataView
  readonly driver: DataView
  readonly device: DataView
}

class PackedRing implements Ring {
  readonly position: RingPosition = { next: 0, used: 0, untold: 0 }
  readonly #ram: GuestRam
  readonly #layout: RingLayout
  readonly #features: RingFeatures
  readonly #areas: Areas

  constructor(ram: GuestRam, layout: RingLayout, features: RingFeatures, areas: Areas) {
    this.#ram = ram
    this.#layout = layout
    this.#features = features
    this.#areas = areas
  }

  #advance(position: number, slots: number): number {
    const cycle = 2 * this.#layout.size
    return (position + slots + cycle) % cycle
  }

  get hasNext(): boolean {
    const { next } = this.position
    const { size } = this.#layout
    const flags = this.#areas.descriptors.getUint16((next % size) * DESCRIPTOR_SIZE + 14, true)
    const wrap = next < size
    return ((flags & VIRTQ_DESC_F_AVAIL) !== 0) === wrap && ((flags & VIRTQ_DESC_F_USED) !== 0) !== wrap
  }

  take(): TakenChain | RingFault | undefined {
    if (!this.hasNext) return undefined
    const list = new SegmentList(this.#ram)
    const { descriptors } = this.#areas
    const { size } = this.#layout
    for (let slots = 1; slots <= size; slots++) {
      const at = ((this.position.next + slots - 1) % size) * DESCRIPTOR_SIZE
      const flags = descriptors.getUint16(at + 14, true)
      const fault = this.#add(at, flags, slots, list)
      if (fault) return fault
      if (flags & VIRTQ_DESC_F_NEXT) continue
      this.position.next = this.#advance(this.position.next, slots)
      const id = descriptors.getUint16(at + 12, true)
      return { id, slots, readable: list.readable, writable: list.writable }
    }
    return new RingFault('a chain is longer than its ring')
  }

  #add(at: number, flags: number, slots: number, list: SegmentList): RingFault | undefined {
    const { descriptors } = this.#areas
    const gpa = addressAt(descriptors, at)
    const length = descriptors.getUint32(at + 8, true)
    if (!(flags & VIRTQ_DESC_F_INDIRECT)) return list.add(gpa, length, (flags & VIRTQ_DESC_F_WRITE) !== 0)
    if (!this.#features.indirect) return new RingFault('an indirect table was not negotiated')
    if (slots > 1 || flags & VIRTQ_DESC_F_NEXT) return new RingFault('an indirect table is part of a chain')
    return this.#addIndirect(gpa, length, list)
  }

  /** "Indirect Flag: Scatter-Gather Support": all entries in order; flags other than WRITE "are ignored by the device". */
  #addIndirect(gpa: number, length: number, list: SegmentList): RingFault | undefined {
    const table = indirectTable(this.#ram, gpa, length)
    if (table instanceof RingFault) return table
    for (let at = 0; at < length; at += DESCRIPTOR_SIZE) {
      const isWritable = (table.getUint16(at + 14, true) & VIRTQ_DESC_F_WRITE) !== 0
      const fault = list.add(addressAt(table, at), table.getUint32(at + 8, true), isWritable)
      if (fault) return fault
    }
    return undefined
  }

  untake(slots: number): void {
    this.position.next = this.#advance(this.position.next, -slots)
  }

  giveBack(id: number, slots: number, written: number): void {
    const { descriptors } = this.#areas
    const { size } = this.#layout
    const { used } = this.position
    const at = (used % size) * DESCRIPTOR_SIZE
    const owner = used < size ? VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED : 0
    descriptors.setUint32(at + 8, written, true)
    descriptors.setUint16(at + 12, id, true)
    descriptors.setUint16(at + 14, owner | (written > 0 ? VIRTQ_DESC_F_WRITE : 0), true)
    this.#ram.written(this.#layout.descriptors + at + 8, 8)
    this.position.used = this.#advance(used, slots)
    this.position.untold += slots
  }

  // "Driver and Device Event Suppression": the device's structure says at which descriptor it wants to be notified.
  wantKicks(wanted: boolean): void {
    const { size, device } = this.#layout
    const { next } = this.position
    const byDescriptor = wanted && this.#features.eventIndex
    if (byDescriptor) this.#areas.device.setUint16(0, (next % size) | (next < size ? 0x8000 : 0), true)
    const plain = wanted ? RING_EVENT_FLAGS_ENABLE : RING_EVENT_FLAGS_DISABLE
    this.#areas.device.setUint16(2, byDescriptor ? RING_EVENT_FLAGS_DESC : plain, true)
    this.#ram.written(device, EVENT_SIZE)
  }

  driverWantsInterrupt(): boolean {
    const { used, untold } = this.position
    if (untold === 0) return false
    this.position.untold = 0
    const flags = this.#areas.driver.getUint16(2, true) & 3
    if (flags !== RING_EVENT_FLAGS_DESC || !this.#features.eventIndex)
      return flags !== RING_EVENT_FLAGS_DISABLE
    const { size } = this.#layout
    const event = this.#areas.driver.getUint16(0, true)
    const position = (event & 0x7fff) + (event & 0x8000 ? 0 : size)
    const cycle = 2 * size
    return untold >= cycle || (position - used + untold + 2 * cycle) % cycle < untold
  }
}
