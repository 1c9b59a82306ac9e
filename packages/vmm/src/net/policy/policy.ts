import { type Ip, inPrefix, ipOf, isIpv4, parsePrefix } from '../addresses.ts'
import { PolicyError } from '../errors.ts'
import { type FlowProtocol, parseEntry, type Rule } from './entry.ts'

/**
 * What a guest may reach. Plain data: it is saved with the machine. `deny` counts before `allow`, both before `default`.
 *
 * Names are held against the addresses that DNS gave for them, so others that live at the same address are reached or
 * denied with them. Where the default is to allow, a name is denied as soon as anyone on the network has asked for it;
 * a guest that knows its address from elsewhere and never asks is not stopped: deny the addresses then.
 */
export interface EgressPolicy {
  readonly default: 'allow' | 'deny'
  readonly allow: readonly string[]
  readonly deny: readonly string[]
}

export const ALLOW_ALL: EgressPolicy = { default: 'allow', allow: [], deny: [] }
export const DENY_ALL: EgressPolicy = { default: 'deny', allow: [], deny: [] }

/** So many entries are looked through for each new connection. */
const ENTRY_LIMIT = 1000

/** Where a connection goes: to an address outside, which DNS gave for `names`, or to the host itself. */
export type Destination =
  | { readonly kind: 'address'; readonly address: Ip; readonly names: Iterable<string> }
  | { readonly kind: 'host-loopback' }

/** Never reachable through the gateway, whatever the policy says: there is nobody there, or it is somebody else. */
const UNREACHABLE = prefixes(
  '0.0.0.0/8',
  '127.0.0.0/8',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/96',
  'fe80::/10',
  'ff00::/8',
)
/** Link-local addresses, where clouds keep their secrets: only when they are allowed by an entry of their own. */
const SPECIAL = prefixes('169.254.0.0/16', 'fd00:ec2::254')
/** IPv6 addresses that stand for IPv4 ones (RFC 4291, RFC 6052, RFC 3056), and where those begin. */
const EMBEDDED = [
  { prefix: prefixes('::ffff:0:0/96')[0], unit: 6 },
  { prefix: prefixes('64:ff9b::/96')[0], unit: 6 },
  { prefix: prefixes('2002::/16')[0], unit: 1 },
]

function prefixes(...texts: string[]) {
  return texts.map((text) => parsePrefix(text) ?? { address: ipOf('0.0.0.0'), length: 32 })
}

/** Checks a policy that came from outside, and fills in what it leaves out: with `allow` alone the rest is denied. */
export function readPolicy(value: unknown): EgressPolicy {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new PolicyError('TV_POLICY_FORMAT', String(value), 'A network policy is an object.')
  }
  const record = value as Record<string, unknown>
  for (const key of Object.keys(record)) {
    if (key !== 'default' && key !== 'allow' && key !== 'deny') {
      throw new PolicyError('TV_POLICY_FORMAT', key, `A network policy has no ${JSON.stringify(key)}.`)
    }
  }
  const allow = readEntries(record, 'allow')
  const deny = readEntries(record, 'deny')
  const standard = record.default ?? (record.allow === undefined ? 'allow' : 'deny')
  if (standard !== 'allow' && standard !== 'deny') {
    throw new PolicyError(
      'TV_POLICY_FORMAT',
      'default',
      `A network policy's default is 'allow' or 'deny', not ${JSON.stringify(standard)}.`,
    )
  }
  const policy = { default: standard, allow, deny } as const
  new PolicyRules(policy)
  return policy
}

function readEntries(record: Record<string, unknown>, key: 'allow' | 'deny'): string[] {
  const entries = record[key] ?? []
  const fine = Array.isArray(entries) && entries.every((entry) => typeof entry === 'string')
  if (fine && entries.length <= ENTRY_LIMIT) return [...entries]
  throw new PolicyError(
    'TV_POLICY_FORMAT',
    key,
    `A network policy's ${JSON.stringify(key)} is a list of at most ${ENTRY_LIMIT} texts.`,
  )
}

/** A policy, ready to be asked. */
export class PolicyRules {
  readonly #allow: readonly Rule[]
  readonly #deny: readonly Rule[]
  readonly allowsByDefault: boolean

  constructor(policy: EgressPolicy) {
    this.#allow = policy.allow.map(parseEntry)
    this.#deny = policy.deny.map(parseEntry)
    this.allowsByDefault = policy.default === 'allow'
  }

  allows(protocol: FlowProtocol, destination: Destination, port: number): boolean {
    if (destination.kind === 'host-loopback') {
      // The host's own services are not the network: only an entry that names them lets a guest in.
      const matches = (rule: Rule) => rule.target.kind === 'host-loopback' && fits(rule, protocol, port)
      return this.#allow.some(matches) && !this.#deny.some(matches)
    }
    const { address, names } = destination
    if (isUnreachable(address)) return false
    const embedded = embeddedIpv4(address)
    return (
      this.#allowsAddress(protocol, address, port, names) &&
      (embedded === undefined || this.allows(protocol, { kind: 'address', address: embedded, names }, port))
    )
  }

  #allowsAddress(protocol: FlowProtocol, address: Ip, port: number, names: Iterable<string>): boolean {
    const matches = (rule: Rule) => fits(rule, protocol, port) && matchesAddress(rule, address, names)
    if (this.#deny.some(matches)) return false
    if (SPECIAL.some((prefix) => inPrefix(address, prefix))) {
      return this.#allow.some((rule) => rule.target.kind === 'prefix' && matches(rule))
    }
    return this.allowsByDefault || this.#allow.some(matches)
  }

  /** Whether the name may be asked about: whether anything there may be reached. */
  allowsName(name: string): boolean {
    const matches = (rule: Rule) => matchesName(rule, name)
    const everywhere = (rule: Rule) => rule.ports === undefined && rule.protocol === undefined
    if (this.#deny.some((rule) => everywhere(rule) && matches(rule))) return false
    return this.allowsByDefault || this.#allow.some((rule) => matches(rule) || rule.target.kind === 'any')
  }
}

function fits(rule: Rule, protocol: FlowProtocol, port: number): boolean {
  if (rule.protocol !== undefined && rule.protocol !== protocol) return false
  if (rule.ports === undefined) return true
  return protocol !== 'icmp' && rule.ports.some(({ first, last }) => port >= first && port <= last)
}

function matchesAddress(rule: Rule, address: Ip, names: Iterable<string>): boolean {
  switch (rule.target.kind) {
    case 'any':
      return true
    case 'prefix':
      return inPrefix(address, rule.target.prefix)
    case 'name':
    case 'below':
      for (const name of names) if (matchesName(rule, name)) return true
      return false
    case 'host-loopback':
      return false
  }
}

function matchesName({ target }: Rule, name: string): boolean {
  if (target.kind === 'name') return name === target.name
  return target.kind === 'below' && name.endsWith(`.${target.name}`)
}

export function isUnreachable(address: Ip): boolean {
  return UNREACHABLE.some((prefix) => inPrefix(address, prefix))
}

function embeddedIpv4(address: Ip): Ip | undefined {
  if (isIpv4(address)) return undefined
  const found = EMBEDDED.find(({ prefix }) => inPrefix(address, prefix))
  return found && (address.slice(found.unit, found.unit + 2) as Ip)
}
