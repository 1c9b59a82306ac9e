/** Well-formed frames of every kind that the NAT knows: what the fuzzer of packets starts from. */

import {
  addressBytes,
  BROADCAST_MAC,
  type Ip,
  ipOf,
  isIpv4,
  multicastMac,
  parseMac,
} from '../../packages/vmm/src/net/addresses.ts'
import { buildDhcp, OPTION } from '../../packages/vmm/src/net/dhcp/message.ts'
import { buildQuery } from '../../packages/vmm/src/net/dns/message.ts'
import { ARP_REPLY, ARP_REQUEST, buildArp } from '../../packages/vmm/src/net/packet/arp.ts'
import { sealIcmp } from '../../packages/vmm/src/net/packet/icmp.ts'
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type FragmentInfo,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  writeIpHeader,
} from '../../packages/vmm/src/net/packet/ip.ts'
import { ACK, FIN, PSH, RST, SYN, writeTcpHeader } from '../../packages/vmm/src/net/packet/tcp.ts'
import { buildUdp } from '../../packages/vmm/src/net/packet/udp.ts'
import { ethernet, GATEWAY_MAC } from '../../packages/vmm/src/net/testing/fake-guest.ts'
import type { Random } from './random.ts'

export const GUEST_MAC = parseMac('52:54:00:12:34:56')!
const GUEST = ipOf('10.0.2.15')
const GUEST6 = ipOf('fd00:10:0:2::15')
const LINK_LOCAL = ipOf('fe80::5054:ff:fe12:3456')
const SERVERS = ['10.0.2.2', '10.0.2.3', '192.0.2.1', '192.0.2.2', '127.0.0.1', '255.255.255.255'].map(ipOf)
const SERVERS6 = ['fd00:10:0:2::2', 'fd00:10:0:2::3', '2001:db8::1', '::1', 'ff02::1', 'fe80::2'].map(ipOf)
const PORTS = [53, 67, 80, 443, 49_152] as const

function packet(
  random: Random,
  source: Ip,
  destination: Ip,
  protocol: number,
  payload: Uint8Array,
  fragment?: FragmentInfo,
): Uint8Array {
  const bytes = new Uint8Array(48 + payload.length)
  const hopLimit = protocol === PROTOCOL_ICMPV6 ? 255 : random.pick([64, 64, 64, 1])
  const header = { source, destination, protocol, length: payload.length, hopLimit }
  const length = writeIpHeader(bytes, 0, fragment ? { ...header, fragment } : header)
  bytes.set(payload, length)
  const mac =
    isIpv4(destination) || destination.charCodeAt(0) >> 8 !== 0xff ? GATEWAY_MAC : multicastMac(destination)
  const type = isIpv4(source) ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6
  return ethernet(mac, GUEST_MAC, type, bytes.subarray(0, length + payload.length))
}

const ends = (random: Random): [Ip, Ip] =>
  random.chance(0.6) ? [GUEST, random.pick(SERVERS)] : [GUEST6, random.pick(SERVERS6)]

function arp(random: Random): Uint8Array {
  const operation = random.pick([ARP_REQUEST, ARP_REPLY])
  const target = random.pick(SERVERS)
  const message = buildArp({
    operation,
    senderMac: GUEST_MAC,
    sender: GUEST,
    targetMac: BROADCAST_MAC,
    target,
  })
  return ethernet(BROADCAST_MAC, GUEST_MAC, ETHERTYPE_ARP, message)
}

function echo(random: Random): Uint8Array {
  const [source, destination] = ends(random)
  const v4 = isIpv4(source)
  const message = new Uint8Array(8 + random.below(2000))
  message[0] = v4 ? 8 : 128
  return packet(
    random,
    source,
    destination,
    v4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6,
    sealIcmp(message, source, destination),
  )
}

function discovery(random: Random): Uint8Array {
  const source = random.pick([LINK_LOCAL, GUEST6, ipOf('::')])
  const destination = random.pick([ipOf('ff02::2'), ipOf('ff02::1:ff00:2'), ipOf('fe80::2')])
  const message = new Uint8Array(32)
  message[0] = random.pick([133, 135, 136])
  message.set(addressBytes(random.pick(SERVERS6)), 8)
  message.set([random.pick([1, 2]), 1, ...addressBytes(GUEST_MAC)], 24)
  return packet(random, source, destination, PROTOCOL_ICMPV6, sealIcmp(message, source, destination))
}

function udpOf(random: Random, payload: Uint8Array, destinationPort: number): Uint8Array {
  const [source, destination] = ends(random)
  const sourcePort = 4000 + random.below(40)
  const udp = buildUdp({ source, sourcePort, destination, destinationPort, payload })
  return packet(random, source, destination, PROTOCOL_UDP, udp)
}

function dns(random: Random): Uint8Array {
  const query = buildQuery(
    random.below(0x1_0000),
    random.pick(['a.example.org', 'b.test', 'x'.repeat(63)]),
    1,
  )
  return udpOf(random, query, 53)
}

function dhcp(random: Random): Uint8Array {
  const options = new Map([
    [OPTION.messageType, Uint8Array.of(1 + random.below(9))],
    [OPTION.requestedAddress, addressBytes(random.pick([GUEST, ...SERVERS]))],
  ])
  const zero = ipOf('0.0.0.0')
  const payload = buildDhcp({
    operation: 1,
    transaction: random.next(),
    broadcast: random.chance(0.5),
    client: random.pick([zero, GUEST]),
    yours: zero,
    server: zero,
    mac: random.pick([GUEST_MAC, parseMac(`52:54:00:00:00:${10 + random.below(80)}`)!]),
    options,
  })
  const destination = ipOf('255.255.255.255')
  const udp = buildUdp({ source: zero, sourcePort: 68, destination, destinationPort: 67, payload })
  return packet(random, zero, destination, PROTOCOL_UDP, udp)
}

function fragment(random: Random): Uint8Array {
  const [source, destination] = ends(random)
  const piece = { identification: random.below(6), offset: random.below(16) * 512, more: random.chance(0.8) }
  const protocol = random.pick([PROTOCOL_UDP, PROTOCOL_TCP, isIpv4(source) ? PROTOCOL_ICMP : PROTOCOL_ICMPV6])
  return packet(random, source, destination, protocol, random.bytes(512), piece)
}

/** What connections look like from outside, so that segments hit them. */
export interface KnownConnection {
  readonly source: Ip
  readonly destination: Ip
  readonly sourcePort: number
  readonly destinationPort: number
  /** The sequence number that the NAT sent last, and the one that it expects. */
  readonly sequence: number
  readonly acknowledgment: number
}

export function segment(random: Random, known: KnownConnection | undefined, length: number): Uint8Array {
  const [source, destination] = known ? [known.source, known.destination] : ends(random)
  const near = (value: number) => value + random.pick([0, 0, 0, 0, 1, -1, 1000, -1000, 70_000, 2 ** 31])
  const flags = known
    ? random.pick([ACK, ACK | PSH, ACK | PSH, ACK, ACK | FIN, RST | ACK, SYN, SYN | ACK, 0, 0x3f])
    : random.pick([SYN, SYN, SYN, ACK, RST, FIN])
  const options = {
    maximumSegmentSize: random.pick([1460, 536, 1, 0, 65_535]),
    windowScale: random.pick([7, 0, 14, undefined]),
  }
  const head = new Uint8Array(28)
  const headerLength = writeTcpHeader(head, 0, {
    sourcePort: known?.sourcePort ?? 1 + random.below(60),
    destinationPort: known?.destinationPort ?? random.pick(PORTS),
    sequence: near(known?.acknowledgment ?? random.next()) >>> 0,
    acknowledgment: near(known?.sequence ?? 0) >>> 0,
    flags,
    window: random.pick([0, 1, 1000, 65_535]),
    ...(flags & SYN && { options }),
  })
  const payload = new Uint8Array(headerLength + length)
  payload.set(head.subarray(0, headerLength))
  return packet(random, source, destination, PROTOCOL_TCP, payload)
}

const KINDS = [
  arp,
  echo,
  discovery,
  dns,
  dhcp,
  fragment,
  (random: Random) => udpOf(random, random.bytes(random.below(1400)), random.pick(PORTS)),
]

export function seedFrame(random: Random, connections: readonly KnownConnection[]): Uint8Array {
  if (random.chance(0.5)) return random.pick(KINDS)(random)
  const known = connections.length > 0 && random.chance(0.7) ? random.pick(connections) : undefined
  return segment(random, known, random.pick([0, 0, 1, 100, 1460, 1460, 20_000, 60_000]))
}
