import { corrupt } from '../errors.ts'
import type { Geometry } from './geometry.ts'
import type { L1Table } from './l1-table.ts'
import { L2Table } from './l2-table.ts'
import type { Metadata } from './metadata.ts'

/** Calls `visit` for each cluster of the file that a table's entries use; compressed ones use some together. */
export async function eachReference(
  table: L2Table,
  geometry: Geometry,
  fileEnd: number,
  visit: (cluster: number) => void | Promise<void>,
): Promise<void> {
  const { clusterSize, l2Entries } = geometry
  for (let index = 0; index < l2Entries; index++) {
    if (table.isEmpty(index)) continue
    const compressed = table.kind(index) === 'compressed'
    const { offset, length } = compressed
      ? table.compressed(index, geometry)
      : { offset: table.offset(index), length: 1 }
    if (offset === 0) continue
    if (offset >= fileEnd || (!compressed && !geometry.isAligned(offset))) {
      throw corrupt('an L2 entry points to no cluster of the file')
    }
    const last = Math.floor((offset + length - 1) / clusterSize)
    for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++) {
      const pending = visit(cluster)
      if (pending) await pending
    }
  }
}

/** Adds `delta` to the count of all that an L1 table leads to. */
export async function adjustReferences(metadata: Metadata, l1: L1Table, delta: number): Promise<void> {
  const { geometry, refcounts } = metadata
  for (let index = 0; index < l1.length; index++) {
    const offset = l1.offsets[index]
    if (offset === 0) continue
    const table = new L2Table(await metadata.readL2(l1, index))
    await refcounts.adjust(offset / geometry.clusterSize, delta)
    await eachReference(table, geometry, metadata.clusters.fileEnd, (cluster) =>
      refcounts.adjust(cluster, delta),
    )
  }
}

/** Makes bit 63 of the active tables say what the refcounts say. */
export async function correctCopiedFlags(metadata: Metadata): Promise<void> {
  const { geometry, l1, refcounts } = metadata
  for (let index = 0; index < l1.length; index++) {
    const offset = l1.offsets[index]
    if (offset === 0) continue
    const table = new L2Table(await metadata.readL2(l1, index))
    await correctTable(table, metadata)
    if (table.dirty) await metadata.moveL2(index, table.bytes)
    else l1.shared[index] = (await refcounts.get(offset / geometry.clusterSize)) === 1 ? 0 : 1
  }
  metadata.changeL1(l1)
}

async function correctTable(table: L2Table, { geometry, refcounts }: Metadata): Promise<void> {
  for (let index = 0; index < geometry.l2Entries; index++) {
    if (table.isEmpty(index) || table.kind(index) === 'compressed') continue
    const offset = table.offset(index)
    const copied = offset !== 0 && (await refcounts.get(Math.floor(offset / geometry.clusterSize))) === 1
    if (copied !== table.isCopied(index)) table.setCopied(index, copied)
  }
}
