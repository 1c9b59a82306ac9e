import {
  endsWithZeros,
  type Ip,
  inPrefix,
  ipOf,
  isIpv4,
  type Mac,
  type Prefix,
  parseMac,
  parsePrefix,
} from '../addresses.ts'
import { NetworkError } from '../errors.ts'

/** The gateway's addresses on the guest's network. */
export interface Layout {
  readonly mac: Mac
  readonly mtu: number
  readonly network: Prefix
  readonly gateway: Ip
  readonly dns: Ip
  /** The first address that DHCP gives away; the next machines on the segment get those behind it. */
  readonly firstGuest: Ip
  readonly network6: Prefix
  readonly gateway6: Ip
  readonly dns6: Ip
  readonly linkLocal: Ip
}

/** What users know from QEMU's user networking; IPv6 has an own prefix by RFC 4193 in the place of site-local ones. */
export const DEFAULT_LAYOUT: Layout = {
  mac: parseMac('52:55:0a:00:02:02')!,
  mtu: 1500,
  network: { address: ipOf('10.0.2.0'), length: 24 },
  gateway: ipOf('10.0.2.2'),
  dns: ipOf('10.0.2.3'),
  firstGuest: ipOf('10.0.2.15'),
  network6: { address: ipOf('fd00:10:0:2::'), length: 64 },
  gateway6: ipOf('fd00:10:0:2::2'),
  dns6: ipOf('fd00:10:0:2::3'),
  linkLocal: ipOf('fe80::2'),
}

export interface LayoutOptions {
  /** `10.0.2.0/24` */
  readonly network?: string
  /** `fd00:10:0:2::/64` */
  readonly network6?: string
  /** From what IPv6 needs to what a virtual switch passes on. */
  readonly mtu?: number
}

const SMALLEST_MTU = 1280
const LARGEST_MTU = 1500

/** The same layout in another network: the gateway is the second address, DNS the third, guests begin at the fifteenth. */
export function layoutOf({
  network = '10.0.2.0/24',
  network6 = 'fd00:10:0:2::/64',
  mtu = 1500,
}: LayoutOptions): Layout {
  const v4 = parsePrefix(network)
  if (!v4 || !isIpv4(v4.address) || v4.length < 8 || v4.length > 27 || !endsWithZeros(v4)) {
    throw new NetworkError('TV_NETWORK_ADDRESS', `${network} is no IPv4 network of a length from 8 to 27.`)
  }
  const v6 = parsePrefix(network6)
  if (!v6 || isIpv4(v6.address) || v6.length !== 64 || !endsWithZeros(v6)) {
    throw new NetworkError('TV_NETWORK_ADDRESS', `${network6} is no IPv6 network of length 64.`)
  }
  if (!Number.isInteger(mtu) || mtu < SMALLEST_MTU || mtu > LARGEST_MTU) {
    throw new NetworkError(
      'TV_NETWORK_LIMIT',
      `An MTU is from ${SMALLEST_MTU} to ${LARGEST_MTU}, not ${mtu}.`,
    )
  }
  const host = (number: number) => ipv4FromNumber(ipv4Number(v4.address) + number)
  const host6 = (number: number) => (v6.address.slice(0, 7) + String.fromCharCode(number)) as Ip
  return {
    ...DEFAULT_LAYOUT,
    mtu,
    network: v4,
    gateway: host(2),
    dns: host(3),
    firstGuest: host(15),
    network6: v6,
    gateway6: host6(2),
    dns6: host6(3),
  }
}

const LINK_LOCAL_6: Prefix = { address: ipOf('fe80::'), length: 10 }
export const ALL_NODES = ipOf('ff02::1')
export const UNSPECIFIED = ipOf('0.0.0.0')
export const UNSPECIFIED_6 = ipOf('::')
export const LIMITED_BROADCAST = ipOf('255.255.255.255')

/** Addresses that the gateway answers for. */
export function isOwnAddress(layout: Layout, address: Ip): boolean {
  return (
    address === layout.gateway ||
    address === layout.dns ||
    address === layout.gateway6 ||
    address === layout.dns6 ||
    address === layout.linkLocal
  )
}

/** Addresses that a guest on this link may have. */
export function isGuestAddress(layout: Layout, address: Ip): boolean {
  if (isOwnAddress(layout, address)) return false
  if (isIpv4(address)) return inPrefix(address, layout.network) && !isBroadcast(layout, address)
  return inPrefix(address, layout.network6) || inPrefix(address, LINK_LOCAL_6)
}

/** The network's broadcast address, that of all networks, and the network's own. */
export function isBroadcast(layout: Layout, address: Ip): boolean {
  if (!isIpv4(address)) return false
  if (address === LIMITED_BROADCAST) return true
  if (!inPrefix(address, layout.network)) return false
  const hosts = 2 ** (32 - layout.network.length) - 1
  const value = ipv4Number(address)
  const host = value - ipv4Number(layout.network.address)
  return host === hosts || host === 0
}

export function ipv4Number(address: Ip): number {
  return address.charCodeAt(0) * 0x1_0000 + address.charCodeAt(1)
}

export function ipv4FromNumber(value: number): Ip {
  return String.fromCharCode(Math.floor(value / 0x1_0000), value & 0xffff) as Ip
}

export function isMulticast(address: Ip): boolean {
  return isIpv4(address) ? address.charCodeAt(0) >> 12 === 14 : address.charCodeAt(0) >> 8 === 0xff
}
