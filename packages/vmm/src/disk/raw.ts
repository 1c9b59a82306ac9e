import {
  type BlockBackend,
  type Buffers,
  type Completion,
  checkRange,
  checkSize,
  checkWritable,
  type RandomAccessFile,
} from './block-backend.ts'
import { lengthOf, writeZeros } from './buffers.ts'

/** A disk whose bytes are the file's: disk images, ISO images. */
export class RawDisk implements BlockBackend {
  readonly #file: RandomAccessFile
  #size: number

  constructor(file: RandomAccessFile) {
    this.#file = file
    this.#size = file.size()
  }

  get size(): number {
    return this.#size
  }

  get readOnly(): boolean {
    return this.#file.readOnly
  }

  read(offset: number, buffers: Buffers): Completion {
    checkRange(offset, lengthOf(buffers), this.#size)
    return this.#file.read(offset, buffers)
  }

  write(offset: number, buffers: Buffers): Completion {
    checkWritable(this)
    checkRange(offset, lengthOf(buffers), this.#size)
    return this.#file.write(offset, buffers)
  }

  flush(): Completion {
    return this.readOnly ? undefined : this.#file.sync()
  }

  discard(offset: number, length: number): Completion {
    checkWritable(this)
    checkRange(offset, length, this.#size)
    return undefined
  }

  writeZeroes(offset: number, length: number, _mayUnmap: boolean): Completion {
    checkWritable(this)
    checkRange(offset, length, this.#size)
    return writeZeros((at, buffers) => this.#file.write(at, buffers), offset, length)
  }

  async resize(size: number): Promise<void> {
    checkWritable(this)
    checkSize(size)
    await this.#file.truncate(size)
    this.#size = size
  }

  async close(): Promise<void> {
    await this.flush()
    await this.#file.close()
  }
}
