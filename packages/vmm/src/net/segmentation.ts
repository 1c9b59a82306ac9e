/**
 * What a frame leaves undone, done in software, for a port that does not do it: VIRTIO 1.2, "Packet Transmission".
 * The fields come from a guest, so nothing in them is believed.
 */

import { readIpv4, readIpv6 } from './addresses.ts'
import { addSums, complement, onesSum } from './checksum.ts'
import { contiguous, ETHERNET_HEADER, type Frame, frameOf, keep, type Offloads } from './frame.ts'
import {
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  PROTOCOL_TCP,
  parseIpv4,
  parseIpv6,
  pseudoHeaderSum,
} from './packet/ip.ts'
import { FIN, PSH, parseTcp } from './packet/tcp.ts'

/** Segments of one frame at most: 64 KiB in pieces of the smallest MSS (RFC 9293 asks for 536). */
const SMALLEST_SEGMENT = 256

export function complies(frame: Frame, offloads: Offloads): boolean {
  if (frame.segmentation && !offloads[frame.segmentation.kind]) return false
  return frame.checksum === undefined || offloads.checksum
}

/** The frames that do for `offloads` what `frame` leaves undone; none, if it is not what it claims. */
export function comply(frame: Frame, offloads: Offloads): Frame[] {
  if (complies(frame, offloads)) return [frame]
  const bytes = contiguous(frame, 0, frame.length)
  if (frame.segmentation && !offloads[frame.segmentation.kind])
    return segments(bytes, frame.segmentation.size)
  const finished = finishChecksum(frame, keep(bytes))
  return finished ? [frameOf(finished)] : []
}

/** Puts the checksum in; `undefined` when its field lies outside. */
function finishChecksum(frame: Frame, bytes: Uint8Array): Uint8Array | undefined {
  const { start, offset } = frame.checksum!
  const field = start + offset
  if (start >= bytes.length || field + 2 > bytes.length) return undefined
  const sum = complement(onesSum(bytes, start)) || 0xffff
  bytes[field] = sum >> 8
  bytes[field + 1] = sum
  return bytes
}

function segments(bytes: Uint8Array, size: number): Frame[] {
  const packet = bytes.subarray(ETHERNET_HEADER)
  const type = (bytes[12] << 8) | bytes[13]
  const isV4 = type === ETHERTYPE_IPV4
  if ((!isV4 && type !== ETHERTYPE_IPV6) || size < SMALLEST_SEGMENT) return []
  const ip = isV4 ? parseIpv4(packet, packet.length) : parseIpv6(packet, packet.length)
  if (!ip || ip.protocol !== PROTOCOL_TCP || ip.fragment) return []
  const tcp = parseTcp(packet.subarray(ip.payload), ip.length)
  if (!tcp) return []
  const headers = ETHERNET_HEADER + ip.payload + tcp.headerLength
  const end = ETHERNET_HEADER + ip.payload + ip.length
  const frames: Frame[] = []
  for (let at = headers; at < end || frames.length === 0; at += size) {
    const length = Math.min(size, end - at)
    const segment = new Uint8Array(headers + length)
    segment.set(bytes.subarray(0, headers))
    segment.set(bytes.subarray(at, at + length), headers)
    const position = { index: frames.length, offset: at - headers, last: at + length >= end }
    finishSegment(segment, ETHERNET_HEADER + ip.payload, isV4, position)
    frames.push(frameOf(segment))
  }
  return frames
}

/** Adapts copied headers to the segment that they now stand before. */
function finishSegment(
  bytes: Uint8Array,
  tcp: number,
  isV4: boolean,
  position: { index: number; offset: number; last: boolean },
): void {
  const view = new DataView(bytes.buffer)
  const length = bytes.length - tcp
  if (isV4) {
    view.setUint16(ETHERNET_HEADER + 2, bytes.length - ETHERNET_HEADER)
    view.setUint16(ETHERNET_HEADER + 4, view.getUint16(ETHERNET_HEADER + 4) + position.index)
    view.setUint16(ETHERNET_HEADER + 10, 0)
    view.setUint16(ETHERNET_HEADER + 10, complement(onesSum(bytes, ETHERNET_HEADER, tcp)))
  } else {
    view.setUint16(ETHERNET_HEADER + 4, bytes.length - ETHERNET_HEADER - 40)
  }
  view.setUint32(tcp + 4, view.getUint32(tcp + 4) + position.offset)
  if (!position.last) bytes[tcp + 13] &= ~(FIN | PSH)
  view.setUint16(tcp + 16, 0)
  const at = ETHERNET_HEADER + (isV4 ? 12 : 8)
  const read = isV4 ? readIpv4 : readIpv6
  const source = read(bytes, at)
  const destination = read(bytes, at + (isV4 ? 4 : 16))
  const pseudo = pseudoHeaderSum(source, destination, PROTOCOL_TCP, length)
  view.setUint16(tcp + 16, complement(addSums(pseudo, onesSum(bytes, tcp))))
}
