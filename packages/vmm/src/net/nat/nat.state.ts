import type { Lease } from '../dhcp/server.ts'
import type { PinState } from '../policy/pins.ts'
import type { EgressPolicy } from '../policy/policy.ts'
import type { TcpConnectionState } from '../tcp/endpoint.ts'

/** A NAT without its connections: those that were open are reset when it is restored. */
export interface NatState {
  version: 1
  policy: EgressPolicy
  leases: Lease[]
  pins: PinState[]
  neighbors: { address: string; mac: string }[]
  connections: TcpConnectionState[]
}
