import { type Ip, ipOf } from '../addresses.ts'
import type { Alarms } from '../alarms.ts'
import { contiguous, type Frame } from '../frame.ts'
import type { AcceptStream, ByteStream, HostNetwork, StreamFailure, StreamHandler } from '../host-network.ts'
import { type IpPacket, ipHeaderLength, PROTOCOL_TCP, writeIpHeader } from '../packet/ip.ts'
import { ACK, FIN, parseTcp, parseTcpOptions, RST, SYN, TCP_HEADER, type TcpHeader } from '../packet/tcp.ts'
import { Budget } from '../tcp/budget.ts'
import { ChunkPool } from '../tcp/chunk-pool.ts'
import {
  type OutgoingSegment,
  type SocketAddress,
  type TcpConnectionState,
  TcpEndpoint,
  type TcpSurroundings,
} from '../tcp/endpoint.ts'
import { advance } from '../tcp/sequence.ts'
import type { Egress } from './egress.ts'
import type { GuestLink } from './guest-link.ts'

/** Options end here at the latest. */
const TCP_HEADER_LIMIT = 60
/** What connections may buffer above the first 64 KiB in each direction. */
const BUDGET = 64 * 2 ** 20
/** RFC 6335, "Port Number Ranges". */
const FIRST_PORT = 49_152
const LAST_PORT = 65_535

export interface TcpLimits {
  readonly connections: number
  /** Of these, such as are not open yet: what a flood of SYNs can fill. */
  readonly halfOpen: number
}

interface Options {
  readonly link: GuestLink
  readonly egress: Egress
  readonly alarms: Alarms
  readonly host: HostNetwork
  readonly random: () => number
  readonly mtu: number
  readonly limits: TcpLimits
  /** The far end of connections to the DNS server. */
  openDns(handler: StreamHandler): ByteStream
}

/** All TCP connections: finds the one that a segment belongs to, begins new ones, gives each its turn on the link. */
export class TcpFlows implements TcpSurroundings {
  readonly alarms: Alarms
  readonly pool = new ChunkPool()
  readonly budget = new Budget(BUDGET)
  readonly #options: Options
  readonly #flows = new Map<string, TcpEndpoint>()
  readonly #waiting = new Set<TcpEndpoint>()
  readonly #touched = new Set<TcpEndpoint>()
  #flushing = false
  #nextPort = FIRST_PORT

  constructor(options: Options) {
    this.#options = options
    this.alarms = options.alarms
  }

  get size(): number {
    return this.#flows.size
  }

  /** Connections that are neither open nor ending. */
  get halfOpen(): number {
    let count = 0
    for (const { phase } of this.#flows.values()) if (phase !== 'open' && phase !== 'time-wait') count++
    return count
  }

  deliver(packet: IpPacket, frame: Frame, offset: number, length: number): void {
    const bytes = contiguous(frame, offset, Math.min(length, TCP_HEADER_LIMIT))
    const header = parseTcp(bytes, length)
    if (!header) return
    const payload = length - header.headerLength
    const guest = { address: packet.source, port: header.sourcePort }
    const peer = { address: packet.destination, port: header.destinationPort }
    const flow = this.#flows.get(keyOf(guest, peer))
    const options = () => parseTcpOptions(bytes, header.headerLength)
    const begins = (header.flags & (SYN | ACK | RST)) === SYN
    if (flow && !(begins && flow.yieldsTo(header))) {
      flow.deliver(header, options, frame, offset + header.headerLength, payload)
    } else if (begins) this.#begin(packet, guest, peer, header, options)
    else this.#refuseStray(guest, peer, header, payload)
  }

  #begin(
    packet: IpPacket,
    guest: SocketAddress,
    peer: SocketAddress,
    header: TcpHeader,
    options: () => ReturnType<typeof parseTcpOptions>,
  ): void {
    const { egress, host, limits, openDns } = this.#options
    if (guest.port === 0 || peer.port === 0) return
    const route = egress.route('tcp', packet.destination, peer.port)
    if (route.kind === 'prohibited' || route.kind === 'nobody')
      return this.#refuseStray(guest, peer, header, 0)
    // A SYN that finds no place is not answered: the guest comes again.
    if (this.halfOpen >= limits.halfOpen || !this.#makeRoom()) return
    const endpoint = this.#create(guest, peer)
    const open = (handler: StreamHandler) =>
      route.kind === 'dns' ? openDns(handler) : host.connectStream(route.endpoint, handler)
    endpoint.openFromGuest(header, options(), open)
  }

  /** Someone connected to a forwarded port. */
  accept(guest: SocketAddress, gateway: Ip): AcceptStream {
    return (_from, open) => {
      const { limits } = this.#options
      const peer = { address: gateway, port: this.#freePort(guest, gateway) }
      if (this.halfOpen >= limits.halfOpen || !this.#makeRoom()) open(DEAF).reset()
      else this.#create(guest, peer).openToGuest(open)
    }
  }

  #freePort(guest: SocketAddress, address: Ip): number {
    do {
      this.#nextPort = this.#nextPort === LAST_PORT ? FIRST_PORT : this.#nextPort + 1
    } while (this.#flows.has(keyOf(guest, { address, port: this.#nextPort })))
    return this.#nextPort
  }

  #create(guest: SocketAddress, peer: SocketAddress): TcpEndpoint {
    const { random, mtu } = this.#options
    const mss = mtu - ipHeaderLength(guest.address) - TCP_HEADER
    const endpoint = new TcpEndpoint(this, guest, peer, { initialSequence: random() >>> 0, mss })
    this.#flows.set(keyOf(guest, peer), endpoint)
    return endpoint
  }

  /** Connections that only wait for stray segments go first. */
  #makeRoom(): boolean {
    if (this.#flows.size < this.#options.limits.connections) return true
    for (const flow of this.#flows.values()) {
      if (flow.phase !== 'time-wait') continue
      flow.abort()
      return true
    }
    return false
  }

  /** RFC 9293, "Reset Generation". */
  #refuseStray(guest: SocketAddress, peer: SocketAddress, header: TcpHeader, payload: number): void {
    if (header.flags & RST) return
    const occupied = payload + (header.flags & SYN ? 1 : 0) + (header.flags & FIN ? 1 : 0)
    const acknowledges = (header.flags & ACK) !== 0
    this.#options.link.sendTcp(
      peer,
      guest,
      resetSegment(
        acknowledges ? header.acknowledgment : 0,
        acknowledges ? undefined : advance(header.sequence, occupied),
      ),
      true,
    )
  }

  /** Ends connections that were there when the machine was saved. */
  resetSaved(connections: readonly TcpConnectionState[]): void {
    for (const { guest, peer, sequence, acknowledgment } of connections) {
      const to = { address: ipOf(guest.address), port: guest.port }
      const from = { address: ipOf(peer.address), port: peer.port }
      this.#options.link.sendTcp(from, to, resetSegment(sequence, acknowledgment), true)
    }
  }

  save(): TcpConnectionState[] {
    return [...this.#flows.values()].filter(({ phase }) => phase === 'open').map((flow) => flow.save())
  }

  resetAll(): void {
    for (const flow of [...this.#flows.values()]) flow.abort()
    this.#waiting.clear()
  }

  /** The link has room: each connection that waited gets its turn, the ones behind first when it fills up again. */
  resumed(): void {
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const flow of waiting) flow.pump()
  }

  learned(address: Ip): void {
    for (const flow of this.#flows.values()) if (flow.guest.address === address) flow.retrySyn()
  }

  // What endpoints ask for.

  send(endpoint: TcpEndpoint, segment: OutgoingSegment): boolean {
    const mayQueue = (segment.flags & (SYN | RST)) !== 0
    const sent = this.#options.link.sendTcp(endpoint.peer, endpoint.guest, segment, mayQueue)
    if (!sent && endpoint.phase !== 'closed') this.#waiting.add(endpoint)
    return sent
  }

  largestSend(endpoint: TcpEndpoint, segmentSize: number): number {
    return this.#options.link.largestSegment(endpoint.guest.address, segmentSize)
  }

  touch(endpoint: TcpEndpoint): void {
    this.#touched.add(endpoint)
    if (this.#flushing) return
    this.#flushing = true
    // After all that is delivered in one go: a device empties its ring within one task.
    void Promise.resolve().then(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = false
    const touched = [...this.#touched]
    this.#touched.clear()
    for (const endpoint of touched) endpoint.flush()
  }

  closed(endpoint: TcpEndpoint): void {
    this.#flows.delete(keyOf(endpoint.guest, endpoint.peer))
    this.#waiting.delete(endpoint)
    this.#touched.delete(endpoint)
  }

  refused(endpoint: TcpEndpoint, reason: StreamFailure): void {
    const { guest, peer } = endpoint
    const { acknowledgment } = endpoint.save()
    const { link } = this.#options
    if (reason === 'unreachable' || reason === 'timeout') {
      const quote = quoteOfSyn(guest, peer, acknowledgment)
      const packet = { source: guest.address, destination: peer.address, protocol: PROTOCOL_TCP }
      link.sendError('unreachable', { ...NO_PACKET, ...packet }, quote)
    } else link.sendTcp(peer, guest, resetSegment(0, acknowledgment), true)
  }
}

const NO_PACKET = { hopLimit: 64, payload: 0, length: 0, fragment: undefined } as const

function resetSegment(sequence: number, acknowledgment: number | undefined): OutgoingSegment {
  return {
    sequence,
    acknowledgment: acknowledgment ?? 0,
    flags: RST | (acknowledgment === undefined ? 0 : ACK),
    window: 0,
    parts: [],
    length: 0,
    segmentSize: 1,
  }
}

/** The beginning of the SYN that could not be served, as an ICMP error has to quote it. */
function quoteOfSyn(guest: SocketAddress, peer: SocketAddress, expected: number): Uint8Array {
  const bytes = new Uint8Array(ipHeaderLength(guest.address) + TCP_HEADER)
  const header = {
    source: guest.address,
    destination: peer.address,
    protocol: PROTOCOL_TCP,
    length: TCP_HEADER,
  }
  const at = writeIpHeader(bytes, 0, header)
  const view = new DataView(bytes.buffer)
  view.setUint16(at, guest.port)
  view.setUint16(at + 2, peer.port)
  view.setUint32(at + 4, advance(expected, -1))
  view.setUint16(at + 12, 0x5000 | SYN)
  return bytes
}

function keyOf(guest: SocketAddress, peer: SocketAddress): string {
  return `${guest.address}${peer.address}${String.fromCharCode(guest.port, peer.port)}`
}

/** For streams that nobody can serve. */
const DEAF: StreamHandler = { connected() {}, data() {}, ended() {}, failed() {}, closed() {} }
