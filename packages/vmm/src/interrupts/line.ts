/** One interrupt wire. `set(true)` asserts it; the polarity on the board is not modelled. */
export interface InterruptLine {
  set(asserted: boolean): void
}

/** A line that several level-triggered sources share: asserted while any of them asserts it. */
export class SharedLine {
  readonly #line: InterruptLine
  #asserted = 0

  constructor(line: InterruptLine) {
    this.#line = line
  }

  /** A new source's own end of the wire. */
  source(): InterruptLine {
    let mine = false
    return {
      set: (asserted) => {
        if (asserted === mine) return
        mine = asserted
        this.#asserted += asserted ? 1 : -1
        this.#line.set(this.#asserted > 0)
      },
    }
  }
}
