import { type BlockBackend, type Buffers, type Completion, checkRange, checkSize } from './block-backend.ts'
import { fillZeros, gather, lengthOf, scatter, sliceBuffers } from './buffers.ts'
import { DiskError } from './errors.ts'

/** The page size of most file systems, so that few writes have to read first. */
const BLOCK = 4096
/** A block that reads as zeros. */
const ZERO = null

/**
 * A disk whose changes stay in memory and are gone with it: for machines that are thrown away. What lies under it is
 * only read from, and may be under many.
 */
export class MemoryOverlay implements BlockBackend {
  readonly readOnly = false
  readonly #under: BlockBackend
  readonly #most: number
  readonly #blocks = new Map<number, Uint8Array | typeof ZERO>()
  #size: number
  /** Behind it nothing of the disk under this is seen: it was cut off once. */
  #seen: number
  #used = 0

  /** At most `maxBytes` are kept; a write beyond that fails with `TV_DISK_NO_SPACE`. */
  constructor(under: BlockBackend, { maxBytes = Infinity } = {}) {
    this.#under = under
    this.#most = maxBytes
    this.#size = this.#seen = under.size
  }

  get size(): number {
    return this.#size
  }

  /** Bytes of memory that changes take. */
  get used(): number {
    return this.#used
  }

  read(offset: number, buffers: Buffers): Completion {
    const length = lengthOf(buffers)
    checkRange(offset, length, this.#size)
    if (this.#blocks.size === 0 && offset + length <= this.#seen) return this.#under.read(offset, buffers)
    const reads: Promise<void>[] = []
    for (let done = 0; done < length; ) {
      const step = this.#alike(offset + done, length - done)
      const pending = this.#readAlike(offset + done, sliceBuffers(buffers, done, step))
      if (pending) reads.push(pending)
      done += step
    }
    return reads.length > 0 ? Promise.all(reads).then(() => undefined) : undefined
  }

  write(offset: number, buffers: Buffers): Completion {
    const length = lengthOf(buffers)
    checkRange(offset, length, this.#size)
    if (offset % BLOCK === 0 && (length % BLOCK === 0 || offset + length === this.#size)) {
      return this.#store(offset, buffers, length)
    }
    return this.#writeParts(offset, buffers, length)
  }

  flush(): Completion {
    return undefined
  }

  discard(offset: number, length: number): Completion {
    return this.writeZeroes(offset, length)
  }

  writeZeroes(offset: number, length: number): Completion {
    checkRange(offset, length, this.#size)
    const first = Math.ceil(offset / BLOCK)
    const end = offset + length
    const last = end === this.#size ? Math.ceil(end / BLOCK) : Math.floor(end / BLOCK)
    if (first >= last) return length > 0 ? this.write(offset, [new Uint8Array(length)]) : undefined
    this.#zeroBlocks(first, last)
    return this.#zeroEdges(offset, first * BLOCK, Math.min(last * BLOCK, end), end)
  }

  async resize(size: number): Promise<void> {
    checkSize(size)
    if (size < this.#size) {
      const rest = this.#size - size
      await this.writeZeroes(size, rest)
      for (const block of this.#blocks.keys()) if (block * BLOCK >= size) this.#drop(block)
      this.#seen = Math.min(this.#seen, size)
    }
    this.#size = size
  }

  async close(): Promise<void> {
    this.#blocks.clear()
    await this.#under.close()
  }

  /** How far what is at `offset` comes from one place: the disk under this, or one block. */
  #alike(offset: number, most: number): number {
    let block = Math.floor(offset / BLOCK)
    let end = (block + 1) * BLOCK - offset
    if (this.#blocks.has(block)) return Math.min(most, end)
    while (end < most && !this.#blocks.has(++block)) end += BLOCK
    return Math.min(most, end)
  }

  #readAlike(offset: number, buffers: Buffers): Completion {
    const block = this.#blocks.get(Math.floor(offset / BLOCK))
    if (block === undefined) return this.#readUnder(offset, buffers)
    if (block === ZERO) fillZeros(buffers)
    else scatter(block.subarray(offset % BLOCK), buffers)
    return undefined
  }

  #readUnder(offset: number, buffers: Buffers): Completion {
    const length = lengthOf(buffers)
    const there = Math.max(0, Math.min(length, this.#seen - offset))
    if (there < length) fillZeros(sliceBuffers(buffers, there, length - there))
    return there > 0 ? this.#under.read(offset, sliceBuffers(buffers, 0, there)) : undefined
  }

  #store(offset: number, buffers: Buffers, length: number): undefined {
    for (let done = 0; done < length; done += BLOCK) {
      const block = this.#block((offset + done) / BLOCK)
      gather(sliceBuffers(buffers, done, Math.min(BLOCK, length - done)), block)
    }
  }

  /** The block's memory, to be filled. */
  #block(index: number): Uint8Array {
    const block = this.#blocks.get(index)
    if (block) return block
    if (this.#used + BLOCK > this.#most) {
      throw new DiskError('TV_DISK_NO_SPACE', `The disk's changes would take more than ${this.#most} bytes.`)
    }
    const made = new Uint8Array(BLOCK)
    this.#blocks.set(index, made)
    this.#used += BLOCK
    return made
  }

  /** Blocks of which only a part is written are read first. */
  async #writeParts(offset: number, buffers: Buffers, length: number): Promise<void> {
    for (let done = 0; done < length; ) {
      const at = offset + done
      const index = Math.floor(at / BLOCK)
      const step = Math.min(BLOCK - (at % BLOCK), length - done)
      if (step < BLOCK && !this.#blocks.get(index)) await this.#fetch(index)
      gather(sliceBuffers(buffers, done, step), this.#block(index).subarray(at % BLOCK))
      done += step
    }
  }

  async #fetch(index: number): Promise<void> {
    const content = new Uint8Array(BLOCK)
    if (this.#blocks.get(index) === undefined) await this.#readUnder(index * BLOCK, [content])
    if (!this.#blocks.get(index)) this.#block(index).set(content) // or another write came first
  }

  #zeroBlocks(first: number, last: number): void {
    const seen = Math.ceil(this.#seen / BLOCK)
    for (const block of this.#within(first, last)) this.#drop(block)
    for (let block = first; block < Math.min(last, seen); block++) this.#blocks.set(block, ZERO)
  }

  /** Blocks in memory of a range; looked for in the smaller of the two. */
  *#within(first: number, last: number): Iterable<number> {
    if (last - first < this.#blocks.size) for (let block = first; block < last; block++) yield block
    else for (const block of [...this.#blocks.keys()]) if (block >= first && block < last) yield block
  }

  async #zeroEdges(offset: number, first: number, last: number, end: number): Promise<void> {
    if (offset < first) await this.write(offset, [new Uint8Array(first - offset)])
    if (last < end) await this.write(last, [new Uint8Array(end - last)])
  }

  #drop(index: number): void {
    if (this.#blocks.get(index)) this.#used -= BLOCK
    this.#blocks.delete(index)
  }
}
