import { formatIp, type Ip, isIpv4, parseIp } from '../addresses.ts'
import { Alarm, type Alarms, SECOND } from '../alarms.ts'
import { keep } from '../frame.ts'
import type { DatagramSocket, Endpoint, HostNetwork } from '../host-network.ts'
import { PROTOCOL_UDP } from '../packet/ip.ts'
import { buildUdp, type UdpDatagram } from '../packet/udp.ts'
import type { SocketAddress } from '../tcp/endpoint.ts'
import type { GuestLink } from './guest-link.ts'
import type { Layout } from './layout.ts'

/** RFC 4787, "Mapping Refresh": five minutes, when nobody is in need. */
const IDLE = 300 * SECOND
const SWEEP = 30 * SECOND
/** Peers that may answer to one port of a guest's; the one that it wrote to first goes. */
const PEER_LIMIT = 256
const FIRST_PORT = 49_152
const PORTS = 16_384

/** A port of a guest's, and the host's socket for it: RFC 4787, "Endpoint-Independent Mapping". */
interface Mapping {
  readonly guest: SocketAddress
  readonly socket: DatagramSocket
  /** By the address that the host sees, the one that the guest knows: "Address and Port-Dependent Filtering". */
  readonly peers: Map<string, SocketAddress>
  used: number
}

/** A peer of a forwarded port, which the guest sees as a port of the gateway's. */
interface Visitor {
  readonly port: number
  readonly from: Endpoint
  readonly guest: SocketAddress
  readonly socket: DatagramSocket
  used: number
}

interface Options {
  readonly layout: Layout
  readonly link: GuestLink
  readonly alarms: Alarms
  readonly host: HostNetwork
  readonly limit: number
}

/** All UDP flows. The one that was used longest ago makes room for a new one. */
export class UdpFlows {
  readonly #options: Options
  readonly #mappings = new Map<string, Mapping>()
  readonly #visitors = new Map<string, Visitor>()
  readonly #visitorPorts = new Map<number, Visitor>()
  readonly #sweep = new Alarm(() => this.#onSweep())
  #nextPort = 0

  constructor(options: Options) {
    this.#options = options
  }

  get size(): number {
    return this.#mappings.size
  }

  /** A datagram that the policy lets out. */
  send(datagram: UdpDatagram, to: Endpoint): void {
    const guest = { address: datagram.source, port: datagram.sourcePort }
    const mapping = this.#mappingFor(guest)
    const peer = peerKey(to)
    if (!mapping.peers.has(peer)) {
      mapping.peers.set(peer, { address: datagram.destination, port: datagram.destinationPort })
      if (mapping.peers.size > PEER_LIMIT) mapping.peers.delete(mapping.peers.keys().next().value!)
    }
    mapping.socket.send(keep(datagram.payload), to)
  }

  #mappingFor(guest: SocketAddress): Mapping {
    const { alarms, host, limit } = this.#options
    const key = `${guest.address}${String.fromCharCode(guest.port)}`
    const known = this.#mappings.get(key)
    if (known) {
      known.used = alarms.now()
      this.#mappings.delete(key) // and to the end of the order
      this.#mappings.set(key, known)
      return known
    }
    if (this.#mappings.size >= limit) this.#drop(this.#mappings.keys().next().value!)
    const family = isIpv4(guest.address) ? 4 : 6
    const socket = host.openDatagrams(
      family,
      (bytes, from) => this.#onAnswer(mapping, bytes, from),
      () => {
        if (this.#mappings.get(key) === mapping) this.#drop(key)
      },
    )
    const mapping: Mapping = { guest, socket, peers: new Map(), used: alarms.now() }
    this.#mappings.set(key, mapping)
    if (this.#sweep.due === Infinity) alarms.set(this.#sweep, SWEEP)
    return mapping
  }

  #onAnswer(mapping: Mapping, bytes: Uint8Array, from: Endpoint): void {
    const peer = mapping.peers.get(peerKey(from))
    if (!peer) return
    mapping.used = this.#options.alarms.now()
    this.#deliver(peer, mapping.guest, bytes)
  }

  #deliver(from: SocketAddress, to: SocketAddress, payload: Uint8Array): void {
    const source = from.address
    const destination = to.address
    const datagram = { source, sourcePort: from.port, destination, destinationPort: to.port, payload }
    if (payload.length > 65_535 - 28) return
    this.#options.link.sendIp({ source, destination, protocol: PROTOCOL_UDP, payload: buildUdp(datagram) })
  }

  /** A datagram to a forwarded port. */
  onVisit(from: Endpoint, guest: SocketAddress, socket: DatagramSocket, bytes: Uint8Array): void {
    const visitor = this.#visitorFor(from, guest, socket)
    const { gateway, gateway6 } = this.#options.layout
    const address = isIpv4(guest.address) ? gateway : gateway6
    this.#deliver({ address, port: visitor.port }, guest, bytes)
  }

  #visitorFor(from: Endpoint, guest: SocketAddress, socket: DatagramSocket): Visitor {
    const { alarms, limit } = this.#options
    const key = `${peerKey(from)}>${formatIp(guest.address)}.${guest.port}`
    const known = this.#visitors.get(key)
    if (known) {
      known.used = alarms.now()
      return known
    }
    if (this.#visitors.size >= limit) this.#dropVisitor(this.#visitors.keys().next().value!)
    while (this.#visitorPorts.has(FIRST_PORT + this.#nextPort)) this.#nextPort = (this.#nextPort + 1) % PORTS
    const visitor = { port: FIRST_PORT + this.#nextPort, from, guest, socket, used: alarms.now() }
    this.#visitors.set(key, visitor)
    this.#visitorPorts.set(visitor.port, visitor)
    if (this.#sweep.due === Infinity) alarms.set(this.#sweep, SWEEP)
    return visitor
  }

  /** Whether the datagram, to the gateway, answers a visitor. */
  answersVisitor(datagram: UdpDatagram): boolean {
    const visitor = this.#visitorPorts.get(datagram.destinationPort)
    if (!visitor || visitor.guest.port !== datagram.sourcePort) return false
    if (visitor.guest.address !== datagram.source) return false
    visitor.used = this.#options.alarms.now()
    visitor.socket.send(keep(datagram.payload), visitor.from)
    return true
  }

  #drop(key: string): void {
    this.#mappings.get(key)?.socket.close()
    this.#mappings.delete(key)
  }

  #dropVisitor(key: string): void {
    const visitor = this.#visitors.get(key)
    this.#visitors.delete(key)
    if (visitor) this.#visitorPorts.delete(visitor.port)
  }

  #onSweep(): void {
    const before = this.#options.alarms.now() - IDLE
    for (const [key, { used }] of this.#mappings) if (used <= before) this.#drop(key)
    for (const [key, { used }] of this.#visitors) if (used <= before) this.#dropVisitor(key)
    if (this.#mappings.size + this.#visitors.size > 0) this.#options.alarms.set(this.#sweep, SWEEP)
  }

  reset(): void {
    for (const key of [...this.#mappings.keys()]) this.#drop(key)
    this.#visitors.clear()
    this.#visitorPorts.clear()
    this.#options.alarms.clear(this.#sweep)
  }
}

/** Hosts write one address in several ways. */
function peerKey({ address, port }: Endpoint): string {
  const ip: Ip | undefined = parseIp(address.replace(/%.*$/, ''))
  return `${ip ?? address}.${port}`
}
