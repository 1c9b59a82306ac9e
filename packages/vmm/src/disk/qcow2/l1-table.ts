// qcow2, "Cluster mapping": "L1 table entry".

import { corrupt } from '../errors.ts'
import type { Geometry } from './geometry.ts'
import { viewOf, writeU64 } from './header.ts'

const COPIED = 0x8000_0000
/** The upper half of bits 9 to 55, which are the offset. */
const OFFSET_HIGH = 0x00ff_ffff

/** Where the L2 tables are. Entry 0 says that there is none. */
export class L1Table {
  readonly offsets: Float64Array
  /** 1 where the L2 table belongs to a snapshot too. */
  readonly shared: Uint8Array

  constructor(entries: number) {
    this.offsets = new Float64Array(entries)
    this.shared = new Uint8Array(entries)
  }

  get length(): number {
    return this.offsets.length
  }

  static parse(bytes: Uint8Array): L1Table {
    const view = viewOf(bytes)
    const table = new L1Table(bytes.length / 8)
    for (let index = 0; index < table.length; index++) {
      const high = view.getUint32(8 * index)
      const low = view.getUint32(8 * index + 4) & ~0x1ff
      table.offsets[index] = (high & OFFSET_HIGH) * 2 ** 32 + (low >>> 0)
      table.shared[index] = (high & COPIED) === 0 ? 1 : 0
    }
    return table
  }

  serialize(): Uint8Array {
    const bytes = new Uint8Array(8 * this.length)
    const view = viewOf(bytes)
    for (let index = 0; index < this.length; index++) {
      if (this.offsets[index] === 0) continue
      writeU64(view, 8 * index, this.offsets[index])
      if (this.shared[index] === 0) view.setUint32(8 * index, (view.getUint32(8 * index) | COPIED) >>> 0)
    }
    return bytes
  }

  /** A copy with another number of entries. */
  resized(entries: number): L1Table {
    const table = new L1Table(entries)
    table.offsets.set(this.offsets.subarray(0, entries))
    table.shared.set(this.shared.subarray(0, entries))
    return table
  }

  /** The offset of an L2 table, 0 for none; one that is not a whole cluster of the file is an error. */
  checkedOffset(index: number, geometry: Geometry, fileEnd: number): number {
    const offset = this.offsets[index]
    if (offset === 0) return 0
    if (!geometry.isAligned(offset) || offset + geometry.clusterSize > fileEnd) {
      throw corrupt(`L1 entry ${index} points to no cluster of the file`)
    }
    return offset
  }
}
