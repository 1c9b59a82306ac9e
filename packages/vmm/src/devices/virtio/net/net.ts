// VIRTIO 1.2, "Network Device": one pair of queues, at one end of an Ethernet link (`net/frame.ts`).
//
// The device keeps no frames. One that the guest has no buffers for is refused, and the other end is resumed when there
// are some; one that the other end refuses stays in the guest's ring until the device is resumed. A frame that the guest
// sends goes out as views of its memory, and its chain is completed when `deliver` returns. While there is no driver, or
// the link is down, frames are lost, as on a cable that is not plugged in.

import { addressBytes, type Mac } from '../../../net/addresses.ts'
import {
  type Attachable,
  ETHERNET_HEADER,
  FRAME_LIMIT,
  type Frame,
  type Offloads,
  type Port,
  UNPLUGGED,
} from '../../../net/frame.ts'
import { complies, comply } from '../../../net/segmentation.ts'
import { expectVersion } from '../../../snapshot/version.ts'
import { type Chain, eachPart } from '../queue/chain.ts'
import type { Virtqueue } from '../queue/virtqueue.ts'
import type { DriverLink, VirtioDevice } from '../virtio-device.ts'
import { HEADER_SIZE, readFrame, writeHeader } from './header.ts'
import type { VirtioNetState } from './net.state.ts'

const VIRTIO_NET_F_CSUM = 0
const VIRTIO_NET_F_GUEST_CSUM = 1
const VIRTIO_NET_F_MTU = 3
const VIRTIO_NET_F_MAC = 5
const VIRTIO_NET_F_GUEST_TSO4 = 7
const VIRTIO_NET_F_GUEST_TSO6 = 8
const VIRTIO_NET_F_HOST_TSO4 = 11
const VIRTIO_NET_F_HOST_TSO6 = 12
const VIRTIO_NET_F_MRG_RXBUF = 15
const VIRTIO_NET_F_STATUS = 16

const RECEIVE = 0
const TRANSMIT = 1
const RECEIVE_SIZE = 512
const TRANSMIT_SIZE = 256

/** "Device configuration layout"; a device without VIRTIO_NET_F_MQ has one pair of queues. */
const CONFIG = { MAC: 0, STATUS: 6, MAX_VIRTQUEUE_PAIRS: 8, MTU: 10, SIZE: 12 } as const
const VIRTIO_NET_S_LINK_UP = 1

const SMALLEST_MTU = 1280
const LARGEST_MTU = 1500

export interface NetOptions {
  readonly mac: Mac
  /** 1500 by default, which is what a virtual switch passes on at most. */
  readonly mtu?: number
}

export class VirtioNet implements VirtioDevice<VirtioNetState> {
  readonly deviceId = 1
  readonly pciClass = 0x02_0000
  readonly features = [
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_MAC,
    VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_HOST_TSO6,
    VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_STATUS,
  ]
  readonly queueSizes = [RECEIVE_SIZE, TRANSMIT_SIZE]
  readonly config = new Uint8Array(CONFIG.SIZE)
  /** The device's end of the link. */
  readonly port: Attachable
  readonly #mtu: number
  #driver: DriverLink | undefined
  #peer: Port = UNPLUGGED
  /** The other end was refused a frame. */
  #refused = false
  /** The other end refused the frame that is next in the transmit queue. */
  #isHeldBack = false
  #isTransmitting = false
  #isScheduled = false

  constructor({ mac, mtu = LARGEST_MTU }: NetOptions) {
    if (!Number.isInteger(mtu) || mtu < SMALLEST_MTU || mtu > LARGEST_MTU)
      throw new RangeError(`a network device has an MTU from ${SMALLEST_MTU} to ${LARGEST_MTU}`)
    this.#mtu = mtu
    this.port = this.#makePort()
    const view = new DataView(this.config.buffer)
    this.config.set(addressBytes(mac), CONFIG.MAC)
    view.setUint16(CONFIG.STATUS, VIRTIO_NET_S_LINK_UP, true)
    view.setUint16(CONFIG.MAX_VIRTQUEUE_PAIRS, 1, true)
    view.setUint16(CONFIG.MTU, mtu, true)
  }

  #makePort(): Attachable {
    const offloads = () => this.#offloads
    return {
      get offloads() {
        return offloads()
      },
      attach: (peer) => {
        this.#peer = peer
      },
      deliver: (frame) => this.#deliver(frame),
      resume: () => this.#resume(),
    }
  }

  get linkUp(): boolean {
    return this.config[CONFIG.STATUS] === VIRTIO_NET_S_LINK_UP
  }

  /** Plugs the cable in, or out; the guest is told. */
  set linkUp(up: boolean) {
    if (up === this.linkUp) return
    this.config[CONFIG.STATUS] = up ? VIRTIO_NET_S_LINK_UP : 0
    this.#driver?.configChanged()
    this.#release()
    this.#isHeldBack = false
    this.#transmit()
  }

  attach(driver: DriverLink): void {
    this.#driver = driver
  }

  start(): void {
    this.#queue(RECEIVE)?.wantKicks(false)
    this.#isHeldBack = false
    this.#transmit()
    this.#peer.resume()
  }

  notified(index: number): void {
    if (index === TRANSMIT) this.#transmitSoon()
    else if (this.#queue(RECEIVE)?.hasNext) this.#release()
  }

  reset(): void {
    this.#isHeldBack = false
    this.#release()
  }

  resetQueue(index: number): void {
    if (index === TRANSMIT) this.#isHeldBack = false
    else this.#release()
  }

  #queue(index: number): Virtqueue | undefined {
    const queue = this.#driver?.queue(index)
    return queue?.isOpen ? queue : undefined
  }

  #has(feature: number): boolean {
    return this.#driver?.has(feature) ?? false
  }

  /** Whoever waits tries again. */
  #release(): void {
    if (!this.#refused) return
    this.#refused = false
    this.#queue(RECEIVE)?.wantKicks(false)
    this.#peer.resume()
  }

  // To the guest

  /** Segmentation needs checksums: "Feature bit requirements". */
  get #offloads(): Offloads {
    const checksum = this.#has(VIRTIO_NET_F_GUEST_CSUM)
    return {
      checksum,
      tcp4: checksum && this.#has(VIRTIO_NET_F_GUEST_TSO4),
      tcp6: checksum && this.#has(VIRTIO_NET_F_GUEST_TSO6),
    }
  }

  #deliver(frame: Frame): boolean {
    const queue = this.linkUp ? this.#queue(RECEIVE) : undefined
    if (!queue || !this.#isFit(frame)) return true
    const offloads = this.#offloads
    // Frames that waited somewhere may be from the days of another driver.
    if (!complies(frame, offloads)) {
      for (const piece of comply(frame, offloads)) if (this.#isFit(piece)) this.#put(queue, piece)
      return true
    }
    if (this.#put(queue, frame)) return true
    this.#refused = true
    return false
  }

  #isFit({ length, segmentation }: Frame): boolean {
    return length >= ETHERNET_HEADER && length <= (segmentation ? FRAME_LIMIT : this.#mtu + ETHERNET_HEADER)
  }

  /** False when there is no room. */
  #put(queue: Virtqueue, frame: Frame): boolean {
    const chains = this.#takeBuffers(queue, HEADER_SIZE + frame.length)
    if (!chains) return false
    if (chains.length === 0) return true
    const header = writeHeader(frame, chains.length, this.#has(VIRTIO_NET_F_GUEST_CSUM))
    fill(chains, [header, ...frame.parts])
    queue.signal()
    return true
  }

  /** Buffers for so many bytes; none where it can have no room at all, undefined while it has none. */
  #takeBuffers(queue: Virtqueue, length: number): Chain[] | undefined {
    const chains: Chain[] = []
    const merges = this.#has(VIRTIO_NET_F_MRG_RXBUF)
    let room = 0
    while (room < length) {
      const chain = queue.pop()
      if (!chain) {
        if (!queue.isOpen) return []
        queue.wantKicks(true) // of buffers behind those that are put back
        for (const back of chains.reverse()) queue.unpop(back)
        return undefined
      }
      if (chains.length === 0 && chain.writableBytes < HEADER_SIZE) {
        this.#driver?.needsReset('a receive buffer has no room for its header')
        return []
      }
      chains.push(chain)
      room += chain.writableBytes
      if (!merges && room < length) {
        queue.unpop(chain)
        return []
      }
    }
    return chains
  }

  // From the guest

  #resume(): void {
    if (!this.#isHeldBack) return
    this.#isHeldBack = false
    this.#transmit()
  }

  /**
   * When the processor gives way, which it does at once if the guest waits: what the guest adds until then needs no
   * notification, and one interrupt tells of all. Sending each packet within its notification took 1 ms a packet.
   */
  #transmitSoon(): void {
    this.#queue(TRANSMIT)?.wantKicks(false)
    if (this.#isScheduled) return
    this.#isScheduled = true
    void Promise.resolve().then(() => {
      this.#isScheduled = false
      this.#transmit()
    })
  }

  #transmit(): void {
    const queue = this.#queue(TRANSMIT)
    if (!queue || this.#isTransmitting || this.#isHeldBack) return
    this.#isTransmitting = true
    queue.wantKicks(false)
    for (let count = 0; count <= queue.size && !this.#isHeldBack; count++) {
      const chain = queue.pop()
      if (!chain) break
      this.#send(queue, chain)
    }
    this.#isTransmitting = false
    if (!this.#isHeldBack) queue.wantKicks(true)
    queue.signal()
  }

  #send(queue: Virtqueue, chain: Chain): void {
    const frame = this.linkUp ? this.#frameOf(chain) : undefined
    this.#isHeldBack = frame !== undefined && !this.#peer.deliver(frame)
    if (this.#isHeldBack) queue.unpop(chain)
    else chain.complete()
  }

  /** What a chain holds, as it lies there; undefined for what is no frame. */
  #frameOf(chain: Chain): Frame | undefined {
    const header = new Uint8Array(HEADER_SIZE)
    const length = chain.readableBytes - HEADER_SIZE
    if (chain.read(header) < HEADER_SIZE || length < ETHERNET_HEADER || length > FRAME_LIMIT) return undefined
    const parts: Uint8Array[] = []
    eachPart(chain.readable, HEADER_SIZE, length, (part) => parts.push(part))
    return readFrame(header, parts, length, {
      checksum: this.#has(VIRTIO_NET_F_CSUM),
      tcp4: this.#has(VIRTIO_NET_F_HOST_TSO4),
      tcp6: this.#has(VIRTIO_NET_F_HOST_TSO6),
    })
  }

  save(): VirtioNetState {
    return { version: 1, linkUp: this.linkUp }
  }

  restore(state: VirtioNetState): void {
    expectVersion('virtio-net', state, 1)
    this.config[CONFIG.STATUS] = state.linkUp === false ? 0 : VIRTIO_NET_S_LINK_UP
  }
}

/** Spreads the parts over the buffers, all full but the last, and gives them back. */
function fill(chains: readonly Chain[], parts: readonly Uint8Array[]): void {
  let index = 0
  let written = 0
  for (const part of parts) {
    for (let done = 0; done < part.length; ) {
      const count = chains[index].write(part.subarray(done), written)
      done += count
      written += count
      if (written < chains[index].writableBytes) continue
      chains[index++].complete(written)
      written = 0
    }
  }
  if (written > 0) chains[index].complete(written)
}
