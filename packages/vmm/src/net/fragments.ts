// RFC 791, "An Example Reassembly Procedure"; RFC 8200, "Fragment Header"; RFC 5722: overlaps void the datagram.

import type { Ip } from './addresses.ts'
import { Alarm, type Alarms, SECOND } from './alarms.ts'
import { keep } from './frame.ts'
import type { IpPacket } from './packet/ip.ts'

/** Datagrams in pieces at once, of all guests; the oldest goes when another comes. */
const DATAGRAM_LIMIT = 16
const PIECE_LIMIT = 64
const LENGTH_LIMIT = 65_535
const TIMEOUT = 15 * SECOND

interface Piece {
  readonly offset: number
  readonly bytes: Uint8Array
}

interface Partial {
  pieces: Piece[]
  total: number | undefined
  received: number
  readonly deadline: number
}

/** Puts fragments together. Holds at most 16 datagrams of 64 KiB. */
export class Reassembly {
  readonly #alarms: Alarms
  readonly #partials = new Map<string, Partial>()
  readonly #sweep: Alarm

  constructor(alarms: Alarms) {
    this.#alarms = alarms
    this.#sweep = new Alarm(() => this.#expire())
  }

  /** Gives the whole payload when `bytes` was its last missing piece. */
  add(packet: IpPacket, bytes: Uint8Array): Uint8Array | undefined {
    const { fragment } = packet
    if (!fragment) return bytes
    const key = keyOf(packet.source, packet.destination, packet.protocol, fragment.identification)
    const partial = this.#partials.get(key) ?? this.#begin(key)
    if (!accept(partial, fragment.offset, bytes, fragment.more)) {
      this.#partials.delete(key)
      return undefined
    }
    if (partial.received !== partial.total) return undefined
    this.#partials.delete(key)
    return join(partial, partial.total)
  }

  clear(): void {
    this.#partials.clear()
    this.#alarms.clear(this.#sweep)
  }

  #begin(key: string): Partial {
    const [oldest] = this.#partials.keys()
    if (this.#partials.size >= DATAGRAM_LIMIT) this.#partials.delete(oldest)
    const partial = { pieces: [], total: undefined, received: 0, deadline: this.#alarms.now() + TIMEOUT }
    this.#partials.set(key, partial)
    if (this.#sweep.due === Infinity) this.#alarms.set(this.#sweep, TIMEOUT)
    return partial
  }

  #expire(): void {
    const now = this.#alarms.now()
    for (const [key, { deadline }] of this.#partials) if (deadline <= now) this.#partials.delete(key)
    if (this.#partials.size > 0) this.#alarms.set(this.#sweep, TIMEOUT)
  }
}

function keyOf(source: Ip, destination: Ip, protocol: number, identification: number): string {
  return `${source}${destination}${protocol}.${identification}`
}

/** False when the piece cannot belong to a datagram with the others. */
function accept(partial: Partial, offset: number, bytes: Uint8Array, more: boolean): boolean {
  const end = offset + bytes.length
  if (bytes.length === 0 || end > LENGTH_LIMIT || partial.pieces.length >= PIECE_LIMIT) return false
  if (more && bytes.length % 8 !== 0) return false
  if (partial.total !== undefined && (end > partial.total || (!more && end !== partial.total))) return false
  const overlaps = (piece: Piece) => offset < piece.offset + piece.bytes.length && piece.offset < end
  if (partial.pieces.some(overlaps)) return false
  if (!more && partial.pieces.some((piece) => piece.offset >= end)) return false
  if (!more) partial.total = end
  partial.pieces.push({ offset, bytes: keep(bytes) })
  partial.received += bytes.length
  return true
}

function join(partial: Partial, total: number): Uint8Array {
  const whole = new Uint8Array(total)
  for (const { offset, bytes } of partial.pieces) whole.set(bytes, offset)
  return whole
}
