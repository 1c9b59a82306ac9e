import {
  type BlockBackend,
  type Buffers,
  type Completion,
  checkRange,
  checkSectors,
  checkWritable,
  type RandomAccessFile,
} from '../block-backend.ts'
import { fillZeros, lengthOf, scatter, sliceBuffers, writeZeros, zeros } from '../buffers.ts'
import { corrupt, DiskError } from '../errors.ts'
import type { Run } from './clusters.ts'
import { CompressedClusters, type CompressionCodecs } from './compression.ts'
import type { BackingReference } from './header.ts'
import type { L2Table } from './l2-table.ts'
import { Metadata } from './metadata.ts'
import { RangeLocks } from './range-locks.ts'
import { rebuildRefcounts } from './repair.ts'
import { Requests } from './requests.ts'
import type { Snapshot } from './snapshot-table.ts'
import { applySnapshot, createSnapshot, deleteSnapshot, type SnapshotOptions } from './snapshots.ts'

export interface Qcow2Options {
  codecs?: CompressionCodecs
  /** Opens what lies under the image; without it an image that needs it is refused. Only read from. */
  openBacking?: (reference: BackingReference) => Promise<BlockBackend>
}

/** A piece of the disk that is all of one kind. `host` is where its first byte is in the file, for data. */
interface Extent {
  kind: 'unallocated' | 'zero' | 'data' | 'compressed'
  host: number
  length: number
}

const SECTOR = 512

/** Room behind the last compressed cluster, and how many share its cluster of the file. */
interface CompressedTail {
  offset: number
  left: number
  references: number
  /** One of those that share it is gone, and with the last the cluster would be free. */
  ended: boolean
}

const NO_TAIL: CompressedTail = { offset: 0, left: 0, references: 0, ended: true }

/**
 * A qcow2 image, version 2 or 3. What is allocated is read and written in place, with one look at an L2 table in
 * memory; how everything else keeps the file whole is told in metadata.ts.
 */
export class Qcow2Disk implements BlockBackend {
  readonly #file: RandomAccessFile
  readonly #metadata: Metadata
  readonly #requests: Requests
  readonly #locks = new RangeLocks()
  readonly #backing: BlockBackend | undefined
  readonly #compressed: CompressedClusters
  readonly #clusterSize: number
  readonly #l2Entries: number
  #compressedTail: CompressedTail = NO_TAIL
  /** Set while a change of the whole is under way: requests wait. */
  #exclusive: Promise<void> | undefined
  #closed = false

  private constructor(
    metadata: Metadata,
    requests: Requests,
    codecs: CompressionCodecs,
    backing: BlockBackend | undefined,
  ) {
    this.#metadata = metadata
    this.#file = metadata.file
    this.#requests = requests
    this.#backing = backing
    this.#clusterSize = metadata.geometry.clusterSize
    this.#l2Entries = metadata.geometry.l2Entries
    this.#compressed = new CompressedClusters(codecs, metadata.header.compression, this.#clusterSize)
  }

  /** Opens an image, and repairs it if who wrote to it last was interrupted. On failure the file stays open. */
  static async open(file: RandomAccessFile, options: Qcow2Options = {}): Promise<Qcow2Disk> {
    const requests = new Requests()
    const metadata = await Metadata.open(file, requests)
    const { header } = metadata
    if (header.corrupt && !file.readOnly) throw corrupt('it is marked as such, and may only be read')
    if (!file.readOnly && (header.dirty || header.autoclear))
      await metadata.transform(() => rebuildRefcounts(metadata))
    const backing = header.backing && (await openBacking(header.backing, options))
    return new Qcow2Disk(metadata, requests, options.codecs ?? {}, backing)
  }

  get size(): number {
    return this.#metadata.header.size
  }

  get readOnly(): boolean {
    return this.#file.readOnly
  }

  get clusterSize(): number {
    return this.#clusterSize
  }

  get backingReference(): BackingReference | undefined {
    return this.#metadata.header.backing
  }

  read(offset: number, buffers: Buffers): Completion {
    if (this.#exclusive) return this.#exclusive.then(() => this.read(offset, buffers))
    const length = lengthOf(buffers)
    this.#check(offset, length)
    if (length === 0) return undefined
    const extent = this.#extent(offset, length)
    if (extent && extent.length === length && extent.kind !== 'compressed') {
      return this.#requests.track(this.#readExtent(extent, offset, buffers))
    }
    return this.#requests.track(this.#readPieces(offset, buffers, length))
  }

  write(offset: number, buffers: Buffers): Completion {
    if (this.#exclusive) return this.#exclusive.then(() => this.write(offset, buffers))
    checkWritable(this)
    const length = lengthOf(buffers)
    this.#check(offset, length)
    if (length === 0) return undefined
    const place = this.#inPlace(offset, length)
    if (place && place.length === length) return this.#requests.track(this.#file.write(place.host, buffers))
    return this.#requests.track(this.#writePieces(offset, buffers, length))
  }

  flush(): Completion {
    if (this.#exclusive) return this.#exclusive.then(() => this.flush())
    this.#check(0, 0)
    return this.readOnly ? undefined : this.#metadata.commit()
  }

  discard(offset: number, length: number): Completion {
    if (this.#exclusive) return this.#exclusive.then(() => this.discard(offset, length))
    checkWritable(this)
    this.#check(offset, length)
    const first = Math.ceil(offset / this.#clusterSize)
    const end = this.#endCluster(offset + length)
    return this.#requests.track(this.#eachTable(first, end, (...part) => this.#discardClusters(...part)))
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): Completion {
    if (this.#exclusive) return this.#exclusive.then(() => this.writeZeroes(offset, length, mayUnmap))
    checkWritable(this)
    this.#check(offset, length)
    return this.#requests.track(this.#zeroRange(offset, length, mayUnmap))
  }

  /** Stores a whole cluster, or the disk's last part of one, compressed; as it is where that saves nothing. */
  async writeCompressed(offset: number, data: Uint8Array): Promise<void> {
    while (this.#exclusive) await this.#exclusive
    checkWritable(this)
    this.#check(offset, data.length)
    const whole = data.length === this.#clusterSize || offset + data.length === this.size
    if (offset % this.#clusterSize !== 0 || !whole || data.length > this.#clusterSize) {
      throw new DiskError('TV_DISK_RANGE', 'Only whole clusters can be compressed.')
    }
    const cluster = new Uint8Array(this.#clusterSize)
    cluster.set(data)
    const packed = await this.#compressed.codec.compress(cluster)
    if (packed.length >= this.#clusterSize - SECTOR) return this.write(offset, [data])
    return this.#requests.track(this.#storeCompressed(offset / this.#clusterSize, packed))
  }

  /** Grows or shrinks. What is beyond the new end is gone, what is new reads as zeros. */
  async resize(size: number): Promise<void> {
    checkWritable(this)
    checkSectors(size)
    this.#metadata.geometry.l1EntriesOf(size)
    await this.#alone(async () => {
      await this.#metadata.commit() // one may be under way, with the L1 table as it is
      await (size < this.size ? this.#shrink(size) : this.#grow(size))
    })
  }

  get snapshots(): readonly Snapshot[] {
    return this.#metadata.snapshots
  }

  /** Keeps the disk as it is now, under a name that no other snapshot has. */
  createSnapshot(name: string, options: SnapshotOptions): Promise<void> {
    checkWritable(this)
    return this.#transform(() => createSnapshot(this.#metadata, name, options))
  }

  /** Makes the disk what it was, its size too. */
  applySnapshot(name: string): Promise<void> {
    checkWritable(this)
    return this.#transform(() => applySnapshot(this.#metadata, name))
  }

  deleteSnapshot(name: string): Promise<void> {
    checkWritable(this)
    return this.#transform(() => deleteSnapshot(this.#metadata, name))
  }

  async close(): Promise<void> {
    if (this.#closed) return
    try {
      if (!this.readOnly) await this.#alone(() => this.#metadata.commit())
    } finally {
      this.#closed = true
      await this.#file.close()
      await this.#backing?.close()
    }
  }

  #check(offset: number, length: number): void {
    if (this.#closed) throw new DiskError('TV_DISK_CLOSED', 'The disk is closed.')
    checkRange(offset, length, this.size)
  }

  /** The number of whole clusters up to a byte; the disk's last may be shorter. */
  #endCluster(offset: number): number {
    return offset === this.size
      ? Math.ceil(offset / this.#clusterSize)
      : Math.floor(offset / this.#clusterSize)
  }

  /** Runs `change` when nothing is in flight, and lets nothing begin meanwhile. */
  async #alone(change: () => Promise<void>): Promise<void> {
    while (this.#exclusive) await this.#exclusive
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#exclusive = promise
    try {
      await this.#requests.drained()
      await change()
    } finally {
      this.#exclusive = undefined
      resolve()
    }
  }

  #transform(change: () => Promise<void>): Promise<void> {
    return this.#alone(() => {
      this.#compressed.forget()
      this.#compressedTail = NO_TAIL
      return this.#metadata.transform(change)
    })
  }

  // Reading

  /** What is at an offset, as far as it is alike; undefined when the L2 table is not in memory. */
  #extent(offset: number, length: number): Extent | undefined {
    const size = this.#clusterSize
    const cluster = Math.floor(offset / size)
    const l1Index = Math.floor(cluster / this.#l2Entries)
    let index = cluster % this.#l2Entries
    const within = offset % size
    const table = this.#metadata.l2.peek(l1Index)
    if (!table) {
      if (this.#metadata.l1.offsets[l1Index] !== 0) return undefined
      const left = (this.#l2Entries - index) * size - within
      return { kind: 'unallocated', host: 0, length: Math.min(length, left) }
    }
    const kind = readKind(table, index)
    const host = kind === 'data' ? this.#hostOffset(table, index) : 0
    let end = size - within
    while (end < length && ++index < this.#l2Entries && readKind(table, index) === kind) {
      if (kind === 'compressed' || (kind === 'data' && table.offset(index) !== host + within + end)) break
      end += size
    }
    return { kind, host: host + within, length: Math.min(length, end) }
  }

  /** Where a cluster is in the file, if it is there. */
  #hostOffset(table: L2Table, index: number): number {
    const host = table.offset(index)
    if (host % this.#clusterSize !== 0 || host >= this.#metadata.clusters.fileEnd) {
      throw corrupt('an L2 entry points to no cluster of the file')
    }
    return host
  }

  #readExtent(extent: Extent, offset: number, buffers: Buffers): Completion {
    if (extent.kind === 'data') return this.#file.read(extent.host, buffers)
    if (extent.kind === 'unallocated' && this.#backing)
      return this.#readBacking(this.#backing, offset, buffers)
    fillZeros(buffers)
    return undefined
  }

  /** What the backing disk has; behind its end are zeros. */
  #readBacking(backing: BlockBackend, offset: number, buffers: Buffers): Completion {
    const length = lengthOf(buffers)
    const there = Math.max(0, Math.min(length, backing.size - offset))
    if (there === length) return backing.read(offset, buffers)
    fillZeros(sliceBuffers(buffers, there, length - there))
    return there > 0 ? backing.read(offset, sliceBuffers(buffers, 0, there)) : undefined
  }

  /** Pieces are read at the same time, except compressed ones. */
  async #readPieces(offset: number, buffers: Buffers, length: number): Promise<void> {
    const reads: Completion[] = []
    try {
      for (let done = 0; done < length; ) {
        const at = offset + done
        const extent = this.#extent(at, length - done)
        if (!extent) {
          await this.#metadata.l2.load(this.#l1Index(at))
          continue
        }
        const slices = sliceBuffers(buffers, done, extent.length)
        if (extent.kind === 'compressed') await this.#readCompressed(at, slices)
        else reads.push(this.#readExtent(extent, at, slices))
        done += extent.length
      }
    } finally {
      await Promise.allSettled(reads)
    }
    await Promise.all(reads)
  }

  #l1Index(offset: number): number {
    return Math.floor(offset / this.#clusterSize / this.#l2Entries)
  }

  async #readCompressed(offset: number, buffers: Buffers): Promise<void> {
    const table = await this.#table(this.#l1Index(offset))
    const index = Math.floor(offset / this.#clusterSize) % this.#l2Entries
    if (table.kind(index) !== 'compressed') return this.#readPieces(offset, buffers, lengthOf(buffers))
    const { offset: host, length } = table.compressed(index, this.#metadata.geometry)
    if (host >= this.#metadata.clusters.fileEnd) throw corrupt('a compressed cluster is not within the file')
    const cluster = await this.#compressed.get(host, async () => {
      const data = new Uint8Array(Math.min(length, this.#metadata.clusters.fileEnd - host))
      await this.#file.read(host, [data])
      return data
    })
    scatter(cluster.subarray(offset % this.#clusterSize), buffers)
  }

  /** An L2 table, to be used before the next `await`. */
  async #table(l1Index: number): Promise<L2Table> {
    for (;;) {
      const table = this.#metadata.l2.peek(l1Index)
      if (table) return table
      await this.#metadata.l2.load(l1Index)
    }
  }

  // Writing

  /** Where data may be written to as it is, as far as it is in one piece. */
  #inPlace(offset: number, length: number): { host: number; length: number } | undefined {
    const size = this.#clusterSize
    const cluster = Math.floor(offset / size)
    const table = this.#metadata.l2.peek(Math.floor(cluster / this.#l2Entries))
    let index = cluster % this.#l2Entries
    if (table?.kind(index) !== 'data') return undefined
    const host = this.#hostOffset(table, index)
    const within = offset % size
    const { clusters } = this.#metadata
    this.#metadata.checkNoTable(host / size)
    let end = size - within
    while (end < length && ++index < this.#l2Entries && table.kind(index) === 'data') {
      const next = host + within + end
      if (table.offset(index) !== next || next >= clusters.fileEnd || clusters.isMetadata(next / size)) break
      end += size
    }
    return { host: host + within, length: Math.min(length, end) }
  }

  async #writePieces(offset: number, buffers: Buffers, length: number): Promise<void> {
    for (let done = 0; done < length; ) {
      const at = offset + done
      await this.#table(this.#l1Index(at))
      const place = this.#inPlace(at, length - done)
      const slices = sliceBuffers(buffers, done, place?.length ?? length - done)
      if (place) await this.#file.write(place.host, slices)
      done += place ? place.length : await this.#allocate(at, slices)
    }
  }

  /** Writes to clusters that are free, as many as are in one piece; returns how many of the bytes. */
  async #allocate(offset: number, buffers: Buffers): Promise<number> {
    const size = this.#clusterSize
    const first = Math.floor(offset / size)
    const end = Math.ceil((offset + lengthOf(buffers)) / size)
    const last = Math.min(end, (Math.floor(first / this.#l2Entries) + 1) * this.#l2Entries)
    const release = await this.#locks.lock(first, last)
    try {
      const count = await this.#countToAllocate(first, last)
      if (count === 0) return 0 // written to by another request in the meantime
      const run = await this.#metadata.clusters.take(count)
      const length = Math.min(lengthOf(buffers), (first + run.count) * size - offset)
      try {
        await this.#fillRun(run, offset, sliceBuffers(buffers, 0, length))
        await this.#map(first, run)
      } catch (error) {
        this.#metadata.clusters.giveBack(run.first, run.count)
        throw error
      }
      return length
    } finally {
      release()
      if (this.#metadata.isFull) await this.#metadata.commit()
    }
  }

  /** Clusters from the first on, within one L2 table, that cannot be written to in place. */
  async #countToAllocate(first: number, last: number): Promise<number> {
    const table = await this.#table(Math.floor(first / this.#l2Entries))
    let count = 0
    while (first + count < last && table.kind((first + count) % this.#l2Entries) !== 'data') {
      this.#checkFreeable(table, (first + count) % this.#l2Entries)
      count++
    }
    return count
  }

  /** Writes data and, around it, what the clusters read as before. */
  async #fillRun(run: Run, offset: number, data: Buffers): Promise<void> {
    const size = this.#clusterSize
    const head = offset % size
    const tail = (size - ((offset + lengthOf(data)) % size)) % size
    const pieces = [
      await this.#around(run, offset - head, head),
      data,
      await this.#around(run, offset + lengthOf(data), tail),
    ]
    const skip = pieces[0] === undefined ? head : 0
    await this.#file.write(
      run.first * size + skip,
      pieces.flatMap((piece) => piece ?? []),
    )
  }

  /** What a range reads as; undefined where the new clusters read so already. */
  async #around(run: Run, offset: number, length: number): Promise<Buffers | undefined> {
    if (length === 0) return undefined
    if (await this.#isZero(offset, length)) return run.zero ? undefined : zeros(length)
    const bytes = new Uint8Array(length)
    await this.#readPieces(offset, [bytes], length)
    return [bytes]
  }

  async #isZero(offset: number, length: number): Promise<boolean> {
    await this.#table(this.#l1Index(offset))
    const extent = this.#extent(offset, length)
    if (!extent || extent.length < length) return false
    if (extent.kind === 'unallocated') return !this.#backing || offset >= this.#backing.size
    return extent.kind === 'zero'
  }

  /** The clusters are the disk's from now on, in place of those before. */
  async #map(first: number, run: Run): Promise<void> {
    const table = await this.#table(Math.floor(first / this.#l2Entries))
    for (let i = 0; i < run.count; i++) {
      const index = (first + i) % this.#l2Entries
      this.#free(table, index)
      table.setData(index, (run.first + i) * this.#clusterSize)
      this.#metadata.reference(run.first + i)
    }
  }

  /** Clusters of the file that an entry uses. */
  #clustersOf(table: L2Table, index: number): { first: number; end: number } {
    if (table.kind(index) === 'compressed') {
      const { offset, length } = table.compressed(index, this.#metadata.geometry)
      const end = Math.floor((offset + length - 1) / this.#clusterSize) + 1
      return { first: Math.floor(offset / this.#clusterSize), end }
    }
    const offset = table.offset(index)
    const first = Math.floor(offset / this.#clusterSize)
    return { first, end: offset === 0 ? first : first + 1 }
  }

  #checkFreeable(table: L2Table, index: number): void {
    const { first, end } = this.#clustersOf(table, index)
    const last = this.#metadata.clusters.fileEnd / this.#clusterSize
    for (let cluster = first; cluster < end; cluster++) {
      this.#metadata.checkNoTable(cluster)
      if (cluster >= last + 1) throw corrupt('an L2 entry points to no cluster of the file')
    }
  }

  /** The disk lets go of what an entry uses. */
  #free(table: L2Table, index: number): void {
    const { first, end } = this.#clustersOf(table, index)
    if (table.kind(index) === 'compressed') {
      this.#compressed.forget()
      this.#compressedTail.ended = true
    }
    for (let cluster = first; cluster < end; cluster++) this.#metadata.dereference(cluster)
  }

  async #storeCompressed(cluster: number, packed: Uint8Array): Promise<void> {
    const release = await this.#locks.lock(cluster, cluster + 1)
    try {
      const l1Index = Math.floor(cluster / this.#l2Entries)
      const index = cluster % this.#l2Entries
      this.#checkFreeable(await this.#table(l1Index), index)
      let { tail, offset } = await this.#writePacked(packed)
      let table = await this.#table(l1Index)
      while (tail.ended) {
        ;({ tail, offset } = await this.#writePacked(packed))
        table = await this.#table(l1Index)
      }
      this.#metadata.reference(Math.floor(offset / this.#clusterSize))
      this.#free(table, index)
      table.setCompressed(index, offset, packed.length, this.#metadata.geometry)
    } finally {
      release()
      if (this.#metadata.isFull) await this.#metadata.commit()
    }
  }

  async #writePacked(packed: Uint8Array): Promise<{ tail: CompressedTail; offset: number }> {
    const tail = await this.#tailFor(packed.length)
    const offset = tail.offset
    const length = Math.ceil(packed.length / SECTOR) * SECTOR
    tail.offset += length
    tail.left -= length
    tail.references++
    await this.#file.write(offset, [packed, ...zeros(length - packed.length)])
    return { tail, offset }
  }

  /** Room from a sector on: behind the last compressed cluster, or in a cluster of the file that is free. */
  async #tailFor(length: number): Promise<CompressedTail> {
    const { maxRefcount } = this.#metadata.geometry
    const fits = (tail: CompressedTail) => !tail.ended && length <= tail.left && tail.references < maxRefcount
    if (fits(this.#compressedTail)) return this.#compressedTail
    const { first } = await this.#metadata.clusters.take(1)
    const offset = first * this.#clusterSize
    return (this.#compressedTail = { offset, left: this.#clusterSize, references: 0, ended: false })
  }

  // Discarding

  /** Calls `change` for the clusters from `first` to `end`, one L2 table at a time. */
  async #eachTable(
    first: number,
    end: number,
    change: (table: L2Table | undefined, first: number, end: number) => void | Promise<void>,
  ): Promise<void> {
    for (let at = first; at < end; ) {
      const l1Index = Math.floor(at / this.#l2Entries)
      const next = Math.min(end, (l1Index + 1) * this.#l2Entries)
      if (!this.#hasTable(l1Index) && !this.#readsThrough(at)) {
        at = next
        continue
      }
      const release = await this.#locks.lock(at, next)
      try {
        await change(this.#hasTable(l1Index) ? await this.#table(l1Index) : undefined, at, next)
      } finally {
        release()
      }
      if (this.#metadata.isFull) await this.#metadata.commit()
      at = next
    }
  }

  #hasTable(l1Index: number): boolean {
    return this.#metadata.l1.offsets[l1Index] !== 0 || this.#metadata.l2.peek(l1Index) !== undefined
  }

  #discardClusters(table: L2Table | undefined, first: number, end: number): void {
    if (!table) return
    for (let cluster = first; cluster < end; cluster++) {
      const index = cluster % this.#l2Entries
      if (table.kind(index) === 'unallocated') continue
      if (this.#readsThrough(cluster) && this.#metadata.header.version === 2) continue
      this.#unmap(table, index, cluster)
    }
  }

  /** Without a cluster of its own the backing disk would be seen there. */
  #readsThrough(cluster: number): boolean {
    return this.#backing !== undefined && cluster * this.#clusterSize < this.#backing.size
  }

  /** From now on the cluster is zeros and uses nothing of the file. */
  #unmap(table: L2Table, index: number, cluster: number): void {
    this.#checkFreeable(table, index)
    this.#free(table, index)
    if (this.#readsThrough(cluster)) table.setZero(index)
    else table.clear(index)
  }

  async #zeroRange(offset: number, length: number, mayUnmap: boolean): Promise<void> {
    const size = this.#clusterSize
    const end = offset + length
    const first = Math.ceil(offset / size)
    const last = this.#endCluster(end)
    if (first >= last) return this.#writeZeroBytes(offset, length)
    await this.#writeZeroBytes(offset, first * size - offset)
    await this.#eachTable(first, last, (...part) => this.#zeroClusters(mayUnmap, ...part))
    if (last * size < end) await this.#writeZeroBytes(last * size, end - last * size)
  }

  async #writeZeroBytes(offset: number, length: number): Promise<void> {
    if (length === 0 || (await this.#isZero(offset, length))) return
    await writeZeros((at, buffers) => this.#writePieces(at, buffers, lengthOf(buffers)), offset, length)
  }

  async #zeroClusters(
    mayUnmap: boolean,
    table: L2Table | undefined,
    first: number,
    end: number,
  ): Promise<void> {
    if (!table && !this.#readsThrough(first)) return
    const canFlag = this.#metadata.header.version >= 3
    const explicit: number[] = []
    const entries = table ?? (await this.#table(Math.floor(first / this.#l2Entries)))
    for (let cluster = first; cluster < end; cluster++) {
      const index = cluster % this.#l2Entries
      const kind = entries.kind(index)
      if (kind === 'zero' || (kind === 'unallocated' && !this.#readsThrough(cluster))) continue
      if (!canFlag && this.#readsThrough(cluster)) explicit.push(cluster)
      else if (!canFlag || mayUnmap || kind !== 'data') this.#unmap(entries, index, cluster)
      else entries.setZeroKept(index)
    }
    for (const cluster of explicit) await this.#writeZeroCluster(cluster)
  }

  /** The lock on the cluster is held already. */
  async #writeZeroCluster(cluster: number): Promise<void> {
    const run = await this.#metadata.clusters.take(1)
    await this.#file.write(run.first * this.#clusterSize, zeros(this.#clusterSize))
    this.#checkFreeable(await this.#table(Math.floor(cluster / this.#l2Entries)), cluster % this.#l2Entries)
    await this.#map(cluster, run)
  }

  // Resizing

  async #shrink(size: number): Promise<void> {
    await this.#zeroRange(size, this.size - size, true)
    this.#metadata.header.size = size
    this.#metadata.changeL1(this.#metadata.l1)
    await this.#metadata.commit()
  }

  async #grow(size: number): Promise<void> {
    const { header, geometry } = this.#metadata
    const before = header.size
    const entries = geometry.l1EntriesOf(size)
    this.#metadata.changeL1(
      entries > this.#metadata.l1.length ? this.#metadata.l1.resized(entries) : this.#metadata.l1,
    )
    header.size = size
    try {
      // What was beyond the end may be in the last cluster, or in the backing disk.
      const seen = Math.max(
        Math.ceil(before / this.#clusterSize) * this.#clusterSize,
        this.#backing?.size ?? 0,
      )
      await this.#zeroRange(before, Math.min(size, seen) - before, true)
      await this.#metadata.commit()
    } catch (error) {
      header.size = before
      throw error
    }
  }
}

function readKind(table: L2Table, index: number): Extent['kind'] {
  const kind = table.kind(index)
  return kind === 'shared' ? 'data' : kind
}

async function openBacking(
  reference: BackingReference,
  { openBacking: open }: Qcow2Options,
): Promise<BlockBackend> {
  if (open) return open(reference)
  throw new DiskError(
    'TV_DISK_BACKING',
    `The image needs the backing file ${JSON.stringify(reference.name)}.`,
  )
}
