/**
 * Joins machines on one host. A port is in a segment; who is in another hears nothing of it. A port whose segment is not
 * named has one of its own, so machines are apart unless somebody puts them together.
 *
 * A port that is slow gets a queue, and whoever sends to it is held back while it moves on. One that stands still, as that
 * of a paused machine, holds nobody: what is for it is dropped, as in any switch.
 */

import type { TimerClock } from '../../clock/clock.ts'
import { isMulticastMac, type Mac, readMac } from '../addresses.ts'
import { Alarm, Alarms, MILLISECOND } from '../alarms.ts'
import { NetworkError } from '../errors.ts'
import {
  ALL_OFFLOADS,
  type Attachable,
  contiguous,
  ETHERNET_HEADER,
  FRAME_LIMIT,
  type Frame,
  keepFrame,
  type Port,
  UNPLUGGED,
} from '../frame.ts'
import { comply } from '../segmentation.ts'
import { MacTable } from './mac-table.ts'

const MTU = 1500
/** IPv4 and TCP. */
const SHORTEST_HEADERS = 40
const PORT_LIMIT = 1024
const QUEUE_BYTES = 512 * 1024
/** What a queued frame costs besides its bytes. */
const FRAME_COST = 256
/** A port that took nothing for so long stands still. */
const PATIENCE = 100 * MILLISECOND

export interface SwitchPortOptions {
  /** Ports with the same segment hear each other. */
  readonly segment?: string
  /** Addresses of this port are nobody else's, whatever others send: for a gateway. */
  readonly pinned?: boolean
}

export interface SwitchPort extends Attachable {
  close(): void
}

interface Segment {
  readonly ports: Set<Member>
  readonly macs: MacTable<Member>
}

export class VirtualSwitch {
  readonly #alarms: Alarms
  readonly #segments = new Map<string | symbol, Segment>()

  constructor({ clock }: { clock: TimerClock }) {
    this.#alarms = new Alarms(clock)
  }

  port({ segment: name, pinned = false }: SwitchPortOptions = {}): SwitchPort {
    let count = 0
    for (const { ports } of this.#segments.values()) count += ports.size
    if (count >= PORT_LIMIT) {
      throw new NetworkError('TV_NETWORK_LIMIT', `A switch has at most ${PORT_LIMIT} ports.`)
    }
    const key = name ?? Symbol('own')
    const segment = this.#segments.get(key) ?? {
      ports: new Set(),
      macs: new MacTable(() => this.#alarms.now()),
    }
    this.#segments.set(key, segment)
    const member = new Member(this.#alarms, segment, pinned, () => {
      if (segment.ports.size === 0) this.#segments.delete(key)
    })
    segment.ports.add(member)
    return member
  }

  close(): void {
    this.#segments.clear()
    this.#alarms.close()
  }
}

class Member implements SwitchPort {
  readonly offloads = ALL_OFFLOADS
  readonly pinned: boolean
  readonly #alarms: Alarms
  readonly #segment: Segment
  readonly #onClosed: () => void
  #peer: Port = UNPLUGGED
  readonly #queue: Frame[] = []
  #queued = 0
  readonly #waiting = new Set<Member>()
  readonly #stalled = new Alarm(() => this.#onStalled())
  #standsStill = false

  constructor(alarms: Alarms, segment: Segment, pinned: boolean, onClosed: () => void) {
    this.#alarms = alarms
    this.#segment = segment
    this.pinned = pinned
    this.#onClosed = onClosed
  }

  attach(peer: Port): void {
    this.#peer = peer
  }

  close(): void {
    this.#segment.ports.delete(this)
    this.#segment.macs.forgetPort(this)
    this.#alarms.clear(this.#stalled)
    this.#peer = UNPLUGGED
    this.#queue.length = 0
    this.#resumeWaiting()
    this.#onClosed()
  }

  deliver(frame: Frame): boolean {
    if (frame.length < ETHERNET_HEADER || frame.length > this.#longest(frame)) return true
    if (!this.#segment.ports.has(this)) return true
    const head = contiguous(frame, 0, ETHERNET_HEADER)
    const source = readMac(head, 6)
    if (isMulticastMac(source) || !this.#segment.macs.learn(source, this)) return true
    return this.#forward(readMac(head, 0), frame)
  }

  /** Other machines have no room for what is larger than they agreed on, unless it is to be cut up. */
  #longest({ segmentation }: Frame): number {
    if (segmentation && segmentation.size <= MTU - SHORTEST_HEADERS) return FRAME_LIMIT
    return segmentation ? 0 : MTU + ETHERNET_HEADER
  }

  #forward(destination: Mac, frame: Frame): boolean {
    const known = isMulticastMac(destination) ? undefined : this.#segment.macs.find(destination)
    if (known === this) return true
    if (known) return known.#take(frame, this)
    for (const port of this.#segment.ports) if (port !== this) port.#take(frame, undefined)
    return true
  }

  /** Puts a frame out; `sender` is one that can wait. */
  #take(frame: Frame, sender: Member | undefined): boolean {
    if (this.#queued >= QUEUE_BYTES) {
      if (!sender || this.#standsStill) return true
      this.#waiting.add(sender)
      return false
    }
    for (const piece of comply(frame, this.#peer.offloads)) {
      if (!piece.segmentation && piece.length > MTU + ETHERNET_HEADER) continue
      if (this.#queue.length > 0 || !this.#peer.deliver(piece)) this.#enqueue(piece)
    }
    return true
  }

  #enqueue(frame: Frame): void {
    if (this.#queue.length === 0) this.#alarms.set(this.#stalled, PATIENCE)
    this.#queue.push(keepFrame(frame))
    this.#queued += frame.length + FRAME_COST
  }

  /** The machine takes frames again. */
  resume(): void {
    this.#standsStill = false
    let taken = 0
    while (taken < this.#queue.length && this.#peer.deliver(this.#queue[taken])) {
      this.#queued -= this.#queue[taken].length + FRAME_COST
      taken++
    }
    this.#queue.splice(0, taken)
    if (this.#queue.length === 0) this.#alarms.clear(this.#stalled)
    else if (taken > 0) this.#alarms.set(this.#stalled, PATIENCE)
    if (this.#queued <= QUEUE_BYTES / 2) this.#resumeWaiting()
  }

  #onStalled(): void {
    this.#standsStill = true
    this.#resumeWaiting()
  }

  #resumeWaiting(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const member of waiting) member.#peer.resume()
  }
}
