// VIRTIO 1.2, "Reserved Feature Bits". Bits 0 to 23 and 50 to 127 are the device types' own.

export const VIRTIO_F_INDIRECT_DESC = 28
export const VIRTIO_F_EVENT_IDX = 29
export const VIRTIO_F_VERSION_1 = 32
export const VIRTIO_F_RING_PACKED = 34
export const VIRTIO_F_RING_RESET = 40

/** What every device offers beside its own features. */
export const RING_FEATURES: readonly number[] = [
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_VERSION_1,
  VIRTIO_F_RING_PACKED,
  VIRTIO_F_RING_RESET,
]

/** Feature bits 0 to 63, in words of 32 as drivers read and write them; no bit beyond is defined. */
export class Features {
  readonly words: Uint32Array<ArrayBuffer> = new Uint32Array(2)

  static of(bits: Iterable<number>): Features {
    const features = new Features()
    for (const bit of bits) features.words[bit >> 5] |= 1 << (bit & 31)
    return features
  }

  has(bit: number): boolean {
    return ((this.words[bit >> 5] >>> (bit & 31)) & 1) !== 0
  }

  /** The word that a driver selected; those beyond are zero. */
  word(select: number): number {
    return select < 2 ? this.words[select] : 0
  }

  setWord(select: number, value: number): void {
    if (select < 2) this.words[select] = value
  }

  isSubsetOf(offered: Features): boolean {
    return this.words.every((word, i) => (word & ~offered.words[i]) === 0)
  }

  clear(): void {
    this.words.fill(0)
  }
}
