// RFC 768; for IPv6 RFC 8200, "Upper-Layer Checksums".

import { type Ip, isIpv4 } from '../addresses.ts'
import { addSums, complement, onesSum } from '../checksum.ts'
import { PROTOCOL_UDP, pseudoHeaderSum } from './ip.ts'

export const UDP_HEADER = 8

export interface UdpDatagram {
  readonly source: Ip
  readonly sourcePort: number
  readonly destination: Ip
  readonly destinationPort: number
  readonly payload: Uint8Array
}

const unit = (bytes: Uint8Array, offset: number) => (bytes[offset] << 8) | bytes[offset + 1]

/** `verified`: the checksum need not be looked at. */
export function parseUdp(
  bytes: Uint8Array,
  source: Ip,
  destination: Ip,
  verified: boolean,
): UdpDatagram | undefined {
  if (bytes.length < UDP_HEADER) return undefined
  const length = unit(bytes, 4)
  if (length < UDP_HEADER || length > bytes.length) return undefined
  const absent = unit(bytes, 6) === 0
  if (absent && !isIpv4(source)) return undefined
  if (!verified && !absent) {
    const pseudo = pseudoHeaderSum(source, destination, PROTOCOL_UDP, length)
    if (addSums(pseudo, onesSum(bytes, 0, length)) !== 0xffff) return undefined
  }
  return {
    source,
    sourcePort: unit(bytes, 0),
    destination,
    destinationPort: unit(bytes, 2),
    payload: bytes.subarray(UDP_HEADER, length),
  }
}

export function buildUdp(datagram: UdpDatagram): Uint8Array {
  const length = UDP_HEADER + datagram.payload.length
  const bytes = new Uint8Array(length)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, datagram.sourcePort)
  view.setUint16(2, datagram.destinationPort)
  view.setUint16(4, length)
  bytes.set(datagram.payload, UDP_HEADER)
  const pseudo = pseudoHeaderSum(datagram.source, datagram.destination, PROTOCOL_UDP, length)
  view.setUint16(6, complement(addSums(pseudo, onesSum(bytes))) || 0xffff)
  return bytes
}
