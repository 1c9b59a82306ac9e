// "PCAP Capture File Format", draft-ietf-opsawg-pcap.

import type { WallClock } from '../../clock/clock.ts'
import { copyFrame, type Frame } from '../frame.ts'

const MAGIC_NANOSECONDS = 0xa1b2_3c4d
const LINKTYPE_ETHERNET = 1
const FILE_HEADER = 24
const RECORD_HEADER = 16
/** What tcpdump takes. */
const LARGEST_SNAPLEN = 262_144
const DEFAULT_LIMIT = 2 ** 30

export interface CaptureOptions {
  readonly wall: WallClock
  /** Takes bytes that it may keep. */
  readonly write: (bytes: Uint8Array) => void
  /** Bytes of each frame that are kept. */
  readonly snaplen?: number
  /** Bytes of the whole file; frames that no longer fit are counted and left out. */
  readonly limit?: number
}

/**
 * Writes what passes as a pcap file, for `tcpdump -r`. Frames are as they are on the wire, so segments that a driver
 * leaves to be cut up are one frame, with a checksum that nobody has completed; as on any Linux host with offloads.
 */
export class Capture {
  readonly #wall: WallClock
  readonly #write: (bytes: Uint8Array) => void
  readonly #snaplen: number
  readonly #limit: number
  #size = FILE_HEADER
  #lost = 0

  constructor({ wall, write, snaplen = LARGEST_SNAPLEN, limit = DEFAULT_LIMIT }: CaptureOptions) {
    this.#wall = wall
    this.#write = write
    this.#snaplen = Math.min(Math.max(Math.floor(snaplen), 1), LARGEST_SNAPLEN)
    this.#limit = limit
    const header = new DataView(new ArrayBuffer(FILE_HEADER))
    header.setUint32(0, MAGIC_NANOSECONDS)
    header.setUint16(4, 2)
    header.setUint16(6, 4)
    header.setUint32(16, this.#snaplen)
    header.setUint32(20, LINKTYPE_ETHERNET)
    write(new Uint8Array(header.buffer))
  }

  /** Frames that did not fit into the file. */
  get lost(): number {
    return this.#lost
  }

  record(frame: Frame): void {
    const kept = Math.min(frame.length, this.#snaplen)
    const size = RECORD_HEADER + kept
    if (this.#size + size > this.#limit) {
      this.#lost++
      return
    }
    this.#size += size
    const bytes = new Uint8Array(size)
    const view = new DataView(bytes.buffer)
    const milliseconds = this.#wall.now()
    const seconds = Math.floor(milliseconds / 1000)
    view.setUint32(0, seconds)
    view.setUint32(4, Math.min(Math.floor((milliseconds - seconds * 1000) * 1e6), 999_999_999))
    view.setUint32(8, kept)
    view.setUint32(12, frame.length)
    copyFrame(frame, 0, kept, bytes, RECORD_HEADER)
    this.#write(bytes)
  }
}
