import { type BlockBackend, type Buffers, type Completion, checkWritable } from './block-backend.ts'

/** A disk that nobody can change through this. */
export class ReadOnlyDisk implements BlockBackend {
  readonly readOnly = true
  readonly #disk: BlockBackend

  constructor(disk: BlockBackend) {
    this.#disk = disk
  }

  get size(): number {
    return this.#disk.size
  }

  read(offset: number, buffers: Buffers): Completion {
    return this.#disk.read(offset, buffers)
  }

  write(): Completion {
    return checkWritable(this) as undefined
  }

  flush(): Completion {
    return undefined
  }

  discard(): Completion {
    return checkWritable(this) as undefined
  }

  writeZeroes(): Completion {
    return checkWritable(this) as undefined
  }

  async resize(): Promise<void> {
    checkWritable(this)
  }

  close(): Promise<void> {
    return this.#disk.close()
  }
}
