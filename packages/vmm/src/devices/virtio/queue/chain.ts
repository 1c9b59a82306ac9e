import type { TakenChain } from './ring.ts'
import type { Segment } from './segments.ts'

/** A request of a driver: what the device reads, then what it writes. Complete it once. */
export class Chain {
  readonly id: number
  readonly slots: number
  readonly readable: readonly Segment[]
  readonly writable: readonly Segment[]
  readonly readableBytes: number
  readonly writableBytes: number
  readonly #complete: (written: number) => void
  #isHeld = true

  constructor({ id, slots, readable, writable }: TakenChain, complete: (written: number) => void) {
    this.id = id
    this.slots = slots
    this.readable = readable
    this.writable = writable
    this.readableBytes = total(readable)
    this.writableBytes = total(writable)
    this.#complete = complete
  }

  /** Copies from the readable bytes, `offset` on; returns how many there were. */
  read(target: Uint8Array, offset = 0): number {
    return eachPart(this.readable, offset, target.length, (part, at) => target.set(part, at))
  }

  /** Whether the device has it; otherwise the memory is the driver's again. */
  get isHeld(): boolean {
    return this.#isHeld
  }

  /** Copies to the writable bytes, `offset` on; returns how many found room. `complete` counts from the first. */
  write(source: Uint8Array, offset = 0): number {
    if (!this.#isHeld) return 0
    return eachPart(this.writable, offset, source.length, (part, at) =>
      part.set(source.subarray(at, at + part.length)),
    )
  }

  /** Gives the chain back; its first `written` writable bytes were written. A reset may have ended it meanwhile. */
  complete(written = 0): void {
    if (!this.#isHeld) return
    this.#isHeld = false
    this.#complete(written)
  }

  /** For its queue, which was closed or took it back. */
  drop(): void {
    this.#isHeld = false
  }
}

function total(segments: readonly Segment[]): number {
  return segments.reduce((sum, { bytes }) => sum + bytes.length, 0)
}

/** Calls `use` with the views of a range of the segments' bytes and their offsets in it; returns the range's length. */
export function eachPart(
  segments: readonly Segment[],
  offset: number,
  length: number,
  use: (part: Uint8Array, at: number) => void,
): number {
  let skip = offset
  let done = 0
  for (const { bytes } of segments) {
    if (done === length) break
    if (skip >= bytes.length) {
      skip -= bytes.length
      continue
    }
    const part = bytes.subarray(skip, skip + Math.min(bytes.length - skip, length - done))
    skip = 0
    use(part, done)
    done += part.length
  }
  return done
}
