// PCI Local Bus Specification 3.0, "MSI-X Capability and Table Structure".

import type { MmioDevice } from '../../bus/mmio-bus.ts'
import { assert } from '../../errors.ts'
import { expectVersion, type Saveable } from '../../snapshot/version.ts'
import type { MsiXState } from './msi-x.state.ts'
import type { PciFunction } from './pci-function.ts'
import { CAPABILITY } from './registers.ts'

const ENTRY_WORDS = 4
const VECTOR_CONTROL = 3
const MASKED = 1
/** Where the pending bit array is, behind the table's. */
const PBA_OFFSET = 0x800
/** Vectors that one page has room for. */
export const MSI_X_LIMIT = PBA_OFFSET / 16
/** Length of the BAR. */
export const MSI_X_LENGTH = 0x1000

const MESSAGE_CONTROL = 2
const FUNCTION_MASK = 1 << 14
const ENABLE = 1 << 15

/** The table and the pending bits in a BAR of their own, and the capability. */
export class MsiX implements MmioDevice, Saveable<MsiXState> {
  readonly vectors: number
  readonly #table: Uint32Array
  readonly #pending: Uint8Array
  #function: PciFunction | undefined
  #at = 0

  constructor(vectors: number) {
    assert(vectors >= 1 && vectors <= MSI_X_LIMIT, 'the MSI-X table fits into its page')
    this.vectors = vectors
    this.#table = new Uint32Array(vectors * ENTRY_WORDS)
    this.#pending = new Uint8Array(vectors)
    for (let vector = 0; vector < vectors; vector++)
      this.#table[vector * ENTRY_WORDS + VECTOR_CONTROL] = MASKED
  }

  /** Adds the capability to a function in which this is BAR `bar`. */
  addTo(fn: PciFunction, bar: number): void {
    const body = new Uint8Array(10)
    const view = new DataView(body.buffer)
    view.setUint16(0, this.vectors - 1, true)
    view.setUint32(2, bar, true)
    view.setUint32(6, PBA_OFFSET | bar, true)
    const mask = new Uint8Array(10)
    mask[1] = (FUNCTION_MASK | ENABLE) >> 8
    this.#function = fn
    this.#at = fn.addCapability({ id: CAPABILITY.MSI_X, body, mask, afterWrite: () => this.flush() })
  }

  get #control(): number {
    return this.#function?.config.getUint16(this.#at + MESSAGE_CONTROL, true) ?? 0
  }

  /** Whether messages take the place of INTA#. */
  get enabled(): boolean {
    return (this.#control & ENABLE) !== 0
  }

  /** Sends a vector's message, now or once it may. */
  trigger(vector: number): void {
    if (vector >= this.vectors || !this.enabled) return
    this.#pending[vector] = 1
    this.#send(vector)
  }

  #send(vector: number): void {
    const at = vector * ENTRY_WORDS
    const masked = this.#control & FUNCTION_MASK || this.#table[at + VECTOR_CONTROL] & MASKED
    if (!this.#pending[vector] || masked || !this.enabled || !this.#function?.isBusMaster) return
    this.#pending[vector] = 0
    if (this.#table[at + 1] === 0) this.#function.message(this.#table[at], this.#table[at + 2])
  }

  /** Sends what was pending and is not masked any more. */
  flush(): void {
    for (let vector = 0; vector < this.vectors; vector++) if (this.#pending[vector]) this.#send(vector)
  }

  mmioRead(offset: number, size: number): number {
    const word = this.#readWord(offset & ~3) >>> ((offset & 3) * 8)
    return size === 4 ? word : word & ((1 << (size * 8)) - 1)
  }

  #readWord(offset: number): number {
    if (offset < PBA_OFFSET) return this.#table[offset >> 2] ?? 0
    const first = (offset - PBA_OFFSET) * 8
    let bits = 0
    for (let i = 0; i < 32; i++) bits |= (this.#pending[first + i] ?? 0) << i
    return bits >>> 0
  }

  /** Software writes whole words; the pending bits are not its to write. */
  mmioWrite(offset: number, size: number, value: number): void {
    const index = offset >> 2
    if (size !== 4 || offset & 3 || index >= this.#table.length) return
    const field = index % ENTRY_WORDS
    this.#table[index] = field === VECTOR_CONTROL ? value & MASKED : field === 0 ? value & ~3 : value
    this.#send(Math.floor(index / ENTRY_WORDS))
  }

  save(): MsiXState {
    return { version: 1, table: [...this.#table], pending: [...this.#pending] }
  }

  restore(state: MsiXState): void {
    expectVersion('msi-x', state, 1)
    this.#table.set(state.table.slice(0, this.#table.length))
    this.#pending.set(state.pending.slice(0, this.vectors).map(Boolean).map(Number))
    this.flush()
  }
}
