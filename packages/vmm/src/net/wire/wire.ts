import type { TimerClock } from '../../clock/clock.ts'
import { Alarm, Alarms } from '../alarms.ts'
import { type Attachable, type Frame, type Offloads, type Port, UNPLUGGED } from '../frame.ts'
import type { Capture } from './capture.ts'
import { type Rate, TokenBucket } from './token-bucket.ts'

export interface WireOptions {
  readonly clock: TimerClock
  /** How fast frames go from `a` to `b`, and back. */
  readonly rate?: { readonly fromA?: Rate | undefined; readonly fromB?: Rate | undefined } | undefined
  readonly capture?: Capture | undefined
}

/** A cable with something in the middle: limits of bandwidth, a capture of both directions. */
export class Wire {
  readonly a: Attachable
  readonly b: Attachable
  /** May be put in and taken away at any time. */
  capture: Capture | undefined
  readonly #alarms: Alarms

  constructor({ clock, rate, capture }: WireOptions) {
    const alarms = new Alarms(clock)
    const record = (frame: Frame) => this.capture?.record(frame)
    const a = new WireEnd(alarms, record, rate?.fromA)
    const b = new WireEnd(alarms, record, rate?.fromB)
    a.far = b
    b.far = a
    this.a = a
    this.b = b
    this.capture = capture
    this.#alarms = alarms
  }

  close(): void {
    this.#alarms.close()
  }
}

class WireEnd implements Attachable {
  far!: WireEnd
  peer: Port = UNPLUGGED
  readonly #alarms: Alarms
  readonly #record: (frame: Frame) => void
  readonly #bucket: TokenBucket | undefined
  readonly #refilled = new Alarm(() => this.peer.resume())

  constructor(alarms: Alarms, record: (frame: Frame) => void, rate: Rate | undefined) {
    this.#alarms = alarms
    this.#record = record
    this.#bucket = rate && new TokenBucket(rate, () => alarms.now())
  }

  /** What may be left undone on this end is for the port at the other. */
  get offloads(): Offloads {
    return this.far.peer.offloads
  }

  attach(peer: Port): void {
    this.peer = peer
  }

  deliver(frame: Frame): boolean {
    const delay = this.#bucket?.delay() ?? 0
    if (delay > 0) {
      if (this.#refilled.due === Infinity) this.#alarms.set(this.#refilled, delay)
      return false
    }
    if (!this.far.peer.deliver(frame)) return false
    this.#bucket?.take(frame.length)
    this.#record(frame)
    return true
  }

  resume(): void {
    this.far.peer.resume()
  }
}
