import { rm } from 'node:fs/promises'
import type { BenchRecord } from './bench-record.ts'
import { ALL_PROGRAMS } from './groups.ts'
import { buildBenchGuest, buildPrograms, type Guest } from './guest.ts'
import { describeHost } from './host-description.ts'
import { type BenchOptions, choosePrograms } from './options.ts'
import { BOOT, type Subject, type Width } from './record.ts'
import { type RunOptions, runSubject } from './subjects.ts'

/** A guest of one width, with those who are to run it. */
interface Course {
  run: RunOptions
  directory: string
  subjects: readonly Subject[]
}

/** Runs all rounds; `onRun` is told after each run what there is so far. */
export async function measure(
  options: BenchOptions,
  onRun: (record: BenchRecord) => Promise<void>,
): Promise<BenchRecord> {
  const courses: Course[] = []
  try {
    for (const { width, subjects } of options.subjects) {
      courses.push({ subjects, ...(await prepare(width, options)) })
    }
    const guests: Guest[] = courses.map(({ run }) => run.guest)
    const record: BenchRecord = { version: 1, host: describeHost(guests), measurements: [] }
    await runRounds(courses, options.rounds, record, onRun)
    return record
  } finally {
    for (const { directory } of courses) await rm(directory, { recursive: true })
  }
}

async function prepare(
  width: Width,
  { programs, repetitions, timeoutSeconds }: BenchOptions,
): Promise<{ run: RunOptions; directory: string }> {
  const chosen = choosePrograms(programs, [BOOT, ...ALL_PROGRAMS])
  const executable = await buildPrograms(width)
  const { directory, ...guest } = await buildBenchGuest(width, executable)
  return { directory, run: { guest, executable, programs: chosen, repetitions, timeoutSeconds } }
}

/** Subjects take turns, so that a busy host is unfair to all of them. */
async function runRounds(
  courses: readonly Course[],
  rounds: number,
  record: BenchRecord,
  onRun: (record: BenchRecord) => Promise<void>,
): Promise<void> {
  for (let round = 1; round <= rounds; round++) {
    for (const { run, subjects } of courses) {
      for (const subject of subjects) {
        process.stderr.write(`bench: round ${round} of ${rounds}: ${subject}, ${run.guest.width} bits\n`)
        const measured = await runSubject(subject, run)
        record.measurements.push(...measured.filter(({ program }) => run.programs.includes(program)))
        await onRun(record)
      }
    }
  }
}
