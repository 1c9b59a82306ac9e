import type { GuestRam } from '../../../memory/guest-memory.ts'

/** A range of guest RAM that a driver lends, as it lies there. */
export interface Segment {
  readonly gpa: number
  readonly bytes: Uint8Array
}

/**
 * What a driver did that no driver may. It is a value and not an exception: a guest can have it as often as it likes.
 * The device answers with DEVICE_NEEDS_RESET.
 */
export class RingFault {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

/** VIRTIO 1.2, "Virtqueue Descriptors": flags of a descriptor, in split and packed rings. */
export const VIRTQ_DESC_F_NEXT = 1
export const VIRTQ_DESC_F_WRITE = 2
export const VIRTQ_DESC_F_INDIRECT = 4
export const DESCRIPTOR_SIZE = 16

/**
 * Descriptors in one chain, those of an indirect table included. The specification's limit is the queue's size, which
 * drivers exceed by their indirect tables; 1024 is what they are used to.
 */
export const CHAIN_LIMIT = 1024
/** "The Virtqueue Descriptor Table": a chain is no longer than 2^32 bytes. */
const CHAIN_BYTES = 2 ** 32

/** Collects a chain's descriptors, each of them checked. */
export class SegmentList {
  readonly readable: Segment[] = []
  readonly writable: Segment[] = []
  readonly #ram: GuestRam
  #descriptors = 0
  #bytes = 0

  constructor(ram: GuestRam) {
    this.#ram = ram
  }

  /** Says what is wrong with it, if anything. */
  add(gpa: number, length: number, isWritable: boolean): RingFault | undefined {
    this.#bytes += length
    if (++this.#descriptors > CHAIN_LIMIT) return new RingFault('a chain has too many descriptors')
    if (this.#bytes > CHAIN_BYTES) return new RingFault('a chain is longer than 4 GiB')
    if (!isWritable && this.writable.length > 0)
      return new RingFault('a readable part follows a writable one')
    if (length === 0) return undefined
    if (!this.#ram.contains(gpa, length)) return new RingFault('a descriptor is not in RAM')
    const list = isWritable ? this.writable : this.readable
    list.push({ gpa, bytes: this.#ram.view(gpa, length) })
    return undefined
  }
}

/** 64-bit addresses as doubles: what is no exact one is no address in RAM either. */
export function addressAt(table: DataView, offset: number): number {
  return table.getUint32(offset, true) + table.getUint32(offset + 4, true) * 2 ** 32
}

/** A part of guest RAM as a DataView; undefined where there is none, or not at such an alignment. */
export function tableAt(ram: GuestRam, gpa: number, length: number, alignment = 1): DataView | undefined {
  if (gpa % alignment !== 0 || !ram.contains(gpa, length)) return undefined
  const { buffer, byteOffset } = ram.view(gpa, length)
  return new DataView(buffer, byteOffset, length)
}

/** "Indirect Descriptors": the table, if its length and place are right. */
export function indirectTable(ram: GuestRam, gpa: number, length: number): DataView | RingFault {
  if (length === 0 || length % DESCRIPTOR_SIZE !== 0) {
    return new RingFault('an indirect table has an odd length')
  }
  if (length > CHAIN_LIMIT * DESCRIPTOR_SIZE) return new RingFault('an indirect table is too long')
  return tableAt(ram, gpa, length) ?? new RingFault('an indirect table is not in RAM')
}
