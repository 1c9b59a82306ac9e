import { MemorySizeError } from '../errors.ts'
import { type GuestRam, PAGE_SIZE } from '../memory/guest-memory.ts'
import { HIGH_MEMORY, LOW_RAM_END } from '../memory/memory-map.ts'

const MIB = 0x10_0000

/** Where things are put in guest RAM before it starts, so that no two of them overlap. */
export class BootMemory {
  readonly #ram: GuestRam
  readonly #claims: { base: number; end: number }[] = []

  constructor(ram: GuestRam) {
    this.#ram = ram
  }

  /** The end of what is claimed below 4 GiB. */
  get ramEnd(): number {
    return this.#ram.lowBytes
  }

  /** Takes a range whose place is given. Segments of one file may share a page but not be outside of RAM. */
  claim(base: number, length: number, what: string): void {
    const isRam = this.#ram.contains(base, length)
    const isFree = base + length <= LOW_RAM_END || base >= HIGH_MEMORY
    if (!isRam || !isFree)
      throw this.#tooSmall(`the ${what} at 0x${base.toString(16)}+0x${length.toString(16)}`)
    this.#claims.push({ base, end: base + length })
  }

  /** Below 640 KiB, from the bottom: tables and strings. */
  allocateLow(length: number, what: string): number {
    const end = LOW_RAM_END
    for (let base = PAGE_SIZE; base + length <= end; ) {
      const blocker = this.#blocker(base, length)
      if (!blocker) return this.#take(base, length)
      base = Math.ceil(blocker.end / PAGE_SIZE) * PAGE_SIZE
    }
    throw new MemorySizeError('TV_MEMORY_TOO_SMALL', `There is no room for the ${what} below 640 KiB.`)
  }

  /** Above 1 MiB, from the top of RAM below 4 GiB (or `limit`): modules. */
  allocateHigh(length: number, what: string, limit = Infinity): number {
    let base = Math.floor((Math.min(this.ramEnd, limit) - length) / PAGE_SIZE) * PAGE_SIZE
    while (base >= HIGH_MEMORY) {
      const blocker = this.#blocker(base, length)
      if (!blocker) return this.#take(base, length)
      base = Math.floor((blocker.base - length) / PAGE_SIZE) * PAGE_SIZE
    }
    throw this.#tooSmall(`the ${what} of ${Math.ceil(length / MIB)} MiB`)
  }

  #take(base: number, length: number): number {
    this.#claims.push({ base, end: base + length })
    return base
  }

  #blocker(base: number, length: number): { base: number; end: number } | undefined {
    return this.#claims.find((claim) => base < claim.end && claim.base < base + length)
  }

  #tooSmall(what: string): MemorySizeError {
    return new MemorySizeError(
      'TV_MEMORY_TOO_SMALL',
      `The machine's ${this.#ram.bytes / MIB} MiB of RAM do not hold ${what}.`,
    )
  }
}
