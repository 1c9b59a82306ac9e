// RFC 792; RFC 4443; RFC 4861, "Message Formats"; RFC 8106, "Recursive DNS Server Option".

import { addressBytes, type Ip, isIpv4, type Mac, readIpv6, readMac, writeAddress } from '../addresses.ts'
import { addSums, complement, onesSum } from '../checksum.ts'
import { keep } from '../frame.ts'
import { PROTOCOL_ICMPV6, pseudoHeaderSum } from './ip.ts'

export const ECHO_REQUEST = 8
export const ECHO_REPLY = 0
const UNREACHABLE = 3
const TIME_EXCEEDED = 11

export const ECHO_REQUEST_V6 = 128
export const ECHO_REPLY_V6 = 129
const UNREACHABLE_V6 = 1
const TIME_EXCEEDED_V6 = 3
export const ROUTER_SOLICITATION = 133
const ROUTER_ADVERTISEMENT = 134
export const NEIGHBOR_SOLICITATION = 135
export const NEIGHBOR_ADVERTISEMENT = 136

const OPTION_SOURCE_MAC = 1
const OPTION_TARGET_MAC = 2
const OPTION_PREFIX = 3
const OPTION_MTU = 5
const OPTION_DNS = 25
const FLAG_SOLICITED = 0x40
const FLAG_OVERRIDE = 0x20
const FLAG_ROUTER = 0x80
const PREFIX_ON_LINK_AUTONOMOUS = 0xc0

/** RFC 792 has eight bytes of the packet behind its header, and that much is enough everywhere. */
const QUOTE_LIMIT = 128

export type IcmpError = 'prohibited' | 'unreachable' | 'port-unreachable' | 'time-exceeded'

/** Type and code of each, in ICMP (RFC 1812 for "prohibited") and in ICMPv6. */
const ERRORS: Record<IcmpError, { v4: [number, number]; v6: [number, number] }> = {
  prohibited: { v4: [UNREACHABLE, 13], v6: [UNREACHABLE_V6, 1] },
  unreachable: { v4: [UNREACHABLE, 1], v6: [UNREACHABLE_V6, 3] },
  'port-unreachable': { v4: [UNREACHABLE, 3], v6: [UNREACHABLE_V6, 4] },
  'time-exceeded': { v4: [TIME_EXCEEDED, 0], v6: [TIME_EXCEEDED_V6, 0] },
}

/** Whether the message may be answered with an error: RFC 1122, "ICMP"; RFC 4443, "Message Processing Rules". */
export function isIcmpError(address: Ip, type: number): boolean {
  return isIpv4(address) ? type !== ECHO_REQUEST && type !== ECHO_REPLY : type < 128
}

/** Puts the checksum in; ICMPv6 has a pseudo header. */
export function sealIcmp(bytes: Uint8Array, source: Ip, destination: Ip): Uint8Array {
  bytes[2] = bytes[3] = 0
  const pseudo = isIpv4(source) ? 0 : pseudoHeaderSum(source, destination, PROTOCOL_ICMPV6, bytes.length)
  const sum = complement(addSums(pseudo, onesSum(bytes)))
  bytes[2] = sum >> 8
  bytes[3] = sum
  return bytes
}

export function isIcmpIntact(bytes: Uint8Array, source: Ip, destination: Ip): boolean {
  if (bytes.length < 8) return false
  const pseudo = isIpv4(source) ? 0 : pseudoHeaderSum(source, destination, PROTOCOL_ICMPV6, bytes.length)
  return addSums(pseudo, onesSum(bytes)) === 0xffff
}

/** The answer to an echo request, from its destination. */
export function buildEchoReply(request: Uint8Array, source: Ip, destination: Ip): Uint8Array {
  const reply = keep(request)
  reply[0] = isIpv4(source) ? ECHO_REPLY : ECHO_REPLY_V6
  return sealIcmp(reply, source, destination)
}

/** An error about `packet`, which begins with its IP header. */
export function buildIcmpError(
  error: IcmpError,
  packet: Uint8Array,
  source: Ip,
  destination: Ip,
): Uint8Array {
  const quote = packet.subarray(0, QUOTE_LIMIT)
  const bytes = new Uint8Array(8 + quote.length)
  bytes.set(isIpv4(source) ? ERRORS[error].v4 : ERRORS[error].v6)
  bytes.set(quote, 8)
  return sealIcmp(bytes, source, destination)
}

export interface NeighborMessage {
  readonly target: Ip
  /** The source's or target's link-layer address, whichever the message has. */
  readonly mac: Mac | undefined
}

/** A neighbor solicitation or advertisement: RFC 4861, "Validation of Neighbor Solicitations" for what is checked. */
export function parseNeighbor(bytes: Uint8Array): NeighborMessage | undefined {
  if (bytes.length < 24 || bytes[1] !== 0) return undefined
  const wanted = bytes[0] === NEIGHBOR_SOLICITATION ? OPTION_SOURCE_MAC : OPTION_TARGET_MAC
  const mac = findMacOption(bytes, 24, wanted)
  return mac === 'malformed' ? undefined : { target: readIpv6(bytes, 8), mac }
}

function findMacOption(bytes: Uint8Array, start: number, type: number): Mac | undefined | 'malformed' {
  let mac: Mac | undefined
  for (let at = start; at < bytes.length; at += bytes[at + 1] * 8) {
    const length = (bytes[at + 1] ?? 0) * 8
    if (length === 0 || at + length > bytes.length) return 'malformed'
    if (bytes[at] === type && length === 8) mac = readMac(bytes, at + 2)
  }
  return mac
}

export function buildNeighborAdvertisement(
  target: Ip,
  mac: Mac,
  { router, solicited }: { router: boolean; solicited: boolean },
): Uint8Array {
  const bytes = new Uint8Array(32)
  bytes[0] = NEIGHBOR_ADVERTISEMENT
  bytes[4] = FLAG_OVERRIDE | (router ? FLAG_ROUTER : 0) | (solicited ? FLAG_SOLICITED : 0)
  writeAddress(bytes, 8, target)
  bytes.set([OPTION_TARGET_MAC, 1], 24)
  writeAddress(bytes, 26, mac)
  return bytes
}

export function buildNeighborSolicitation(target: Ip, mac: Mac): Uint8Array {
  const bytes = new Uint8Array(32)
  bytes[0] = NEIGHBOR_SOLICITATION
  writeAddress(bytes, 8, target)
  bytes.set([OPTION_SOURCE_MAC, 1], 24)
  writeAddress(bytes, 26, mac)
  return bytes
}

export interface RouterAdvertisement {
  readonly mac: Mac
  readonly mtu: number
  readonly prefix: Ip
  readonly dns: Ip
  /** Seconds; so long a router, a prefix and a DNS server are used without another advertisement. */
  readonly lifetime: number
}

export function buildRouterAdvertisement(router: RouterAdvertisement): Uint8Array {
  const bytes = new Uint8Array(16 + 8 + 8 + 32 + 24)
  const view = new DataView(bytes.buffer)
  bytes.set([ROUTER_ADVERTISEMENT, 0, 0, 0, 64])
  view.setUint16(6, router.lifetime)
  bytes.set([OPTION_SOURCE_MAC, 1], 16)
  writeAddress(bytes, 18, router.mac)
  bytes.set([OPTION_MTU, 1], 24)
  view.setUint32(28, router.mtu)
  bytes.set([OPTION_PREFIX, 4, 64, PREFIX_ON_LINK_AUTONOMOUS], 32)
  view.setUint32(36, 2 * router.lifetime)
  view.setUint32(40, router.lifetime)
  bytes.set(addressBytes(router.prefix), 48)
  bytes.set([OPTION_DNS, 3], 64)
  view.setUint32(68, router.lifetime)
  bytes.set(addressBytes(router.dns), 72)
  return bytes
}
