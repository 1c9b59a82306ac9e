// What a guest prints says when a program begins and ends, and the host looks at its own clocks then.

import { BOOT, type Measurement, type Subject, type Width } from './record.ts'

/** What the host knows of the process at one moment, in seconds and bytes. */
export interface Sample {
  wall: number
  cpu: number | null
  peakRssBytes: number | null
}

interface Ending {
  program: string
  from: Sample | undefined
  to: Sample
  guestSeconds: number | null
  ok: boolean
}

/** Takes the lines of one run to measurements. */
export class MarkReader {
  readonly #subject: Subject
  readonly #width: Width
  readonly #started: Sample
  #begin: { program: string; sample: Sample } | undefined
  #instructions: number | undefined
  readonly measurements: Measurement[] = []

  constructor(subject: Subject, width: Width, started: Sample) {
    this.#subject = subject
    this.#width = width
    this.#started = started
  }

  /** `look` gives what the host knows now; it is asked at marks alone. */
  line(text: string, look: () => Sample): void {
    const count = /^COUNT (\d+)/.exec(text)
    if (count) return this.#counted(Number(count[1]))
    const mark = /(BENCH INIT|BEGIN|END)(?: (\S+))?(?: (\S+) (\S+))?\s*$/.exec(text)
    if (!mark) return
    const [, kind, program, seconds, status] = mark
    const to = look()
    if (kind === 'BENCH INIT')
      this.#add({ program: BOOT, from: this.#started, to, guestSeconds: null, ok: true })
    else if (kind === 'BEGIN' && program) this.#begin = { program, sample: to }
    else if (kind === 'END' && program && status) this.#end(program, seconds, status, to)
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

  #end(program: string, seconds: string, status: string, to: Sample): void {
    const from = this.#begin?.program === program ? this.#begin.sample : undefined
    this.#begin = undefined
    const guest = Number.parseFloat(seconds)
    this.#add({ program, from, to, guestSeconds: Number.isNaN(guest) ? null : guest, ok: status === 'ok' })
  }

  #add({ program, from, to, guestSeconds, ok }: Ending): void {
    this.measurements.push({
      subject: this.#subject,
      program,
      width: this.#width,
      guestSeconds,
      wallSeconds: from ? to.wall - from.wall : null,
      cpuSeconds: from?.cpu != null && to.cpu !== null ? to.cpu - from.cpu : null,
      peakRssBytes: to.peakRssBytes,
      ok,
    })
  }

  /** What did not come to its end. */
  finish(programs: readonly string[]): Measurement[] {
    const nothing = { guestSeconds: null, wallSeconds: null, cpuSeconds: null, peakRssBytes: null, ok: false }
    const missing = programs.filter((name) => !this.measurements.some(({ program }) => program === name))
    return [
      ...this.measurements,
      ...missing.map((program) => ({ subject: this.#subject, program, width: this.#width, ...nothing })),
    ]
  }
}
