import { formatIp, type Ip, ipOf } from '../addresses.ts'
import { SECOND } from '../alarms.ts'

const ADDRESS_LIMIT = 4096
const NAMES_PER_ADDRESS = 16

export interface PinState {
  readonly address: string
  readonly name: string
  /** Nanoseconds that it still has. */
  readonly remaining: number
}

/**
 * Which names the forwarder has given which addresses for, each for its TTL: so a connection, which knows only an
 * address, can be held against rules for names. The address that has been known longest goes when there are too many.
 */
export class Pins {
  readonly #now: () => number
  readonly #names = new Map<Ip, Map<string, number>>()

  constructor(now: () => number) {
    this.#now = now
  }

  add(address: Ip, name: string, seconds: number): void {
    const names = this.#names.get(address) ?? new Map<string, number>()
    this.#names.delete(address) // and to the end of the order
    this.#names.set(address, names)
    names.set(name, Math.max(names.get(name) ?? 0, this.#now() + seconds * SECOND))
    trim(names, NAMES_PER_ADDRESS)
    trim(this.#names, ADDRESS_LIMIT)
  }

  namesOf(address: Ip): string[] {
    const names = this.#names.get(address)
    if (!names) return []
    const now = this.#now()
    for (const [name, until] of names) if (until <= now) names.delete(name)
    if (names.size === 0) this.#names.delete(address)
    return [...names.keys()]
  }

  save(): PinState[] {
    const now = this.#now()
    return [...this.#names].flatMap(([address, names]) =>
      [...names]
        .filter(([, until]) => until > now)
        .map(([name, until]) => ({ address: formatIp(address), name, remaining: until - now })),
    )
  }

  restore(pins: readonly PinState[]): void {
    this.#names.clear()
    for (const { address, name, remaining } of pins) this.add(ipOf(address), name, remaining / SECOND)
  }
}

function trim(map: Map<unknown, unknown>, limit: number): void {
  const [oldest] = map.keys()
  if (map.size > limit) map.delete(oldest)
}
