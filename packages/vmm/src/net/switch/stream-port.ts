import {
  type Attachable,
  copyFrame,
  FRAME_LIMIT,
  type Frame,
  frameOf,
  NO_OFFLOADS,
  type Port,
  UNPLUGGED,
} from '../frame.ts'
import type { ByteStream, StreamFailure, StreamHandler } from '../host-network.ts'

const LENGTH = 4
/** Bytes that the stream holds for the other process at most. */
const PENDING_LIMIT = 256 * 1024

/**
 * A cable to another process: frames on a byte stream, each behind its length in 32 bits, big-endian, as QEMU's
 * `-netdev stream` has them. So machines in processes of their own meet at one switch, and QEMU's at the same.
 */
export class StreamPort implements Attachable, StreamHandler {
  readonly offloads = NO_OFFLOADS
  readonly #onClosed: () => void
  #stream: ByteStream | undefined
  #peer: Port = UNPLUGGED
  #pending = 0
  #refused = false
  #received: Uint8Array = new Uint8Array(0)

  constructor(onClosed: () => void = () => {}) {
    this.#onClosed = onClosed
  }

  /** The stream that this is the handler of. */
  use(stream: ByteStream): this {
    this.#stream = stream
    return this
  }

  attach(peer: Port): void {
    this.#peer = peer
  }

  /** Frames are lost while there is no stream. */
  deliver(frame: Frame): boolean {
    if (!this.#stream) return true
    if (this.#pending >= PENDING_LIMIT) {
      this.#refused = true
      return false
    }
    const bytes = new Uint8Array(LENGTH + frame.length)
    new DataView(bytes.buffer).setUint32(0, frame.length)
    copyFrame(frame, 0, frame.length, bytes, LENGTH)
    this.#pending += bytes.length
    this.#stream.write(bytes, () => this.#onReleased(bytes.length))
    return true
  }

  #onReleased(count: number): void {
    this.#pending -= count
    if (!this.#refused || this.#pending > PENDING_LIMIT / 2) return
    this.#refused = false
    this.#peer.resume()
  }

  /** The port on this side has room again. */
  resume(): void {
    if (this.#takeFrames()) this.#stream?.resume()
  }

  connected(): void {}

  data(bytes: Uint8Array): void {
    if (!this.#stream) return
    const joined = new Uint8Array(this.#received.length + bytes.length)
    joined.set(this.#received)
    joined.set(bytes, this.#received.length)
    this.#received = joined
    if (!this.#takeFrames()) this.#stream.pause()
  }

  /** False when a frame was refused, and has to wait. */
  #takeFrames(): boolean {
    const bytes = this.#received
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    let at = 0
    let refused = false
    while (at + LENGTH <= bytes.length && !refused) {
      const length = view.getUint32(at)
      if (length > FRAME_LIMIT) {
        this.close()
        return true
      }
      const end = at + LENGTH + length
      if (end > bytes.length) break
      refused = !this.#peer.deliver(frameOf(bytes.subarray(at + LENGTH, end)))
      if (!refused) at = end
    }
    this.#received = bytes.subarray(at)
    return !refused
  }

  /** Unplugs it. */
  close(): void {
    this.#stream?.reset()
    this.#end()
  }

  ended(): void {
    this.close()
  }

  failed(_reason: StreamFailure): void {
    this.#end()
  }

  closed(): void {
    this.#end()
  }

  #end(): void {
    if (!this.#stream) return
    this.#stream = undefined
    this.#received = new Uint8Array(0)
    this.#pending = 0
    this.#onClosed()
    if (this.#refused) this.#peer.resume()
    this.#refused = false
  }
}
