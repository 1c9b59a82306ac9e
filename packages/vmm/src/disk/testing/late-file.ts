import type { Buffers, Completion, RandomAccessFile } from '../block-backend.ts'
import { gather, lengthOf } from '../buffers.ts'
import { DiskError } from '../errors.ts'
import { MemoryFile } from '../memory-file.ts'
import type { Random } from './random.ts'

/** A file in memory that takes its time, so that requests overtake each other, and that can run out of room. */
export class LateFile implements RandomAccessFile {
  readonly readOnly = false
  readonly memory: MemoryFile
  mostBytes = Infinity
  readonly #random: Random

  constructor(random: Random, content?: Uint8Array) {
    this.#random = random
    this.memory = new MemoryFile(content)
  }

  size(): number {
    return this.memory.size()
  }

  read(offset: number, buffers: Buffers): Completion {
    return this.#later(() => this.memory.read(offset, buffers))
  }

  write(offset: number, buffers: Buffers): Completion {
    const end = offset + lengthOf(buffers)
    if (end > this.mostBytes) throw new DiskError('TV_DISK_NO_SPACE', 'The file is full.')
    const bytes = new Uint8Array(lengthOf(buffers))
    gather(buffers, bytes)
    return this.#later(() => this.memory.write(offset, [bytes]))
  }

  truncate(size: number): Completion {
    return this.memory.truncate(size)
  }

  sync(): Completion {
    return this.#later(() => undefined)
  }

  async close(): Promise<void> {}

  #later(work: () => Completion): Completion {
    const turns = this.#random.below(6)
    if (turns === 0) return work()
    return (async () => {
      for (let turn = 0; turn < turns; turn++) await null
      await work()
    })()
  }
}
