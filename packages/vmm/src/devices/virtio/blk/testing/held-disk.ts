import type { BlockBackend, Buffers, Completion } from '../../../../disk/block-backend.ts'
import { DiskError } from '../../../../disk/errors.ts'
import { MemoryFile } from '../../../../disk/memory-file.ts'
import { RawDisk } from '../../../../disk/raw.ts'

/** A disk in memory that says what it was asked for, and whose requests wait or fail when a test says so. */
export class HeldDisk implements BlockBackend {
  readonly readOnly: boolean
  readonly file: MemoryFile
  readonly log: string[] = []
  /** What is to be called for each request that waits, in order. */
  readonly held: (() => Promise<void>)[] = []
  holds = false
  failure: string | undefined
  readonly #disk: RawDisk

  constructor(content: Uint8Array, readOnly = false) {
    this.readOnly = readOnly
    this.file = new MemoryFile(content, { readOnly })
    this.#disk = new RawDisk(this.file)
  }

  get size(): number {
    return this.#disk.size
  }

  #do(what: string, work: () => Completion): Completion {
    this.log.push(what)
    if (!this.holds) return this.#attempt(work)
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.held.push(async () => {
      try {
        await this.#attempt(work)
        resolve()
      } catch (error) {
        reject(error)
      }
      for (let turn = 0; turn < 8; turn++) await null
    })
    return promise
  }

  #attempt(work: () => Completion): Completion {
    if (this.failure) throw new DiskError('TV_DISK_NO_SPACE', this.failure)
    return work()
  }

  read(offset: number, buffers: Buffers): Completion {
    return this.#do(`read ${offset} ${bytes(buffers)}`, () => this.#disk.read(offset, buffers))
  }

  write(offset: number, buffers: Buffers): Completion {
    return this.#do(`write ${offset} ${bytes(buffers)}`, () => this.#disk.write(offset, buffers))
  }

  flush(): Completion {
    return this.#do('flush', () => undefined)
  }

  discard(offset: number, length: number): Completion {
    return this.#do(`discard ${offset} ${length}`, () => undefined)
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): Completion {
    return this.#do(`${mayUnmap ? 'unmap' : 'zero'} ${offset} ${length}`, () =>
      this.#disk.write(offset, [new Uint8Array(length)]),
    )
  }

  async resize(size: number): Promise<void> {
    await this.#disk.resize(size)
  }

  async close(): Promise<void> {}
}

function bytes(buffers: Buffers): number {
  return buffers.reduce((sum, { length }) => sum + length, 0)
}
