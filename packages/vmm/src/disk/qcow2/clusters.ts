import { DiskError } from '../errors.ts'
import { type Geometry, MAX_REFCOUNT_TABLE_BYTES } from './geometry.ts'
import type { Refcounts } from './refcounts.ts'

/** Clusters of the file, one behind the other. */
export interface ClusterRange {
  first: number
  count: number
}

export interface Run extends ClusterRange {
  /** Never written to, so the file reads as zeros there. */
  zero: boolean
}

const SCAN_STEP = 1024
const MAX_RECYCLED_RANGES = 65536
const MAX_SPARE = 256
/** Clusters that wait for a commit; ordinary commits come long before. */
const MAX_HELD = 1 << 19
/** Ranges that are looked at for one of a certain size. */
const RECYCLED_SEARCH = 64

/**
 * Which clusters of the file are free: neither in use now, nor by what the header on disk still points to.
 *
 *   0 ........ cursor ........................ file end ........
 *   | recycled: known | fresh: next run found | zeros            |
 *
 * A scan of the refcounts goes once through the file and beyond its end, as clusters are asked for. A cluster that is
 * freed behind the cursor is recycled after the next commit; before the cursor the scan will find it.
 */
export class Clusters {
  readonly #geometry: Geometry
  readonly #refcounts: () => Refcounts
  readonly #recycled: Run[] = []
  /** Clusters that tables have left: they are for tables again, so that data stays in one piece. */
  readonly #spare: number[] = []
  readonly #leftByTables = new Set<number>()
  #fresh: Run = { first: 0, count: 0, zero: false }
  #cursor = 0
  #appending = false
  #zerosFrom: number
  #end: number
  #held = new Set<number>()
  /** Freed since the last commit. */
  #freed: number[] = []
  readonly #metadata = new Set<number>()
  #scanning: Promise<void> | undefined

  constructor(geometry: Geometry, refcounts: () => Refcounts, fileBytes: number) {
    this.#geometry = geometry
    this.#refcounts = refcounts
    this.#zerosFrom = this.#end = geometry.clustersOf(fileBytes)
  }

  /** The end of the file in bytes, counting what has been taken and perhaps not been written to. */
  get fileEnd(): number {
    return this.#end * this.#geometry.clusterSize
  }

  /** Takes from 1 to `most` clusters. They are lost if they are neither referenced nor given back. */
  take(most: number): Run | Promise<Run> {
    return this.#takeKnown(most) ?? this.#takeFound(most)
  }

  async takeForMetadata(): Promise<number> {
    return this.#spare.pop() ?? (await this.take(1)).first
  }

  async takeContiguous(count: number): Promise<number> {
    if (count === 1) return this.takeForMetadata()
    const recycled = this.#takeRecycled(count)
    if (recycled !== undefined) return recycled
    for (;;) {
      const run = this.#fresh.count >= count ? this.#takeFresh(count) : undefined
      if (run) return run.first
      const { first, count: left, zero } = this.#fresh
      this.#fresh = { first, count: 0, zero }
      if (left > 0) this.#recycle(first, left)
      await this.#scan(count)
    }
  }

  giveBack(first: number, count: number): void {
    this.#recycle(first, count)
  }

  isMetadata(cluster: number): boolean {
    return this.#metadata.has(cluster)
  }

  /** A table moves from one offset to another; 0 is nowhere. */
  changeMetadata(before: number, after: number): void {
    if (before !== 0) {
      const cluster = before / this.#geometry.clusterSize
      this.#metadata.delete(cluster)
      if (this.#leftByTables.size < MAX_SPARE) this.#leftByTables.add(cluster)
    }
    if (after !== 0) this.#metadata.add(after / this.#geometry.clusterSize)
  }

  /** As `changeMetadata`, for a table of several clusters. */
  changeMetadataRange(before: ClusterRange, after: ClusterRange): void {
    const { clusterSize } = this.#geometry
    for (let i = 0; i < before.count; i++) this.changeMetadata((before.first + i) * clusterSize, 0)
    this.addMetadata(after.first, after.count)
  }

  /** False if the cluster belongs to a table already. */
  addMetadata(first: number, count: number): boolean {
    let alone = true
    for (let cluster = first; cluster < first + count; cluster++) {
      if (this.#metadata.has(cluster)) alone = false
      this.#metadata.add(cluster)
    }
    return alone
  }

  /** No longer in use, but what is on disk still points there. */
  hold(cluster: number): void {
    if (this.#appending) return
    this.#held.add(cluster)
    this.#freed.push(cluster)
    if (this.#held.size > MAX_HELD) this.appendTo(this.fileEnd)
  }

  /** What a commit has freed; to be released when no request can still be at work there. */
  takeFreed(): number[] {
    const freed = this.#freed
    this.#freed = []
    return freed
  }

  release(freed: readonly number[]): void {
    for (const cluster of freed) {
      this.#held.delete(cluster)
      const wasTable = this.#leftByTables.delete(cluster)
      if (cluster >= this.#cursor) continue
      if (wasTable && this.#spare.length < MAX_SPARE) this.#spare.push(cluster)
      else this.#recycle(cluster, 1)
    }
  }

  /** From now on takes only what lies behind the file, so that what is freed needs no book-keeping; for large changes. */
  appendTo(fileBytes: number): void {
    this.#restart(fileBytes)
    this.#cursor = this.#end
    this.#appending = true
  }

  #restart(fileBytes: number): void {
    this.#recycled.length = 0
    this.#spare.length = 0
    this.#leftByTables.clear()
    this.#held = new Set()
    this.#freed = []
    this.#cursor = 0
    this.#fresh = { first: 0, count: 0, zero: false }
    this.#zerosFrom = this.#end = this.#geometry.clustersOf(fileBytes)
  }

  #takeKnown(most: number): Run | undefined {
    const last = this.#recycled.at(-1)
    if (!last) return this.#fresh.count > 0 ? this.#takeFresh(Math.min(most, this.#fresh.count)) : undefined
    const count = Math.min(most, last.count)
    const first = last.first
    last.first += count
    last.count -= count
    if (last.count === 0) this.#recycled.pop()
    return { first, count, zero: false }
  }

  #takeFresh(count: number): Run {
    const run = { first: this.#fresh.first, count, zero: this.#fresh.zero }
    this.#fresh.first += count
    this.#fresh.count -= count
    this.#end = Math.max(this.#end, run.first + count)
    return run
  }

  #takeRecycled(count: number): number | undefined {
    const range = this.#recycled.slice(-RECYCLED_SEARCH).find((run) => run.count >= count)
    if (!range) return undefined
    range.first += count
    range.count -= count
    if (range.count === 0) this.#recycled.splice(this.#recycled.indexOf(range), 1)
    return range.first - count
  }

  async #takeFound(most: number): Promise<Run> {
    for (;;) {
      const run = this.#takeKnown(most)
      if (run) return run
      await this.#scan(SCAN_STEP)
    }
  }

  #recycle(first: number, count: number): void {
    const last = this.#recycled.at(-1)
    if (last && last.first + last.count === first) last.count += count
    else if (last && first + count === last.first) {
      last.first = first
      last.count += count
    } else if (this.#recycled.length < MAX_RECYCLED_RANGES) this.#recycled.push({ first, count, zero: false })
  }

  async #scan(most: number): Promise<void> {
    this.#scanning ??= this.#findRun(most).finally(() => {
      this.#scanning = undefined
    })
    await this.#scanning
  }

  /** The next free run of up to `most` clusters, within one refcount block or over several that do not exist. */
  async #findRun(most: number): Promise<void> {
    const refcounts = this.#refcounts()
    while (this.#fresh.count === 0) {
      const index = refcounts.blockOf(this.#cursor)
      if (8 * index >= MAX_REFCOUNT_TABLE_BYTES) {
        throw new DiskError('TV_DISK_LIMIT', 'The image file would be larger than its refcounts can cover.')
      }
      while (refcounts.has(index) && !refcounts.peek(index)) await refcounts.load(index)
      this.#fresh = this.#freeRun(index, most)
    }
  }

  /** Moves the cursor over clusters in use, then over the free ones that it returns. */
  #freeRun(index: number, most: number): Run {
    const block = this.#refcounts().peek(index)
    const { blockEntries } = this.#geometry
    const blockEnd = (index + 1) * blockEntries
    const isFree = (cluster: number) =>
      (!block || block.get(cluster % blockEntries) === 0) &&
      !this.#held.has(cluster) &&
      !this.isMetadata(cluster)
    while (this.#cursor < blockEnd && !isFree(this.#cursor)) this.#cursor++
    const first = this.#cursor
    const zero = first >= this.#zerosFrom
    const border = zero ? Infinity : this.#zerosFrom
    // A run that has to be in one piece may go on in blocks that do not exist.
    const end = Math.min(border, block ? blockEnd : Infinity, first + most)
    while (this.#cursor < end && isFree(this.#cursor)) {
      this.#cursor++
      if (
        !block &&
        this.#cursor >= blockEnd &&
        this.#refcounts().has(this.#refcounts().blockOf(this.#cursor))
      )
        break
    }
    return { first, count: this.#cursor - first, zero }
  }
}
