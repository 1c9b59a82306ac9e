/**
 * The gateway's Ethernet and IP: takes the guests' frames apart and gives the pieces to the protocols above, answers
 * ARP, neighbor discovery and echo to its own addresses, and packs what the protocols send.
 *
 * Whatever is malformed, spoofed or meant for somebody else is dropped here, so above there are only packets from an
 * address of the link to a unicast address, whose checksums are right.
 */

import {
  BROADCAST_MAC,
  type Ip,
  isIpv4,
  isMulticastMac,
  type Mac,
  multicastMac,
  readMac,
  solicitedNode,
  writeAddress,
} from '../addresses.ts'
import { Alarm, type Alarms, SECOND } from '../alarms.ts'
import { addSums, complement, onesSum, onesSumOfParts } from '../checksum.ts'
import { Reassembly } from '../fragments.ts'
import {
  ALL_OFFLOADS,
  type Attachable,
  contiguous,
  copyFrame,
  ETHERNET_HEADER,
  FRAME_LIMIT,
  type Frame,
  frameOf,
  keep,
  keepFrame,
  type Port,
  UNPLUGGED,
} from '../frame.ts'
import { ARP_REPLY, ARP_REQUEST, buildArp, parseArp } from '../packet/arp.ts'
import {
  buildEchoReply,
  buildIcmpError,
  buildNeighborAdvertisement,
  buildNeighborSolicitation,
  buildRouterAdvertisement,
  ECHO_REQUEST,
  ECHO_REQUEST_V6,
  type IcmpError,
  isIcmpError,
  isIcmpIntact,
  NEIGHBOR_ADVERTISEMENT,
  NEIGHBOR_SOLICITATION,
  parseNeighbor,
  ROUTER_SOLICITATION,
  sealIcmp,
} from '../packet/icmp.ts'
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  fragmentRanges,
  type IpPacket,
  ipHeaderLength,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseIpv4,
  parseIpv6,
  payloadLimit,
  pseudoHeaderSum,
  writeIpHeader,
} from '../packet/ip.ts'
import { tcpHeaderLength, writeTcpHeader } from '../packet/tcp.ts'
import { parseUdp, type UdpDatagram } from '../packet/udp.ts'
import type { OutgoingSegment, SocketAddress } from '../tcp/endpoint.ts'
import {
  ALL_NODES,
  isBroadcast,
  isGuestAddress,
  isMulticast,
  isOwnAddress,
  type Layout,
  UNSPECIFIED,
  UNSPECIFIED_6,
} from './layout.ts'
import { Neighbors } from './neighbors.ts'

/** Headers lie in so many bytes of a frame, or it is dropped. */
const HEAD = 512
/** Frames that wait for room; those of TCP connections do not wait here, they are made when there is room. */
const QUEUE_LIMIT = 256
const ROUTER_LIFETIME = 1800
const ADVERTISE_EVERY = (ROUTER_LIFETIME / 3) * SECOND
/** Headers of a TCP segment that we make: Ethernet, IPv6, TCP with two options. */
const HEADER_LIMIT = ETHERNET_HEADER + 40 + 28
const HEADERS = 64
/** The largest TCP segment: IPv4's total length has 16 bits. */
const SEGMENT_LIMIT = 65_535 - 60

export interface LinkHandlers {
  /** A whole TCP segment in the frame, `length` bytes from `offset` on. */
  tcp(packet: IpPacket, frame: Frame, offset: number, length: number): void
  /** `quote` is what an ICMP error about it has to carry. */
  udp(datagram: UdpDatagram, quote: () => Uint8Array, mac: Mac): void
  /** An echo request to an address outside. */
  echo(packet: IpPacket, message: Uint8Array, quote: () => Uint8Array): void
  /** There is room on the link again. */
  resumed(): void
  /** An address of a guest is known now. */
  learned(address: Ip): void
}

export class GuestLink implements Attachable {
  readonly offloads = ALL_OFFLOADS
  readonly #layout: Layout
  readonly #handlers: LinkHandlers
  readonly #alarms: Alarms
  readonly #reassembly: Reassembly
  readonly neighbors = new Neighbors()
  readonly #head = new Uint8Array(HEAD)
  /** In turns, since a frame may be answered, and the answer too, while it is being delivered. */
  readonly #headers = Array.from({ length: HEADERS }, () => new Uint8Array(HEADER_LIMIT))
  #nextHeader = 0
  readonly #queue: Frame[] = []
  readonly #advertise: Alarm
  readonly #ipv6: boolean
  #identification = 0
  #peer: Port = UNPLUGGED

  constructor(options: { layout: Layout; ipv6: boolean; alarms: Alarms; handlers: LinkHandlers }) {
    this.#layout = options.layout
    this.#ipv6 = options.ipv6
    this.#alarms = options.alarms
    this.#handlers = options.handlers
    this.#reassembly = new Reassembly(options.alarms)
    this.#advertise = new Alarm(() => this.#sendAdvertisement(ALL_NODES))
  }

  attach(peer: Port): void {
    this.#peer = peer
  }

  /** The NAT always has room: TCP is held back by its windows, and what else is too much is dropped. */
  deliver(frame: Frame): boolean {
    if (frame.length < ETHERNET_HEADER || frame.length > FRAME_LIMIT) return true
    const head = this.#headOf(frame)
    const destination = readMac(head, 0)
    const source = readMac(head, 6)
    if (destination !== this.#layout.mac && !isMulticastMac(destination)) return true
    if (isMulticastMac(source) || source === this.#layout.mac) return true
    const type = (head[12] << 8) | head[13]
    if (type === ETHERTYPE_ARP) this.#onArp(head.subarray(ETHERNET_HEADER))
    else if (type === ETHERTYPE_IPV4 || (type === ETHERTYPE_IPV6 && this.#ipv6)) {
      const parse = type === ETHERTYPE_IPV4 ? parseIpv4 : parseIpv6
      const packet = parse(head.subarray(ETHERNET_HEADER), frame.length - ETHERNET_HEADER)
      if (packet) this.#onIp(packet, frame, source)
    }
    return true
  }

  resume(): void {
    while (this.#queue.length > 0) {
      if (!this.#peer.deliver(this.#queue[0])) return
      this.#queue.shift()
    }
    this.#handlers.resumed()
  }

  reset(): void {
    this.#queue.length = 0
    this.#reassembly.clear()
    this.#alarms.clear(this.#advertise)
  }

  #headOf(frame: Frame): Uint8Array {
    const first = frame.parts[0]
    if (first.length === frame.length || first.length >= HEAD) return first
    const length = Math.min(frame.length, HEAD)
    copyFrame(frame, 0, length, this.#head)
    return this.#head.subarray(0, length)
  }

  // What comes in.

  #learn(address: Ip, mac: Mac): void {
    if (isGuestAddress(this.#layout, address) && this.neighbors.learn(address, mac)) {
      this.#handlers.learned(address)
    }
  }

  #onArp(bytes: Uint8Array): void {
    const arp = parseArp(bytes)
    if (!arp || isMulticastMac(arp.senderMac)) return
    this.#learn(arp.sender, arp.senderMac)
    if (arp.operation !== ARP_REQUEST || !isOwnAddress(this.#layout, arp.target)) return
    this.#sendArp(ARP_REPLY, arp.target, arp.senderMac, arp.senderMac, arp.sender)
  }

  #sendArp(operation: number, sender: Ip, to: Mac, targetMac: Mac, target: Ip): void {
    const arp = buildArp({ operation, senderMac: this.#layout.mac, sender, targetMac, target })
    this.#transmit(this.#ethernet(to, ETHERTYPE_ARP, arp))
  }

  #onIp(packet: IpPacket, frame: Frame, mac: Mac): void {
    if (!this.#isSourceFine(packet)) return
    this.#learn(packet.source, mac)
    const toOwn = isOwnAddress(this.#layout, packet.destination)
    const isUnicast = !isMulticast(packet.destination) && !isBroadcast(this.#layout, packet.destination)
    const quote = () =>
      keep(contiguous(frame, ETHERNET_HEADER, Math.min(frame.length - ETHERNET_HEADER, 128)))
    if (isUnicast && !toOwn && packet.hopLimit <= 1) return this.sendError('time-exceeded', packet, quote())
    const offset = ETHERNET_HEADER + packet.payload
    if (packet.fragment) {
      const whole = this.#reassembly.add(packet, contiguous(frame, offset, packet.length))
      if (whole) this.#onPayload(packet, frameOf(whole), 0, whole.length, quote, mac)
    } else this.#onPayload(packet, frame, offset, packet.length, quote, mac)
  }

  /** Guests speak for themselves; without an address they ask for one (DHCP, duplicate address detection). */
  #isSourceFine({ source, protocol }: IpPacket): boolean {
    if (source === UNSPECIFIED) return protocol === PROTOCOL_UDP
    if (source === UNSPECIFIED_6) return protocol === PROTOCOL_ICMPV6
    return isGuestAddress(this.#layout, source)
  }

  #onPayload(
    packet: IpPacket,
    frame: Frame,
    offset: number,
    length: number,
    quote: () => Uint8Array,
    mac: Mac,
  ): void {
    const verified = frame.checksum !== undefined || frame.verified === true
    const v4 = isIpv4(packet.source)
    const isUnicast = !isMulticast(packet.destination) && !isBroadcast(this.#layout, packet.destination)
    if (packet.protocol === PROTOCOL_TCP && isUnicast) {
      if (verified || isTcpIntact(packet, frame, offset, length)) {
        this.#handlers.tcp(packet, frame, offset, length)
      }
    } else if (packet.protocol === PROTOCOL_UDP) {
      const bytes = contiguous(frame, offset, length)
      const datagram = parseUdp(bytes, packet.source, packet.destination, verified)
      if (datagram) this.#handlers.udp(datagram, quote, mac)
    } else if (packet.protocol === (v4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) {
      const bytes = contiguous(frame, offset, length)
      if (isIcmpIntact(bytes, packet.source, packet.destination)) this.#onIcmp(packet, bytes, quote, mac)
    }
  }

  #onIcmp(packet: IpPacket, message: Uint8Array, quote: () => Uint8Array, mac: Mac): void {
    const { source, destination } = packet
    if (message[0] === (isIpv4(source) ? ECHO_REQUEST : ECHO_REQUEST_V6)) {
      if (isMulticast(destination) || isBroadcast(this.#layout, destination)) return
      if (isOwnAddress(this.#layout, destination)) this.sendEchoReply(packet, message)
      else if (!isGuestAddress(this.#layout, destination)) this.#handlers.echo(packet, message, quote)
    } else if (!isIpv4(source) && packet.hopLimit === 255) this.#onDiscovery(packet, message, mac)
  }

  /** RFC 4861, as a router has it. */
  #onDiscovery({ source }: IpPacket, message: Uint8Array, mac: Mac): void {
    const [type] = message
    if (type === ROUTER_SOLICITATION) {
      this.#sendAdvertisement(source === UNSPECIFIED_6 ? ALL_NODES : source)
    } else if (type === NEIGHBOR_SOLICITATION || type === NEIGHBOR_ADVERTISEMENT) {
      const neighbor = parseNeighbor(message)
      if (!neighbor) return
      if (type === NEIGHBOR_ADVERTISEMENT) this.#learn(neighbor.target, neighbor.mac ?? mac)
      else if (isOwnAddress(this.#layout, neighbor.target)) this.#advertiseSelf(neighbor.target, source)
    }
  }

  #advertiseSelf(target: Ip, asker: Ip): void {
    const solicited = asker !== UNSPECIFIED_6
    const message = buildNeighborAdvertisement(target, this.#layout.mac, { router: true, solicited })
    this.#sendDiscovery(message, target, solicited ? asker : ALL_NODES)
  }

  #sendAdvertisement(destination: Ip): void {
    const { mac, mtu, network6, dns6, linkLocal } = this.#layout
    const lifetime = ROUTER_LIFETIME
    const message = buildRouterAdvertisement({ mac, mtu, prefix: network6.address, dns: dns6, lifetime })
    this.#sendDiscovery(message, linkLocal, destination)
    this.#alarms.set(this.#advertise, ADVERTISE_EVERY)
  }

  #sendDiscovery(message: Uint8Array, source: Ip, destination: Ip): void {
    sealIcmp(message, source, destination)
    this.sendIp({ source, destination, protocol: PROTOCOL_ICMPV6, payload: message, hopLimit: 255 })
  }

  // What goes out.

  sendEchoReply(packet: IpPacket, request: Uint8Array): void {
    const { source, destination, protocol } = packet
    const payload = buildEchoReply(request, destination, source)
    this.sendIp({ source: destination, destination: source, protocol, payload })
  }

  /** An ICMP error about a packet of the guest's, from the gateway. */
  sendError(error: IcmpError, { source, protocol }: IpPacket, quote: Uint8Array): void {
    const v4 = isIpv4(source)
    const icmp = v4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6
    const header = ipHeaderLength(source)
    if (protocol === icmp && isIcmpError(source, quote[header] ?? 0)) return
    const from = v4 ? this.#layout.gateway : this.#layout.gateway6
    const payload = buildIcmpError(error, quote, from, source)
    this.sendIp({ source: from, destination: source, protocol: icmp, payload })
  }

  /** A packet, in fragments if it must be; lost when there is no room, or nobody knows where the guest is. */
  sendIp(packet: {
    source: Ip
    destination: Ip
    protocol: number
    payload: Uint8Array
    hopLimit?: number
    mac?: Mac
  }): void {
    const { source, destination, protocol, payload, hopLimit = 64 } = packet
    const mac = packet.mac ?? this.#macFor(destination)
    if (mac === undefined) return
    const header = { source, destination, protocol, hopLimit }
    const { mtu } = this.#layout
    if (payload.length <= payloadLimit(mtu, destination)) {
      this.#transmit(this.#ipFrame(mac, { ...header, length: payload.length }, payload))
      return
    }
    this.#identification = (this.#identification + 1) & 0xffff
    for (const { offset, length } of fragmentRanges(payload.length, mtu, destination)) {
      const more = offset + length < payload.length
      const fragment = { identification: this.#identification, offset, more }
      const piece = payload.subarray(offset, offset + length)
      this.#transmit(this.#ipFrame(mac, { ...header, length, fragment }, piece))
    }
  }

  #ipFrame(mac: Mac, header: Parameters<typeof writeIpHeader>[2], payload: Uint8Array): Frame {
    const bytes = new Uint8Array(ETHERNET_HEADER + 48 + payload.length)
    const length = writeIpHeader(bytes, ETHERNET_HEADER, header)
    this.#writeEthernet(bytes, mac, isIpv4(header.source) ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6)
    bytes.set(payload, ETHERNET_HEADER + length)
    return frameOf(bytes.subarray(0, ETHERNET_HEADER + length + payload.length))
  }

  #ethernet(mac: Mac, type: number, payload: Uint8Array): Frame {
    const bytes = new Uint8Array(ETHERNET_HEADER + payload.length)
    this.#writeEthernet(bytes, mac, type)
    bytes.set(payload, ETHERNET_HEADER)
    return frameOf(bytes)
  }

  #writeEthernet(bytes: Uint8Array, mac: Mac, type: number): void {
    writeAddress(bytes, 0, mac)
    writeAddress(bytes, 6, this.#layout.mac)
    bytes[12] = type >> 8
    bytes[13] = type
  }

  /** Where to send; asks, when it is not known. */
  #macFor(destination: Ip): Mac | undefined {
    if (isBroadcast(this.#layout, destination)) return BROADCAST_MAC
    if (isMulticast(destination)) return multicastMac(destination)
    const known = this.neighbors.get(destination)
    if (known === undefined && isGuestAddress(this.#layout, destination)) this.#solicit(destination)
    return known
  }

  #solicit(target: Ip): void {
    const { mac, gateway, linkLocal } = this.#layout
    if (isIpv4(target)) {
      this.#sendArp(ARP_REQUEST, gateway, BROADCAST_MAC, '\0\0\0' as Mac, target)
    } else {
      this.#sendDiscovery(buildNeighborSolicitation(target, mac), linkLocal, solicitedNode(target))
    }
  }

  #transmit(frame: Frame): void {
    if (this.#queue.length === 0 && this.#peer.deliver(frame)) return
    if (this.#queue.length < QUEUE_LIMIT) this.#queue.push(frame)
  }

  /** The largest payload of a TCP segment on this link as it is now. */
  largestSegment(address: Ip, segmentSize: number): number {
    const { offloads } = this.#peer
    const takesLarge = offloads.checksum && (isIpv4(address) ? offloads.tcp4 : offloads.tcp6)
    return takesLarge ? Math.floor(SEGMENT_LIMIT / segmentSize) * segmentSize : segmentSize
  }

  /** False when there is no room; the segment is then forgotten, unless `mayQueue`. */
  sendTcp(from: SocketAddress, to: SocketAddress, segment: OutgoingSegment, mayQueue: boolean): boolean {
    if (this.#queue.length > 0 && !mayQueue) return false
    const mac = this.#macFor(to.address)
    if (mac === undefined) return true // lost; the guest is being looked for
    const frame = this.#tcpFrame(mac, from, to, segment)
    if (this.#queue.length === 0 && this.#peer.deliver(frame)) return true
    if (!mayQueue || this.#queue.length >= QUEUE_LIMIT) return false
    this.#queue.push(keepFrame(frame))
    return true
  }

  #tcpFrame(mac: Mac, from: SocketAddress, to: SocketAddress, segment: OutgoingSegment): Frame {
    const v4 = isIpv4(to.address)
    const tcpHeader = tcpHeaderLength(segment.options)
    const length = tcpHeader + segment.length
    const header = this.#headers[this.#nextHeader]
    this.#nextHeader = (this.#nextHeader + 1) % HEADERS
    this.#writeEthernet(header, mac, v4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6)
    const ip = { source: from.address, destination: to.address, protocol: PROTOCOL_TCP, length }
    const start = ETHERNET_HEADER + writeIpHeader(header, ETHERNET_HEADER, ip)
    writeTcpHeader(header, start, { ...segment, sourcePort: from.port, destinationPort: to.port })
    const headerLength = start + tcpHeader
    const bytes = header.subarray(0, headerLength)
    const pseudo = pseudoHeaderSum(from.address, to.address, PROTOCOL_TCP, length)
    const partial = this.#peer.offloads.checksum
    const sum = partial
      ? pseudo
      : complement(addSums(pseudo, onesSum(bytes, start), onesSumOfParts(segment.parts)))
    header[start + 16] = sum >> 8
    header[start + 17] = sum
    const large = segment.length > segment.segmentSize
    return {
      parts: segment.length === 0 ? [bytes] : [bytes, ...segment.parts],
      length: headerLength + segment.length,
      checksum: partial ? { start, offset: 16 } : undefined,
      segmentation: large
        ? { kind: v4 ? 'tcp4' : 'tcp6', size: segment.segmentSize, headerLength }
        : undefined,
    }
  }
}

function isTcpIntact(
  { source, destination }: IpPacket,
  frame: Frame,
  offset: number,
  length: number,
): boolean {
  const pseudo = pseudoHeaderSum(source, destination, PROTOCOL_TCP, length)
  return addSums(pseudo, onesSum(contiguous(frame, offset, length))) === 0xffff
}
