/**
 * What is known of floats at a point of a region's code: which are neither NaNs nor denormals, and what MXCSR says.
 *
 * Where paths meet, at the heads of loops above all, nothing is known but what is *wished*: a region is built once to see
 * what would have been of use there, and then again with that made sure on each way to the place. So what holds all the
 * time is looked at once, before the loop.
 */
import type { Speculation } from '../isa/speculation.ts'
import { type Expr, laneSource } from '../wasm/code.ts'

type Width = 32 | 64

/** A float in a register: the vector's number, and its first byte there. */
interface Place {
  readonly vector: number
  readonly byte: number
  readonly width: Width
}
/** What is to be known where paths meet. */
export interface Wishes {
  readonly plain: Map<string, Place>
  isOrdinary: boolean
}
export const noWishes = (): Wishes => ({ plain: new Map(), isOrdinary: false })

/** A list that grows at its head: code that control left does not see what was learned there. */
interface Fact {
  readonly value: Expr
  readonly byte: number
  readonly width: Width
  readonly next: Fact | undefined
  readonly count: number
}

/** The last such place, and the registers' values there. */
interface Beginning {
  readonly known: Wishes
  readonly wished: Wishes
  readonly values: Map<Expr, number>
}

export interface FloatKnowledge {
  readonly facts: Fact | undefined
  readonly isOrdinary: boolean
  readonly beginning: Beginning | undefined
  /** Vectors that have another value than at the beginning, a bit for each. */
  readonly written: number
}

const NOTHING: FloatKnowledge = { facts: undefined, isOrdinary: false, beginning: undefined, written: -1 }

export class FloatFacts implements Speculation {
  leave: () => void
  #facts: Fact | undefined
  #isOrdinary = false
  #beginning: Beginning | undefined
  #written = -1

  constructor(leave: () => void) {
    this.leave = leave
  }

  get knowledge(): FloatKnowledge {
    return {
      facts: this.#facts,
      isOrdinary: this.#isOrdinary,
      beginning: this.#beginning,
      written: this.#written,
    }
  }
  restore({ facts, isOrdinary, beginning, written }: FloatKnowledge): void {
    this.#facts = facts
    this.#isOrdinary = isOrdinary
    this.#beginning = beginning
    this.#written = written
  }
  forget(): void {
    this.restore(NOTHING)
  }
  /** Paths have met: `known` holds, and what else is asked for is noted in `wished`. */
  begin(known: Wishes, wished: Wishes): void {
    const beginning = { known, wished, values: new Map() }
    this.restore({ facts: undefined, isOrdinary: known.isOrdinary, beginning, written: 0 })
  }

  /** A vector was read from its local. */
  vectorRead(vector: number, value: Expr): void {
    if (!this.#beginning || this.#written & (1 << vector)) return
    this.#beginning.values.set(value, vector)
    for (const place of this.#beginning.known.plain.values())
      if (place.vector === vector) this.#note(value, place.byte, place.width)
  }
  vectorWritten(vector: number): void {
    this.#written |= 1 << vector
  }
  vectorsWritten(): void {
    this.#written = -1
  }

  get isOrdinary(): boolean {
    return this.#isOrdinary
  }
  noteOrdinary(): void {
    if (this.#beginning && !this.#isOrdinary) this.#beginning.wished.isOrdinary = true
    this.#isOrdinary = true
  }
  controlWritten(): void {
    this.#isOrdinary = false
    // What is asked from here on is not of the beginning.
    if (this.#beginning)
      this.#beginning = { ...this.#beginning, wished: { ...noWishes(), plain: this.#beginning.wished.plain } }
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
    this.#wish(place, width)
    return false
  }
  #wish({ value, byte }: { value: Expr; byte: number }, width: Width): void {
    const vector = this.#beginning?.values.get(value)
    if (vector === undefined) return
    this.#beginning!.wished.plain.set(`${vector} ${byte} ${width}`, { vector, byte, width })
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
  return {
    facts: x,
    isOrdinary: a.isOrdinary && b.isOrdinary,
    beginning: a.beginning === b.beginning ? a.beginning : undefined,
    written: a.written | b.written,
  }
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
