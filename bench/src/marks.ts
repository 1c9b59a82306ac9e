// What a guest prints says when a program begins and ends, and the host looks at its own clocks then.

import { BOOT, type Measurement, type Subject } from './record.ts'

export interface Clocks {
  wall: number
  cpu: number | null
}

/** Takes the lines of one run to measurements. */
export class MarkReader {
  readonly #subject: Subject
  readonly #width: 32 | 64
  readonly #started: Clocks
  #begin: { program: string; clocks: Clocks } | undefined
  #instructions: number | undefined
  readonly measurements: Measurement[] = []

  constructor(subject: Subject, width: 32 | 64, started: Clocks) {
    this.#subject = subject
    this.#width = width
    this.#started = started
  }

  line(text: string, clocks: Clocks): void {
    const count = /^COUNT (\d+)/.exec(text)
    if (count) return this.#counted(Number(count[1]))
    const mark = /(BENCH INIT|BEGIN|END)(?: (\S+))?(?: (\S+) (\S+))?\s*$/.exec(text)
    if (!mark) return
    const [, kind, program, seconds, status] = mark
    if (kind === 'BENCH INIT') this.#add(BOOT, this.#started, clocks, null, true)
    else if (kind === 'BEGIN' && program) this.#begin = { program, clocks }
    else if (kind === 'END' && program && status) this.#end(program, seconds, status, clocks)
  }

  /** After a BEGIN this is where the program starts, after its END where it ends. */
  #counted(instructions: number): void {
    if (this.#begin) {
      this.#instructions = instructions
      return
    }
    const last = this.measurements.at(-1)
    if (last && this.#instructions !== undefined) last.instructions = instructions - this.#instructions
    this.#instructions = undefined
  }

  #end(program: string, seconds: string, status: string, clocks: Clocks): void {
    const from = this.#begin?.program === program ? this.#begin.clocks : undefined
    this.#begin = undefined
    const guest = Number.parseFloat(seconds)
    this.#add(program, from, clocks, Number.isNaN(guest) ? null : guest, status === 'ok')
  }

  #add(
    program: string,
    from: Clocks | undefined,
    to: Clocks,
    guestSeconds: number | null,
    ok: boolean,
  ): void {
    this.measurements.push({
      subject: this.#subject,
      program,
      width: this.#width,
      guestSeconds,
      wallSeconds: from ? to.wall - from.wall : null,
      cpuSeconds: from?.cpu != null && to.cpu !== null ? to.cpu - from.cpu : null,
      ok,
    })
  }

  /** What did not come to its end. */
  finish(programs: readonly string[]): Measurement[] {
    const nothing = { guestSeconds: null, wallSeconds: null, cpuSeconds: null, ok: false }
    const missing = programs.filter((name) => !this.measurements.some(({ program }) => program === name))
    return [
      ...this.measurements,
      ...missing.map((program) => ({ subject: this.#subject, program, width: this.#width, ...nothing })),
    ]
  }
}
