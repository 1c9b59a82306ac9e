import type { Ip, Mac } from '../addresses.ts'

const LIMIT = 512

/** Which guest has which address. The one that was learned first goes when there are too many. */
export class Neighbors {
  readonly #macs = new Map<Ip, Mac>()

  get(address: Ip): Mac | undefined {
    return this.#macs.get(address)
  }

  /** Whether it was unknown before. */
  learn(address: Ip, mac: Mac): boolean {
    const known = this.#macs.get(address)
    if (known === mac) return false
    if (known === undefined && this.#macs.size >= LIMIT) {
      const [oldest] = this.#macs.keys()
      this.#macs.delete(oldest)
    }
    this.#macs.set(address, mac)
    return known === undefined
  }

  entries(): [Ip, Mac][] {
    return [...this.#macs]
  }
}
