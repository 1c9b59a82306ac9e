// qcow2, "Host cluster management": "Refcount block entry".

import { readU64, viewOf, writeU64 } from './header.ts'

type Get = (view: DataView, index: number) => number
type Set = (view: DataView, index: number, value: number) => void

/** Entries of less than a byte begin at the least significant bit. */
function bits(width: 1 | 2 | 4): { get: Get; set: Set } {
  const perByte = 8 / width
  const mask = 2 ** width - 1
  const shift = (index: number) => (index % perByte) * width
  return {
    get: (view, index) => (view.getUint8(Math.floor(index / perByte)) >>> shift(index)) & mask,
    set: (view, index, value) => {
      const at = Math.floor(index / perByte)
      view.setUint8(at, (view.getUint8(at) & ~(mask << shift(index))) | (value << shift(index)))
    },
  }
}

/** By refcount order. */
const ACCESS: readonly { get: Get; set: Set }[] = [
  bits(1),
  bits(2),
  bits(4),
  { get: (view, index) => view.getUint8(index), set: (view, index, value) => view.setUint8(index, value) },
  {
    get: (view, index) => view.getUint16(2 * index),
    set: (view, index, value) => view.setUint16(2 * index, value),
  },
  {
    get: (view, index) => view.getUint32(4 * index),
    set: (view, index, value) => view.setUint32(4 * index, value),
  },
  {
    get: (view, index) => readU64(view, 8 * index),
    set: (view, index, value) => writeU64(view, 8 * index, value),
  },
]

/** One refcount block in memory. */
export class RefcountBlock {
  readonly bytes: Uint8Array
  dirty = false
  used = true
  readonly #view: DataView
  readonly #get: Get
  readonly #set: Set

  constructor(bytes: Uint8Array, order: number) {
    this.bytes = bytes
    this.#view = viewOf(bytes)
    this.#get = ACCESS[order].get
    this.#set = ACCESS[order].set
  }

  get(index: number): number {
    return this.#get(this.#view, index)
  }

  set(index: number, value: number): void {
    this.dirty = true
    this.#set(this.#view, index, value)
  }
}
