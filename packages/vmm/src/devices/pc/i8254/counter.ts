// One counter of the Intel 8254 Programmable Interval Timer, 231164: "Mode Definitions", "Programming the 8254".
//
// Nothing here runs with time. The counting element was loaded with N at some tick; output and count are functions
// of the ticks since then. A gate that pauses (modes 0 and 4) freezes that number; what happens at the end of a
// period (a new count in modes 2 and 3) is caught up with before anything is read.

export type CounterMode = 0 | 1 | 2 | 3 | 4 | 5

export interface CounterState {
  mode: CounterMode
  bcd: boolean
  access: 1 | 2 | 3
  /** The count register, 1 to 65536 (10000 in BCD); undefined before the first complete write. */
  reload: number | undefined
  /** The count that the counting element was loaded with. */
  loaded: number
  /** The count register waits to be loaded at the end of the period. */
  waiting: boolean
  /** The tick of the load, or undefined before it. */
  start: number | undefined
  /** Ticks counted when the gate stopped the count; undefined while counting. */
  frozen: number | undefined
  gate: boolean
  /** OUT between a trigger and the load in mode 1. */
  outBeforeLoad: boolean
  lowByte: number | undefined
  readHigh: boolean
  latchedCount: number | undefined
  latchedStatus: number | undefined
}

export class Counter {
  #s: CounterState = initialState(true)

  constructor(gate: boolean) {
    this.#s = initialState(gate)
  }

  get state(): CounterState {
    return { ...this.#s }
  }

  set state(state: CounterState) {
    this.#s = { ...state }
  }

  get gate(): boolean {
    return this.#s.gate
  }

  /** Control word: M, BCD and RW fields. The counter then waits for its count. */
  control(value: number): void {
    const mode = (value >> 1) & 7
    this.#s = {
      ...initialState(this.#s.gate),
      mode: (mode > 5 ? mode - 4 : mode) as CounterMode,
      bcd: (value & 1) !== 0,
      access: ((value >> 4) & 3) as 1 | 2 | 3,
    }
  }

  /** A byte of the count at `tick`. */
  write(value: number, tick: number): void {
    const s = this.#s
    if (s.access === 3 && s.lowByte === undefined) {
      s.lowByte = value
      // Mode 0: "Writing the first byte disables counting. OUT is set low immediately."
      if (s.mode === 0) s.start = undefined
      return
    }
    const count = s.access === 1 ? value : (s.lowByte ?? 0) | (value << 8)
    s.lowByte = undefined
    this.#setCount(count, tick)
  }

  #setCount(raw: number, tick: number): void {
    const s = this.#s
    this.#catchUp(tick)
    const count = s.bcd ? fromBcd(raw) : raw
    s.reload = count === 0 ? (s.bcd ? 10_000 : 0x1_0000) : count
    switch (s.mode) {
      case 0:
      case 4:
        this.#load(tick + 1)
        return
      case 1:
      case 5:
        s.waiting = true // until the trigger
        return
      default:
        if (s.start === undefined) this.#load(tick + 1)
        else s.waiting = true // until the end of this period
    }
  }

  /** GATE changes at `tick`: "Gate Pin Operations Summary". */
  setGate(gate: boolean, tick: number): void {
    const s = this.#s
    if (gate === s.gate) return
    this.#catchUp(tick)
    if (s.mode === 0 || s.mode === 4) {
      if (gate) this.#resume(tick)
      else s.frozen = Math.max(this.#elapsed(tick), 0)
    } else if (gate) {
      s.outBeforeLoad = this.out(tick)
      s.gate = true
      if (s.reload !== undefined) this.#load(tick + 1)
    } else if (s.mode === 2 || s.mode === 3) {
      s.frozen = Math.max(this.#elapsed(tick), 0)
    }
    s.gate = gate
  }

  #load(tick: number): void {
    const s = this.#s
    s.loaded = s.reload!
    s.start = tick
    s.waiting = false
    s.frozen = s.gate || s.mode === 1 || s.mode === 5 ? undefined : 0
  }

  #resume(tick: number): void {
    const s = this.#s
    if (s.frozen === undefined || s.start === undefined) return
    s.start = tick - s.frozen
    s.frozen = undefined
  }

  /** Ticks counted since the load; -1 for the tick between write and load. */
  #elapsed(tick: number): number {
    return this.#s.frozen ?? tick - this.#s.start!
  }

  /** Moves `start` to the period that `tick` is in, loading a new count where one waits. */
  #catchUp(tick: number): void {
    const s = this.#s
    if ((s.mode !== 2 && s.mode !== 3) || s.start === undefined || s.frozen !== undefined) return
    // Mode 3 may take a new count at the end of the half-cycle already; this takes it at the end of the whole one.
    if (s.waiting && tick - s.start >= s.loaded) {
      s.start += s.loaded
      s.loaded = s.reload!
      s.waiting = false
    }
    const periods = Math.floor((tick - s.start) / s.loaded)
    if (periods > 0 && !s.waiting) s.start += periods * s.loaded
  }

  /** OUT at `tick`. */
  out(tick: number): boolean {
    const s = this.#s
    this.#catchUp(tick)
    if (s.start === undefined) return s.mode !== 0
    const elapsed = this.#elapsed(tick)
    switch (s.mode) {
      case 0:
        return elapsed >= s.loaded
      case 1:
        return elapsed < 0 ? s.outBeforeLoad : elapsed >= s.loaded
      case 2:
        return !s.gate || elapsed < 0 || elapsed % s.loaded !== s.loaded - 1
      case 3:
        return !s.gate || elapsed < 0 || elapsed % s.loaded < Math.ceil(s.loaded / 2)
      default:
        return elapsed !== s.loaded
    }
  }

  /** The tick of the next rising edge of OUT after `tick`, or Infinity. */
  nextRise(tick: number): number {
    const s = this.#s
    this.#catchUp(tick)
    if (s.start === undefined || s.frozen !== undefined) return Infinity
    const elapsed = tick - s.start
    switch (s.mode) {
      case 0:
      case 1:
        return elapsed < s.loaded ? s.start + s.loaded : Infinity
      case 2:
      case 3: // the count reaches its end, OUT rises and the count is loaded again
        return s.start + (Math.max(Math.floor(elapsed / s.loaded), 0) + 1) * s.loaded
      default:
        return elapsed <= s.loaded ? s.start + s.loaded + 1 : Infinity
    }
  }

  /** The counting element at `tick`, in binary or BCD as it is read. */
  #count(tick: number): number {
    const s = this.#s
    this.#catchUp(tick)
    if (s.start === undefined) return 0
    const elapsed = Math.max(this.#elapsed(tick), 0)
    const wrap = s.bcd ? 10_000 : 0x1_0000
    const value = ((this.#decremented(elapsed) % wrap) + wrap) % wrap
    return s.bcd ? toBcd(value) : value
  }

  #decremented(elapsed: number): number {
    const n = this.#s.loaded
    if (this.#s.mode === 2) return n - (elapsed % n)
    if (this.#s.mode !== 3) return n - elapsed
    // Mode 3 counts down by two, twice a period; an odd count is first made even.
    const high = Math.ceil(n / 2)
    const position = elapsed % n
    return (n & ~1) - 2 * (position < high ? position : position - high)
  }

  latchCount(tick: number): void {
    this.#s.latchedCount ??= this.#count(tick)
  }

  /** "Read-Back Command": OUT, null count, RW, M, BCD. */
  latchStatus(tick: number): void {
    const s = this.#s
    const out = this.out(tick)
    const nullCount = s.reload === undefined || s.waiting || (s.start !== undefined && s.start > tick)
    s.latchedStatus ??=
      (out ? 0x80 : 0) | (nullCount ? 0x40 : 0) | (s.access << 4) | (s.mode << 1) | (s.bcd ? 1 : 0)
  }

  read(tick: number): number {
    const s = this.#s
    if (s.latchedStatus !== undefined) {
      const status = s.latchedStatus
      s.latchedStatus = undefined
      return status
    }
    const count = s.latchedCount ?? this.#count(tick)
    const high = s.access === 2 || (s.access === 3 && s.readHigh)
    if (s.access === 3) s.readHigh = !s.readHigh
    if (s.access !== 3 || high) s.latchedCount = undefined
    return high ? count >> 8 : count & 0xff
  }
}

function initialState(gate: boolean): CounterState {
  return {
    mode: 0,
    bcd: false,
    access: 3,
    reload: undefined,
    loaded: 0,
    waiting: false,
    start: undefined,
    frozen: undefined,
    gate,
    outBeforeLoad: true,
    lowByte: undefined,
    readHigh: false,
    latchedCount: undefined,
    latchedStatus: undefined,
  }
}

/** Digits above 9 count as they weigh; what the chip makes of them is not documented. */
function fromBcd(value: number): number {
  return (value >> 12) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15)
}

function toBcd(value: number): number {
  return (
    (Math.floor(value / 1000) << 12) |
    ((Math.floor(value / 100) % 10) << 8) |
    ((Math.floor(value / 10) % 10) << 4) |
    (value % 10)
  )
}
