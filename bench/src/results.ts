import { type Measurement, REFERENCES, type Reference, type Subject, WIDTHS, type Width } from './record.ts'

export function median(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length % 2 === 1) return sorted[middle]
  return sorted.length === 0 ? undefined : (sorted[middle - 1] + sorted[middle]) / 2
}

export function geometricMean(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}

const isPresent = <T>(value: T | null | undefined): value is T => value != null

/** Measurements of one width, by subject and program. */
export class Results {
  readonly width: Width
  readonly #all: readonly Measurement[]

  constructor(width: Width, measurements: readonly Measurement[]) {
    this.width = width
    this.#all = measurements.filter((each) => each.width === width)
  }

  /** In the order in which they were measured first. */
  get subjects(): Subject[] {
    return [...new Set(this.#all.map(({ subject }) => subject))]
  }

  get programs(): string[] {
    return [...new Set(this.#all.map(({ program }) => program))]
  }

  /** What the others are divided by, as far as it was measured. */
  get references(): Reference[] {
    return REFERENCES.filter((each) => this.subjects.includes(each))
  }

  /** Our engines: all that is no reference and no native run. */
  get engines(): Subject[] {
    return this.subjects.filter((each) => each !== 'native' && !REFERENCES.some((name) => name === each))
  }

  runs(subject: Subject, program: string): Measurement[] {
    return this.#all.filter((each) => each.subject === subject && each.program === program)
  }

  /** Median wall seconds of the runs that were right. */
  seconds(subject: Subject, program: string): number | undefined {
    return median(
      this.#right(subject, program)
        .map(({ wallSeconds }) => wallSeconds)
        .filter(isPresent),
    )
  }

  /** The reference's time divided by the subject's: more than 1 is faster. */
  speed(subject: Subject, reference: Reference, program: string): number | undefined {
    const [time, other] = [this.seconds(subject, program), this.seconds(reference, program)]
    return time && other ? other / time : undefined
  }

  /** Geometric mean over the programs that both ran. */
  meanSpeed(subject: Subject, reference: Reference, programs: readonly string[]): number | undefined {
    return geometricMean(programs.map((each) => this.speed(subject, reference, each)).filter(isPresent))
  }

  /** Median of millions of instructions a second, for the engines that count them. */
  instructionRate(subject: Subject, program: string): number | undefined {
    const rates = this.#right(subject, program).flatMap(({ instructions, wallSeconds }) =>
      instructions !== undefined && wallSeconds ? [instructions / wallSeconds / 1e6] : [],
    )
    return median(rates)
  }

  /** Median over the runs of the most memory that the process had had at a program's end; of the whole run without one. */
  peakBytes(subject: Subject, program?: string): number | undefined {
    if (program !== undefined) {
      return median(
        this.runs(subject, program)
          .map(({ peakRssBytes }) => peakRssBytes)
          .filter(isPresent),
      )
    }
    const peaks = this.programs.map((each) => this.peakBytes(subject, each)).filter(isPresent)
    return peaks.length === 0 ? undefined : Math.max(...peaks)
  }

  #right(subject: Subject, program: string): Measurement[] {
    return this.runs(subject, program).filter(({ ok }) => ok)
  }
}

/** The widths that were measured. */
export function resultsByWidth(measurements: readonly Measurement[]): Results[] {
  return WIDTHS.map((width) => new Results(width, measurements)).filter(({ subjects }) => subjects.length > 0)
}
