import { parseArgs } from 'node:util'
import { BenchError, BOOT, SUBJECTS, type Subject, WIDTHS, type Width } from './record.ts'
import { standardSubjects, whyNot } from './subjects.ts'

export const HELP = `Usage: npm run bench -- [OPTION]...

Boots the image tiny (tiny32 for 32 bits) with the programs of bench/vmbench on each subject in turn. Prints the medians
of the seconds that they take by the host's clock, how many times as fast as QEMU's TCG and v86 our engine is, and which
promises hold.

Options:
  --programs A,B    Which programs; all by default. '${BOOT}' is the time from the start to /init.
  --subjects A,B    Of ${SUBJECTS.join(', ')};
                    by default jit (interpreter where there is none), qemu-tcg and, for 32 bits, v86, as installed.
  --rounds N        How often each subject is run; 1 by default.
  --repetitions N   How often a program repeats its work; of each program's own choice by default.
  --width 32,64     Widths of the programs; 64 by default.
  --timeout SECONDS A run that takes longer is ended; 3600 by default.
  --json FILE       Write all measurements and a description of the host to FILE.
  --from A,B        Measure nothing; take the measurements from files that --json wrote.
  --report DIR      Write DIR/benchmarks.md and DIR/images/benchmark.svg.
  --help            Show this help.
`

const OPTIONS = {
  programs: { type: 'string' },
  subjects: { type: 'string' },
  rounds: { type: 'string', default: '1' },
  repetitions: { type: 'string' },
  width: { type: 'string', default: '64' },
  timeout: { type: 'string', default: '3600' },
  json: { type: 'string' },
  from: { type: 'string' },
  report: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const

export type BenchOptions = ReturnType<typeof readOptions>

export function readOptions(args: string[]) {
  const values = parse(args)
  const widths = chooseWidths(values.width)
  return {
    help: values.help ?? false,
    programs: values.programs?.split(','),
    subjects: values.from === undefined ? chooseSubjects(values.subjects, widths) : [],
    rounds: wholeNumber('--rounds', values.rounds),
    repetitions:
      values.repetitions === undefined ? undefined : wholeNumber('--repetitions', values.repetitions),
    timeoutSeconds: wholeNumber('--timeout', values.timeout),
    json: values.json,
    from: values.from?.split(','),
    report: values.report,
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS }).values
  } catch (error) {
    throw new BenchError('TV_BENCH_OPTION', (error as Error).message)
  }
}

export function wholeNumber(option: string, text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text)
  throw new BenchError('TV_BENCH_OPTION', `${option} takes a whole number from 1.`)
}

function chooseWidths(text: string): Width[] {
  const names = text.split(',')
  const widths = WIDTHS.filter((width) => names.includes(String(width)))
  if (widths.length === names.length) return widths
  throw new BenchError('TV_BENCH_OPTION', '--width is 32, 64, or 32,64.')
}

export interface ChosenSubjects {
  width: Width
  subjects: readonly Subject[]
}

/** The subjects of each width. One that is asked for must be there for one of the widths at least. */
function chooseSubjects(text: string | undefined, widths: readonly Width[]): ChosenSubjects[] {
  if (text === undefined) return widths.map((width) => ({ width, subjects: standardSubjects(width) }))
  const named = text.split(',').map((name) => checkSubject(name, widths))
  const possible = (width: Width) => named.filter((subject) => whyNot(subject, width) === undefined)
  return widths.map((width) => ({ width, subjects: possible(width) }))
}

function checkSubject(name: string, widths: readonly Width[]): Subject {
  const subject = SUBJECTS.find((each) => each === name)
  const reasons = subject ? widths.map((width) => whyNot(subject, width)) : []
  if (subject && reasons.includes(undefined)) return subject
  const reason = reasons[0] ?? `known are ${SUBJECTS.join(', ')}`
  throw new BenchError('TV_BENCH_SUBJECT', `The subject ${name} cannot be measured here: ${reason}.`)
}

/** The programs that are asked for, of those that there are. */
export function choosePrograms(
  names: readonly string[] | undefined,
  known: readonly string[],
): readonly string[] {
  const wrong = names?.find((name) => !known.includes(name))
  if (wrong === undefined) return names ?? known
  throw new BenchError(
    'TV_BENCH_PROGRAM',
    `There is no program ${wrong}; known programs: ${known.join(', ')}.`,
  )
}
