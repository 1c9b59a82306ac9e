interface Held {
  first: number
  end: number
  released: Promise<void>
}

/** Keeps two changes of the same clusters apart. */
export class RangeLocks {
  readonly #held = new Set<Held>()

  /** Waits until nobody holds a part of the range; call the result to let go of it. */
  async lock(first: number, end: number): Promise<() => void> {
    for (let other = this.#overlapping(first, end); other; other = this.#overlapping(first, end)) {
      await other.released
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    const mine = { first, end, released: promise }
    this.#held.add(mine)
    return () => {
      this.#held.delete(mine)
      resolve()
    }
  }

  #overlapping(first: number, end: number): Held | undefined {
    if (this.#held.size === 0) return undefined
    for (const held of this.#held) if (held.first < end && first < held.end) return held
    return undefined
  }
}
