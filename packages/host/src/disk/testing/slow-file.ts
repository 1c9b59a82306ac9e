import { type Buffers, type Completion, MemoryFile } from '@typevisor/vmm/disk'
import type { Random } from './random.ts'

/** A file in memory whose requests overtake each other. `onWrite` is called after each write. */
export class SlowFile extends MemoryFile {
  readonly #random: Random
  readonly #onWrite: () => void

  constructor(random: Random, onWrite: () => void) {
    super()
    this.#random = random
    this.#onWrite = onWrite
  }

  override read(offset: number, buffers: Buffers): Completion {
    return this.#later(() => super.read(offset, buffers))
  }

  override write(offset: number, buffers: Buffers): Completion {
    const copies = buffers.map((buffer) => buffer.slice())
    return this.#later(() => {
      super.write(offset, copies)
      this.#onWrite()
    })
  }

  override sync(): Completion {
    return this.#later(() => {})
  }

  async #later(work: () => void): Promise<void> {
    for (let turns = this.#random.below(20); turns > 0; turns--) await null
    work()
  }
}
