// qcow2, "Snapshots". All of this runs within `Metadata.transform`.

import { DiskError } from '../errors.ts'
import { encodeUtf8 } from '../utf8.ts'
import { L2Table } from './l2-table.ts'
import type { Metadata } from './metadata.ts'
import { adjustReferences, correctCopiedFlags, eachReference } from './references.ts'
import type { Snapshot } from './snapshot-table.ts'

export interface SnapshotOptions {
  /** Milliseconds since 1970-01-01 UTC, for those who list snapshots. */
  time: number
  /** Nanoseconds that the guest has run. */
  guestTime?: number
}

const MAX_NAME = 65535

export async function createSnapshot(
  metadata: Metadata,
  name: string,
  { time, guestTime = 0 }: SnapshotOptions,
): Promise<void> {
  if (metadata.snapshots.some((snapshot) => snapshot.name === name)) {
    throw new DiskError('TV_DISK_SNAPSHOT', `There is a snapshot ${JSON.stringify(name)} already.`)
  }
  if (name === '' || encodeUtf8(name).length > MAX_NAME) {
    throw new DiskError('TV_DISK_SNAPSHOT', 'A snapshot needs a name of 1 to 65535 bytes.')
  }
  await shareTables(metadata)
  const { l1, geometry, clusters, refcounts } = metadata
  const count = geometry.clustersOf(8 * l1.length)
  const first = count === 0 ? 0 : await clusters.takeContiguous(count)
  for (let i = 0; i < count; i++) await refcounts.adjust(first + i, 1)
  await metadata.file.write(first * geometry.clusterSize, [l1.serialize()])
  const id = nextId(metadata.snapshots)
  const snapshot: Snapshot = {
    id,
    name,
    l1Offset: first * geometry.clusterSize,
    l1Size: l1.length,
    time,
    guestTime,
    vmStateSize: 0,
    size: metadata.header.size,
    raw: { id: encodeUtf8(id), name: encodeUtf8(name), extra: new Uint8Array() },
  }
  await metadata.changeSnapshots([...metadata.snapshots, snapshot])
}

/** Counts all that the disk uses once more, and marks it as shared. */
async function shareTables(metadata: Metadata): Promise<void> {
  const { geometry, l1, refcounts } = metadata
  for (let index = 0; index < l1.length; index++) {
    if (l1.offsets[index] === 0) continue
    const table = new L2Table(await metadata.readL2(l1, index))
    await eachReference(table, geometry, metadata.clusters.fileEnd, (cluster) => refcounts.adjust(cluster, 1))
    for (let entry = 0; entry < geometry.l2Entries; entry++) {
      if (table.isCopied(entry)) table.setCopied(entry, false)
    }
    if (table.dirty) await metadata.moveL2(index, table.bytes)
    await refcounts.adjust(l1.offsets[index] / geometry.clusterSize, 1)
    l1.shared[index] = 1
  }
  metadata.changeL1(l1)
}

function nextId(snapshots: readonly Snapshot[]): string {
  let highest = 0
  for (const { id } of snapshots) if (/^[0-9]{1,9}$/.test(id)) highest = Math.max(highest, Number(id))
  return String(highest + 1)
}

export async function applySnapshot(metadata: Metadata, name: string): Promise<void> {
  const snapshot = find(metadata, name)
  const size = snapshot.size ?? metadata.header.size
  const l1 = await metadata.readL1(snapshot.l1Offset, snapshot.l1Size)
  // In this order no count is higher than it is before or after. What is 0 in between is not taken meanwhile.
  await adjustReferences(metadata, metadata.l1, -1)
  await adjustReferences(metadata, l1, 1)
  metadata.changeL1(l1.resized(Math.max(l1.length, metadata.geometry.l1EntriesOf(size))))
  metadata.header.size = size
  await correctCopiedFlags(metadata)
}

export async function deleteSnapshot(metadata: Metadata, name: string): Promise<void> {
  const snapshot = find(metadata, name)
  const { geometry, refcounts } = metadata
  await adjustReferences(metadata, await metadata.readL1(snapshot.l1Offset, snapshot.l1Size), -1)
  const first = snapshot.l1Offset / geometry.clusterSize
  for (let i = 0; i < geometry.clustersOf(8 * snapshot.l1Size); i++) await refcounts.adjust(first + i, -1)
  await metadata.changeSnapshots(metadata.snapshots.filter((other) => other !== snapshot))
  await correctCopiedFlags(metadata)
}

function find(metadata: Metadata, name: string): Snapshot {
  const snapshot = metadata.snapshots.find((candidate) => candidate.name === name)
  if (snapshot) return snapshot
  throw new DiskError('TV_DISK_SNAPSHOT', `There is no snapshot ${JSON.stringify(name)}.`)
}
