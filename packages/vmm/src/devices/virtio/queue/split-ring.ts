// VIRTIO 1.2, "Split Virtqueues".
//
//   descriptor table        available ring                    used ring
//   16 bytes each           flags, idx, ring[], used_event    flags, idx, ring[] {id, len}, avail_event
//
// The indices run free in 16 bits. All three areas are checked once, when the queue is enabled, and lie still in RAM
// after that; what the driver writes there is looked at once and never trusted.

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

const VIRTQ_AVAIL_F_NO_INTERRUPT = 1
const VIRTQ_USED_F_NO_NOTIFY = 1
/** Of both rings: flags and idx. */
const HEADER = 4
const USED_ELEMENT = 8
const SIZE_LIMIT = 0x8000

export function makeSplitRing(ram: GuestRam, layout: RingLayout, features: RingFeatures): Ring | RingFault {
  const { size } = layout
  if (size < 1 || size > SIZE_LIMIT || (size & (size - 1)) !== 0) {
    return new RingFault('a queue size is no power of 2')
  }
  const descriptors = tableAt(ram, layout.descriptors, size * DESCRIPTOR_SIZE, 16)
  const available = tableAt(ram, layout.driver, HEADER + 2 * size + 2, 2)
  const used = tableAt(ram, layout.device, HEADER + USED_ELEMENT * size + 2, 4)
  if (!descriptors || !available || !used) return new RingFault('a queue is not in RAM, or not aligned')
  return new SplitRing(ram, layout, features, { descriptors, available, used })
}

interface Areas {
  readonly descriptors: DataView
  readonly available: DataView
  readonly used: DataView
}

class SplitRing implements Ring {
  readonly position: RingPosition = { next: 0, used: 0, untold: 0 }
  readonly #ram: GuestRam
  readonly #size: number
  readonly #usedGpa: number
  readonly #features: RingFeatures
  readonly #areas: Areas

  constructor(ram: GuestRam, { size, device }: RingLayout, features: RingFeatures, areas: Areas) {
    this.#ram = ram
    this.#size = size
    this.#usedGpa = device
    this.#features = features
    this.#areas = areas
  }

  get #count(): number {
    return (this.#areas.available.getUint16(2, true) - this.position.next) & 0xffff
  }

  get hasNext(): boolean {
    return this.#count > 0
  }

  take(): TakenChain | RingFault | undefined {
    const count = this.#count
    if (count === 0) return undefined
    if (count > this.#size) return new RingFault('the available index jumped')
    const slot = this.position.next & (this.#size - 1)
    const head = this.#areas.available.getUint16(HEADER + 2 * slot, true)
    const list = new SegmentList(this.#ram)
    const fault = this.#walk(this.#areas.descriptors, this.#size, head, list, this.#features.indirect)
    if (fault) return fault
    this.position.next = (this.position.next + 1) & 0xffff
    return { id: head, slots: 1, readable: list.readable, writable: list.writable }
  }

  /** Follows a chain in the descriptor table, or in an indirect one, where no further tables may be. */
  #walk(
    table: DataView,
    count: number,
    first: number,
    list: SegmentList,
    mayBeIndirect: boolean,
  ): RingFault | undefined {
    let index = first
    for (let steps = 0; steps < count; steps++) {
      if (index >= count) return new RingFault('a descriptor index is beyond the table')
      const at = index * DESCRIPTOR_SIZE
      const gpa = addressAt(table, at)
      const length = table.getUint32(at + 8, true)
      const flags = table.getUint16(at + 12, true)
      if (flags & VIRTQ_DESC_F_INDIRECT) {
        if (!mayBeIndirect) return new RingFault('an indirect table is in one, or was not negotiated')
        if (flags & VIRTQ_DESC_F_NEXT) return new RingFault('a chain goes on behind its indirect table')
        const inner = indirectTable(this.#ram, gpa, length)
        return inner instanceof RingFault
          ? inner
          : this.#walk(inner, length / DESCRIPTOR_SIZE, 0, list, false)
      }
      const fault = list.add(gpa, length, (flags & VIRTQ_DESC_F_WRITE) !== 0)
      if (fault) return fault
      if (!(flags & VIRTQ_DESC_F_NEXT)) return undefined
      index = table.getUint16(at + 14, true)
    }
    return new RingFault('a chain loops')
  }

  untake(slots: number): void {
    this.position.next = (this.position.next - slots) & 0xffff
  }

  giveBack(id: number, _slots: number, written: number): void {
    const { used } = this.#areas
    const at = HEADER + USED_ELEMENT * (this.position.used & (this.#size - 1))
    used.setUint32(at, id, true)
    used.setUint32(at + 4, written, true)
    this.position.used = (this.position.used + 1) & 0xffff
    this.position.untold++
    used.setUint16(2, this.position.used, true)
    this.#ram.written(this.#usedGpa + at, USED_ELEMENT)
    this.#ram.written(this.#usedGpa, HEADER)
  }

  // "Available Buffer Notification Suppression": with event indices avail_event is the index at which to notify, and
  // to want no notifications is to leave it behind.
  wantKicks(wanted: boolean): void {
    const { used } = this.#areas
    if (!this.#features.eventIndex) {
      used.setUint16(0, wanted ? 0 : VIRTQ_USED_F_NO_NOTIFY, true)
      this.#ram.written(this.#usedGpa, 2)
    } else if (wanted) {
      const at = HEADER + USED_ELEMENT * this.#size
      used.setUint16(at, this.position.next, true)
      this.#ram.written(this.#usedGpa + at, 2)
    }
  }

  // "Used Buffer Notification Suppression": used_event lies among what was used since the driver was told.
  driverWantsInterrupt(): boolean {
    const { used, untold } = this.position
    if (untold === 0) return false
    this.position.untold = 0
    const { available } = this.#areas
    if (!this.#features.eventIndex) return !(available.getUint16(0, true) & VIRTQ_AVAIL_F_NO_INTERRUPT)
    const event = available.getUint16(HEADER + 2 * this.#size, true)
    return ((used - event - 1) & 0xffff) < untold
  }
}
