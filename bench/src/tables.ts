import { ALL_PROGRAMS, GROUPS, type Group } from './groups.ts'
import { judge } from './promises.ts'
import { BOOT, type Subject } from './record.ts'
import { median, type Results } from './results.ts'

/** A table to be written as text or as Markdown. The first column is of words, the others are of numbers. */
export interface Table {
  head: readonly string[]
  rows: readonly Row[]
}

export interface Row {
  cells: readonly string[]
  /** It sums up the rows above it. */
  isTotal?: boolean
}

const NOTHING = '-'
const MIB = 2 ** 20

/** Three digits that count. */
export function digits(value: number | undefined): string {
  if (value === undefined) return NOTHING
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)
}

/** Median seconds of each subject, and how many times as fast as the references our engines are, with means by group. */
export function speedTable(results: Results): Table {
  const { subjects, references, engines, programs } = results
  const pairs = references.flatMap((reference) => engines.map((engine) => ({ engine, reference })))
  const head = [
    'program',
    ...subjects.map((subject) => `${subject}, s`),
    ...pairs.map(({ engine, reference }) => `${engine}, × ${reference}`),
  ]
  const programRow = (program: string): Row => ({
    cells: [
      program,
      ...subjects.map((subject) => timeCell(results, subject, program)),
      ...pairs.map(({ engine, reference }) => digits(results.speed(engine, reference, program))),
    ],
  })
  const meanRow = (name: string, of: readonly string[]): Row => ({
    cells: [
      `${name}, geometric mean`,
      ...subjects.map(() => ''),
      ...pairs.map(({ engine, reference }) => digits(results.meanSpeed(engine, reference, of))),
    ],
    isTotal: true,
  })
  const isSummed = (of: readonly string[]) => pairs.length > 0 && of.length > 1
  const groupRows = ({ name, programs: of }: Group): Row[] => {
    const measured = of.filter((program) => programs.includes(program))
    return [...measured.map(programRow), ...(isSummed(measured) ? [meanRow(name, measured)] : [])]
  }
  const rows = GROUPS.flatMap(groupRows)
  const all = ALL_PROGRAMS.filter((program) => programs.includes(program))
  return { head, rows: isSummed(all) ? [...rows, meanRow('all but boot', all)] : rows }
}

function timeCell(results: Results, subject: Subject, program: string): string {
  const failed = results.runs(subject, program).filter(({ ok }) => !ok).length
  const time = results.seconds(subject, program)?.toFixed(3) ?? NOTHING
  return failed > 0 ? `${time} (${failed} failed)` : time
}

/** What is promised, what was measured, and whether it holds; undefined when the results say nothing about it. */
export function promiseTable(results: Results): Table | undefined {
  const verdicts = judge(results)
  if (verdicts.length === 0) return undefined
  const rows = verdicts.map(({ promise, subject, speed, program, holds }) => {
    const { text, of, reference, atLeast } = promise
    const which = program === undefined || promise.programs.length === 1 ? '' : ` (${program})`
    return {
      cells: [
        `${subject}: ${text}${promise.programs.length > 1 ? `, ${of}` : ''}`,
        `at least ${digits(atLeast)} × ${reference}`,
        `${digits(speed)} ×${which}`,
        holds ? 'holds' : 'does not hold',
      ],
    }
  })
  return { head: ['promise', 'speed', 'measured', ''], rows }
}

/** Peak memory of each subject's process, in MiB; undefined where the host does not tell. */
export function memoryTable(results: Results): Table | undefined {
  const rows = results.subjects.flatMap((subject) => {
    const [booted, ended] = [results.peakBytes(subject, BOOT), results.peakBytes(subject)]
    if (ended === undefined) return []
    const mib = (bytes: number | undefined) => (bytes === undefined ? NOTHING : (bytes / MIB).toFixed(0))
    return [{ cells: [subject, mib(booted), mib(ended)] }]
  })
  if (rows.length === 0) return undefined
  return { head: ['peak memory of the process', 'at /init, MiB', 'at the end, MiB'], rows }
}

/** Millions of instructions a second, for the subjects that count them. */
export function rateTable(results: Results): Table | undefined {
  const counting = results.subjects.filter((subject) =>
    results.programs.some((program) => results.instructionRate(subject, program) !== undefined),
  )
  if (counting.length === 0) return undefined
  const rates = (subject: Subject, of: readonly string[]) =>
    of.map((program) => results.instructionRate(subject, program)).filter((rate) => rate !== undefined)
  const row = (program: string): Row => ({
    cells: [program, ...counting.map((subject) => digits(results.instructionRate(subject, program)))],
  })
  const groupRows = ({ name, programs: of }: Group): Row[] => {
    const measured = of.filter((program) => counting.some((each) => rates(each, [program]).length > 0))
    if (measured.length === 0) return []
    const medians = counting.map((each) => digits(median(rates(each, measured))))
    const total = { cells: [`${name}, median`, ...medians], isTotal: true }
    return [...measured.map(row), ...(measured.length > 1 ? [total] : [])]
  }
  const head = ['million instructions/s', ...counting]
  return { head, rows: GROUPS.flatMap(groupRows) }
}

export function textTable({ head, rows }: Table): string {
  const all = [head, ...rows.map(({ cells }) => cells)]
  const widths = head.map((_, i) => Math.max(...all.map((cells) => cells[i].length)))
  const line = (cells: readonly string[]) =>
    cells.map((text, i) => (i === 0 ? text.padEnd(widths[i]) : text.padStart(widths[i]))).join('  ')
  return `${all.map((cells) => line(cells).trimEnd()).join('\n')}\n`
}

export function markdownTable({ head, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  const bold = (text: string) => (text === '' ? '' : `**${text}**`)
  return [
    line(head),
    line(head.map((_, i) => (i === 0 ? '---' : '---:'))),
    ...rows.map(({ cells, isTotal }) => line(isTotal ? cells.map(bold) : cells)),
    '',
  ].join('\n')
}
