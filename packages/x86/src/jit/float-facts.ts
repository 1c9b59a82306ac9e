/** What is known of floats at a point of a region's code: which are neither NaNs nor denormals, and what MXCSR says. */
import type { Speculation } from '../isa/speculation.ts'
import { type Expr, laneSource } from '../wasm/code.ts'

type Width = 32 | 64

/** A list that grows at its head: code that control left does not see what was learned there. */
interface Fact {
  readonly value: Expr
  /** The float's first byte in a vector. */
  readonly byte: number
  readonly width: Width
  readonly next: Fact | undefined
  readonly count: number
}

export interface FloatKnowledge {
  readonly facts: Fact | undefined
  readonly isOrdinary: boolean
}

const NOTHING: FloatKnowledge = { facts: undefined, isOrdinary: false }

export class FloatFacts implements Speculation {
  isOrdinary = false
  readonly leave: () => void
  #facts: Fact | undefined

  constructor(leave: () => void) {
    this.leave = leave
  }

  get knowledge(): FloatKnowledge {
    return { facts: this.#facts, isOrdinary: this.isOrdinary }
  }
  restore({ facts, isOrdinary }: FloatKnowledge): void {
    this.#facts = facts
    this.isOrdinary = isOrdinary
  }
  forget(): void {
    this.restore(NOTHING)
  }

  isPlain(value: Expr, width: Width): boolean {
    return bytesOf(value, width).every((byte) => this.#isKnown(value, byte, width))
  }
  notePlain(value: Expr, width: Width): void {
    for (const byte of bytesOf(value, width)) this.#note(value, byte, width)
  }

  #isKnown(value: Expr, byte: number, width: Width): boolean {
    const place = placeOf(value, byte, width)
    if (place.value.isConstant) return isPlainConstant(place.value)
    for (let fact = this.#facts; fact; fact = fact.next)
      if (fact.value === place.value && fact.byte === place.byte && fact.width === width) return true
    return false
  }
  #note(value: Expr, byte: number, width: Width): void {
    const next = this.#facts
    this.#facts = { ...placeOf(value, byte, width), width, next, count: (next?.count ?? 0) + 1 }
  }
}

/** What is known where two paths meet. */
export function commonFloats(a: FloatKnowledge, b: FloatKnowledge): FloatKnowledge {
  let [x, y] = [a.facts, b.facts]
  while (x !== y) {
    if ((x?.count ?? 0) >= (y?.count ?? 0)) x = x!.next
    else y = y!.next
  }
  return { facts: x, isOrdinary: a.isOrdinary && b.isOrdinary }
}

function bytesOf(value: Expr, width: Width): number[] {
  if (value.type !== 'v128') return [0]
  return width === 32 ? [0, 4, 8, 12] : [0, 8]
}

/** Where a float is that may have been taken out of vectors and put into others. */
function placeOf(value: Expr, byte: number, width: Width): { value: Expr; byte: number } {
  const lane = value.type === 'v128' ? { value, byte } : laneOf(value)
  if (lane.value.type !== 'v128') return lane
  const { scalar, vector, byte: at } = laneSource(lane.value, lane.byte, width / 8)
  return scalar ? laneOf(scalar) : { value: vector!, byte: at }
}
/** A scalar, or the lane that it was read from. */
const laneOf = (scalar: Expr): { value: Expr; byte: number } => scalar.asLane() ?? { value: scalar, byte: 0 }

/** Zero: a constant's bits are i32 or i64. */
const isPlainConstant = (value: Expr): boolean => Number(value.immediate) === 0
