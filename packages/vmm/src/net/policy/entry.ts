/**
 * One entry of an egress policy:
 *
 *     [tcp:// | udp:// | icmp://] TARGET [:PORTS]
 *
 *     example.org:443          a name, by what DNS says of it
 *     *.example.org:443,8443   all names below example.org, not itself
 *     192.0.2.0/24             addresses
 *     [2001:db8::/32]:80-90    the same in IPv6; without ports the brackets may be left out
 *     *:53                     every address that is not special
 *     host-loopback:8080       the host itself: what listens on its 127.0.0.1, for the guest at the gateway's address
 */

import { endsWithZeros, formatIp, type Prefix, parsePrefix } from '../addresses.ts'
import { PolicyError } from '../errors.ts'

export type FlowProtocol = 'tcp' | 'udp' | 'icmp'

export type Target =
  | { readonly kind: 'any' }
  | { readonly kind: 'host-loopback' }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'below'; readonly name: string }
  | { readonly kind: 'prefix'; readonly prefix: Prefix }

export interface PortRange {
  readonly first: number
  readonly last: number
}

export interface Rule {
  readonly protocol: FlowProtocol | undefined
  readonly target: Target
  /** All, if absent. */
  readonly ports: readonly PortRange[] | undefined
}

const ENTRY = /^(?:(tcp|udp|icmp):\/\/)?(?:\[([^\]]*)\]|([^[\]]*?))(?::([\d,*-]+))?$/
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/

export function parseEntry(entry: string): Rule {
  const text = entry.toLowerCase()
  const bare = text.includes('://') ? text.slice(text.indexOf('://') + 3) : text
  const scheme = /^(tcp|udp|icmp):\/\/$/.exec(text.slice(0, text.length - bare.length))?.[1]
  // An IPv6 address without brackets has no ports: its last unit would look like one.
  const whole = parsePrefix(bare)
  if (whole && (bare === text || scheme)) {
    return {
      protocol: scheme as FlowProtocol | undefined,
      target: { kind: 'prefix', prefix: checkPrefix(entry, whole) },
      ports: undefined,
    }
  }
  const match = ENTRY.exec(text)
  if (!match) throw malformed(entry, 'it is not [tcp://|udp://|icmp://]TARGET[:PORTS]')
  const [, protocol, bracketed, plain, ports] = match
  if (protocol === 'icmp' && ports !== undefined) throw malformed(entry, 'ICMP has no ports')
  return {
    protocol: protocol as FlowProtocol | undefined,
    target: bracketed === undefined ? parseTarget(entry, plain) : parseBracketed(entry, bracketed),
    ports: ports === undefined || ports === '*' ? undefined : parsePorts(entry, ports),
  }
}

function malformed(entry: string, why: string): PolicyError {
  return new PolicyError(
    'TV_POLICY_ENTRY',
    entry,
    `The network policy's entry ${JSON.stringify(entry)} is not understood: ${why}.`,
  )
}

function parseBracketed(entry: string, text: string): Target {
  const prefix = text.includes(':') ? parsePrefix(text) : undefined
  if (!prefix) throw malformed(entry, `[${text}] is no IPv6 address`)
  return { kind: 'prefix', prefix: checkPrefix(entry, prefix) }
}

function parseTarget(entry: string, text: string): Target {
  if (text === '*') return { kind: 'any' }
  if (text === 'host-loopback') return { kind: 'host-loopback' }
  const prefix = parsePrefix(text)
  if (prefix) return { kind: 'prefix', prefix: checkPrefix(entry, prefix) }
  const below = text.startsWith('*.')
  const name = (below ? text.slice(2) : text).replace(/\.$/, '')
  if (!isName(name)) throw malformed(entry, `${JSON.stringify(text)} is neither a name nor an address`)
  return { kind: below ? 'below' : 'name', name }
}

/** A host name, in ASCII as DNS has it; the last label is no number, or it would be an address gone wrong. */
function isName(name: string): boolean {
  const labels = name.split('.')
  return name.length <= 253 && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1)!)
}

/** Bits behind the prefix are most likely a mistake, and the entry would not mean what it says. */
function checkPrefix(entry: string, prefix: Prefix): Prefix {
  if (!endsWithZeros(prefix)) {
    throw malformed(entry, `${formatIp(prefix.address)} has bits set behind its first ${prefix.length}`)
  }
  return prefix
}

function parsePorts(entry: string, text: string): PortRange[] {
  return text.split(',').map((range) => {
    const [, from, to] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range) ?? []
    const first = Number(from)
    const last = to === undefined ? first : Number(to)
    if (!(first >= 1 && first <= last && last <= 65_535)) {
      throw malformed(entry, `${JSON.stringify(range)} is no range of ports`)
    }
    return { first, last }
  })
}
