/**
 * User-mode NAT: a gateway that looks like a router to the guests and like a program with a few sockets to the host, so
 * it needs no privileges. Guests get addresses by DHCP and by router advertisements, names through a forwarder, and TCP
 * and UDP to whatever the egress policy allows.
 *
 *     device ⇄ GuestLink ─┬─ TcpFlows ── TcpEndpoint ⇄ ByteStream ┐
 *      (Port)             ├─ UdpFlows ─────────────────────────── ┼ HostNetwork
 *                         ├─ DhcpServer        ▲ Egress: policy,  │
 *                         └─ DnsForwarder ─────┘ pinned names ────┘
 *
 * Echo requests to the gateway are answered. Those to addresses outside go to `HostNetwork.echo`, where the host has a
 * way without privileges, and are else answered as prohibited, so that nobody waits. What the gateway's address
 * stands for is the host's loopback, if the policy has an entry for it.
 *
 * A guest can make us hold: connections and UDP ports up to `limits`, their windows up to a budget, 16 datagrams in
 * fragments, 64 DNS queries, 256 packets that wait for room on the link, and tables of addresses of fixed size.
 */

import type { TimerClock } from '../../clock/clock.ts'
import { expectVersion, type Saveable } from '../../snapshot/version.ts'
import { formatIp, formatMac, type Ip, ipOf, isIpv4, type Mac, parseIp, parseMac } from '../addresses.ts'
import { Alarms } from '../alarms.ts'
import { buildDhcp, DHCP_CLIENT_PORT, DHCP_SERVER_PORT } from '../dhcp/message.ts'
import { DhcpServer } from '../dhcp/server.ts'
import { DnsForwarder } from '../dns/forwarder.ts'
import { DnsStream } from '../dns/stream.ts'
import { NetworkError } from '../errors.ts'
import { type Attachable, type Frame, keep, type Port } from '../frame.ts'
import type { Endpoint, HostNetwork, Listener } from '../host-network.ts'
import { type IpPacket, PROTOCOL_UDP } from '../packet/ip.ts'
import { buildUdp, type UdpDatagram } from '../packet/udp.ts'
import { Pins } from '../policy/pins.ts'
import { ALLOW_ALL, type EgressPolicy, PolicyRules, readPolicy } from '../policy/policy.ts'
import { Egress } from './egress.ts'
import { GuestLink } from './guest-link.ts'
import {
  DEFAULT_LAYOUT,
  isBroadcast,
  isMulticast,
  isOwnAddress,
  type Layout,
  LIMITED_BROADCAST,
  UNSPECIFIED,
} from './layout.ts'
import type { NatState } from './nat.state.ts'
import { TcpFlows, type TcpLimits } from './tcp-flows.ts'
import { UdpFlows } from './udp-flows.ts'

/** Echo requests to outside on their way at once. */
const ECHO_LIMIT = 8

export interface NatLimits extends TcpLimits {
  readonly udpPorts: number
}

const DEFAULT_LIMITS: NatLimits = { connections: 1024, halfOpen: 128, udpPorts: 512 }

export interface NatOptions {
  readonly host: HostNetwork
  readonly clock: TimerClock
  /** 32 random bits. */
  readonly random: () => number
  readonly policy?: EgressPolicy
  readonly layout?: Layout
  readonly ipv6?: boolean
  readonly limits?: Partial<NatLimits>
}

/** `hostPort` on the host's side leads to `guestPort`; 0 takes any free one. */
export interface PortForward {
  readonly protocol: 'tcp' | 'udp'
  readonly hostAddress?: string
  readonly hostPort: number
  readonly guestPort: number
  /** The guest that has the first lease, if absent. */
  readonly guestAddress?: string
}

export class Nat implements Attachable, Saveable<NatState> {
  readonly offloads
  readonly #layout: Layout
  readonly #host: HostNetwork
  readonly #alarms: Alarms
  readonly #link: GuestLink
  readonly #tcp: TcpFlows
  readonly #udp: UdpFlows
  readonly #dhcp: DhcpServer
  readonly #dns: DnsForwarder
  readonly #pins: Pins
  readonly #egress: Egress
  readonly #listeners = new Set<Listener>()
  #policy: EgressPolicy
  #rules: PolicyRules
  #echoes = 0

  constructor(options: NatOptions) {
    const { host, clock, random, policy = ALLOW_ALL, layout = DEFAULT_LAYOUT, ipv6 = true } = options
    const limits = { ...DEFAULT_LIMITS, ...options.limits }
    const alarms = new Alarms(clock)
    const rules = () => this.#rules
    this.#layout = layout
    this.#host = host
    this.#alarms = alarms
    this.#policy = policy
    this.#rules = new PolicyRules(policy)
    this.#pins = new Pins(() => clock.now())
    this.#dhcp = new DhcpServer(layout)
    this.#dns = new DnsForwarder({ resolve: (query) => host.resolve(query), policy: rules, pins: this.#pins })
    this.#egress = new Egress({ layout, pins: this.#pins, policy: rules })
    this.#link = new GuestLink({ layout, ipv6, alarms, handlers: this.#handlers() })
    this.#udp = new UdpFlows({ layout, link: this.#link, alarms, host, limit: limits.udpPorts })
    this.#tcp = new TcpFlows({
      link: this.#link,
      egress: this.#egress,
      alarms,
      host,
      random,
      mtu: layout.mtu,
      limits,
      openDns: (handler) => new DnsStream(handler, (query) => this.#dns.answer(query, 'tcp')),
    })
    this.offloads = this.#link.offloads
  }

  #handlers() {
    return {
      tcp: (packet: IpPacket, frame: Frame, offset: number, length: number) =>
        this.#tcp.deliver(packet, frame, offset, length),
      udp: (datagram: UdpDatagram, quote: () => Uint8Array, mac: Mac) => this.#onUdp(datagram, quote, mac),
      echo: (packet: IpPacket, message: Uint8Array, quote: () => Uint8Array) =>
        void this.#onEcho(packet, message, quote),
      resumed: () => this.#tcp.resumed(),
      learned: (address: Ip) => this.#tcp.learned(address),
    }
  }

  // The link.

  attach(peer: Port): void {
    this.#link.attach(peer)
  }

  deliver(frame: Frame): boolean {
    return this.#link.deliver(frame)
  }

  resume(): void {
    this.#link.resume()
  }

  // The operator.

  get policy(): EgressPolicy {
    return this.#policy
  }

  /** Ends all flows, since the new policy might not have let them begin. */
  setPolicy(policy: EgressPolicy): void {
    this.#rules = new PolicyRules(policy)
    this.#policy = policy
    this.#tcp.resetAll()
    this.#udp.reset()
  }

  get statistics(): { connections: number; udpPorts: number } {
    return { connections: this.#tcp.size, udpPorts: this.#udp.size }
  }

  /** Opens a port of the host's to the guest; gives the port and what closes it. */
  async forward(forward: PortForward): Promise<Listener> {
    const { hostAddress = '127.0.0.1', hostPort, guestPort } = forward
    for (const port of [hostPort, guestPort]) {
      if (!Number.isInteger(port) || port < 0 || port > 65_535) throw forwardError(`${port} is no port`)
    }
    if (guestPort === 0) throw forwardError('a guest has no port 0')
    const guestAddress = forward.guestAddress === undefined ? undefined : parseIp(forward.guestAddress)
    if (forward.guestAddress !== undefined && guestAddress === undefined) {
      throw forwardError(`${JSON.stringify(forward.guestAddress)} is no address`)
    }
    const guest = () => ({
      address: guestAddress ?? this.#dhcp.first ?? this.#layout.firstGuest,
      port: guestPort,
    })
    const at = { address: hostAddress, port: hostPort }
    const listener = await (forward.protocol === 'tcp'
      ? this.#listenStreams(at, guest)
      : this.#listenDatagrams(at, guest))
    this.#listeners.add(listener)
    const close = () => {
      this.#listeners.delete(listener)
      listener.close()
    }
    return { address: listener.address, port: listener.port, close }
  }

  #listenStreams(at: Endpoint, guest: () => { address: Ip; port: number }): Promise<Listener> {
    return this.#host.listenStreams(at, (from, open) => {
      const to = guest()
      const gateway = isIpv4(to.address) ? this.#layout.gateway : this.#layout.gateway6
      this.#tcp.accept(to, gateway)(from, open)
    })
  }

  async #listenDatagrams(at: Endpoint, guest: () => { address: Ip; port: number }): Promise<Listener> {
    const socket = await this.#host.listenDatagrams(at, (bytes, from) =>
      this.#udp.onVisit(from, guest(), socket, bytes),
    )
    return socket
  }

  // What guests ask for.

  #onUdp(datagram: UdpDatagram, quote: () => Uint8Array, mac: Mac): void {
    const { destination, destinationPort } = datagram
    const toServer = destination === LIMITED_BROADCAST || destination === this.#layout.gateway
    if (destinationPort === DHCP_SERVER_PORT && toServer) return this.#onDhcp(datagram, mac)
    if (datagram.source === UNSPECIFIED || destinationPort === 0) return
    // Nobody else on the link wants it, and the host's link is none of the guest's business.
    if (isMulticast(destination) || isBroadcast(this.#layout, destination)) return
    if (isOwnAddress(this.#layout, destination) && this.#udp.answersVisitor(datagram)) return
    const route = this.#egress.route('udp', destination, destinationPort)
    switch (route.kind) {
      case 'dns':
        void this.#onDns({ ...datagram, payload: keep(datagram.payload) })
        return
      case 'host':
        return this.#udp.send(datagram, route.endpoint)
      case 'prohibited':
      case 'nobody': {
        const error = route.kind === 'prohibited' ? 'prohibited' : 'port-unreachable'
        return this.#link.sendError(error, packetOf(datagram), quote())
      }
    }
  }

  #onDhcp({ payload }: UdpDatagram, mac: Mac): void {
    const answer = this.#dhcp.answer(payload)
    if (!answer) return
    // RFC 2131, "Constructing and sending DHCP messages".
    const renews = answer.client !== UNSPECIFIED
    const broadcasts = !renews && (answer.broadcast || answer.yours === UNSPECIFIED)
    const destination = broadcasts ? LIMITED_BROADCAST : renews ? answer.client : answer.yours
    const reply = {
      source: this.#layout.gateway,
      sourcePort: DHCP_SERVER_PORT,
      destination,
      destinationPort: DHCP_CLIENT_PORT,
      payload: buildDhcp(answer),
    }
    const packet = { source: reply.source, destination, protocol: PROTOCOL_UDP, payload: buildUdp(reply) }
    this.#link.sendIp(broadcasts ? packet : { ...packet, mac })
  }

  async #onDns(query: UdpDatagram): Promise<void> {
    const payload = await this.#dns.answer(query.payload, 'udp')
    if (!payload) return
    const answer = {
      source: query.destination,
      sourcePort: query.destinationPort,
      destination: query.source,
      destinationPort: query.sourcePort,
      payload,
    }
    const { source, destination } = answer
    this.#link.sendIp({ source, destination, protocol: PROTOCOL_UDP, payload: buildUdp(answer) })
  }

  async #onEcho(packet: IpPacket, message: Uint8Array, quote: () => Uint8Array): Promise<void> {
    const route = this.#egress.route('icmp', packet.destination, 0)
    const { echo } = this.#host
    if (route.kind !== 'host' || !echo) return this.#link.sendError('prohibited', packet, quote())
    if (this.#echoes >= ECHO_LIMIT) return
    const request = keep(message)
    const quoted = quote()
    this.#echoes++
    try {
      if (await echo.call(this.#host, route.endpoint.address)) this.#link.sendEchoReply(packet, request)
    } catch {
      this.#link.sendError('unreachable', packet, quoted)
    } finally {
      this.#echoes--
    }
  }

  // Saving.

  /** Ends all flows, and tells the guests of their connections' end. */
  reset(): void {
    this.#tcp.resetAll()
    this.#udp.reset()
  }

  /** Ends everything, and gives the host its sockets back. */
  close(): void {
    this.reset()
    for (const listener of this.#listeners) listener.close()
    this.#listeners.clear()
    this.#link.reset()
    this.#alarms.close()
  }

  save(): NatState {
    return {
      version: 1,
      policy: this.#policy,
      leases: this.#dhcp.save(),
      pins: this.#pins.save(),
      neighbors: this.#link.neighbors
        .entries()
        .map(([address, mac]) => ({ address: formatIp(address), mac: formatMac(mac) })),
      connections: this.#tcp.save(),
    }
  }

  /** The guests' connections of when it was saved are reset as soon as the link takes frames. */
  restore(state: NatState): void {
    expectVersion('the NAT', state, 1)
    this.reset()
    this.#policy = readPolicy(state.policy)
    this.#rules = new PolicyRules(this.#policy)
    this.#dhcp.restore(state.leases)
    this.#pins.restore(state.pins)
    for (const { address, mac } of state.neighbors) {
      this.#link.neighbors.learn(ipOf(address), parseMac(mac)!)
    }
    this.#tcp.resetSaved(state.connections)
  }
}

function forwardError(why: string): NetworkError {
  return new NetworkError('TV_NETWORK_FORWARD', `The port cannot be forwarded: ${why}.`)
}

function packetOf({ source, destination }: UdpDatagram): IpPacket {
  return {
    source,
    destination,
    protocol: PROTOCOL_UDP,
    hopLimit: 64,
    payload: 0,
    length: 0,
    fragment: undefined,
  }
}
