import { addressBytes, type Ip, type Mac, readIpv4 } from '../addresses.ts'
import { ipv4FromNumber, ipv4Number, isGuestAddress, type Layout, UNSPECIFIED } from '../nat/layout.ts'
import { type DhcpMessage, MESSAGE, OPTION, parseDhcp } from './message.ts'

/** Seconds. Nobody else gets the address anyway, so long as there are others. */
const LEASE = 86_400
/** Machines on one segment. */
const LEASE_LIMIT = 200

export interface Lease {
  readonly mac: Mac
  readonly address: Ip
}

const word = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)

/**
 * RFC 2131, "DHCP Server Behavior", with leases by hardware address: a machine gets the same address again as long as
 * its lease is known. When all are taken, the one that was asked for longest ago goes.
 */
export class DhcpServer {
  readonly #layout: Layout
  #leases = new Map<Mac, Ip>()

  constructor(layout: Layout) {
    this.#layout = layout
  }

  /** The address of the guest that came first, for ports that are forwarded to "the guest". */
  get first(): Ip | undefined {
    const [first] = this.#leases.values()
    return first
  }

  save(): Lease[] {
    return [...this.#leases].map(([mac, address]) => ({ mac, address }))
  }

  restore(leases: readonly Lease[]): void {
    this.#leases = new Map(leases.map(({ mac, address }) => [mac, address]))
  }

  /** What to answer to a client's datagram. */
  answer(bytes: Uint8Array): DhcpMessage | undefined {
    const request = parseDhcp(bytes)
    if (request?.operation !== 1) return undefined
    switch (request.options.get(OPTION.messageType)?.[0]) {
      case MESSAGE.discover:
        return this.#reply(request, MESSAGE.offer, this.#leaseFor(request))
      case MESSAGE.request:
        return this.#onRequest(request)
      case MESSAGE.inform:
        return this.#reply(request, MESSAGE.ack, UNSPECIFIED)
      case MESSAGE.release:
      case MESSAGE.decline:
        this.#leases.delete(request.mac)
        return undefined
      default:
        return undefined
    }
  }

  #onRequest(request: DhcpMessage): DhcpMessage | undefined {
    const { gateway } = this.#layout
    const server = addressOption(request, OPTION.server)
    if (server !== undefined && server !== gateway) return undefined // the client chose another
    const wanted = addressOption(request, OPTION.requestedAddress) ?? request.client
    const lease = this.#leaseFor(request)
    return wanted === lease
      ? this.#reply(request, MESSAGE.ack, lease)
      : this.#reply(request, MESSAGE.nak, UNSPECIFIED)
  }

  #leaseFor(request: DhcpMessage): Ip {
    const known = this.#leases.get(request.mac)
    if (known !== undefined) return known
    const taken = new Set(this.#leases.values())
    const wanted = addressOption(request, OPTION.requestedAddress) ?? request.client
    const address = this.#isFree(wanted, taken) ? wanted : this.#nextFree(taken)
    this.#leases.set(request.mac, address)
    return address
  }

  #isFree(address: Ip, taken: ReadonlySet<Ip>): boolean {
    return address !== UNSPECIFIED && isGuestAddress(this.#layout, address) && !taken.has(address)
  }

  #nextFree(taken: ReadonlySet<Ip>): Ip {
    const first = ipv4Number(this.#layout.firstGuest)
    if (taken.size < LEASE_LIMIT) {
      for (let value = first; value < first + 2 * LEASE_LIMIT; value++) {
        const address = ipv4FromNumber(value)
        if (this.#isFree(address, taken)) return address
      }
    }
    const [[oldest, address]] = this.#leases
    this.#leases.delete(oldest)
    return address
  }

  #reply(request: DhcpMessage, type: number, yours: Ip): DhcpMessage {
    const { gateway } = this.#layout
    const options = new Map<number, Uint8Array>([
      [OPTION.messageType, Uint8Array.of(type)],
      [OPTION.server, addressBytes(gateway)],
    ])
    if (type !== MESSAGE.nak) this.#addConfiguration(options)
    if (yours !== UNSPECIFIED) {
      options.set(OPTION.leaseTime, word(LEASE))
      options.set(OPTION.renewal, word(LEASE / 2))
      options.set(OPTION.rebinding, word((LEASE * 7) / 8))
    }
    const broadcast = request.broadcast || type === MESSAGE.nak
    return { ...request, operation: 2, yours, server: gateway, broadcast, options }
  }

  #addConfiguration(options: Map<number, Uint8Array>): void {
    const { network, gateway, dns, mtu } = this.#layout
    const mask = (0xffff_ffff << (32 - network.length)) >>> 0
    const last = (ipv4Number(network.address) | ~mask) >>> 0
    options.set(OPTION.mask, word(mask))
    options.set(OPTION.router, addressBytes(gateway))
    options.set(OPTION.dns, addressBytes(dns))
    options.set(OPTION.broadcast, word(last))
    options.set(OPTION.mtu, Uint8Array.of(mtu >> 8, mtu))
  }
}

function addressOption(message: DhcpMessage, code: number): Ip | undefined {
  const value = message.options.get(code)
  return value?.length === 4 ? readIpv4(value, 0) : undefined
}
