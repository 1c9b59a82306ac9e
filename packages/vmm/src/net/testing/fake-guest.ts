/** A guest in a few lines: one address, and a TCP that does what a test says. Its checksums are its own arithmetic. */

import {
  BROADCAST_MAC,
  type Ip,
  ipOf,
  isIpv4,
  type Mac,
  parseMac,
  readMac,
  writeAddress,
} from '../addresses.ts'
import { addSums, complement, onesSum, onesSumOfParts } from '../checksum.ts'
import {
  type Attachable,
  contiguous,
  ETHERNET_HEADER,
  type Frame,
  frameOf,
  NO_OFFLOADS,
  type Offloads,
  type Port,
  UNPLUGGED,
} from '../frame.ts'
import { ARP_REPLY, ARP_REQUEST, buildArp, parseArp } from '../packet/arp.ts'
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type IpPacket,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseIpv4,
  parseIpv6,
  pseudoHeaderSum,
  writeIpHeader,
} from '../packet/ip.ts'
import {
  ACK,
  FIN,
  PSH,
  parseTcp,
  parseTcpOptions,
  RST,
  SYN,
  type TcpHeader,
  writeTcpHeader,
} from '../packet/tcp.ts'
import { buildUdp, parseUdp, type UdpDatagram } from '../packet/udp.ts'
import { advance, distance } from '../tcp/sequence.ts'

export const GATEWAY_MAC = parseMac('52:55:0a:00:02:02')!

export interface ReceivedPacket extends IpPacket {
  readonly bytes: Uint8Array
}

export class FakeGuest implements Attachable {
  offloads: Offloads
  readonly mac: Mac
  readonly address: Ip
  gateway = GATEWAY_MAC
  /** Refuses frames while it is set. */
  full = false
  /** Frames that arrive are lost while this says so. */
  loses: (frame: Frame) => boolean = () => false
  /** Packets of no connection. */
  readonly packets: ReceivedPacket[] = []
  readonly frames: Uint8Array[] = []
  readonly wrong: string[] = []
  largestFrame = 0
  readonly #connections = new Map<number, FakeConnection>()
  #peer: Port = UNPLUGGED

  constructor({ address = '10.0.2.15', mac = '52:54:00:12:34:56', offloads = NO_OFFLOADS } = {}) {
    this.address = ipOf(address)
    this.mac = parseMac(mac)!
    this.offloads = offloads
  }

  attach(peer: Port): void {
    this.#peer = peer
  }

  resume(): void {
    for (const connection of this.#connections.values()) connection.push()
  }

  /** There is room again. */
  drain(): void {
    this.full = false
    this.#peer.resume()
  }

  deliver(frame: Frame): boolean {
    if (this.full) return false
    if (this.loses(frame)) return true
    this.largestFrame = Math.max(this.largestFrame, frame.length)
    const bytes = contiguous(frame, 0, frame.length)
    const destination = readMac(bytes, 0)
    if (destination !== this.mac && !(bytes[0] & 1)) return true
    const type = (bytes[12] << 8) | bytes[13]
    if (type === ETHERTYPE_ARP) this.#onArp(bytes.subarray(ETHERNET_HEADER))
    if (type !== ETHERTYPE_IPV4 && type !== ETHERTYPE_IPV6) {
      this.frames.push(bytes.slice())
      return true
    }
    const parse = type === ETHERTYPE_IPV4 ? parseIpv4 : parseIpv6
    const packet = parse(bytes.subarray(ETHERNET_HEADER), bytes.length - ETHERNET_HEADER)
    if (!packet) this.wrong.push('IP header')
    else this.#onPacket(packet, bytes.subarray(ETHERNET_HEADER), frame)
    return true
  }

  #onArp(bytes: Uint8Array): void {
    const arp = parseArp(bytes)
    if (arp?.operation !== ARP_REQUEST || arp.target !== this.address) return
    this.sendArp(ARP_REPLY, arp.senderMac, arp.sender)
  }

  sendArp(operation: number, targetMac: Mac, target: Ip): void {
    const arp = buildArp({ operation, senderMac: this.mac, sender: this.address, targetMac, target })
    this.sendFrame(operation === ARP_REQUEST ? BROADCAST_MAC : targetMac, ETHERTYPE_ARP, arp)
  }

  #onPacket(packet: IpPacket, bytes: Uint8Array, frame: Frame): void {
    const payload = bytes.subarray(packet.payload, packet.payload + packet.length)
    if (packet.protocol === PROTOCOL_TCP) {
      this.#checkTcp(packet, payload, frame)
      const header = parseTcp(payload, payload.length)
      const connection = header && this.#connections.get(header.destinationPort)
      if (connection) return connection.receive(header, payload)
    }
    this.packets.push({ ...packet, bytes: payload.slice() })
  }

  #checkTcp({ source, destination }: IpPacket, payload: Uint8Array, frame: Frame): void {
    const pseudo = pseudoHeaderSum(source, destination, PROTOCOL_TCP, payload.length)
    const expected = frame.checksum ? undefined : 0xffff
    if (expected !== undefined && addSums(pseudo, onesSum(payload)) !== expected)
      this.wrong.push('TCP checksum')
    if (frame.checksum && ((payload[16] << 8) | payload[17]) !== pseudo) this.wrong.push('TCP pseudo header')
  }

  /** UDP datagrams that came, taken out. */
  takeUdp(): UdpDatagram[] {
    const taken = this.packets.splice(0)
    return taken.flatMap(({ protocol, bytes, source, destination }) => {
      if (protocol !== PROTOCOL_UDP) return []
      return parseUdp(bytes, source, destination, false) ?? []
    })
  }

  sendRaw(frame: Frame): boolean {
    return this.#peer.deliver(frame)
  }

  sendFrame(destination: Mac, type: number, payload: Uint8Array): boolean {
    return this.sendRaw(frameOf(ethernet(destination, this.mac, type, payload)))
  }

  sendIp(destination: Ip, protocol: number, payload: Uint8Array, source = this.address, hopLimit = 64): void {
    const packet = new Uint8Array(40 + payload.length)
    const header = { source, destination, protocol, length: payload.length, hopLimit }
    const length = writeIpHeader(packet, 0, header)
    packet.set(payload, length)
    const type = isIpv4(source) ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6
    this.sendFrame(this.gateway, type, packet.subarray(0, length + payload.length))
  }

  sendUdp(destination: Ip, destinationPort: number, payload: Uint8Array, sourcePort = 4000): void {
    const source = this.address
    const udp = buildUdp({ source, sourcePort, destination, destinationPort, payload })
    this.sendIp(destination, PROTOCOL_UDP, udp)
  }

  /** Sends a SYN. */
  connect(destination: Ip, port: number, options: FakeConnectionOptions = {}): FakeConnection {
    const localPort = options.localPort ?? 40_000 + this.#connections.size
    const connection = new FakeConnection(this, destination, port, { ...options, localPort })
    this.#connections.set(localPort, connection)
    connection.sendSyn()
    return connection
  }

  /** Waits for someone to connect to `port`. */
  listen(port: number): FakeConnection {
    const connection = new FakeConnection(this, this.address, 0, { localPort: port })
    this.#connections.set(port, connection)
    return connection
  }
}

export function ethernet(destination: Mac, source: Mac, type: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(ETHERNET_HEADER + payload.length)
  writeAddress(bytes, 0, destination)
  writeAddress(bytes, 6, source)
  bytes.set([type >> 8, type], 12)
  bytes.set(payload, ETHERNET_HEADER)
  return bytes
}

export interface FakeConnectionOptions {
  localPort?: number
  window?: number
  scale?: number | undefined
  mss?: number
  /** Bytes of payload in one segment; above the MSS it is left to the other side to cut it up. */
  segment?: number
  /** Whether each segment with data is acknowledged at once. */
  acknowledges?: boolean
}

/** One connection. Sends what the other side's window allows, resends all when told to, takes only what is in order. */
export class FakeConnection {
  readonly #guest: FakeGuest
  #remote: Ip
  #remotePort: number
  readonly #localPort: number
  readonly #options: Required<Omit<FakeConnectionOptions, 'localPort'>>
  state: 'closed' | 'syn-sent' | 'open' | 'reset' = 'closed'
  #una = 1000
  next = 1000
  expected = 0
  #edge = 1000
  #shift = 0
  #queue: Uint8Array = new Uint8Array(0)
  #queued = 0
  #endless: Uint8Array | undefined
  #pushing = false
  ended = false
  /** Payload that came. */
  received = 0
  readonly chunks: Uint8Array[] = []
  keeps = true
  acknowledgments = 0
  onData: (bytes: Uint8Array) => void = () => {}
  /** Called for each segment that came. */
  onSegment: (header: TcpHeader, length: number) => void = () => {}

  constructor(guest: FakeGuest, remote: Ip, remotePort: number, options: FakeConnectionOptions) {
    this.#guest = guest
    this.#remote = remote
    this.#remotePort = remotePort
    this.#localPort = options.localPort ?? 40_000
    this.#options = {
      window: options.window ?? 65_535,
      scale: 'scale' in options ? options.scale : 7,
      mss: options.mss ?? 1460,
      segment: options.segment ?? 1460,
      acknowledges: options.acknowledges ?? true,
    }
  }

  get unacknowledged(): number {
    return distance(this.next, this.#una)
  }

  get unsent(): number {
    return this.#queue.length - this.#queued
  }

  set window(value: number) {
    this.#options.window = value
  }

  sendSyn(): void {
    this.state = 'syn-sent'
    this.next = advance(this.#una, 1)
    this.segment(SYN, this.#una)
  }

  sendBytes(bytes: Uint8Array): void {
    const joined = new Uint8Array(this.unsent + bytes.length)
    joined.set(this.#queue.subarray(this.#queued))
    joined.set(bytes, this.unsent)
    // Bytes that are sent but not acknowledged are not sent again by this guest, unless the test does.
    this.#queue = joined
    this.#queued = 0
    this.push()
  }

  /** Sends the same bytes for ever. */
  sendForever(bytes: Uint8Array): void {
    this.#endless = bytes
    this.push()
  }

  /** Sends what the window has room for. */
  push(): void {
    if (this.#pushing) return
    this.#pushing = true
    while (this.state === 'open' && (this.#endless ? this.#pushAgain(this.#endless) : this.#pushOne()));
    this.#pushing = false
  }

  #pushAgain(bytes: Uint8Array): boolean {
    const room = distance(this.#edge, this.next)
    const count = Math.min(room, bytes.length, this.#options.segment)
    if (count < this.#options.mss) return false
    const sequence = this.next
    this.next = advance(sequence, count)
    return this.segment(ACK, sequence, bytes.subarray(0, count))
  }

  #pushOne(): boolean {
    if (this.unsent === 0) return false
    const room = distance(this.#edge, this.next)
    const count = Math.min(room, this.unsent, this.#options.segment)
    if (count <= 0 || (count < this.#options.mss && count < this.unsent)) return false
    const payload = this.#queue.subarray(this.#queued, this.#queued + count)
    const sequence = this.next
    this.#queued += count
    this.next = advance(sequence, count)
    if (this.segment(ACK | PSH, sequence, payload)) return true
    this.#queued -= count
    this.next = sequence
    return false
  }

  end(): void {
    this.segment(FIN | ACK, this.next)
    this.next = advance(this.next, 1)
  }

  reset(): void {
    this.segment(RST | ACK, this.next)
    this.state = 'reset'
  }

  acknowledge(): void {
    this.segment(ACK, this.next)
  }

  /** A segment as it is asked for; the checksum is left to the other side if there are more bytes than the MSS. */
  segment(flags: number, sequence: number, payload: Uint8Array = new Uint8Array(0)): boolean {
    const { window, scale, mss } = this.#options
    const syn = (flags & SYN) !== 0
    const options = syn ? { maximumSegmentSize: mss, windowScale: scale } : undefined
    const source = this.#guest.address
    const v4 = isIpv4(source)
    const start = ETHERNET_HEADER + (v4 ? 20 : 40)
    const head = new Uint8Array(start + 28)
    const fields = {
      sourcePort: this.#localPort,
      destinationPort: this.#remotePort,
      sequence,
      acknowledgment: flags & ACK ? this.expected : 0,
      flags,
      window: Math.min(syn ? window : window >> (scale ?? 0), 65_535),
      ...(options && { options }),
    }
    const tcp = writeTcpHeader(head, start, fields)
    const length = tcp + payload.length
    writeIpHeader(head, ETHERNET_HEADER, {
      source,
      destination: this.#remote,
      protocol: PROTOCOL_TCP,
      length,
    })
    const type = v4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6
    head.set(ethernet(this.#guest.gateway, this.#guest.mac, type, new Uint8Array(0)))
    const header = head.subarray(0, start + tcp)
    const large = payload.length > mss
    const pseudo = pseudoHeaderSum(source, this.#remote, PROTOCOL_TCP, length)
    const sum = large
      ? pseudo
      : complement(addSums(pseudo, onesSum(header, start), onesSumOfParts([payload])))
    head.set([sum >> 8, sum], start + 16)
    return this.#guest.sendRaw({
      parts: payload.length > 0 ? [header, payload] : [header],
      length: header.length + payload.length,
      checksum: large ? { start, offset: 16 } : undefined,
      segmentation: large
        ? { kind: v4 ? 'tcp4' : 'tcp6', size: mss, headerLength: header.length }
        : undefined,
    })
  }

  receive(header: TcpHeader, bytes: Uint8Array): void {
    const payload = bytes.subarray(header.headerLength)
    this.onSegment(header, payload.length)
    if (header.flags & RST) {
      this.state = 'reset'
      return
    }
    if (header.flags & SYN) return this.#onSyn(header, bytes)
    if (this.state !== 'open') return
    const shift = this.#shift
    if (distance(header.acknowledgment, this.#una) > 0) this.#una = header.acknowledgment
    if (header.flags & ACK && payload.length === 0) this.acknowledgments++
    this.#edge = advance(header.acknowledgment, header.window << shift)
    this.#take(header, payload)
    this.push()
  }

  #onSyn(header: TcpHeader, bytes: Uint8Array): void {
    const { windowScale } = parseTcpOptions(bytes, header.headerLength)
    this.expected = advance(header.sequence, 1)
    if (this.state === 'syn-sent' && header.flags & ACK) {
      this.#una = header.acknowledgment
      this.#shift = this.#options.scale === undefined ? 0 : (windowScale ?? 0)
      this.state = 'open'
      this.#edge = advance(header.acknowledgment, header.window)
      this.acknowledge()
      this.push()
    } else if (this.state === 'closed') {
      this.#remotePort = header.sourcePort
      this.#remote = ipOf(isIpv4(this.#guest.address) ? '10.0.2.2' : 'fd00:10:0:2::2')
      this.#shift = windowScale ?? 0
      this.#edge = advance(this.#una, header.window + 1)
      this.next = advance(this.#una, 1)
      this.state = 'open'
      this.segment(SYN | ACK, this.#una)
    }
  }

  #take(header: TcpHeader, payload: Uint8Array): void {
    const known = distance(this.expected, header.sequence)
    if (known < 0) return this.acknowledge()
    const fresh = payload.subarray(Math.min(known, payload.length))
    if (fresh.length > 0) {
      this.received += fresh.length
      this.expected = advance(this.expected, fresh.length)
      if (this.keeps) this.chunks.push(fresh.slice())
      this.onData(fresh)
    }
    const end = (header.flags & FIN) !== 0 && known <= payload.length
    if (end && !this.ended) {
      this.ended = true
      this.expected = advance(this.expected, 1)
    }
    if ((payload.length > 0 || end) && this.#options.acknowledges) this.acknowledge()
  }

  get text(): string {
    let text = ''
    for (const chunk of this.chunks) for (const byte of chunk) text += String.fromCharCode(byte)
    return text
  }
}
