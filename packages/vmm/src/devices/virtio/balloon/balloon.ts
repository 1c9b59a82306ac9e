// VIRTIO 1.2, "Traditional Memory Balloon Device", with statistics and free page reporting.

import { PAGE_SIZE } from '../../../memory/guest-memory.ts'
import { expectVersion } from '../../../snapshot/version.ts'
import type { Chain } from '../queue/chain.ts'
import type { DriverLink, VirtioDevice } from '../virtio-device.ts'
import type { VirtioBalloonState } from './balloon.state.ts'

const VIRTIO_BALLOON_F_STATS_VQ = 1
const VIRTIO_BALLOON_F_DEFLATE_ON_OOM = 2
const VIRTIO_BALLOON_F_PAGE_REPORTING = 5

const INFLATE = 0
const STATISTICS = 2
/**
 * reporting_vq is number 4. Linux counts only queues that exist, and since free_page_vq (3) does not, it uses that
 * number. Nothing else can be there, so both are taken for it.
 */
const REPORTING = [3, 4]

const CONFIG = { PAGES: 0, ACTUAL: 4, SIZE: 16 } as const
/** What is read of one request: 16 Ki page numbers. Linux gives 256 at a time. */
const REQUEST_LIMIT = 0x1_0000
/** Bytes that one report can free, so that one of a hostile guest, all of RAM again and again, takes no long time. */
const REPORT_LIMIT = 0x1000_0000
const STATISTIC_SIZE = 10
const STATISTICS_LIMIT = 64

/** "Memory Statistics Tags". */
const TAGS = [
  'swapIn',
  'swapOut',
  'majorFaults',
  'minorFaults',
  'freeBytes',
  'totalBytes',
  'availableBytes',
  'cacheBytes',
  'hugePages',
  'hugePageFailures',
] as const
export type BalloonStatistics = Partial<Record<(typeof TAGS)[number], number>>

export interface BalloonOptions {
  /** The guest does not use this RAM any more: the host may take it, and it reads as anything. Whole pages. */
  release: (gpa: number, length: number) => void
  /** The guest's answer to `refreshStatistics`. */
  onStatistics?: (statistics: BalloonStatistics) => void
  /** How much the guest has given up; it follows the target slowly, or not at all. */
  onActual?: (bytes: number) => void
}

export class VirtioBalloon implements VirtioDevice<VirtioBalloonState> {
  readonly deviceId = 5
  readonly pciClass = 0xff_0000
  readonly features = [
    VIRTIO_BALLOON_F_STATS_VQ,
    VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
    VIRTIO_BALLOON_F_PAGE_REPORTING,
  ]
  readonly queueSizes = [128, 128, 16, 32, 32]
  readonly config = new Uint8Array(CONFIG.SIZE)
  readonly #view = new DataView(this.config.buffer)
  readonly #options: BalloonOptions
  readonly #statistics = new Map<number, number>()
  #driver: DriverLink | undefined
  /** The driver's buffer for statistics, held until new ones are wanted. */
  #held: Chain | undefined

  constructor(options: BalloonOptions) {
    this.#options = options
  }

  attach(driver: DriverLink): void {
    this.#driver = driver
  }

  /** How much RAM the guest is to give up, in bytes. */
  set target(bytes: number) {
    const pages = Math.min(Math.max(Math.floor(bytes / PAGE_SIZE), 0), 0xffff_ffff)
    if (pages === this.#view.getUint32(CONFIG.PAGES, true)) return
    this.#view.setUint32(CONFIG.PAGES, pages, true)
    this.#driver?.configChanged()
  }

  get target(): number {
    return this.#view.getUint32(CONFIG.PAGES, true) * PAGE_SIZE
  }

  /** What the guest says that it gave up, in bytes. */
  get actual(): number {
    return this.#view.getUint32(CONFIG.ACTUAL, true) * PAGE_SIZE
  }

  get statistics(): BalloonStatistics {
    const known = TAGS.map((name, tag) => [name, this.#statistics.get(tag)] as const)
    return Object.fromEntries(known.filter(([, value]) => value !== undefined))
  }

  /** Asks the guest for statistics; `false` where it has not answered before, or does not do that. */
  refreshStatistics(): boolean {
    const chain = this.#held
    if (!chain) return false
    this.#held = undefined
    chain.complete()
    this.#driver?.queue(STATISTICS)?.signal()
    return true
  }

  start(): void {
    for (let index = 0; index < this.queueSizes.length; index++) this.notified(index)
  }

  notified(index: number): void {
    this.#driver?.queue(index)?.serve((chain) => {
      if (index === STATISTICS) this.#takeStatistics(chain)
      else {
        if (index === INFLATE) this.#inflate(chain)
        else if (REPORTING.includes(index)) this.#reported(chain)
        chain.complete()
      }
      return true
    })
  }

  reset(): void {
    this.#held = undefined
    this.#statistics.clear()
    this.#view.setUint32(CONFIG.ACTUAL, 0, true)
  }

  resetQueue(index: number): void {
    if (index === STATISTICS) this.#held = undefined
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset < CONFIG.ACTUAL || offset + bytes.length > CONFIG.ACTUAL + 4) return
    this.config.set(bytes, offset)
    this.#options.onActual?.(this.actual)
  }

  /** Page numbers of 4 KiB pages, 32 bits each; neighbours are released together. */
  #inflate(chain: Chain): void {
    const numbers = new Uint8Array(Math.min(chain.readableBytes, REQUEST_LIMIT) & ~3)
    chain.read(numbers)
    const view = new DataView(numbers.buffer)
    let first = 0
    let count = 0
    for (let at = 0; at < numbers.length; at += 4) {
      const page = view.getUint32(at, true)
      if (count > 0 && page === first + count) count++
      else {
        this.#release(first * PAGE_SIZE, count * PAGE_SIZE)
        first = page
        count = 1
      }
    }
    this.#release(first * PAGE_SIZE, count * PAGE_SIZE)
  }

  /** The buffers themselves are the free pages. They are the guest's again when they come back. */
  #reported(chain: Chain): void {
    let rest = REPORT_LIMIT
    for (const { gpa, bytes } of chain.writable) {
      const first = Math.ceil(gpa / PAGE_SIZE) * PAGE_SIZE
      const pages = Math.floor((Math.min(gpa + bytes.length, first + rest) - first) / PAGE_SIZE)
      this.#release(first, pages * PAGE_SIZE)
      rest -= Math.max(pages, 0) * PAGE_SIZE
    }
  }

  #release(gpa: number, length: number): void {
    const ram = this.#driver?.ram
    if (length <= 0 || !ram?.contains(gpa, length)) return
    this.#options.release(gpa, length)
    ram.written(gpa, length)
  }

  #takeStatistics(chain: Chain): void {
    this.#held?.complete()
    this.#held = chain
    const bytes = new Uint8Array(Math.min(chain.readableBytes, STATISTICS_LIMIT * STATISTIC_SIZE))
    chain.read(bytes)
    const view = new DataView(bytes.buffer)
    for (let at = 0; at + STATISTIC_SIZE <= bytes.length; at += STATISTIC_SIZE) {
      const tag = view.getUint16(at, true)
      const value = view.getUint32(at + 2, true) + view.getUint32(at + 6, true) * 2 ** 32
      if (tag < TAGS.length) this.#statistics.set(tag, value)
    }
    this.#options.onStatistics?.(this.statistics)
  }

  save(): VirtioBalloonState {
    return {
      version: 1,
      pages: this.#view.getUint32(CONFIG.PAGES, true),
      actual: this.#view.getUint32(CONFIG.ACTUAL, true),
      statistics: [...this.#statistics],
    }
  }

  restore(state: VirtioBalloonState): void {
    expectVersion('virtio-balloon', state, 1)
    this.#view.setUint32(CONFIG.PAGES, state.pages, true)
    this.#view.setUint32(CONFIG.ACTUAL, state.actual, true)
    this.#statistics.clear()
    for (const [tag, value] of state.statistics) if (tag in TAGS) this.#statistics.set(tag, value)
  }
}
