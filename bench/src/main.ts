// Runs guest programs on our engines and on others in turn, and compares them.

import { rm, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { buildGuest, buildPrograms, programNames } from './guest.ts'
import { BenchError, BOOT, type Measurement, SUBJECTS, type Subject } from './record.ts'
import { report } from './report.ts'
import { runSubject, whyNot } from './subjects.ts'

const HELP = `Usage: npm run bench -- [OPTION]...

Boots the image tiny with the programs of bench/vmbench on each subject in turn, and prints the medians of the seconds
that they take by the host's clock, and their ratios to QEMU's TCG.

Options:
  --programs A,B    Which programs; all by default. '${BOOT}' is the time from the start to /init.
  --subjects A,B    Of ${SUBJECTS.join(', ')};
                    by default interpreter and, where it is installed, qemu-tcg.
  --rounds N        How often each subject is run; 1 by default.
  --repetitions N   How often a program repeats its work; of each program's own choice by default.
  --width 32|64     Width of the programs; 64 by default.
  --timeout SECONDS A run that takes longer is ended; 3600 by default.
  --json FILE       Write all measurements to FILE, an array.
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
  help: { type: 'boolean', short: 'h' },
} as const

async function main(args: string[]): Promise<void> {
  const values = readOptions(args)
  if (values.help) return void process.stdout.write(HELP)
  const rounds = wholeNumber('--rounds', values.rounds)
  const timeoutSeconds = wholeNumber('--timeout', values.timeout)
  const repetitions =
    values.repetitions === undefined ? undefined : wholeNumber('--repetitions', values.repetitions)
  const width = values.width === '32' ? 32 : 64
  if (values.width !== String(width)) throw new BenchError('TV_BENCH_OPTION', '--width is 32 or 64.')
  const subjects = chooseSubjects(values.subjects)
  const executable = buildPrograms(width)
  const programs = choosePrograms(values.programs, [BOOT, ...programNames(executable)])
  const guest = await buildGuest(executable)
  const all: Measurement[] = []
  try {
    for (let round = 1; round <= rounds; round++) {
      for (const subject of subjects) {
        process.stderr.write(`bench: round ${round} of ${rounds}: ${subject}\n`)
        all.push(
          ...(await runSubject(subject, { guest, executable, programs, width, repetitions, timeoutSeconds })),
        )
        if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(all, undefined, 1)}\n`)
      }
    }
  } finally {
    await rm(guest.directory, { recursive: true })
  }
  process.stdout.write(report(all.filter(({ program }) => programs.includes(program))))
  if (all.some(({ ok }) => !ok)) process.exitCode = 1
}

function readOptions(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS }).values
  } catch (error) {
    throw new BenchError('TV_BENCH_OPTION', (error as Error).message)
  }
}

function wholeNumber(option: string, text: string): number {
  if (/^[1-9]\d{0,6}$/.test(text)) return Number(text)
  throw new BenchError('TV_BENCH_OPTION', `${option} takes a whole number from 1.`)
}

function chooseSubjects(text: string | undefined): Subject[] {
  if (text === undefined) {
    const missing = whyNot('qemu-tcg')
    if (missing) process.stderr.write(`bench: not compared with qemu-tcg: ${missing}\n`)
    return missing ? ['interpreter'] : ['interpreter', 'qemu-tcg']
  }
  return text.split(',').map((name) => {
    const subject = SUBJECTS.find((each) => each === name)
    const reason = subject ? whyNot(subject) : `known are ${SUBJECTS.join(', ')}`
    if (subject && reason === undefined) return subject
    throw new BenchError('TV_BENCH_SUBJECT', `The subject ${name} cannot be measured here: ${reason}.`)
  })
}

function choosePrograms(text: string | undefined, known: readonly string[]): readonly string[] {
  const names = text?.split(',') ?? known
  const wrong = names.find((name) => !known.includes(name))
  if (wrong === undefined) return names
  throw new BenchError(
    'TV_BENCH_PROGRAM',
    `There is no program ${wrong}; known programs: ${known.join(', ')}.`,
  )
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  process.stderr.write(`bench: ${message} (${code ?? 'TV_INTERNAL'})\n`)
  process.exitCode = 2
}
