/**
 * Frames and the ends of an Ethernet link.
 *
 * A frame is a list of views: a device hands over the buffers of its ring as they lie in guest RAM, the NAT hands over
 * a header and the bytes that a socket delivered. Views are valid only until `deliver` returns, so whoever keeps a
 * frame copies it, and nobody else does.
 *
 * Offloads are VIRTIO 1.2, "Network Device", "Packet Transmission", in the same words: a frame may leave its TCP or UDP
 * checksum to be completed (`checksum`), and may be a TCP segment larger than the link's MTU (`segmentation`), which
 * whoever needs real segments cuts up. What a port accepts, it says in `offloads`; the sender complies.
 */

/** `VIRTIO_NET_HDR_F_NEEDS_CSUM`: the field at `start + offset` holds the sum of the pseudo header, and no more. */
export interface PartialChecksum {
  readonly start: number
  readonly offset: number
}

/** `VIRTIO_NET_HDR_GSO_TCPV4` or `_TCPV6`: payload to be cut into segments of `size` bytes. */
export interface Segmentation {
  readonly kind: 'tcp4' | 'tcp6'
  readonly size: number
  readonly headerLength: number
}

export interface Frame {
  readonly parts: readonly Uint8Array[]
  /** Bytes in all parts, from the destination address, without FCS. */
  readonly length: number
  readonly checksum?: PartialChecksum | undefined
  readonly segmentation?: Segmentation | undefined
  /** `VIRTIO_NET_HDR_F_DATA_VALID`: checksums are there, and known to be right. */
  readonly verified?: boolean
}

export interface Offloads {
  readonly checksum: boolean
  readonly tcp4: boolean
  readonly tcp6: boolean
}

export const NO_OFFLOADS: Offloads = { checksum: false, tcp4: false, tcp6: false }
export const ALL_OFFLOADS: Offloads = { checksum: true, tcp4: true, tcp6: true }

/** What one end of a link is to the other. */
export interface Port {
  /** What frames delivered here may leave undone. May change when a driver negotiates. */
  readonly offloads: Offloads
  /**
   * Takes a frame, or refuses it with `false` because there is no room; then it calls the other end's `resume` once
   * there is. May be called from inside a `deliver` of the other end.
   */
  deliver(frame: Frame): boolean
  /** The other end has room again after it refused a frame. */
  resume(): void
}

/** A port that is told who is at the other end. */
export interface Attachable extends Port {
  attach(peer: Port): void
}

/** Plugs a cable in. */
export function connect(a: Attachable, b: Attachable): void {
  a.attach(b)
  b.attach(a)
}

/** The other end of a cable that is not plugged in: frames are lost. */
export const UNPLUGGED: Port = { offloads: ALL_OFFLOADS, deliver: () => true, resume: () => {} }

/** The largest frame that anyone may deliver: a TCP segment of 64 KiB with its headers. */
export const FRAME_LIMIT = 65_535 + 14
export const ETHERNET_HEADER = 14

export function frameOf(bytes: Uint8Array): Frame {
  return { parts: [bytes], length: bytes.length }
}

/** Copies `length` bytes of the frame from `offset` on to `target[at]`. */
export function copyFrame(frame: Frame, offset: number, length: number, target: Uint8Array, at = 0): void {
  let skip = offset
  let remaining = length
  let to = at
  for (const part of frame.parts) {
    if (remaining === 0) return
    if (skip >= part.length) {
      skip -= part.length
      continue
    }
    const count = Math.min(part.length - skip, remaining)
    target.set(skip === 0 && count === part.length ? part : part.subarray(skip, skip + count), to)
    to += count
    remaining -= count
    skip = 0
  }
}

/** `length` bytes from `offset` on in one piece: a view where they lie in one part, else a copy. */
export function contiguous(frame: Frame, offset: number, length: number): Uint8Array {
  let start = 0
  for (const part of frame.parts) {
    if (offset >= start && offset + length <= start + part.length) {
      return part.subarray(offset - start, offset - start + length)
    }
    start += part.length
  }
  const copy = new Uint8Array(length)
  copyFrame(frame, offset, length, copy)
  return copy
}

/** The same bytes in memory of their own. (`slice` would not do: that of Node's `Buffer` shares its memory.) */
export function keep(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes)
}

/** The same frame in memory of its own. */
export function keepFrame(frame: Frame): Frame {
  const bytes = new Uint8Array(frame.length)
  copyFrame(frame, 0, frame.length, bytes)
  return { ...frame, parts: [bytes] }
}
