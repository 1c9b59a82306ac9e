// Runs a guest that does fork and exec of ever new code, and tells each minute how fast it still is and what its
// process uses: a recompiler's caches fill, and must be emptied without stopping the guest.

import { spawnSync } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { failWith } from './failure.ts'
import { buildGuest, executableFile, type Guest } from './guest.ts'
import { wholeNumber } from './options.ts'
import { memoryBytes, sampleProcess } from './process-sample.ts'
import { BenchError, SUBJECTS, type Subject, type Width } from './record.ts'
import { SHORTEST_MINUTES, SoakLog } from './soak-log.ts'
import { standardSubjects, startGuest, whyNot } from './subjects.ts'
import { compilerFlags } from './toolchain.ts'

const SOURCES = fileURLToPath(new URL('../soak', import.meta.url))

const HELP = `Usage: npm run soak -- [OPTION]...

Boots a guest that runs ever new code, and prints for each minute how many programs it ran. At the end the last minute
must have 95 % of the second's throughput by the process's own time, and memory must have stopped growing.

Options:
  --minutes N     How long, from ${SHORTEST_MINUTES}; 20 by default.
  --engine NAME   Who runs the guest: ${SUBJECTS.filter((each) => each !== 'native').join(', ')};
                  by default jit, or interpreter where there is none.
  --width 32|64   Width of the guest; 64 by default.
  --help          Show this help.
`

const OPTIONS = {
  minutes: { type: 'string', default: '20' },
  engine: { type: 'string' },
  width: { type: 'string', default: '64' },
  help: { type: 'boolean', short: 'h' },
} as const

async function main(args: string[]): Promise<void> {
  const values = parse(args)
  if (values.help) return void process.stdout.write(HELP)
  const width = values.width === '32' ? 32 : 64
  if (values.width !== String(width)) throw new BenchError('TV_BENCH_OPTION', '--width is 32 or 64.')
  const minutes = wholeNumber('--minutes', values.minutes)
  if (minutes < SHORTEST_MINUTES) {
    throw new BenchError('TV_BENCH_OPTION', `A soak takes ${SHORTEST_MINUTES} minutes at least.`)
  }
  const subject = chooseEngine(values.engine ?? standardSubjects(width)[0], width)
  const { directory, ...guest } = await buildSoakGuest(width)
  try {
    tellVerdict(await soak(subject, guest, minutes))
  } finally {
    await rm(directory, { recursive: true })
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS }).values
  } catch (error) {
    throw new BenchError('TV_BENCH_OPTION', (error as Error).message)
  }
}

function chooseEngine(name: string, width: Width): Exclude<Subject, 'native'> {
  const subject = SUBJECTS.find((each) => each === name)
  if (subject === undefined || subject === 'native') {
    throw new BenchError('TV_BENCH_SUBJECT', `There is no engine ${name} for a soak.`)
  }
  const reason = whyNot(subject, width)
  if (reason === undefined) return subject
  throw new BenchError('TV_BENCH_SUBJECT', `The engine ${name} cannot be measured here: ${reason}.`)
}

async function buildSoakGuest(width: Width): Promise<Guest & { directory: string }> {
  const target = `out${width}/soak`
  const flags = (await compilerFlags(width)).join(' ')
  const args = ['-s', '-C', SOURCES, target, `EXTRA32=${flags}`]
  const { status, stderr } = spawnSync('make', args, { encoding: 'utf8' })
  if (status !== 0) {
    throw new BenchError('TV_BENCH_COMPILE', `The soak's program cannot be compiled: ${stderr.trim()}`)
  }
  return buildGuest(width, [
    executableFile('init', await readFile(join(SOURCES, 'init'))),
    executableFile('soak', await readFile(join(SOURCES, target))),
  ])
}

/** Runs until the minutes are over or the guest is. */
async function soak(subject: Exclude<Subject, 'native'>, guest: Guest, minutes: number): Promise<SoakLog> {
  const log = new SoakLog()
  let told = 0
  const { child, closed } = await startGuest(subject, guest, (line) => {
    const [, programs, wrong] = /^SOAK (\d+) (\d+)/.exec(line) ?? []
    if (programs === undefined) return
    const { wall: seconds, cpu: cpuSeconds } = sampleProcess(child.pid)
    const rssBytes = memoryBytes(child.pid, 'VmRSS')
    log.add({ seconds, programs: Number(programs), wrong: Number(wrong), rssBytes, cpuSeconds })
    told = tellMinutes(log, told)
    if (told === minutes) child.kill('SIGKILL')
  })
  await closed
  return log
}

/** Prints the minutes that were not told yet; gives how many there are. */
function tellMinutes(log: SoakLog, told: number): number {
  const minutes = log.minutes()
  for (const [i, { programsPerSecond, programsPerCpuSecond, rssBytes }] of minutes.entries()) {
    if (i < told) continue
    const cpu = programsPerCpuSecond === null ? '' : ` (${programsPerCpuSecond.toFixed(1)} per CPU second)`
    const memory = rssBytes === null ? 'unknown' : `${(rssBytes / 2 ** 20).toFixed(0)} MiB`
    process.stdout.write(`minute ${i + 1}: ${programsPerSecond.toFixed(1)} programs/s${cpu}, RSS ${memory}\n`)
  }
  return minutes.length
}

function tellVerdict(log: SoakLog): void {
  const { complaints } = log.judge()
  for (const complaint of complaints) process.stdout.write(`soak: does not hold: ${complaint}\n`)
  if (complaints.length === 0) process.stdout.write('soak: throughput and memory hold\n')
  else process.exitCode = 1
}

await main(process.argv.slice(2)).catch(failWith)
