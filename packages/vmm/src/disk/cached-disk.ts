import {
  type BlockBackend,
  type Buffers,
  type Completion,
  checkRange,
  checkWritable,
} from './block-backend.ts'
import { gather, lengthOf, scatter, sliceBuffers } from './buffers.ts'

export interface CacheOptions {
  /** Of all lines together; 16 MiB where nothing is said. */
  bytes?: number
  /** Of one line: what is read and written at once. 16 KiB where nothing is said. */
  lineBytes?: number
}

interface Line {
  bytes: Uint8Array
  dirty: boolean
}

/** Lines that are read or written in one request of the disk. */
const MERGED = 64

/**
 * Keeps what was used last in memory, for disks that are far away. Writes go to the disk when they are flushed, or when
 * their room is needed. Hits are done at once; what has to wait for the disk is done one after the other.
 */
export class CachedDisk implements BlockBackend {
  readonly #disk: BlockBackend
  readonly #lineBytes: number
  readonly #mostLines: number
  /** In order of their last use. */
  readonly #lines = new Map<number, Line>()
  #queue: Promise<void> = Promise.resolve()
  #waiting = 0

  constructor(disk: BlockBackend, { bytes = 16 << 20, lineBytes = 16 << 10 }: CacheOptions = {}) {
    this.#disk = disk
    this.#lineBytes = lineBytes
    this.#mostLines = Math.max(4, Math.floor(bytes / lineBytes))
  }

  get size(): number {
    return this.#disk.size
  }

  get readOnly(): boolean {
    return this.#disk.readOnly
  }

  read(offset: number, buffers: Buffers): Completion {
    const length = lengthOf(buffers)
    checkRange(offset, length, this.size)
    if (this.#waiting === 0 && this.#has(offset, length)) return this.#copyOut(offset, buffers)
    return this.#inTurn(() => this.#eachPart(offset, buffers, (at, part) => this.#readPart(at, part)))
  }

  write(offset: number, buffers: Buffers): Completion {
    checkWritable(this)
    const length = lengthOf(buffers)
    checkRange(offset, length, this.size)
    if (this.#waiting === 0 && this.#has(offset, length)) return this.#copyIn(offset, buffers)
    return this.#inTurn(() => this.#eachPart(offset, buffers, (at, part) => this.#writePart(at, part)))
  }

  flush(): Completion {
    return this.#inTurn(async () => {
      await this.#writeBack()
      await this.#disk.flush()
    })
  }

  discard(offset: number, length: number): Completion {
    return this.#past(offset, length, () => this.#disk.discard(offset, length))
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): Completion {
    return this.#past(offset, length, () => this.#disk.writeZeroes(offset, length, mayUnmap))
  }

  async resize(size: number): Promise<void> {
    await this.#inTurn(async () => {
      await this.#writeBack()
      this.#lines.clear()
      await this.#disk.resize(size)
    })
  }

  async close(): Promise<void> {
    if (!this.readOnly) await this.flush()
    await this.#disk.close()
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#waiting++
    const done = this.#queue.then(work).finally(() => this.#waiting--)
    this.#queue = done.catch(() => undefined)
    return done
  }

  /** A request that the disk itself has to see. */
  #past(offset: number, length: number, request: () => Completion): Completion {
    checkWritable(this)
    checkRange(offset, length, this.size)
    return this.#inTurn(async () => {
      await this.#writeBack()
      for (const index of [...this.#lines.keys()]) {
        const start = index * this.#lineBytes
        if (start < offset + length && offset < start + this.#lineBytes) this.#lines.delete(index)
      }
      await request()
    })
  }

  #has(offset: number, length: number): boolean {
    const end = offset + length
    for (let index = Math.floor(offset / this.#lineBytes); index * this.#lineBytes < end; index++) {
      if (!this.#lines.has(index)) return false
    }
    return true
  }

  /** Parts so small that all their lines are in memory together. */
  async #eachPart(
    offset: number,
    buffers: Buffers,
    work: (offset: number, part: Buffers) => Promise<void>,
  ): Promise<void> {
    const length = lengthOf(buffers)
    const most = Math.min(MERGED, this.#mostLines / 2) * this.#lineBytes
    for (let done = 0; done < length; ) {
      const at = offset + done
      const step = Math.min(length - done, most - (at % this.#lineBytes))
      await work(at, sliceBuffers(buffers, done, step))
      done += step
    }
  }

  async #readPart(offset: number, buffers: Buffers): Promise<void> {
    await this.#load(offset, lengthOf(buffers), () => true)
    this.#copyOut(offset, buffers)
    await this.#makeRoom()
  }

  async #writePart(offset: number, buffers: Buffers): Promise<void> {
    const end = offset + lengthOf(buffers)
    // A line that is written as a whole need not be read.
    await this.#load(offset, end - offset, (start, size) => start < offset || start + size > end)
    this.#copyIn(offset, buffers)
    await this.#makeRoom()
  }

  /** Brings lines into memory, those that `needed` picks with their content. */
  async #load(
    offset: number,
    length: number,
    needed: (start: number, size: number) => boolean,
  ): Promise<void> {
    const missing: number[] = []
    for (
      let index = Math.floor(offset / this.#lineBytes);
      index * this.#lineBytes < offset + length;
      index++
    ) {
      if (this.#lines.has(index)) continue
      if (needed(index * this.#lineBytes, this.#sizeOf(index))) missing.push(index)
      else this.#lines.set(index, this.#newLine(index))
    }
    for (const run of runsOf(missing)) {
      const lines = run.map((index) => this.#newLine(index))
      await this.#disk.read(
        run[0] * this.#lineBytes,
        lines.map(({ bytes }) => bytes),
      )
      lines.forEach((line, i) => {
        this.#lines.set(run[i], line)
      })
    }
  }

  #sizeOf(index: number): number {
    return Math.min(this.#lineBytes, this.size - index * this.#lineBytes)
  }

  #newLine(index: number): Line {
    return { bytes: new Uint8Array(this.#sizeOf(index)), dirty: false }
  }

  #copyOut(offset: number, buffers: Buffers): undefined {
    this.#eachLine(offset, buffers, (line, at, part) => scatter(line.bytes.subarray(at), part))
  }

  #copyIn(offset: number, buffers: Buffers): undefined {
    this.#eachLine(offset, buffers, (line, at, part) => {
      gather(part, line.bytes.subarray(at))
      line.dirty = true
    })
  }

  #eachLine(offset: number, buffers: Buffers, work: (line: Line, at: number, part: Buffers) => void): void {
    const length = lengthOf(buffers)
    for (let done = 0; done < length; ) {
      const index = Math.floor((offset + done) / this.#lineBytes)
      const at = (offset + done) % this.#lineBytes
      const step = Math.min(this.#lineBytes - at, length - done)
      const line = this.#lines.get(index)!
      this.#lines.delete(index)
      this.#lines.set(index, line)
      work(line, at, sliceBuffers(buffers, done, step))
      done += step
    }
  }

  async #makeRoom(): Promise<void> {
    for (const [index, line] of this.#lines) {
      if (this.#lines.size <= this.#mostLines) return
      if (line.dirty) await this.#writeBack()
      this.#lines.delete(index)
    }
  }

  /** Writes what has changed, neighbours together. What changes meanwhile is dirty again. */
  async #writeBack(): Promise<void> {
    const dirty = [...this.#lines].filter(([, line]) => line.dirty).map(([index]) => index)
    for (const run of runsOf(dirty.sort((a, b) => a - b))) {
      const lines = run.map((index) => this.#lines.get(index)!)
      for (const line of lines) line.dirty = false
      try {
        await this.#disk.write(
          run[0] * this.#lineBytes,
          lines.map(({ bytes }) => bytes),
        )
      } catch (error) {
        for (const line of lines) line.dirty = true
        throw error
      }
    }
  }
}

/** Numbers that follow each other, in groups of bounded size. */
function runsOf(indexes: readonly number[]): number[][] {
  const runs: number[][] = []
  for (const index of indexes) {
    const last = runs.at(-1)
    if (last && last.length < MERGED && last.at(-1) === index - 1) last.push(index)
    else runs.push([index])
  }
  return runs
}
