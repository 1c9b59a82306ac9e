import { type Buffers, type Completion, checkWritable, type RandomAccessFile } from './block-backend.ts'
import { lengthOf } from './buffers.ts'

const PAGE = 1 << 16

/** A sparse file in memory: for pages in browsers, and for tests. */
export class MemoryFile implements RandomAccessFile {
  readonly readOnly: boolean
  readonly #pages = new Map<number, Uint8Array>()
  #size = 0

  constructor(content: Uint8Array = new Uint8Array(), { readOnly = false } = {}) {
    this.readOnly = readOnly
    this.#put(0, content)
  }

  size(): number {
    return this.#size
  }

  read(offset: number, buffers: Buffers): Completion {
    let at = offset
    for (const buffer of buffers) {
      this.#get(at, buffer)
      at += buffer.length
    }
    return undefined
  }

  write(offset: number, buffers: Buffers): Completion {
    checkWritable(this)
    let at = offset
    for (const buffer of buffers) {
      this.#put(at, buffer)
      at += buffer.length
    }
    return undefined
  }

  truncate(size: number): Completion {
    checkWritable(this)
    for (const page of this.#pages.keys()) if (page * PAGE >= size) this.#pages.delete(page)
    this.#pages.get(Math.floor(size / PAGE))?.fill(0, size % PAGE)
    this.#size = size
    return undefined
  }

  sync(): Completion {
    return undefined
  }

  async close(): Promise<void> {}

  /** A copy of the whole content. */
  bytes(): Uint8Array<ArrayBuffer> {
    const content = new Uint8Array(this.#size)
    this.#get(0, content)
    return content
  }

  #get(offset: number, buffer: Uint8Array): void {
    for (let done = 0; done < buffer.length; ) {
      const at = (offset + done) % PAGE
      const step = Math.min(PAGE - at, buffer.length - done)
      const page = this.#pages.get(Math.floor((offset + done) / PAGE))
      if (page) buffer.set(page.subarray(at, at + step), done)
      else buffer.fill(0, done, done + step)
      done += step
    }
  }

  #put(offset: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      const at = (offset + done) % PAGE
      const step = Math.min(PAGE - at, data.length - done)
      this.#page(Math.floor((offset + done) / PAGE)).set(data.subarray(done, done + step), at)
      done += step
    }
    this.#size = Math.max(this.#size, offset + lengthOf([data]))
  }

  #page(index: number): Uint8Array {
    let page = this.#pages.get(index)
    if (!page) this.#pages.set(index, (page = new Uint8Array(PAGE)))
    return page
  }
}
