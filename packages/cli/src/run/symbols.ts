import { readInput } from '@typevisor/host'
import { UsageError } from '../errors.ts'

/** Further behind a symbol than this is no code of its. */
const FARTHEST = 1n << 16n

/** The functions of a System.map: a line each, as in "ffffffff81000000 T _stext". */
export class Symbols {
  readonly #addresses: bigint[] = []
  readonly #names: string[] = []

  constructor(text: string) {
    const lines = [...text.matchAll(/^([0-9a-f]{8,16}) [tTwW] (\S+)$/gm)]
    const found = lines.map(([, address, name]) => ({ address: BigInt(`0x${address}`), name }))
    found.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : 0))
    for (const { address, name } of found) {
      if (address === this.#addresses.at(-1)) continue
      this.#addresses.push(address)
      this.#names.push(name)
    }
  }

  static async read(path: string): Promise<Symbols> {
    const symbols = new Symbols(Buffer.from(await readInput(path, 'System.map')).toString('latin1'))
    if (symbols.#names.length === 0) {
      throw new UsageError('TV_OPTION_VALUE', `${path} is no System.map: it names no functions.`)
    }
    return symbols
  }

  /** The function that an address is in. */
  find(address: bigint): string | undefined {
    let [from, to] = [0, this.#addresses.length]
    while (from < to) {
      const middle = (from + to) >> 1
      if (this.#addresses[middle] <= address) from = middle + 1
      else to = middle
    }
    const start = this.#addresses[from - 1]
    return start !== undefined && address - start < FARTHEST ? this.#names[from - 1] : undefined
  }
}
