// The device's side of a virtqueue, split or packed, without a transport.
//
// A device pops chains, reads and writes their segments where they lie in guest RAM, and completes them: at once or
// later, in any order. What it holds meanwhile is in flight, and that is bounded: by the ring, since a chain cannot be
// made available twice, and by a number of segments, since each indirect table can have many. When the driver resets
// the device or the queue, the queue is closed: completing a chain of it then does nothing. A snapshot holds the chains
// in flight with their addresses, and after a restore `pop` gives them to the device again.

import { SnapshotStateError } from '../../../errors.ts'
import type { GuestRam } from '../../../memory/guest-memory.ts'
import { expectVersion, type Saveable } from '../../../snapshot/version.ts'
import { Chain } from './chain.ts'
import { makePackedRing } from './packed-ring.ts'
import type { Ring, RingFeatures, RingLayout, TakenChain } from './ring.ts'
import { RingFault, SegmentList } from './segments.ts'
import { makeSplitRing } from './split-ring.ts'
import type { ChainState, VirtqueueState } from './virtqueue.state.ts'

/** Above so many segments in flight `pop` waits for completions. */
const SEGMENT_LIMIT = 0x1_0000

export interface VirtqueuePins {
  readonly ram: GuestRam
  /** The driver is to be told that chains were used. */
  onUsed(): void
  /** The driver broke the rules; the queue is closed. */
  onFault(reason: string): void
}

export class Virtqueue implements Saveable<VirtqueueState> {
  readonly size: number
  readonly #ring: Ring
  readonly #packed: boolean
  readonly #pins: VirtqueuePins
  readonly #inFlight = new Map<number, Chain>()
  /** Chains of a snapshot, which are in flight and not popped again yet. */
  #restored: Chain[] = []
  readonly #wasRestored = new WeakSet<Chain>()
  #slots = 0
  #segments = 0
  #open = true

  private constructor(ring: Ring, size: number, packed: boolean, pins: VirtqueuePins) {
    this.#ring = ring
    this.size = size
    this.#packed = packed
    this.#pins = pins
  }

  /** The queue, or what is wrong with where the driver put it. */
  static open(layout: RingLayout, features: RingFeatures, pins: VirtqueuePins): Virtqueue | RingFault {
    const make = features.packed ? makePackedRing : makeSplitRing
    const ring = make(pins.ram, layout, features)
    return ring instanceof RingFault ? ring : new Virtqueue(ring, layout.size, features.packed, pins)
  }

  /** Whether chains are available, or what comes is a fault. */
  get hasNext(): boolean {
    return this.#open && (this.#restored.length > 0 || this.#ring.hasNext)
  }

  get inFlight(): number {
    return this.#inFlight.size
  }

  get isOpen(): boolean {
    return this.#open
  }

  /** The next chain that the driver made available. */
  pop(): Chain | undefined {
    if (!this.#open) return undefined
    const again = this.#restored.shift()
    if (again) return again
    if (this.#segments >= SEGMENT_LIMIT) return undefined
    const taken = this.#ring.take()
    if (taken === undefined) return undefined
    if (taken instanceof RingFault) return this.#fault(taken.reason)
    if (this.#inFlight.has(taken.id)) return this.#fault('a chain is available twice')
    if (this.#packed && this.#slots + taken.slots > this.size) return this.#fault('the ring is overrun')
    return this.#hold(taken)
  }

  #hold(taken: TakenChain): Chain {
    const chain = new Chain(taken, (written) => this.#complete(chain, written))
    this.#inFlight.set(chain.id, chain)
    this.#slots += chain.slots
    this.#segments += chain.readable.length + chain.writable.length
    return chain
  }

  #forget(chain: Chain): boolean {
    if (this.#inFlight.get(chain.id) !== chain) return false
    this.#inFlight.delete(chain.id)
    this.#slots -= chain.slots
    this.#segments -= chain.readable.length + chain.writable.length
    return true
  }

  /** Puts the chain that was popped last back: it was too small, or came too early. */
  unpop(chain: Chain): void {
    if (!this.#open || this.#inFlight.get(chain.id) !== chain) return
    if (this.#wasRestored.has(chain)) {
      this.#restored.unshift(chain)
      return
    }
    this.#forget(chain)
    chain.drop()
    this.#ring.untake(chain.slots)
  }

  #complete(chain: Chain, written: number): void {
    if (!this.#open || !this.#forget(chain)) return
    let rest = Math.min(written, chain.writableBytes)
    const length = rest
    for (const { gpa, bytes } of chain.writable) {
      if (rest === 0) break
      this.#pins.ram.written(gpa, Math.min(rest, bytes.length))
      rest -= Math.min(rest, bytes.length)
    }
    this.#ring.giveBack(chain.id, chain.slots, Math.min(length, 0xffff_ffff))
  }

  /** Tells the driver of what was completed, if it wants to know: once behind one or many. */
  signal(): void {
    if (this.#open && this.#ring.driverWantsInterrupt()) this.#pins.onUsed()
  }

  /** Whether the driver should tell of further chains: true while the device waits for some. */
  wantKicks(wanted: boolean): void {
    if (this.#open) this.#ring.wantKicks(wanted)
  }

  /**
   * Gives each available chain to `take`, until it says `false`: there is no room, and the device calls again when
   * there is. `take` completes the chain, or keeps it and completes it later. Ends after one round of the ring.
   */
  serve(take: (chain: Chain) => boolean): void {
    this.wantKicks(false)
    for (let count = 0; count <= this.size; count++) {
      const chain = this.pop()
      if (!chain) break
      if (!take(chain)) break
    }
    this.wantKicks(true)
    this.signal()
  }

  /** After this nothing of the ring is read or written. */
  close(): void {
    this.#open = false
    for (const chain of this.#inFlight.values()) chain.drop()
    this.#inFlight.clear()
    this.#restored = []
  }

  #fault(reason: string): undefined {
    this.close()
    this.#pins.onFault(reason)
  }

  save(): VirtqueueState {
    const ranges = (segments: Chain['readable']) =>
      segments.map(({ gpa, bytes }): [number, number] => [gpa, bytes.length])
    const { next, used, untold } = this.#ring.position
    const inFlight = [...this.#inFlight.values()].map(
      ({ id, slots, readable, writable }): ChainState => ({
        id,
        slots,
        readable: ranges(readable),
        writable: ranges(writable),
      }),
    )
    return { version: 1, next, used, untold, inFlight }
  }

  /** Of a queue that was just opened. The chains that were in flight are popped again, in their order. */
  restore(state: VirtqueueState): void {
    expectVersion('virtqueue', state, 1)
    const limit = this.#packed ? 2 * this.size : 0x1_0000
    for (const value of [state.next, state.used]) expectBelow(value, limit)
    expectBelow(state.untold, 0x1_0000)
    Object.assign(this.#ring.position, { next: state.next, used: state.used, untold: state.untold })
    for (const { id, slots, readable, writable } of state.inFlight) {
      expectBelow(id, 0x1_0000)
      expectBelow(slots - 1, this.size)
      const list = new SegmentList(this.#pins.ram)
      for (const [gpa, length] of readable) expectNoFault(list.add(gpa, length, false))
      for (const [gpa, length] of writable) expectNoFault(list.add(gpa, length, true))
      const chain = this.#hold({ id, slots, readable: list.readable, writable: list.writable })
      this.#wasRestored.add(chain)
      this.#restored.push(chain)
    }
  }
}

function expectBelow(value: number, limit: number): void {
  if (!Number.isInteger(value) || value < 0 || value >= limit) {
    throw new SnapshotStateError('virtqueue', `${value} is not below ${limit}`)
  }
}

function expectNoFault(fault: RingFault | undefined): void {
  if (fault) throw new SnapshotStateError('virtqueue', fault.reason)
}
