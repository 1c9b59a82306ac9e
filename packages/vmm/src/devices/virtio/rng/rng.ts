// VIRTIO 1.2, "Entropy Device".

import type { Timer, TimerClock } from '../../../clock/clock.ts'
import { expectVersion } from '../../../snapshot/version.ts'
import type { Chain } from '../queue/chain.ts'
import type { DriverLink, VirtioDevice } from '../virtio-device.ts'
import type { VirtioRngState } from './rng.state.ts'

const REQUESTS = 0
/** What one request is given at most; drivers ask again for more. */
const REQUEST_LIMIT = 4096
const SECOND = 1e9
const DEFAULT_RATE = 1 << 20

/** Fills the driver's buffers with entropy, at no more than a rate: what a guest takes costs the host time. */
export class VirtioRng implements VirtioDevice<VirtioRngState> {
  readonly deviceId = 4
  readonly pciClass = 0xff_0000
  readonly features = []
  readonly queueSizes = [64]
  readonly config = new Uint8Array(0)
  readonly #random: () => number
  readonly #clock: TimerClock
  readonly #rate: number
  #driver: DriverLink | undefined
  #allowance: number
  #updated = 0
  #timer: Timer | undefined

  /** `random` gives 32 bits; `bytesPerSecond` is 1 MiB if absent, and what may be taken at once is 1/16 of that. */
  constructor(options: { random: () => number; clock: TimerClock; bytesPerSecond?: number }) {
    this.#random = options.random
    this.#clock = options.clock
    this.#rate = options.bytesPerSecond ?? DEFAULT_RATE
    this.#allowance = this.#burst
  }

  get #burst(): number {
    return Math.max(this.#rate / 16, 64)
  }

  attach(driver: DriverLink): void {
    this.#driver = driver
  }

  start(): void {
    this.#serve()
  }

  notified(): void {
    if (!this.#timer) this.#serve()
  }

  reset(): void {
    this.#cancel()
  }

  resetQueue(): void {
    this.#cancel()
  }

  #cancel(): void {
    this.#clock.cancel(this.#timer)
    this.#timer = undefined
  }

  #serve(): void {
    this.#cancel()
    const queue = this.#driver?.queue(REQUESTS)
    if (!queue) return
    this.#refill()
    let served = 0
    while (this.#allowance >= 1 && served++ < queue.size) {
      const chain = queue.pop()
      if (!chain) break
      this.#fill(chain)
    }
    queue.wantKicks(true)
    queue.signal()
    if (queue.hasNext) this.#wait()
  }

  #refill(): void {
    const now = this.#clock.now()
    const gained = ((now - this.#updated) / SECOND) * this.#rate
    this.#allowance = Math.min(this.#burst, this.#allowance + gained)
    this.#updated = now
  }

  /** Goes on when a small request's worth has come together. */
  #wait(): void {
    const missing = Math.max(Math.min(64, this.#burst) - this.#allowance, 0)
    const deadline = this.#clock.now() + Math.ceil((missing / this.#rate) * SECOND) + 1
    this.#timer = this.#clock.at(deadline, () => {
      this.#timer = undefined
      this.#serve()
    })
  }

  /** "The device MUST place one or more random bytes into the buffer"; a request without room is given back. */
  #fill(chain: Chain): void {
    const length = Math.min(chain.writableBytes, REQUEST_LIMIT, Math.floor(this.#allowance))
    const bytes = new Uint8Array(length)
    for (let at = 0; at < length; at += 4) {
      const word = this.#random()
      for (let i = 0; i < 4 && at + i < length; i++) bytes[at + i] = word >>> (8 * i)
    }
    this.#allowance -= length
    chain.write(bytes)
    chain.complete(length)
  }

  save(): VirtioRngState {
    return { version: 1, allowance: this.#allowance, updated: this.#updated }
  }

  restore(state: VirtioRngState): void {
    expectVersion('virtio-rng', state, 1)
    this.#allowance = Math.min(Math.max(Number(state.allowance) || 0, 0), this.#burst)
    this.#updated = Math.min(Number(state.updated) || 0, this.#clock.now())
  }
}
