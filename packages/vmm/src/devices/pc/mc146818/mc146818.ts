// Motorola MC146818, "Registers", "Update Cycle", "Interrupts". The PC's use of its RAM: 128 bytes, the century in
// 0x32, memory sizes as a PC BIOS leaves them (Ralf Brown's CMOS list names the bytes).

import type { AccessSize, PortDevice } from '../../../bus/port-bus.ts'
import type { Timer, TimerClock, WallClock } from '../../../clock/clock.ts'
import type { InterruptLine } from '../../../interrupts/line.ts'
import { expectVersion, type Saveable } from '../../../snapshot/version.ts'
import type { Mc146818State } from './mc146818.state.ts'

const SECONDS = 0
const SECONDS_ALARM = 1
const MINUTES = 2
const MINUTES_ALARM = 3
const HOURS = 4
const HOURS_ALARM = 5
const DAY_OF_WEEK = 6
const DAY = 7
const MONTH = 8
const YEAR = 9
const A = 10
const B = 11
const C = 12
const D = 13
const CENTURY = 0x32

const A_UIP = 0x80
const B_SET = 0x80
const B_24_HOURS = 0x02
const B_BINARY = 0x04
const PERIODIC = 0x40
const ALARM = 0x20
const UPDATE = 0x10
const C_IRQF = 0x80
const D_VRT = 0x80

/** "Update Cycle": UIP is high from 244 µs before the update. */
const UIP_NS = 244_000
const DAY_SECONDS = 86_400
const TIME_REGISTERS = [SECONDS, MINUTES, HOURS, DAY_OF_WEEK, DAY, MONTH, YEAR, CENTURY] as const

export interface CmosMemory {
  /** RAM below 4 GiB, and above it, in bytes. */
  lowBytes: number
  highBytes: number
}

export class Mc146818 implements PortDevice, Saveable<Mc146818State> {
  readonly #irq: InterruptLine
  readonly #clock: TimerClock
  readonly #wall: WallClock
  readonly #ram = new Uint8Array(128)
  #index = 0
  #offsetSeconds = 0
  #flags = 0
  #periodicSince = 0
  #updatedSecond: number
  #timer: Timer | undefined

  constructor(options: { irq: InterruptLine; clock: TimerClock; wall: WallClock; memory: CmosMemory }) {
    this.#irq = options.irq
    this.#clock = options.clock
    this.#wall = options.wall
    this.#ram[A] = 0x26 // 32,768 Hz, periodic rate 1024 Hz
    this.#ram[B] = B_24_HOURS
    this.#ram[D] = D_VRT
    this.#writeMemorySizes(options.memory)
    this.#updatedSecond = this.#now()
  }

  #writeMemorySizes({ lowBytes, highBytes }: CmosMemory): void {
    const extended = Math.min(Math.max(Math.floor(lowBytes / 1024) - 1024, 0), 0xffff)
    const above16 = Math.min(Math.max(Math.floor((lowBytes - 0x100_0000) / 0x1_0000), 0), 0xffff)
    const above4G = Math.floor(highBytes / 0x1_0000)
    this.#ram[0x14] = 0x04 // equipment: a PS/2 pointer port is there, no floppy, no display
    this.#ram.set([640 & 0xff, 640 >> 8, extended & 0xff, extended >> 8], 0x15)
    this.#ram.set([extended & 0xff, extended >> 8], 0x30)
    this.#ram.set([above16 & 0xff, above16 >> 8], 0x34)
    this.#ram.set([above4G & 0xff, (above4G >> 8) & 0xff, (above4G >> 16) & 0xff], 0x5b)
  }

  portRead(offset: number): number {
    return offset === 0 ? 0xff : this.#read(this.#index)
  }

  portWrite(offset: number, _size: AccessSize, value: number): void {
    if (offset === 0)
      this.#index = value & 0x7f // bit 7 is the NMI mask
    else this.#write(this.#index, value)
  }

  #read(index: number): number {
    if (index === C) return this.#readFlags()
    if (index === A) return this.#ram[A] | (this.#updateInProgress() ? A_UIP : 0)
    if (!this.#frozen && isTime(index)) this.#copyTime()
    return this.#ram[index]
  }

  #write(index: number, value: number): void {
    if (index === C || index === D) return
    if (isTime(index)) {
      this.#writeTime(index, value)
      return
    }
    this.#catchUp()
    if (index === A) this.#writeA(value)
    else if (index === B) this.#writeB(value)
    else this.#ram[index] = value
    this.#update()
  }

  get #frozen(): boolean {
    return (this.#ram[B] & B_SET) !== 0
  }

  #writeA(value: number): void {
    if ((value & 0x0f) !== (this.#ram[A] & 0x0f)) this.#periodicSince = this.#clock.now()
    this.#ram[A] = value & 0x7f
  }

  #writeB(value: number): void {
    const wasFrozen = this.#frozen
    if (!wasFrozen) this.#copyTime()
    // "SET ... clears UIE"
    this.#ram[B] = value & B_SET ? value & ~UPDATE : value
    if (wasFrozen && !this.#frozen) this.#setTime()
  }

  #writeTime(index: number, value: number): void {
    if (!this.#frozen) this.#copyTime()
    this.#ram[index] = value
    if (!this.#frozen) this.#setTime()
  }

  // --- time of day ---------------------------------------------------------------------------------------------

  /** Seconds since 1970 as this clock shows them. */
  #now(): number {
    return Math.floor(this.#wall.now() / 1000) + this.#offsetSeconds
  }

  /** Nanoseconds to the next change of the second. */
  #untilUpdate(): number {
    return (1000 - (((this.#wall.now() % 1000) + 1000) % 1000)) * 1e6
  }

  #updateInProgress(): boolean {
    return !this.#frozen && this.#untilUpdate() <= UIP_NS
  }

  #copyTime(): void {
    const date = new Date(this.#now() * 1000)
    const year = date.getUTCFullYear()
    const put = (index: number, value: number) => {
      this.#ram[index] = this.#encode(value)
    }
    put(SECONDS, date.getUTCSeconds())
    put(MINUTES, date.getUTCMinutes())
    this.#ram[HOURS] = this.#encodeHours(date.getUTCHours())
    put(DAY_OF_WEEK, date.getUTCDay() + 1)
    put(DAY, date.getUTCDate())
    put(MONTH, date.getUTCMonth() + 1)
    put(YEAR, year % 100)
    put(CENTURY, Math.floor(year / 100))
  }

  /** The registers become the time. What is no date (a guest may write anything) counts on as `Date` does. */
  #setTime(): void {
    const get = (index: number) => this.#decode(this.#ram[index])
    const year = get(CENTURY) * 100 + get(YEAR)
    const date = new Date(0)
    date.setUTCFullYear(year, get(MONTH) - 1, get(DAY))
    date.setUTCHours(this.#decodeHours(this.#ram[HOURS]), get(MINUTES), get(SECONDS))
    const seconds = date.getTime() / 1000
    this.#offsetSeconds += seconds - this.#now()
    this.#updatedSecond = this.#now()
    this.#update()
  }

  #encode(value: number): number {
    return this.#ram[B] & B_BINARY ? value : (Math.floor(value / 10) << 4) | (value % 10)
  }

  #decode(value: number): number {
    return this.#ram[B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15)
  }

  #encodeHours(hours: number): number {
    if (this.#ram[B] & B_24_HOURS) return this.#encode(hours)
    return this.#encode(hours % 12 || 12) | (hours >= 12 ? 0x80 : 0)
  }

  #decodeHours(value: number): number {
    if (this.#ram[B] & B_24_HOURS) return this.#decode(value)
    return (this.#decode(value & 0x7f) % 12) + (value & 0x80 ? 12 : 0)
  }

  // --- interrupts ----------------------------------------------------------------------------------------------

  /** "Reading register C": the flags, which are clear then. */
  #readFlags(): number {
    this.#catchUp()
    const flags = this.#flags | (this.#requested() ? C_IRQF : 0)
    this.#flags = 0
    this.#update()
    return flags
  }

  #requested(): boolean {
    return (this.#flags & this.#ram[B] & (PERIODIC | ALARM | UPDATE)) !== 0
  }

  /** Sets the flags of what happened since the last look. */
  #catchUp(): void {
    const period = this.#period()
    const periods = Math.floor((this.#clock.now() - this.#periodicSince) / period)
    if (periods > 0) {
      this.#periodicSince += periods * period
      this.#flags |= PERIODIC
    }
    const second = this.#now()
    if (this.#frozen || second === this.#updatedSecond) return
    if (this.#alarmIn(this.#updatedSecond + 1, second)) this.#flags |= ALARM
    this.#flags |= UPDATE
    this.#updatedSecond = second
  }

  /** Nanoseconds between periodic interrupts: RS of register A at 32,768 Hz; Infinity when off. */
  #period(): number {
    const rate = this.#ram[A] & 0x0f
    if (rate === 0) return Infinity
    return (2 ** ((rate <= 2 ? rate + 7 : rate) - 1) * 1e9) / 32_768
  }

  #alarmIn(first: number, last: number): boolean {
    for (let second = Math.max(first, last - DAY_SECONDS + 1); second <= last; second++) {
      if (this.#isAlarm(((second % DAY_SECONDS) + DAY_SECONDS) % DAY_SECONDS)) return true
    }
    return false
  }

  /** "Time, Calendar, and Alarm Locations": 0xc0 to 0xff in an alarm byte means every one. */
  #isAlarm(secondOfDay: number): boolean {
    const matches = (index: number, encoded: number) =>
      this.#ram[index] >= 0xc0 || this.#ram[index] === encoded
    return (
      matches(SECONDS_ALARM, this.#encode(secondOfDay % 60)) &&
      matches(MINUTES_ALARM, this.#encode(Math.floor(secondOfDay / 60) % 60)) &&
      matches(HOURS_ALARM, this.#encodeHours(Math.floor(secondOfDay / 3600)))
    )
  }

  /** Drives the line and waits for the next event that can interrupt; without one, no time is spent. */
  #update(): void {
    this.#irq.set(this.#requested())
    this.#clock.cancel(this.#timer)
    this.#timer = undefined
    const next = Math.min(this.#nextPeriodic(), this.#nextUpdate())
    if (next === Infinity) return
    this.#timer = this.#clock.at(next, () => {
      this.#timer = undefined
      this.#catchUp()
      this.#update()
    })
  }

  #nextPeriodic(): number {
    const enabled = this.#ram[B] & PERIODIC && !(this.#flags & PERIODIC)
    return enabled ? this.#periodicSince + this.#period() : Infinity
  }

  #nextUpdate(): number {
    const enabled = this.#ram[B] & ~this.#flags & (ALARM | UPDATE) && !this.#frozen
    return enabled ? this.#clock.now() + this.#untilUpdate() : Infinity
  }

  save(): Mc146818State {
    return {
      version: 1,
      index: this.#index,
      ram: [...this.#ram],
      offsetSeconds: this.#offsetSeconds,
      flags: this.#flags,
      periodicSince: this.#periodicSince,
      updatedSecond: this.#updatedSecond,
    }
  }

  restore(state: Mc146818State): void {
    expectVersion('mc146818', state, 1)
    this.#index = state.index
    this.#ram.set(state.ram.slice(0, 128))
    this.#offsetSeconds = state.offsetSeconds
    this.#flags = state.flags
    this.#periodicSince = state.periodicSince
    this.#updatedSecond = state.updatedSecond
    this.#update()
  }
}

function isTime(index: number): boolean {
  return (TIME_REGISTERS as readonly number[]).includes(index)
}
