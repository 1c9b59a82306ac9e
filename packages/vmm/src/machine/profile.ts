/**
 * Where a guest's time goes, by sampling: at the end of a slice the processor is asked where it is, and the slice's time is
 * put down to that place. For that slices are shorter than usual, and of lengths that differ, so that nothing that the guest does
 * at regular times meets them always at the same place. A slice ends at a branch, so places are where branches go to.
 *
 * A slice that ends with HLT would put all that came before it down to the idle loop: its time is kept apart.
 */
import type { CpuSample } from '@typevisor/x86'
import type { Exit } from '../hypervisor/hypervisor.ts'

const SHORTEST_NS = 0.2e6
const SPREAD_NS = 0.6e6
const GOLDEN_RATIO = 0.6180339887498949
const PAGE_BITS = 12n

/** A place's share; times in nanoseconds. */
export interface ProfilePlace {
  readonly mode: 'user' | 'kernel'
  /** Linear address; that of the page is without its lower 12 bits. */
  readonly address: bigint
  readonly time: number
  /** Of the time, while there was recompiled code in the page. */
  readonly recompiledTime: number
}

export class Profile {
  samples = 0
  /** Time of slices that ended with HLT. */
  untilHalt = 0
  readonly #places = new Map<string, { -readonly [K in keyof ProfilePlace]: ProfilePlace[K] }>()
  #sequence = 0

  /** How long the next slice is to be, in ns. */
  nextSlice(): number {
    this.#sequence = (this.#sequence + GOLDEN_RATIO) % 1
    return SHORTEST_NS + SPREAD_NS * this.#sequence
  }

  slice({ address, cpl, isRecompiled }: CpuSample, end: Exit['kind'], time: number): void {
    if (end === 'hlt') {
      this.untilHalt += time
      return
    }
    this.samples++
    const mode = cpl === 3 ? 'user' : 'kernel'
    const key = `${mode} ${address}`
    const place = this.#places.get(key) ?? { mode, address, time: 0, recompiledTime: 0 }
    place.time += time
    if (isRecompiled) place.recompiledTime += time
    this.#places.set(key, place)
  }

  /** Places, those with most time first. */
  addresses(): ProfilePlace[] {
    return [...this.#places.values()].sort((a, b) => b.time - a.time)
  }

  /** The same by pages. */
  pages(): ProfilePlace[] {
    const pages = new Map<string, ProfilePlace>()
    for (const { mode, address, time, recompiledTime } of this.#places.values()) {
      const page = (address >> PAGE_BITS) << PAGE_BITS
      const key = `${mode} ${page}`
      const known = pages.get(key)
      pages.set(key, {
        ...{ mode, address: page },
        time: time + (known?.time ?? 0),
        recompiledTime: recompiledTime + (known?.recompiledTime ?? 0),
      })
    }
    return [...pages.values()].sort((a, b) => b.time - a.time)
  }
}
