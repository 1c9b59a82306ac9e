// What the process does that is going to be killed, and what its image may then hold.

import type { Random } from './random.ts'

export const BLOCK = 4096
export const BLOCKS = 2048

export type Operation =
  | { kind: 'write' | 'zero' | 'discard'; first: number; count: number; stamp: number }
  | { kind: 'flush' }
  | { kind: 'snapshot'; name: string }

/** What a writer is told to do. */
export interface KillOrder {
  path: string
  seed: number
  /** The number of its first operation. */
  first: number
}

/** The operation with number `index`, from a stream that both sides have. */
export function nextOperation(random: Random, index: number): Operation {
  const choice = random.below(40)
  const first = random.below(BLOCKS)
  const count = Math.min(BLOCKS - first, 1 + random.below(choice % 4 === 0 ? 200 : 8))
  const stamp = index + 1
  if (choice < 20) return { kind: 'write', first, count, stamp }
  if (choice < 22) return { kind: 'zero', first, count, stamp: 0 }
  if (choice < 24) return { kind: 'discard', first, count, stamp: 0 }
  if (choice < 25) return { kind: 'snapshot', name: `s${index % 3}` }
  return { kind: 'flush' }
}

/** Each 8 bytes of a block say which operation wrote it. */
export function stamped(count: number, stamp: number): Uint8Array {
  return new Uint8Array(new Float64Array((count * BLOCK) / 8).fill(stamp).buffer)
}

/** What each block may hold: first what it held at the last flush, then what came later. */
export class Allowed {
  readonly #values: Set<number>[]

  constructor(stamps: Float64Array) {
    this.#values = Array.from(stamps, (stamp) => new Set([stamp]))
  }

  apply(operation: Operation, isFlushed: boolean): void {
    if (!('first' in operation)) return
    for (let block = operation.first; block < operation.first + operation.count; block++) {
      if (isFlushed && operation.kind !== 'discard') this.#values[block].clear()
      this.#values[block].add(operation.stamp)
    }
  }

  allows(block: number, stamp: number): boolean {
    return this.#values[block].has(stamp)
  }
}
