// qcow2, "Cluster mapping": "L2 table entry", "Standard Cluster Descriptor", "Compressed Clusters Descriptor".

import type { Geometry } from './geometry.ts'
import { viewOf } from './header.ts'

const COPIED = 0x8000_0000
const COMPRESSED = 0x4000_0000
const OFFSET_HIGH = 0x00ff_ffff
const OFFSET_LOW = ~0x1ff
const ZERO = 1
const SECTOR = 512

/**
 * What an entry says. `zero` may have a cluster of the file reserved; `shared` data must be copied before it is
 * written to.
 */
export type EntryKind = 'unallocated' | 'zero' | 'data' | 'shared' | 'compressed'

export interface CompressedCluster {
  offset: number
  /** To the end of the last sector, so usually more than the stream. */
  length: number
}

/** How many tables of a cache are dirty. */
export interface DirtyCount {
  dirty: number
}

/** One L2 table in memory: what is in the file, or is to be. */
export class L2Table {
  bytes: Uint8Array
  #view: DataView
  #dirty = false
  readonly #count: DirtyCount
  /** A commit is writing `bytes`: they must not change, a copy does instead. */
  frozen = false
  /** Used since the cache last looked. */
  used = true

  constructor(bytes: Uint8Array, count: DirtyCount = { dirty: 0 }) {
    this.bytes = bytes
    this.#view = viewOf(bytes)
    this.#count = count
  }

  /** Differs from the file. */
  get dirty(): boolean {
    return this.#dirty
  }

  set dirty(dirty: boolean) {
    if (dirty !== this.#dirty) this.#count.dirty += dirty ? 1 : -1
    this.#dirty = dirty
  }

  kind(index: number): EntryKind {
    const high = this.#view.getUint32(8 * index)
    const low = this.#view.getUint32(8 * index + 4)
    if ((high & COMPRESSED) !== 0) return 'compressed'
    if ((low & ZERO) !== 0) return 'zero'
    if ((high & OFFSET_HIGH) === 0 && (low & OFFSET_LOW) === 0) return 'unallocated'
    return (high & COPIED) !== 0 ? 'data' : 'shared'
  }

  /** The cluster of the file that a standard entry has; 0 for none. */
  offset(index: number): number {
    const high = this.#view.getUint32(8 * index) & OFFSET_HIGH
    return high * 2 ** 32 + ((this.#view.getUint32(8 * index + 4) & OFFSET_LOW) >>> 0)
  }

  isCopied(index: number): boolean {
    return (this.#view.getUint32(8 * index) & COPIED) !== 0
  }

  isEmpty(index: number): boolean {
    return this.#view.getUint32(8 * index) === 0 && this.#view.getUint32(8 * index + 4) === 0
  }

  compressed(index: number, { sectorsShift }: Geometry): CompressedCluster {
    const high = this.#view.getUint32(8 * index) & ~(COPIED | COMPRESSED)
    const offset = (high & (2 ** sectorsShift - 1)) * 2 ** 32 + this.#view.getUint32(8 * index + 4)
    const sectors = 1 + (high >>> sectorsShift)
    return { offset, length: sectors * SECTOR - (offset % SECTOR) }
  }

  setData(index: number, offset: number): void {
    this.#set(index, (Math.floor(offset / 2 ** 32) | COPIED) >>> 0, offset % 2 ** 32)
  }

  setCompressed(index: number, offset: number, length: number, { sectorsShift }: Geometry): void {
    const sectors = Math.floor((offset + length - 1) / SECTOR) - Math.floor(offset / SECTOR)
    const high = Math.floor(offset / 2 ** 32) + sectors * 2 ** sectorsShift + COMPRESSED
    this.#set(index, high, offset % 2 ** 32)
  }

  /** Reads as zeros and has no cluster of the file. */
  setZero(index: number): void {
    this.#set(index, 0, ZERO)
  }

  /** Reads as zeros and keeps its cluster. */
  setZeroKept(index: number): void {
    this.#set(index, this.#view.getUint32(8 * index), this.#view.getUint32(8 * index + 4) | ZERO)
  }

  clear(index: number): void {
    this.#set(index, 0, 0)
  }

  setCopied(index: number, copied: boolean): void {
    const high = this.#view.getUint32(8 * index)
    this.#set(index, copied ? high | COPIED : high & ~COPIED, this.#view.getUint32(8 * index + 4))
  }

  #set(index: number, high: number, low: number): void {
    if (this.frozen) this.#thaw()
    this.dirty = true
    this.#view.setUint32(8 * index, high)
    this.#view.setUint32(8 * index + 4, low)
  }

  #thaw(): void {
    this.bytes = this.bytes.slice()
    this.#view = viewOf(this.bytes)
    this.frozen = false
  }
}
