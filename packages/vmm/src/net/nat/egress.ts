import { formatIp, type Ip, isIpv4 } from '../addresses.ts'
import type { Endpoint } from '../host-network.ts'
import type { FlowProtocol } from '../policy/entry.ts'
import type { Pins } from '../policy/pins.ts'
import type { PolicyRules } from '../policy/policy.ts'
import { isBroadcast, isGuestAddress, isOwnAddress, type Layout } from './layout.ts'

export const DNS_PORT = 53

/** Where a guest's packet leads. */
export type Route =
  | { readonly kind: 'dns' }
  | { readonly kind: 'host'; readonly endpoint: Endpoint }
  | { readonly kind: 'prohibited' }
  | { readonly kind: 'nobody' }

/** Decides for each new flow. */
export class Egress {
  readonly #layout: Layout
  readonly #pins: Pins
  readonly #policy: () => PolicyRules

  constructor(options: { layout: Layout; pins: Pins; policy: () => PolicyRules }) {
    this.#layout = options.layout
    this.#pins = options.pins
    this.#policy = options.policy
  }

  route(protocol: FlowProtocol, address: Ip, port: number): Route {
    const { dns, dns6 } = this.#layout
    if (address === dns || address === dns6) return port === DNS_PORT ? { kind: 'dns' } : { kind: 'nobody' }
    if (isOwnAddress(this.#layout, address)) return this.#routeToHost(protocol, address, port)
    if (isGuestAddress(this.#layout, address) || isBroadcast(this.#layout, address)) return { kind: 'nobody' }
    const names = this.#pins.namesOf(address)
    if (!this.#policy().allows(protocol, { kind: 'address', address, names }, port))
      return { kind: 'prohibited' }
    return { kind: 'host', endpoint: { address: formatIp(address), port } }
  }

  /** The gateway's address stands for the host's loopback. */
  #routeToHost(protocol: FlowProtocol, address: Ip, port: number): Route {
    if (!this.#policy().allows(protocol, { kind: 'host-loopback' }, port)) return { kind: 'prohibited' }
    return { kind: 'host', endpoint: { address: isIpv4(address) ? '127.0.0.1' : '::1', port } }
  }
}
