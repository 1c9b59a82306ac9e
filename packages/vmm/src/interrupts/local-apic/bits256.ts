/** 256 bits, one for each vector: the form of IRR, ISR and TMR. */
export class Bits256 {
  readonly words = new Uint32Array(8)

  get(vector: number): boolean {
    return ((this.words[vector >> 5] >>> (vector & 31)) & 1) !== 0
  }

  set(vector: number, value: boolean): void {
    const bit = 1 << (vector & 31)
    if (value) this.words[vector >> 5] |= bit
    else this.words[vector >> 5] &= ~bit
  }

  /** The highest vector that is set, or -1. */
  highest(): number {
    for (let i = 7; i >= 0; i--) if (this.words[i] !== 0) return i * 32 + 31 - Math.clz32(this.words[i])
    return -1
  }
}
