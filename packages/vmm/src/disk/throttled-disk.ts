import type { Clock } from '../clock/clock.ts'
import type { BlockBackend, Buffers, Completion } from './block-backend.ts'
import { lengthOf } from './buffers.ts'
import { DiskError } from './errors.ts'

export interface ThrottleOptions {
  bytesPerSecond?: number
  /** Reads, writes and the like. */
  operationsPerSecond?: number
  /** So much of a rate's second may be used at once after a pause; 0.1 where nothing is said. */
  burstSeconds?: number
  clock: Clock
  /** Waits for so many milliseconds. */
  sleep: (milliseconds: number) => Promise<void>
}

const NANOSECONDS = 1e9

/** A rate that may be exceeded for a moment: what is over it is debt, to be waited for. */
class Bucket {
  readonly #rate: number
  readonly #burst: number
  /** When all that has been taken is paid for, in ns. */
  #paid = 0

  constructor(rate: number, burstSeconds: number) {
    if (!(rate > 0)) throw new DiskError('TV_DISK_OPTION', 'A disk cannot be throttled to nothing.')
    this.#rate = rate
    this.#burst = burstSeconds * NANOSECONDS
  }

  /** Takes an amount; returns until when to wait, in ns. */
  take(amount: number, now: number): number {
    this.#paid = Math.max(this.#paid, now - this.#burst) + (amount / this.#rate) * NANOSECONDS
    return this.#paid
  }
}

/** A disk that is no faster than it is told to be. Requests keep their order. */
export class ThrottledDisk implements BlockBackend {
  readonly #disk: BlockBackend
  readonly #bytes: Bucket | undefined
  readonly #operations: Bucket | undefined
  readonly #clock: Clock
  readonly #sleep: (milliseconds: number) => Promise<void>
  #last: Promise<void> | undefined

  constructor(disk: BlockBackend, options: ThrottleOptions) {
    const { bytesPerSecond, operationsPerSecond, burstSeconds = 0.1 } = options
    this.#disk = disk
    this.#bytes = bytesPerSecond === undefined ? undefined : new Bucket(bytesPerSecond, burstSeconds)
    this.#operations =
      operationsPerSecond === undefined ? undefined : new Bucket(operationsPerSecond, burstSeconds)
    this.#clock = options.clock
    this.#sleep = options.sleep
  }

  get size(): number {
    return this.#disk.size
  }

  get readOnly(): boolean {
    return this.#disk.readOnly
  }

  read(offset: number, buffers: Buffers): Completion {
    return this.#throttle(lengthOf(buffers), () => this.#disk.read(offset, buffers))
  }

  write(offset: number, buffers: Buffers): Completion {
    return this.#throttle(lengthOf(buffers), () => this.#disk.write(offset, buffers))
  }

  flush(): Completion {
    return this.#throttle(0, () => this.#disk.flush())
  }

  discard(offset: number, length: number): Completion {
    return this.#throttle(0, () => this.#disk.discard(offset, length))
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): Completion {
    return this.#throttle(mayUnmap ? 0 : length, () => this.#disk.writeZeroes(offset, length, mayUnmap))
  }

  resize(size: number): Promise<void> {
    return this.#disk.resize(size)
  }

  close(): Promise<void> {
    return this.#disk.close()
  }

  #throttle(bytes: number, request: () => Completion): Completion {
    const now = this.#clock.now()
    const until = Math.max(this.#bytes?.take(bytes, now) ?? 0, this.#operations?.take(1, now) ?? 0)
    if (until <= now && !this.#last) return request()
    const turn = this.#wait(until, this.#last)
    this.#last = turn
    return turn.then(() => {
      if (this.#last === turn) this.#last = undefined
      return request()
    })
  }

  async #wait(until: number, before: Promise<void> | undefined): Promise<void> {
    await before
    for (let left = until - this.#clock.now(); left > 0; left = until - this.#clock.now()) {
      await this.#sleep(left / 1e6)
    }
  }
}
