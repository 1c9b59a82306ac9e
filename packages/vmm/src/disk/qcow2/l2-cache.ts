import type { Geometry } from './geometry.ts'
import { type DirtyCount, L2Table } from './l2-table.ts'

const CACHE_BYTES = 32 << 20
const MIN_TABLES = 8

/** The L2 tables in memory, by their index in the L1 table. Tables that differ from the file stay until a commit. */
export class L2Cache {
  readonly #tables = new Map<number, L2Table>()
  readonly #loads = new Map<number, Promise<void>>()
  readonly #load: (index: number) => Promise<Uint8Array>
  readonly #capacity: number
  readonly #count: DirtyCount = { dirty: 0 }

  /** `load` reads a table, or makes an empty one. */
  constructor(geometry: Geometry, load: (index: number) => Promise<Uint8Array>) {
    this.#load = load
    this.#capacity = Math.max(MIN_TABLES, CACHE_BYTES / geometry.clusterSize)
  }

  /** The table if it is in memory. Changes must be made before the next `await`: later the cache may have let it go. */
  peek(index: number): L2Table | undefined {
    const table = this.#tables.get(index)
    if (table) table.used = true
    return table
  }

  async load(index: number): Promise<L2Table> {
    for (;;) {
      const table = this.peek(index)
      if (table) return table
      await this.#loading(index)
    }
  }

  dirty(): [number, L2Table][] {
    return [...this.#tables].filter(([, table]) => table.dirty)
  }

  /** So many tables wait for a commit that there is soon no room for others. */
  get isFull(): boolean {
    return this.#count.dirty > this.#capacity / 2
  }

  #loading(index: number): Promise<void> {
    let loading = this.#loads.get(index)
    if (!loading) {
      loading = this.#fill(index).finally(() => this.#loads.delete(index))
      this.#loads.set(index, loading)
    }
    return loading
  }

  async #fill(index: number): Promise<void> {
    const table = new L2Table(await this.#load(index), this.#count)
    if (this.#tables.size >= this.#capacity) this.#evict()
    this.#tables.set(index, table)
  }

  /** Second chance: the first table, in order of entry, that is clean and was not used since the last look. */
  #evict(): void {
    for (const [index, table] of this.#tables) {
      if (table.dirty || table.frozen) continue
      this.#tables.delete(index)
      if (!table.used) return
      table.used = false
      this.#tables.set(index, table) // behind the others, where this loop comes by again
    }
  }
}
