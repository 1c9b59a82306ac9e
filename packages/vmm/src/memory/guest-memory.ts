import { GuestAddressError, MemorySizeError } from '../errors.ts'

export const PAGE_SIZE = 0x1000
const WASM_PAGE = 0x1_0000
const MIB = 0x10_0000
const GIB = 0x4000_0000

/** RAM stops here and goes on at 4 GiB: devices, APICs and firmware live between. */
export const HOLE_START = 3 * GIB
export const HIGH_START = 4 * GIB
export const MAX_RAM = 4 * GIB
const MIN_RAM = MIB

/** Guest RAM: one WebAssembly memory; its first `lowBytes` are at gpa 0, the rest at gpa 4 GiB. */
export interface GuestMemory {
  memory: WebAssembly.Memory
  bytes: number
  lowBytes: number
}

/** Allocates `bytes` of RAM, a multiple of 1 MiB up to 4 GiB. No page is touched: the host commits them on use. */
export function allocateGuestMemory(bytes: number): GuestMemory {
  if (!Number.isSafeInteger(bytes) || bytes < MIN_RAM || bytes > MAX_RAM || bytes % MIB !== 0) {
    throw new MemorySizeError('TV_MEMORY_SIZE', 'A machine has from 1 to 4096 MiB of RAM, in whole MiB.')
  }
  const pages = bytes / WASM_PAGE
  try {
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
    return { memory, bytes, lowBytes: Math.min(bytes, HOLE_START) }
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause
    throw new MemorySizeError('TV_MEMORY_SIZE', `The host cannot give ${bytes / MIB} MiB of RAM.`)
  }
}

/** Checked access to guest RAM by guest-physical address: for loaders and devices. All else is refused. */
export class GuestRam {
  readonly bytes: number
  readonly lowBytes: number
  readonly #view: DataView
  readonly #bytes: Uint8Array
  readonly #onWrite: (gpa: number, length: number) => void

  /** `onWrite` is told of every write, so that code made from what was there can be dropped. */
  constructor(guest: GuestMemory, onWrite: (gpa: number, length: number) => void = () => {}) {
    this.bytes = guest.bytes
    this.lowBytes = guest.lowBytes
    this.#view = new DataView(guest.memory.buffer)
    this.#bytes = new Uint8Array(guest.memory.buffer)
    this.#onWrite = onWrite
  }

  /** Whether the whole range is RAM without a gap. */
  contains(gpa: number, length: number): boolean {
    return this.#offset(gpa, length) >= 0
  }

  /** The offset in the memory, or -1. */
  #offset(gpa: number, length: number): number {
    if (!Number.isSafeInteger(gpa) || !Number.isSafeInteger(length) || gpa < 0 || length < 0) return -1
    if (gpa + length <= this.lowBytes) return gpa
    const offset = gpa - HIGH_START + this.lowBytes
    return gpa >= HIGH_START && offset + length <= this.bytes ? offset : -1
  }

  #check(gpa: number, length: number): number {
    const offset = this.#offset(gpa, length)
    if (offset < 0) throw new GuestAddressError(gpa, length)
    return offset
  }

  readU8(gpa: number): number {
    return this.#view.getUint8(this.#check(gpa, 1))
  }

  readU16(gpa: number): number {
    return this.#view.getUint16(this.#check(gpa, 2), true)
  }

  readU32(gpa: number): number {
    return this.#view.getUint32(this.#check(gpa, 4), true)
  }

  readU64(gpa: number): bigint {
    return this.#view.getBigUint64(this.#check(gpa, 8), true)
  }

  /** A copy of the bytes. */
  read(gpa: number, length: number): Uint8Array<ArrayBuffer> {
    const offset = this.#check(gpa, length)
    return this.#bytes.slice(offset, offset + length) as Uint8Array<ArrayBuffer>
  }

  /** The bytes themselves, valid as long as the machine: for devices that move data. After writing there, call `written`. */
  view(gpa: number, length: number): Uint8Array {
    const offset = this.#check(gpa, length)
    return this.#bytes.subarray(offset, offset + length)
  }

  /** Tells that a `view` of this range was written to. */
  written(gpa: number, length: number): void {
    this.#check(gpa, length)
    this.#onWrite(gpa, length)
  }

  writeU8(gpa: number, value: number): void {
    this.#view.setUint8(this.#check(gpa, 1), value)
    this.#onWrite(gpa, 1)
  }

  writeU16(gpa: number, value: number): void {
    this.#view.setUint16(this.#check(gpa, 2), value, true)
    this.#onWrite(gpa, 2)
  }

  writeU32(gpa: number, value: number): void {
    this.#view.setUint32(this.#check(gpa, 4), value, true)
    this.#onWrite(gpa, 4)
  }

  writeU64(gpa: number, value: bigint): void {
    this.#view.setBigUint64(this.#check(gpa, 8), value, true)
    this.#onWrite(gpa, 8)
  }

  write(gpa: number, bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#check(gpa, bytes.length))
    this.#onWrite(gpa, bytes.length)
  }

  fill(gpa: number, length: number, value = 0): void {
    const offset = this.#check(gpa, length)
    this.#bytes.fill(value, offset, offset + length)
    this.#onWrite(gpa, length)
  }
}
