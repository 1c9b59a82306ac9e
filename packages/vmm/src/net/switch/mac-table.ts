import type { Mac } from '../addresses.ts'
import { SECOND } from '../alarms.ts'

/** IEEE 802.1Q, "Ageing of Dynamic Filtering Entries". */
const AGE = 300 * SECOND
const LIMIT = 1024
/** So that one machine that makes up addresses does not push out all others. */
const LIMIT_PER_PORT = 64

interface Entry<Port> {
  port: Port
  seen: number
}

/** Which address is behind which port of one segment. */
export class MacTable<Port extends { readonly pinned: boolean }> {
  readonly #now: () => number
  readonly #entries = new Map<Mac, Entry<Port>>()
  readonly #counts = new Map<Port, number>()

  constructor(now: () => number) {
    this.#now = now
  }

  get size(): number {
    return this.#entries.size
  }

  find(mac: Mac): Port | undefined {
    const entry = this.#entries.get(mac)
    if (!entry) return undefined
    if (entry.port.pinned || this.#now() - entry.seen <= AGE) return entry.port
    this.#forget(mac, entry)
    return undefined
  }

  /** False when the address belongs to a port that nobody may take it from. */
  learn(mac: Mac, port: Port): boolean {
    const entry = this.#entries.get(mac)
    if (entry?.port === port) {
      entry.seen = this.#now()
      return true
    }
    if (entry?.port.pinned) return false
    if (entry) this.#forget(mac, entry)
    if ((this.#counts.get(port) ?? 0) >= LIMIT_PER_PORT) this.#forgetOldest((other) => other === port)
    else if (this.#entries.size >= LIMIT) this.#forgetOldest((other) => !other.pinned)
    this.#entries.set(mac, { port, seen: this.#now() })
    this.#counts.set(port, (this.#counts.get(port) ?? 0) + 1)
    return true
  }

  forgetPort(port: Port): void {
    for (const [mac, entry] of this.#entries) if (entry.port === port) this.#forget(mac, entry)
    this.#counts.delete(port)
  }

  #forget(mac: Mac, { port }: Entry<Port>): void {
    this.#entries.delete(mac)
    this.#counts.set(port, (this.#counts.get(port) ?? 1) - 1)
  }

  #forgetOldest(matches: (port: Port) => boolean): void {
    let oldest: [Mac, Entry<Port>] | undefined
    for (const candidate of this.#entries) {
      if (matches(candidate[1].port) && (!oldest || candidate[1].seen < oldest[1].seen)) oldest = candidate
    }
    if (oldest) this.#forget(...oldest)
  }
}
