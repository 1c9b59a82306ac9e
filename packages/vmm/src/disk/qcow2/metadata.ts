/*
 * The tables of a qcow2 image, and how they change without ever being wrong in the file.
 *
 * A process may be killed between any two writes, and whoever opens the file then must find neither a cluster that is
 * used and not counted nor one that is counted and not used. Two tables change with each allocation, the L2 table and
 * the refcount block, and no order of two writes is right in between. So nothing that the header leads to is changed
 * in place. A commit writes all that changed to clusters that were free, up to new L1 and refcount tables, and then
 * the header's few bytes that point to those, in one write:
 *
 *        header ──┬─> L1 table ──> L2 tables ──> data             refcounts of what the header leads to;
 *        (switch) └─> refcount table ──> refcount blocks          what a commit is preparing counts as free
 *
 * A kill before the switch leaves the last commit, after it the new one. Data is overwritten in place where its cluster
 * belongs to the disk alone; otherwise it goes to a free cluster, and the L2 table in memory learns of it when it is
 * written. Clusters that have become free are used again after the switch is on stable storage, when no request can
 * still be at work on them. The order against a crash of the host: tables, sync, header, sync.
 *
 * Snapshots, resizing and repairs are changes like any other, larger: they end with the same switch.
 */

import type { RandomAccessFile } from '../block-backend.ts'
import { corrupt } from '../errors.ts'
import { type ClusterRange, Clusters } from './clusters.ts'
import type { Geometry } from './geometry.ts'
import {
  changingFields,
  cleanHeader,
  firstClusterSize,
  parseHeader,
  type Qcow2Header,
  V3_LENGTH,
} from './header.ts'
import { L1Table } from './l1-table.ts'
import { L2Cache } from './l2-cache.ts'
import type { L2Table } from './l2-table.ts'
import { Refcounts } from './refcounts.ts'
import type { Requests } from './requests.ts'
import { parseSnapshots, type Snapshot, serializeSnapshots } from './snapshot-table.ts'

/** Changes that wait for a commit: of refcounts, and of refcount blocks. */
const MAX_DELTAS = 65536
const MAX_BLOCKS = 128

interface Frozen {
  index: number
  table: L2Table
  bytes: Uint8Array
}

export async function readHeader(
  file: RandomAccessFile,
): Promise<{ header: Qcow2Header; cluster: Uint8Array }> {
  const start = new Uint8Array(Math.min(V3_LENGTH, file.size()))
  await file.read(0, [start])
  const cluster = new Uint8Array(Math.min(firstClusterSize(start), file.size()))
  await file.read(0, [cluster])
  return { header: parseHeader(cluster), cluster }
}

export class Metadata {
  readonly file: RandomAccessFile
  readonly #requests: Requests
  header!: Qcow2Header
  geometry!: Geometry
  l1!: L1Table
  l2!: L2Cache
  clusters!: Clusters
  refcounts!: Refcounts
  snapshots: Snapshot[] = []
  #firstCluster: Uint8Array = new Uint8Array()
  /** Refcounts that change with the next commit. */
  #deltas = new Map<number, number>()
  readonly #touchedBlocks = new Set<number>()
  /** L2 tables that have moved since the last commit, by index. */
  readonly #movedTables = new Set<number>()
  #l1Place = { first: 0, count: 0 }
  #l1Moved = false
  #snapshotsPlace = { first: 0, count: 0 }
  /** Something but L2 tables and refcounts is to be committed. */
  #changed = false
  #cleanHeader = false
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined
  #unsynced: number[] = []

  private constructor(file: RandomAccessFile, requests: Requests) {
    this.file = file
    this.#requests = requests
  }

  static async open(file: RandomAccessFile, requests: Requests): Promise<Metadata> {
    const metadata = new Metadata(file, requests)
    await metadata.reload()
    return metadata
  }

  /** Reads everything from the file, and forgets what is not committed. */
  async reload(): Promise<void> {
    const { header, cluster } = await readHeader(this.file)
    this.header = header
    this.#firstCluster = cluster
    this.geometry = header.geometry
    this.l2 = new L2Cache(header.geometry, (index) => this.readL2(this.l1, index))
    this.clusters = new Clusters(header.geometry, () => this.refcounts, this.file.size())
    this.#deltas.clear()
    this.#touchedBlocks.clear()
    this.#movedTables.clear()
    this.#l1Moved = this.#changed = this.#cleanHeader = false
    this.#unsynced = []
    this.l1 = await this.readL1(header.l1Offset, header.l1Size)
    await this.#readSnapshots()
    if (!this.file.readOnly) await this.#readRefcountTable()
  }

  async readL1(offset: number, entries: number): Promise<L1Table> {
    return L1Table.parse(await this.#read(offset, 8 * entries, 'an L1 table'))
  }

  /** An L2 table's bytes; zeros where there is none. */
  async readL2(l1: L1Table, index: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.geometry.clusterSize)
    const offset = l1.checkedOffset(index, this.geometry, this.#fileEnd)
    if (offset !== 0) await this.file.read(offset, [bytes])
    return bytes
  }

  get #fileEnd(): number {
    return Math.max(
      this.clusters.fileEnd,
      this.geometry.clustersOf(this.file.size()) * this.geometry.clusterSize,
    )
  }

  /** A cluster is in use once more. */
  reference(cluster: number): void {
    this.#change(cluster, 1)
  }

  /** One use of a cluster ends. */
  dereference(cluster: number): void {
    this.#change(cluster, -1)
  }

  /** Refuses to give away, or to write data into, what the tables are in: only a damaged image asks for it. */
  checkNoTable(cluster: number): void {
    if (this.clusters.isMetadata(cluster)) throw corrupt(`cluster ${cluster} holds a table and data`)
  }

  /** Too much waits for a commit. */
  get isFull(): boolean {
    return this.#deltas.size > MAX_DELTAS || this.#touchedBlocks.size > MAX_BLOCKS || this.l2.isFull
  }

  /** Commits what has changed before the call. Callers at the same time share a commit. */
  commit(): Promise<void> {
    if (!this.#running && !this.#next) return (this.#running = this.#run())
    this.#next ??= this.#running!.then(
      () => this.#startNext(),
      () => this.#startNext(),
    )
    return this.#next
  }

  #startNext(): Promise<void> {
    this.#next = undefined
    return (this.#running = this.#run())
  }

  async #run(): Promise<void> {
    try {
      await this.#commitOnce()
    } finally {
      this.#running = undefined
    }
  }

  /**
   * A change of the whole: snapshots, repairs. Nothing else may be in flight. `change` works on `refcounts`, `l1`,
   * `header` and `snapshots` and on L2 tables through `moveL2`; if it fails it has not happened.
   */
  async transform(change: () => Promise<void>): Promise<void> {
    await this.commit()
    try {
      await change()
      this.#changed = true
      await this.commit()
    } finally {
      await this.reload()
    }
  }

  /** Writes a table of the active L1 table to a new place, at once. */
  async moveL2(index: number, bytes: Uint8Array): Promise<void> {
    await this.#placeL2(index)
    await this.file.write(this.l1.offsets[index], [bytes])
  }

  /** The next commit writes an L1 table, though no L2 table changes. */
  changeL1(l1: L1Table): void {
    this.l1 = l1
    this.header.l1Size = l1.length
    this.#changed = true
  }

  /** The next commit writes the table of snapshots. */
  async changeSnapshots(snapshots: Snapshot[]): Promise<void> {
    const bytes = serializeSnapshots(snapshots)
    const count = this.geometry.clustersOf(bytes.length)
    const first = count === 0 ? 0 : await this.clusters.takeContiguous(count)
    await this.#adjustRange(first, count, 1)
    await this.#adjustRange(this.#snapshotsPlace.first, this.#snapshotsPlace.count, -1)
    await this.file.write(first * this.geometry.clusterSize, [bytes])
    this.clusters.changeMetadataRange(this.#snapshotsPlace, { first, count })
    this.#snapshotsPlace = { first, count }
    this.header.snapshotsOffset = first * this.geometry.clusterSize
    this.header.snapshotCount = snapshots.length
    this.snapshots = snapshots
    this.#changed = true
  }

  /** The next commit clears dirty and auto-clear bits. */
  changeToClean(): void {
    this.#cleanHeader = true
    this.#changed = true
  }

  /** Where the table of snapshots is, in clusters. */
  get snapshotsPlace(): ClusterRange {
    return this.#snapshotsPlace
  }

  /** Puts other refcounts in place of those of the image. */
  replaceRefcounts(table: Float64Array, place: ClusterRange): void {
    this.refcounts = this.#makeRefcounts(table, place)
    this.#changed = true
  }

  async #adjustRange(first: number, count: number, delta: number): Promise<void> {
    for (let cluster = first; cluster < first + count; cluster++) await this.refcounts.adjust(cluster, delta)
  }

  #change(cluster: number, delta: number): void {
    this.#deltas.set(cluster, (this.#deltas.get(cluster) ?? 0) + delta)
    this.#touchedBlocks.add(this.refcounts.blockOf(cluster))
  }

  async #commitOnce(): Promise<void> {
    const deltas = this.#deltas
    const frozen = this.#freeze()
    if (frozen.length === 0 && deltas.size === 0 && !this.#changed) return this.#sync()
    this.#changed = true
    this.#deltas = new Map()
    this.#touchedBlocks.clear()
    try {
      for (const { index } of frozen) await this.#placeL2(index)
      await this.#applyDeltas(deltas)
      await this.#placeL1()
      await this.refcounts.moveChanged()
      await this.#write(frozen)
      await this.file.sync()
      await this.#writeHeader()
    } catch (error) {
      for (const { table } of frozen) table.dirty = true
      for (const [cluster, delta] of deltas) this.#change(cluster, delta)
      throw error
    } finally {
      for (const { table } of frozen) table.frozen = false
    }
    this.#committed()
    await this.#sync()
  }

  #freeze(): Frozen[] {
    return this.l2.dirty().map(([index, table]) => {
      table.frozen = true
      table.dirty = false
      return { index, table, bytes: table.bytes }
    })
  }

  async #sync(): Promise<void> {
    await this.file.sync()
    const freed = this.#unsynced
    this.#unsynced = []
    if (freed.length > 0) this.#requests.whenDone(() => this.clusters.release(freed))
  }

  #committed(): void {
    this.#movedTables.clear()
    this.#l1Moved = this.#changed = this.#cleanHeader = false
    this.refcounts.committed()
    for (const cluster of this.clusters.takeFreed()) this.#unsynced.push(cluster)
  }

  async #placeL2(index: number): Promise<void> {
    if (this.#movedTables.has(index)) return
    const cluster = await this.clusters.takeForMetadata()
    const before = this.l1.offsets[index]
    await this.refcounts.adjust(cluster, 1)
    if (before !== 0) await this.refcounts.adjust(before / this.geometry.clusterSize, -1)
    this.l1.offsets[index] = cluster * this.geometry.clusterSize
    this.l1.shared[index] = 0
    this.#movedTables.add(index)
    this.clusters.changeMetadata(before, this.l1.offsets[index])
  }

  async #applyDeltas(deltas: Map<number, number>): Promise<void> {
    for (const [cluster, delta] of deltas) {
      if (delta !== 0) await this.refcounts.adjust(cluster, delta)
      // Taken and let go of since the last commit.
      else if ((await this.refcounts.get(cluster)) === 0) this.clusters.hold(cluster)
      deltas.delete(cluster)
    }
  }

  async #placeL1(): Promise<void> {
    const count = this.geometry.clustersOf(8 * this.l1.length)
    if (this.#l1Moved && count === this.#l1Place.count) return
    const first = count === 0 ? 0 : await this.clusters.takeContiguous(count)
    await this.#adjustRange(first, count, 1)
    await this.#adjustRange(this.#l1Place.first, this.#l1Place.count, -1)
    this.clusters.changeMetadataRange(this.#l1Place, { first, count })
    this.#l1Place = { first, count }
    this.#l1Moved = true
    this.header.l1Offset = first * this.geometry.clusterSize
  }

  async #write(frozen: readonly Frozen[]): Promise<void> {
    const writes = [
      ...frozen.map(({ index, bytes }) => ({ offset: this.l1.offsets[index], bytes })),
      { offset: this.header.l1Offset, bytes: this.l1.serialize() },
      ...this.refcounts.writes(),
    ]
    const { first, count } = this.refcounts.place
    this.header.refcountTableOffset = first * this.geometry.clusterSize
    this.header.refcountTableClusters = count
    for (const { offset, bytes } of writes) if (bytes.length > 0) await this.file.write(offset, [bytes])
  }

  async #writeHeader(): Promise<void> {
    if (!this.#cleanHeader) {
      const { offset, bytes } = changingFields(this.header)
      return this.file.write(offset, [bytes])
    }
    this.#firstCluster = cleanHeader(this.#firstCluster, this.header)
    await this.file.write(0, [this.#firstCluster])
    this.header.dirty = this.header.autoclear = false
  }

  async #readSnapshots(): Promise<void> {
    const { snapshotCount, snapshotsOffset } = this.header
    if (snapshotCount === 0) {
      this.snapshots = []
      this.#snapshotsPlace = { first: 0, count: 0 }
      return
    }
    const { snapshots, length } = await parseSnapshots(this.file, snapshotsOffset, snapshotCount)
    this.snapshots = snapshots
    const first = snapshotsOffset / this.geometry.clusterSize
    this.#snapshotsPlace = { first, count: this.geometry.clustersOf(length) }
  }

  async #readRefcountTable(): Promise<void> {
    const { geometry, header, clusters } = this
    const bytes = header.refcountTableClusters * geometry.clusterSize
    const table = Refcounts.parseTable(
      await this.#read(header.refcountTableOffset, bytes, 'the refcount table'),
    )
    const place = {
      first: header.refcountTableOffset / geometry.clusterSize,
      count: header.refcountTableClusters,
    }
    this.refcounts = this.#makeRefcounts(table, place)
    this.#l1Place = {
      first: header.l1Offset / geometry.clusterSize,
      count: geometry.clustersOf(8 * header.l1Size),
    }
    const alone = [
      clusters.addMetadata(0, 1),
      clusters.addMetadata(place.first, place.count),
      clusters.addMetadata(this.#l1Place.first, this.#l1Place.count),
      clusters.addMetadata(this.#snapshotsPlace.first, this.#snapshotsPlace.count),
      ...this.snapshots.map(({ l1Offset, l1Size }) =>
        clusters.addMetadata(l1Offset / geometry.clusterSize, geometry.clustersOf(8 * l1Size)),
      ),
      this.#addTables(table, 'a refcount block'),
      this.#addTables(this.l1.offsets, 'an L2 table'),
    ]
    if (!alone.every(Boolean)) throw corrupt('two tables overlap')
  }

  #addTables(offsets: Float64Array, what: string): boolean {
    const { geometry } = this
    const fileEnd = this.#fileEnd
    let alone = true
    for (const offset of offsets) {
      if (offset === 0) continue
      if (!geometry.isAligned(offset) || offset >= fileEnd)
        throw corrupt(`${what} is at no cluster of the file`)
      if (!this.clusters.addMetadata(offset / geometry.clusterSize, 1)) alone = false
    }
    return alone
  }

  #makeRefcounts(table: Float64Array, place: ClusterRange): Refcounts {
    const { file, geometry, clusters } = this
    return new Refcounts({
      file,
      geometry,
      clusters,
      table,
      place,
      freed: (cluster) => clusters.hold(cluster),
    })
  }

  async #read(offset: number, length: number, what: string): Promise<Uint8Array> {
    if (!this.geometry.isAligned(offset) || offset + length > this.#fileEnd) {
      throw corrupt(`${what} is not within the file`)
    }
    const bytes = new Uint8Array(length)
    await this.file.read(offset, [bytes])
    return bytes
  }
}
