import { corrupt, DiskError } from '../errors.ts'
import type { Geometry } from './geometry.ts'
import { viewOf, writeU64 } from './header.ts'
import { L2Table } from './l2-table.ts'
import type { Metadata } from './metadata.ts'
import { RefcountBlock } from './refcount-block.ts'
import { correctCopiedFlags, eachReference } from './references.ts'

const PAGE = 4096
const MAX_PAGES = 16384

/** Of L2 tables: what is read while the image is opened. */
const MAX_TABLES = 1 << 20
const MAX_TABLE_BYTES = 2 ** 32

function tooLarge(): DiskError {
  return new DiskError('TV_DISK_LIMIT', 'The image is too large to be repaired here.')
}

/** Counts by cluster, sparse, and of bounded size. */
class Counts {
  readonly pages = new Map<number, Float64Array>()
  highest = 0

  add(cluster: number, count: number): void {
    const index = Math.floor(cluster / PAGE)
    let page = this.pages.get(index)
    if (!page) {
      if (this.pages.size === MAX_PAGES) {
        throw tooLarge()
      }
      this.pages.set(index, (page = new Float64Array(PAGE)))
    }
    page[cluster % PAGE] += count
    this.highest = Math.max(this.highest, cluster)
  }

  addRange(first: number, count: number): void {
    for (let cluster = first; cluster < first + count; cluster++) this.add(cluster, 1)
  }
}

/**
 * Counts anew, and makes the image clean: after the dirty bit, which says that refcounts are behind, and after an
 * auto-clear bit, whose data nobody keeps up to date. Runs within `Metadata.transform`.
 */
export async function rebuildRefcounts(metadata: Metadata): Promise<void> {
  const counts = await countReferences(metadata)
  const { file, geometry, clusters } = metadata
  const start = Math.max(geometry.clustersOf(file.size()), counts.highest + 1)
  const { table, place, blocks } = layOut(counts, geometry, start)
  for (const [index, block] of blocks) await file.write(table[index], [block.bytes])
  await file.write(place.first * geometry.clusterSize, [serializeTable(table)])
  metadata.replaceRefcounts(table, place)
  clusters.appendTo(file.size())
  await correctCopiedFlags(metadata)
  metadata.changeToClean()
}

async function countReferences(metadata: Metadata): Promise<Counts> {
  const { geometry, header, snapshots, snapshotsPlace } = metadata
  const counts = new Counts()
  const tables = new Map<number, number>()
  counts.add(0, 1)
  counts.addRange(snapshotsPlace.first, snapshotsPlace.count)
  const roots = [{ l1Offset: header.l1Offset, l1Size: header.l1Size }, ...snapshots]
  for (const { l1Offset, l1Size } of roots) {
    counts.addRange(l1Offset / geometry.clusterSize, geometry.clustersOf(8 * l1Size))
    const l1 = await metadata.readL1(l1Offset, l1Size)
    for (let index = 0; index < l1.length; index++) {
      const offset = l1.checkedOffset(index, geometry, metadata.clusters.fileEnd)
      if (offset !== 0) tables.set(offset, (tables.get(offset) ?? 0) + 1)
    }
  }
  if (tables.size > MAX_TABLES || tables.size * geometry.clusterSize > MAX_TABLE_BYTES) throw tooLarge()
  for (const [offset, count] of tables) await countTable(metadata, counts, offset, count)
  return counts
}

/** Tables that snapshots share are read once, and what they lead to is counted as often as they are used. */
async function countTable(metadata: Metadata, counts: Counts, offset: number, count: number): Promise<void> {
  const { geometry, file, clusters, snapshots } = metadata
  if (count > snapshots.length + 1) throw corrupt('an L2 table is used twice')
  counts.add(offset / geometry.clusterSize, count)
  const table = new L2Table(new Uint8Array(geometry.clusterSize))
  await file.read(offset, [table.bytes])
  await eachReference(table, geometry, clusters.fileEnd, (cluster) => counts.add(cluster, count))
}

interface Layout {
  table: Float64Array
  place: { first: number; count: number }
  blocks: Map<number, RefcountBlock>
}

/** Refcount blocks and table from cluster `start` on, which count themselves too. */
function layOut(counts: Counts, geometry: Geometry, start: number): Layout {
  const { blockEntries, clusterSize, refcountOrder, maxRefcount } = geometry
  const needed = new Set<number>()
  for (const [index, page] of counts.pages) {
    page.forEach((count, i) => {
      if (count > 0) needed.add(Math.floor((index * PAGE + i) / blockEntries))
    })
  }
  let tableClusters = 0
  for (let before = -1; before !== needed.size; ) {
    before = needed.size
    tableClusters = geometry.clustersOf(8 * (highestOf(needed) + 1))
    const last = start + needed.size + tableClusters
    for (let cluster = start; cluster < last; cluster++) needed.add(Math.floor(cluster / blockEntries))
  }
  counts.addRange(start, needed.size + tableClusters)
  const table = new Float64Array((tableClusters * clusterSize) / 8)
  const blocks = new Map<number, RefcountBlock>()
  for (const index of [...needed].sort((a, b) => a - b)) {
    table[index] = (start + blocks.size) * clusterSize
    blocks.set(index, new RefcountBlock(new Uint8Array(clusterSize), refcountOrder))
  }
  for (const [index, page] of counts.pages) {
    page.forEach((count, i) => {
      if (count === 0) return
      if (count > maxRefcount) throw corrupt('a cluster is used more often than can be counted')
      const cluster = index * PAGE + i
      blocks.get(Math.floor(cluster / blockEntries))!.set(cluster % blockEntries, count)
    })
  }
  return { table, place: { first: start + needed.size, count: tableClusters }, blocks }
}

function highestOf(indexes: Iterable<number>): number {
  let highest = 0
  for (const index of indexes) highest = Math.max(highest, index)
  return highest
}

function serializeTable(table: Float64Array): Uint8Array {
  const bytes = new Uint8Array(8 * table.length)
  const view = viewOf(bytes)
  table.forEach((offset, index) => {
    writeU64(view, 8 * index, offset)
  })
  return bytes
}
