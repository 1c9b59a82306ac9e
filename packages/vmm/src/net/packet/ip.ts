// RFC 791, "Internet Header Format"; RFC 8200, "IPv6 Header Format" and "IPv6 Extension Headers".

import { type Ip, ipLength, isIpv4, readIpv4, readIpv6, writeAddress } from '../addresses.ts'
import { addSums, complement, onesSum } from '../checksum.ts'

export const ETHERTYPE_IPV4 = 0x0800
export const ETHERTYPE_ARP = 0x0806
export const ETHERTYPE_IPV6 = 0x86dd

export const PROTOCOL_ICMP = 1
export const PROTOCOL_TCP = 6
export const PROTOCOL_UDP = 17
export const PROTOCOL_ICMPV6 = 58

const IPV4_HEADER = 20
const IPV6_HEADER = 40
const FRAGMENT_HEADER = 8

const FLAG_MORE_FRAGMENTS = 0x2000
const FLAG_DONT_FRAGMENT = 0x4000
const FRAGMENT_OFFSET = 0x1fff

const HOP_BY_HOP = 0
const ROUTING = 43
const FRAGMENT = 44
const DESTINATION_OPTIONS = 60
/** Extension headers that anyone means seriously. */
const EXTENSION_LIMIT = 8

const HOP_LIMIT = 64

export interface FragmentInfo {
  readonly identification: number
  /** In bytes. */
  readonly offset: number
  readonly more: boolean
}

export interface IpPacket {
  readonly source: Ip
  readonly destination: Ip
  readonly protocol: number
  readonly hopLimit: number
  /** Offsets from where the header begins. */
  readonly payload: number
  readonly length: number
  readonly fragment: FragmentInfo | undefined
}

const unit = (bytes: Uint8Array, offset: number) => (bytes[offset] << 8) | bytes[offset + 1]

function putUnit(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value >> 8
  bytes[offset + 1] = value
}

/** `head` holds the headers, `available` says how many bytes the packet has in all. `undefined` is malformed. */
export function parseIpv4(head: Uint8Array, available: number): IpPacket | undefined {
  if (head.length < IPV4_HEADER || head[0] >> 4 !== 4) return undefined
  const header = (head[0] & 15) * 4
  const total = unit(head, 2)
  if (header < IPV4_HEADER || head.length < header || total < header || total > available) return undefined
  if (onesSum(head, 0, header) !== 0xffff) return undefined
  const flags = unit(head, 6)
  const fragmented = (flags & (FLAG_MORE_FRAGMENTS | FRAGMENT_OFFSET)) !== 0
  return {
    source: readIpv4(head, 12),
    destination: readIpv4(head, 16),
    protocol: head[9],
    hopLimit: head[8],
    payload: header,
    length: total - header,
    fragment: fragmented
      ? {
          identification: unit(head, 4),
          offset: (flags & FRAGMENT_OFFSET) * 8,
          more: (flags & FLAG_MORE_FRAGMENTS) !== 0,
        }
      : undefined,
  }
}

export function parseIpv6(head: Uint8Array, available: number): IpPacket | undefined {
  if (head.length < IPV6_HEADER || head[0] >> 4 !== 6) return undefined
  const end = IPV6_HEADER + unit(head, 4)
  if (end > available) return undefined
  let protocol = head[6]
  let payload = IPV6_HEADER
  let fragment: FragmentInfo | undefined
  for (let count = 0; isExtension(protocol) && fragment === undefined; count++) {
    if (count === EXTENSION_LIMIT || payload + 8 > Math.min(end, head.length)) return undefined
    if (protocol === FRAGMENT) fragment = readFragmentHeader(head, payload)
    const length = protocol === FRAGMENT ? FRAGMENT_HEADER : (head[payload + 1] + 1) * 8
    protocol = head[payload]
    payload += length
  }
  if (payload > end) return undefined
  return {
    source: readIpv6(head, 8),
    destination: readIpv6(head, 24),
    protocol,
    hopLimit: head[7],
    payload,
    length: end - payload,
    // RFC 6946: an atomic fragment is a whole packet.
    fragment: fragment && (fragment.more || fragment.offset > 0) ? fragment : undefined,
  }
}

function isExtension(protocol: number): boolean {
  return (
    protocol === HOP_BY_HOP ||
    protocol === ROUTING ||
    protocol === FRAGMENT ||
    protocol === DESTINATION_OPTIONS
  )
}

function readFragmentHeader(head: Uint8Array, offset: number): FragmentInfo {
  const field = unit(head, offset + 2)
  return {
    identification: ((unit(head, offset + 4) << 16) | unit(head, offset + 6)) >>> 0,
    offset: field & 0xfff8,
    more: (field & 1) !== 0,
  }
}

export const ipHeaderLength = (address: Ip): number => (isIpv4(address) ? IPV4_HEADER : IPV6_HEADER)

export interface IpHeader {
  readonly source: Ip
  readonly destination: Ip
  readonly protocol: number
  readonly length: number
  readonly hopLimit?: number
  readonly fragment?: FragmentInfo
}

/** Writes a header without options; a fragment of IPv6 gets its extension header. Gives the header's length. */
export function writeIpHeader(bytes: Uint8Array, at: number, header: IpHeader): number {
  return isIpv4(header.source) ? writeIpv4Header(bytes, at, header) : writeIpv6Header(bytes, at, header)
}

function writeIpv4Header(bytes: Uint8Array, at: number, header: IpHeader): number {
  const { fragment } = header
  bytes[at] = 0x45
  bytes[at + 1] = 0
  putUnit(bytes, at + 2, IPV4_HEADER + header.length)
  putUnit(bytes, at + 4, fragment?.identification ?? 0)
  const more = fragment?.more ? FLAG_MORE_FRAGMENTS : 0
  putUnit(bytes, at + 6, fragment ? more | (fragment.offset / 8) : FLAG_DONT_FRAGMENT)
  bytes[at + 8] = header.hopLimit ?? HOP_LIMIT
  bytes[at + 9] = header.protocol
  putUnit(bytes, at + 10, 0)
  writeAddress(bytes, at + 12, header.source)
  writeAddress(bytes, at + 16, header.destination)
  putUnit(bytes, at + 10, complement(onesSum(bytes, at, at + IPV4_HEADER)))
  return IPV4_HEADER
}

function writeIpv6Header(bytes: Uint8Array, at: number, header: IpHeader): number {
  const { fragment } = header
  const extra = fragment ? FRAGMENT_HEADER : 0
  bytes[at] = 0x60
  bytes.fill(0, at + 1, at + 4)
  putUnit(bytes, at + 4, extra + header.length)
  bytes[at + 6] = fragment ? FRAGMENT : header.protocol
  bytes[at + 7] = header.hopLimit ?? HOP_LIMIT
  writeAddress(bytes, at + 8, header.source)
  writeAddress(bytes, at + 24, header.destination)
  if (fragment) {
    bytes[at + 40] = header.protocol
    bytes[at + 41] = 0
    putUnit(bytes, at + 42, fragment.offset | (fragment.more ? 1 : 0))
    putUnit(bytes, at + 44, fragment.identification >>> 16)
    putUnit(bytes, at + 46, fragment.identification)
  }
  return IPV6_HEADER + extra
}

function addressSum(address: Ip): number {
  let sum = 0
  for (let index = 0; index < address.length; index++) sum += address.charCodeAt(index)
  return sum
}

/** The sum of the pseudo header: RFC 9293, "Header Format"; RFC 8200, "Upper-Layer Checksums". */
export function pseudoHeaderSum(source: Ip, destination: Ip, protocol: number, length: number): number {
  return addSums(addressSum(source) + addressSum(destination), protocol, length)
}

/** The largest payload that fits behind a header in one packet of `mtu` bytes. */
export const payloadLimit = (mtu: number, address: Ip): number => mtu - ipHeaderLength(address)

/** Ranges of payload for the fragments of a packet that is too large. */
export function fragmentRanges(
  length: number,
  mtu: number,
  address: Ip,
): { offset: number; length: number }[] {
  const header = ipLength(address) === 4 ? IPV4_HEADER : IPV6_HEADER + FRAGMENT_HEADER
  const step = Math.floor((mtu - header) / 8) * 8
  const ranges = []
  for (let offset = 0; offset < length; offset += step) {
    ranges.push({ offset, length: Math.min(step, length - offset) })
  }
  return ranges
}
