// VIRTIO 1.2, "Block Device", over any `BlockBackend`.
//
// A request is a generator of steps: each is a call of the back end, done at once or by a promise, and what it returns is
// the request's status. Requests run beside each other, since the back end may have any number in flight.
//
// What a guest can make us hold or do has three bounds. Requests in flight are as many as the rings' entries; those that
// are begun together move up to `IN_FLIGHT_LIMIT` bytes, large ones in steps. And a turn of the run loop moves
// `TURN_LIMIT` bytes: what is left then goes on by a timer that is due at once, so that a back end that does everything
// at once cannot hold the event loop.
//
// After a reset the memory of the old requests is still the back end's while a step is under way; `reset` waits for
// those, and nothing of them is begun any more.

import type { Timer, TimerClock } from '../../../clock/clock.ts'
import type { BlockBackend, Completion } from '../../../disk/block-backend.ts'
import { expectVersion } from '../../../snapshot/version.ts'
import type { Chain } from '../queue/chain.ts'
import type { DriverLink, VirtioDevice } from '../virtio-device.ts'
import type { VirtioBlkState } from './blk.state.ts'
import {
  CONFIG,
  ID_SIZE,
  RANGE_F_UNMAP,
  SECTOR,
  VIRTIO_BLK_F_BLK_SIZE,
  VIRTIO_BLK_F_CONFIG_WCE,
  VIRTIO_BLK_F_DISCARD,
  VIRTIO_BLK_F_FLUSH,
  VIRTIO_BLK_F_MQ,
  VIRTIO_BLK_F_RO,
  VIRTIO_BLK_F_SEG_MAX,
  VIRTIO_BLK_F_TOPOLOGY,
  VIRTIO_BLK_F_WRITE_ZEROES,
  VIRTIO_BLK_S_IOERR,
  VIRTIO_BLK_S_OK,
  VIRTIO_BLK_S_UNSUPP,
  VIRTIO_BLK_T_DISCARD,
  VIRTIO_BLK_T_FLUSH,
  VIRTIO_BLK_T_GET_ID,
  VIRTIO_BLK_T_IN,
  VIRTIO_BLK_T_OUT,
  VIRTIO_BLK_T_WRITE_ZEROES,
} from './registers.ts'
import { pieces, type Range, type Request, readRanges, readRequest } from './request.ts'

const QUEUE_SIZE = 256
/** A vector of MSI-X for each. */
const QUEUE_LIMIT = 16
/** With header and status a chain fits into the ring. */
const SEG_MAX = QUEUE_SIZE - 2
const MIB = 1 << 20
const STEP = 4 * MIB
const IN_FLIGHT_LIMIT = 32 * MIB
const TURN_LIMIT = 16 * MIB
/** What a request costs besides its bytes, and what a range costs that is not transferred, in bytes of a transfer. */
const REQUEST_COST = 4096
const RANGE_COST = 1 / 64

/** 64 MiB in each of 16 ranges; of 64 KiB, as qcow2 images have clusters, so that whole ones are given back. */
const RANGE_SECTORS = (64 * MIB) / SECTOR
const RANGES = 16
const DISCARD_ALIGNMENT = (64 << 10) / SECTOR
/** Disks have pages of 4 KiB today, whatever they say. */
const PHYSICAL_BLOCK_EXP = 3

export interface BlkOptions {
  readonly disk: BlockBackend
  readonly clock: TimerClock
  /** What the guest gets for the disk's serial number: 20 bytes of ASCII at most. */
  readonly serial?: string
  /** Request queues, 1 by default. */
  readonly queues?: number
  /** The back end failed: what it threw. The guest got an I/O error. */
  readonly onError?: (error: unknown) => void
}

/** The status that ends a request. */
type Steps = Generator<Completion, number, void>

interface Job {
  readonly request: Request
  readonly queue: number
  readonly bytes: number
  readonly steps: Steps
}

export class VirtioBlk implements VirtioDevice<VirtioBlkState> {
  readonly deviceId = 2
  readonly pciClass = 0x01_8000
  readonly features: readonly number[]
  readonly queueSizes: readonly number[]
  readonly #config = new Uint8Array(CONFIG.SIZE)
  readonly #view = new DataView(this.#config.buffer)
  readonly #disk: BlockBackend
  readonly #clock: TimerClock
  readonly #id = new Uint8Array(ID_SIZE)
  readonly #onError: (error: unknown) => void
  #driver: DriverLink | undefined
  #writeback = true
  /** Requests that are not over, by queue. */
  readonly #active: number[]
  #bytes = 0
  /** Bytes that this turn has moved. */
  #spent = 0
  #timer: Timer | undefined
  /** Jobs that go on in the next turn. */
  #paused: Job[] = []
  /** A queue has to be looked at once there is room. */
  #isStarved = false
  #firstServed = 0
  #isServing = false
  #isStopped = false
  #drained: { readonly isOver: () => boolean; readonly resolve: () => void }[] = []

  constructor({ disk, clock, serial = '', queues = 1, onError = () => {} }: BlkOptions) {
    if (!Number.isInteger(queues) || queues < 1 || queues > QUEUE_LIMIT)
      throw new RangeError(`a block device has from 1 to ${QUEUE_LIMIT} queues`)
    this.#disk = disk
    this.#clock = clock
    this.#onError = onError
    this.#id.set(Array.from(serial.slice(0, ID_SIZE), (letter) => letter.charCodeAt(0) & 0x7f))
    this.features = featuresOf(disk, queues)
    this.queueSizes = new Array(queues).fill(QUEUE_SIZE)
    this.#active = new Array(queues).fill(0)
    this.#describe(queues)
  }

  #describe(queues: number): void {
    const view = this.#view
    this.#setCapacity()
    view.setUint32(CONFIG.SEG_MAX, SEG_MAX, true)
    view.setUint32(CONFIG.BLK_SIZE, SECTOR, true)
    view.setUint8(CONFIG.PHYSICAL_BLOCK_EXP, PHYSICAL_BLOCK_EXP)
    view.setUint16(CONFIG.MIN_IO_SIZE, 1 << PHYSICAL_BLOCK_EXP, true)
    view.setUint16(CONFIG.NUM_QUEUES, queues, true)
    if (this.#disk.readOnly) return
    view.setUint32(CONFIG.MAX_DISCARD_SECTORS, RANGE_SECTORS, true)
    view.setUint32(CONFIG.MAX_DISCARD_SEG, RANGES, true)
    view.setUint32(CONFIG.DISCARD_SECTOR_ALIGNMENT, DISCARD_ALIGNMENT, true)
    view.setUint32(CONFIG.MAX_WRITE_ZEROES_SECTORS, RANGE_SECTORS, true)
    view.setUint32(CONFIG.MAX_WRITE_ZEROES_SEG, RANGES, true)
    view.setUint8(CONFIG.WRITE_ZEROES_MAY_UNMAP, 1)
  }

  /** In sectors; what a file has behind the last whole one is not part of the disk. */
  get #capacity(): number {
    return Math.floor(this.#disk.size / SECTOR)
  }

  #setCapacity(): void {
    this.#view.setBigUint64(CONFIG.CAPACITY, BigInt(this.#capacity), true)
  }

  /** The back end was resized: the guest is told. */
  resized(): void {
    this.#setCapacity()
    this.#driver?.configChanged()
  }

  get config(): Uint8Array {
    this.#config[CONFIG.WRITEBACK] = Number(!this.#writesThrough)
    return this.#config
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset !== CONFIG.WRITEBACK || bytes.length !== 1) return
    if (this.#driver?.has(VIRTIO_BLK_F_CONFIG_WCE)) this.#writeback = (bytes[0] & 1) !== 0
  }

  /** Whether a write is to be on stable storage when it completes: a driver that does not flush counts on that. */
  get #writesThrough(): boolean {
    const has = (feature: number) => this.#driver?.has(feature) ?? false
    return !has(VIRTIO_BLK_F_FLUSH) || (has(VIRTIO_BLK_F_CONFIG_WCE) && !this.#writeback)
  }

  attach(driver: DriverLink): void {
    this.#driver = driver
  }

  start(): void {
    this.#serveAll()
  }

  notified(index: number): void {
    this.#serve(index)
  }

  // Which requests are begun.

  get #hasRoom(): boolean {
    return this.#bytes < IN_FLIGHT_LIMIT && this.#spent < TURN_LIMIT && !this.#isStopped
  }

  #serveAll(): void {
    const { length } = this.queueSizes
    this.#firstServed = (this.#firstServed + 1) % length
    for (let i = 0; i < length; i++) this.#serve((this.#firstServed + i) % length)
  }

  #serve(index: number): void {
    const queue = this.#driver?.queue(index)
    if (!queue) return
    if (this.#hasRoom) {
      this.#isServing = true
      queue.serve((chain) => {
        this.#begin(chain, index)
        return this.#hasRoom
      })
      this.#isServing = false
    }
    this.#isStarved ||= !this.#hasRoom
  }

  #begin(chain: Chain, queue: number): void {
    const request = readRequest(chain)
    if (!request) {
      this.#driver?.needsReset('a request has no header, or no room for its status')
      return
    }
    const bytes = REQUEST_COST + Math.min(request.inputBytes + request.outputBytes, STEP)
    const job = { request, queue, bytes, steps: this.#steps(request) }
    this.#active[queue]++
    this.#bytes += bytes
    this.#spend(REQUEST_COST)
    this.#advance(job)
  }

  #spend(bytes: number): void {
    this.#spent += bytes
    if (this.#spent >= TURN_LIMIT) this.#timer ??= this.#clock.at(this.#clock.now(), () => this.#turn())
  }

  /** A new turn: what was paused goes on, then there may be room for more. */
  #turn(): void {
    this.#clock.cancel(this.#timer)
    this.#timer = undefined
    this.#spent = 0
    const paused = this.#paused
    this.#paused = []
    for (const job of paused) this.#advance(job)
    this.#feed()
  }

  #feed(): void {
    if (!this.#isStarved || !this.#hasRoom) return
    this.#isStarved = false
    this.#serveAll()
  }

  // How one goes on.

  #advance(job: Job): void {
    while (true) {
      if (!job.request.chain.isHeld || this.#isStopped) return this.#retire(job)
      if (this.#spent >= TURN_LIMIT) return void this.#paused.push(job)
      let step: IteratorResult<Completion, number>
      try {
        step = job.steps.next()
      } catch (error) {
        return this.#fail(job, error)
      }
      if (step.done) return this.#finish(job, step.value)
      if (!step.value) continue
      step.value.then(
        () => this.#advance(job),
        (error) => this.#fail(job, error),
      )
      return
    }
  }

  #fail(job: Job, error: unknown): void {
    this.#onError(error)
    this.#finish(job, VIRTIO_BLK_S_IOERR)
  }

  #finish(job: Job, status: number): void {
    const { chain, type, inputBytes } = job.request
    if (!chain.isHeld) return this.#retire(job)
    chain.write(Uint8Array.of(status), inputBytes)
    // An answer that is shorter than its room leaves a gap before the status, and so do errors.
    const answered = status === VIRTIO_BLK_S_OK ? answerBytes(type, inputBytes) : 0
    if (answered < inputBytes) this.#written(chain)
    chain.complete(answered < inputBytes ? answered : inputBytes + 1)
    if (!this.#isServing) this.#driver?.queue(job.queue)?.signal()
    this.#retire(job)
  }

  /** The request is over, in one way or the other. */
  #retire(job: Job): void {
    const { chain, type } = job.request
    if (!chain.isHeld && type === VIRTIO_BLK_T_IN) this.#written(chain)
    this.#active[job.queue]--
    this.#bytes -= job.bytes
    this.#drained = this.#drained.filter(({ isOver, resolve }) => {
      if (isOver()) resolve()
      return !isOver()
    })
    if (!this.#isServing) this.#feed()
  }

  /** For code made from what was there. */
  #written({ writable }: Chain): void {
    for (const { gpa, bytes } of writable) this.#driver?.ram.written(gpa, bytes.length)
  }

  // What requests do.

  #steps(request: Request): Steps {
    switch (request.type) {
      case VIRTIO_BLK_T_IN:
        return this.#read(request)
      case VIRTIO_BLK_T_OUT:
        return this.#disk.readOnly ? ends(VIRTIO_BLK_S_IOERR) : this.#write(request)
      case VIRTIO_BLK_T_FLUSH:
        return this.#flush()
      case VIRTIO_BLK_T_GET_ID:
        request.chain.write(this.#id.subarray(0, request.inputBytes))
        return ends(VIRTIO_BLK_S_OK)
      case VIRTIO_BLK_T_DISCARD:
      case VIRTIO_BLK_T_WRITE_ZEROES:
        return this.#clear(request)
      default:
        return ends(VIRTIO_BLK_S_UNSUPP)
    }
  }

  #contains(sector: number, bytes: number): boolean {
    return bytes % SECTOR === 0 && sector + bytes / SECTOR <= this.#capacity
  }

  *#read({ sector, input, inputBytes }: Request): Steps {
    if (!this.#contains(sector, inputBytes)) return VIRTIO_BLK_S_IOERR
    for (const [at, buffers] of pieces(input, STEP)) {
      this.#spend(Math.min(inputBytes - at, STEP))
      yield this.#disk.read(sector * SECTOR + at, buffers)
    }
    return VIRTIO_BLK_S_OK
  }

  *#write({ sector, output, outputBytes }: Request): Steps {
    if (!this.#contains(sector, outputBytes)) return VIRTIO_BLK_S_IOERR
    for (const [at, buffers] of pieces(output, STEP)) {
      this.#spend(Math.min(outputBytes - at, STEP))
      yield this.#disk.write(sector * SECTOR + at, buffers)
    }
    if (this.#writesThrough) yield this.#disk.flush()
    return VIRTIO_BLK_S_OK
  }

  *#flush(): Steps {
    yield this.#disk.flush()
    return VIRTIO_BLK_S_OK
  }

  /** All ranges are looked at before the first is touched. */
  *#clear(request: Request): Steps {
    const discards = request.type === VIRTIO_BLK_T_DISCARD
    const feature = discards ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES
    if (!this.#driver?.has(feature)) return VIRTIO_BLK_S_UNSUPP
    const ranges = readRanges(request, RANGES)
    if (!ranges) return VIRTIO_BLK_S_IOERR
    const known = discards ? 0 : RANGE_F_UNMAP
    if (ranges.some(({ flags }) => (flags & ~known) !== 0)) return VIRTIO_BLK_S_UNSUPP
    if (!ranges.every((range) => this.#mayClear(range))) return VIRTIO_BLK_S_IOERR
    for (const { sector, count, flags } of ranges) {
      this.#spend(count * SECTOR * RANGE_COST)
      yield discards
        ? this.#disk.discard(sector * SECTOR, count * SECTOR)
        : this.#disk.writeZeroes(sector * SECTOR, count * SECTOR, (flags & RANGE_F_UNMAP) !== 0)
    }
    if (this.#writesThrough) yield this.#disk.flush()
    return VIRTIO_BLK_S_OK
  }

  #mayClear({ sector, count }: Range): boolean {
    return count <= RANGE_SECTORS && this.#contains(sector, count * SECTOR)
  }

  // Resets.

  /** Resolves when no request is under way; at once (undefined) when that is so. Others may begin meanwhile. */
  idle(): Promise<void> | undefined {
    return this.#whenOver(() => this.#active.every((count) => count === 0))
  }

  #whenOver(isOver: () => boolean): Promise<void> | undefined {
    if (isOver()) return undefined
    return new Promise((resolve) => this.#drained.push({ isOver, resolve }))
  }

  /** The machine has ended: nothing is begun any more. Resolves when the back end may be closed. */
  stop(): Promise<void> | undefined {
    this.#isStopped = true
    this.#turn()
    return this.idle()
  }

  reset(): Promise<void> | undefined {
    this.#writeback = true
    this.#isStarved = false
    this.#turn()
    return this.idle()
  }

  resetQueue(index: number): Promise<void> | undefined {
    this.#turn()
    return this.#whenOver(() => this.#active[index] === 0)
  }

  save(): VirtioBlkState {
    return { version: 1, writeback: this.#writeback }
  }

  restore(state: VirtioBlkState): void {
    expectVersion('virtio-blk', state, 1)
    this.#writeback = state.writeback !== false
  }
}

function featuresOf({ readOnly }: BlockBackend, queues: number): number[] {
  const features = [
    VIRTIO_BLK_F_SEG_MAX,
    VIRTIO_BLK_F_BLK_SIZE,
    VIRTIO_BLK_F_FLUSH,
    VIRTIO_BLK_F_TOPOLOGY,
    ...(queues > 1 ? [VIRTIO_BLK_F_MQ] : []),
  ]
  if (readOnly) return [...features, VIRTIO_BLK_F_RO]
  return [...features, VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_DISCARD, VIRTIO_BLK_F_WRITE_ZEROES]
}

/** How much of a request's room was filled. */
function answerBytes(type: number, inputBytes: number): number {
  if (type === VIRTIO_BLK_T_IN) return inputBytes
  return type === VIRTIO_BLK_T_GET_ID ? Math.min(inputBytes, ID_SIZE) : 0
}

// biome-ignore lint/correctness/useYield: a request without steps.
function* ends(status: number): Steps {
  return status
}
