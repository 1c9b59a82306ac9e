import { BOOT, type Measurement, type Subject } from './record.ts'

/** The reference that the others are divided by. */
const REFERENCE: Subject = 'qemu-tcg'

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

/** Median wall seconds of the runs that were right. */
function medianOf(all: readonly Measurement[], subject: Subject, program: string): number | undefined {
  const runs = all.filter((each) => each.subject === subject && each.program === program && each.ok)
  return median(runs.flatMap(({ wallSeconds }) => (wallSeconds === null ? [] : [wallSeconds])))
}

/** A table of medians, with each subject's time divided by QEMU TCG's where that was measured too. */
export function report(all: readonly Measurement[]): string {
  const subjects = [...new Set(all.map(({ subject }) => subject))]
  const programs = [...new Set(all.map(({ program }) => program))]
  const others = subjects.includes(REFERENCE) ? subjects.filter((each) => each !== REFERENCE) : []
  const ratio = (subject: Subject, program: string) => {
    const [time, reference] = [medianOf(all, subject, program), medianOf(all, REFERENCE, program)]
    return time !== undefined && reference ? time / reference : undefined
  }
  const head = ['program', ...subjects.map((each) => `${each} s`), ...others.map((each) => `${each} / tcg`)]
  const rows = programs.map((program) => [
    program,
    ...subjects.map((subject) => cell(all, subject, program)),
    ...others.map((subject) => ratio(subject, program)?.toFixed(2) ?? '-'),
  ])
  const means = others.map((subject) => {
    const ratios = programs.filter((each) => each !== BOOT).map((program) => ratio(subject, program))
    return geometricMean(ratios.filter((each) => each !== undefined))?.toFixed(2) ?? '-'
  })
  if (others.length > 0) rows.push(['geometric mean', ...subjects.map(() => ''), ...means])
  return table([head, ...rows]) + instructionRates(all)
}

/** Millions of instructions a second, for the subjects that count them, with their median. */
function instructionRates(all: readonly Measurement[]): string {
  const subjects = [...new Set(all.map(({ subject }) => subject))]
  return subjects.map((subject) => ratesOf(all, subject)).join('')
}
function ratesOf(all: readonly Measurement[], subject: Subject): string {
  const programs = [...new Set(all.map(({ program }) => program))]
  const rates = programs.flatMap((program) => {
    const runs = all.filter((each) => each.subject === subject && each.program === program && each.ok)
    const values = runs.flatMap(({ instructions, wallSeconds }) =>
      instructions !== undefined && wallSeconds ? [instructions / wallSeconds / 1e6] : [],
    )
    const rate = median(values)
    return rate === undefined ? [] : [{ program, rate }]
  })
  if (rates.length === 0) return ''
  const rows = rates.map(({ program, rate }) => [program, rate.toFixed(0)])
  const middle = median(rates.map(({ rate }) => rate))
  const lines = [
    ['program', `${subject}, million instructions/s`],
    ...rows,
    ['median', middle?.toFixed(0) ?? '-'],
  ]
  return `\n${table(lines)}`
}

function cell(all: readonly Measurement[], subject: Subject, program: string): string {
  const runs = all.filter((each) => each.subject === subject && each.program === program)
  const failed = runs.filter(({ ok }) => !ok).length
  const time = medianOf(all, subject, program)?.toFixed(3) ?? '-'
  return failed > 0 ? `${time} (${failed} failed)` : time
}

/** The first column to the left, the others to the right. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)))
  const line = (row: readonly string[]) =>
    row.map((text, i) => (i === 0 ? text.padEnd(widths[i]) : text.padStart(widths[i]))).join('  ')
  return `${rows.map((row) => line(row).trimEnd()).join('\n')}\n`
}
