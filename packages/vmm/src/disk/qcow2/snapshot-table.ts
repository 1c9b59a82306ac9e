// qcow2, "Snapshots": "Snapshot table entry".

import type { RandomAccessFile } from '../block-backend.ts'
import { corrupt, DiskError } from '../errors.ts'
import { decodeUtf8 } from '../utf8.ts'
import { MAX_L1_ENTRIES } from './geometry.ts'
import { readU64, viewOf, writeU64 } from './header.ts'

export interface Snapshot {
  readonly id: string
  readonly name: string
  readonly l1Offset: number
  readonly l1Size: number
  /** Milliseconds since 1970-01-01 UTC. */
  readonly time: number
  /** Nanoseconds that the guest had run. */
  readonly guestTime: number
  readonly vmStateSize: number
  /** Of the disk, if the snapshot says so. */
  readonly size: number | undefined
  /** As they are in the image, in whatever encoding; `extra` is what an entry has beyond the known fields. */
  readonly raw: { readonly id: Uint8Array; readonly name: Uint8Array; readonly extra: Uint8Array }
}

const ENTRY = 40
const KNOWN_EXTRA = 16
const MAX_EXTRA = 1024
/** With the longest ID and name. */
const MAX_ENTRY = ENTRY + MAX_EXTRA + 2 * 65535 + 8
/** All of the L1 tables together, so that what walks over them ends. */
const MAX_TOTAL_L1 = 16 * MAX_L1_ENTRIES
const MAX_TABLE_BYTES = 64 << 20

/** Reads the entries; `length` is what they take in the file. */
export async function parseSnapshots(
  file: RandomAccessFile,
  offset: number,
  count: number,
): Promise<{ snapshots: Snapshot[]; length: number }> {
  const available = Math.max(0, Math.min(file.size() - offset, MAX_TABLE_BYTES))
  let bytes = new Uint8Array()
  const snapshots: Snapshot[] = []
  let at = 0
  let l1Entries = 0
  for (let i = 0; i < count; i++) {
    const needed = Math.min(available, at + MAX_ENTRY)
    if (needed > bytes.length) {
      bytes = new Uint8Array(Math.min(available, 2 * needed))
      await file.read(offset, [bytes])
    }
    const { snapshot, length } = parseEntry(bytes, at)
    l1Entries += snapshot.l1Size
    if (l1Entries > MAX_TOTAL_L1)
      throw new DiskError('TV_DISK_LIMIT', 'The snapshots are too large together.')
    snapshots.push(snapshot)
    at += length
  }
  return { snapshots, length: at }
}

function parseEntry(bytes: Uint8Array, at: number): { snapshot: Snapshot; length: number } {
  const view = viewOf(bytes)
  if (at + ENTRY > bytes.length) throw corrupt('the table of snapshots is cut off')
  const idLength = view.getUint16(at + 12)
  const nameLength = view.getUint16(at + 14)
  const extraLength = view.getUint32(at + 36)
  if (extraLength > MAX_EXTRA) throw new DiskError('TV_DISK_LIMIT', 'A snapshot has too much extra data.')
  const end = at + ENTRY + extraLength + idLength + nameLength
  if (end > bytes.length) throw corrupt('the table of snapshots is cut off')
  const extra = bytes.slice(at + ENTRY, at + ENTRY + extraLength)
  const idAt = at + ENTRY + extraLength
  const id = bytes.slice(idAt, idAt + idLength)
  const name = bytes.slice(idAt + idLength, end)
  const l1Size = view.getUint32(at + 8)
  if (l1Size > MAX_L1_ENTRIES) throw new DiskError('TV_DISK_LIMIT', "A snapshot's L1 table is over 32 MiB.")
  const snapshot = {
    id: decodeUtf8(id),
    name: decodeUtf8(name),
    l1Offset: readU64(view, at),
    l1Size,
    time: view.getUint32(at + 16) * 1000 + view.getUint32(at + 20) / 1e6,
    guestTime: readU64(view, at + 24),
    vmStateSize: extraLength >= 8 ? readU64(viewOf(extra), 0) : view.getUint32(at + 32),
    size: extraLength >= KNOWN_EXTRA ? readU64(viewOf(extra), 8) : undefined,
    raw: { id, name, extra: extra.subarray(KNOWN_EXTRA) },
  }
  return { snapshot, length: Math.ceil((end - at) / 8) * 8 }
}

export function serializeSnapshots(snapshots: readonly Snapshot[]): Uint8Array {
  const entries = snapshots.map(serializeEntry)
  const bytes = new Uint8Array(entries.reduce((sum, entry) => sum + entry.length, 0))
  let at = 0
  for (const entry of entries) {
    bytes.set(entry, at)
    at += entry.length
  }
  return bytes
}

function serializeEntry(snapshot: Snapshot): Uint8Array {
  const { id, name, extra } = snapshot.raw
  const extraLength = snapshot.size === undefined ? 0 : KNOWN_EXTRA + extra.length
  const bytes = new Uint8Array(Math.ceil((ENTRY + extraLength + id.length + name.length) / 8) * 8)
  const view = viewOf(bytes)
  writeU64(view, 0, snapshot.l1Offset)
  view.setUint32(8, snapshot.l1Size)
  view.setUint16(12, id.length)
  view.setUint16(14, name.length)
  view.setUint32(16, Math.floor(snapshot.time / 1000))
  view.setUint32(20, Math.floor((snapshot.time % 1000) * 1e6))
  writeU64(view, 24, snapshot.guestTime)
  view.setUint32(32, Math.min(snapshot.vmStateSize, 0xffff_ffff))
  view.setUint32(36, extraLength)
  if (snapshot.size !== undefined) {
    writeU64(view, ENTRY, snapshot.vmStateSize)
    writeU64(view, ENTRY + 8, snapshot.size)
    bytes.set(extra, ENTRY + KNOWN_EXTRA)
  }
  bytes.set(id, ENTRY + extraLength)
  bytes.set(name, ENTRY + extraLength + id.length)
  return bytes
}
