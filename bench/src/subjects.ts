import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { engineNames } from '@typevisor/host'
import type { Guest } from './guest.ts'
import { MarkReader } from './marks.ts'
import { unpackedPackages } from './packages.ts'
import { sampleProcess } from './process-sample.ts'
import { BOOT, type Measurement, type Subject, type Width } from './record.ts'

export const QEMU: Record<Width, string> = { 64: 'qemu-system-x86_64', 32: 'qemu-system-i386' }
const MEMORY_MIB = 512

/** How a subject is started and what it needs. */
interface Runner {
  whyNot: (width: Width) => string | undefined
  command: (guest: Guest, append: string) => Promise<string[]>
}

const ourEngine = (name: string): Runner => ({
  whyNot: () => (engineNames().includes(name) ? undefined : `this version has no engine ${name}`),
  command: async ({ kernel, initrd }, append) => [
    ...nodeProcess('guest-process.ts'),
    name,
    ...[String(MEMORY_MIB), kernel, initrd, append],
  ],
})

const RUNNERS: Record<Exclude<Subject, 'native'>, Runner> = {
  jit: ourEngine('jit'),
  interpreter: ourEngine('interpreter'),
  kvm: ourEngine('kvm'),
  'qemu-tcg': {
    whyNot: (width) =>
      spawnSync(QEMU[width], ['--version']).error ? `${QEMU[width]} is not installed` : undefined,
    command: async ({ width, kernel, initrd }, append) => [
      ...[
        QEMU[width],
        '-accel',
        'tcg',
        '-m',
        `${MEMORY_MIB}M`,
        '-no-reboot',
        '-nodefaults',
        '-display',
        'none',
      ],
      ...['-serial', 'stdio', '-kernel', kernel, '-initrd', initrd, '-append', append],
    ],
  },
  v86: {
    whyNot: (width) => {
      if (width === 64) return 'v86 has 32 bits only'
      return isInstalled('v86') ? undefined : 'v86 is not installed'
    },
    command: async ({ kernel, initrd }, append) => [
      ...nodeProcess('v86-process.ts'),
      // The package for npm comes without a BIOS.
      join(await unpackedPackages('seabios', ['seabios']), 'usr/share/seabios/bios-256k.bin'),
      ...[String(MEMORY_MIB), kernel, initrd, append],
    ],
  },
}

const nodeProcess = (file: string) => [process.execPath, fileURLToPath(new URL(file, import.meta.url))]

function isInstalled(name: string): boolean {
  try {
    return import.meta.resolve(name) !== ''
  } catch {
    return false
  }
}

/** Why a subject cannot be measured here, or undefined. */
export function whyNot(subject: Subject, width: Width): string | undefined {
  if (subject !== 'native') return RUNNERS[subject].whyNot(width)
  return process.arch === 'x64' && process.platform === 'linux' ? undefined : 'this host is not x86-64 Linux'
}

/** Whoever is measured when nobody is named: our fastest engine, and the others that are installed. */
export function standardSubjects(width: Width): Subject[] {
  const own: Subject = whyNot('jit', width) === undefined ? 'jit' : 'interpreter'
  return [own, ...(['qemu-tcg', 'v86'] as const).filter((each) => whyNot(each, width) === undefined)]
}

export interface RunOptions {
  guest: Guest
  executable: string
  programs: readonly string[]
  repetitions: number | undefined
  timeoutSeconds: number
}

/** One run of all programs. */
export async function runSubject(subject: Subject, options: RunOptions): Promise<Measurement[]> {
  if (subject !== 'native') {
    const { guest, programs } = options
    const command = await RUNNERS[subject].command(guest, kernelWords(options))
    return runPrograms(subject, command, options, programs)
  }
  const all: Measurement[] = []
  for (const program of options.programs.filter((name) => name !== BOOT)) {
    const args = ['-m', program, ...(options.repetitions === undefined ? [] : [String(options.repetitions)])]
    all.push(...(await runPrograms(subject, [options.executable, ...args], options, [program])))
  }
  return all
}

/** Starts a guest that says what it has to say by itself; its lines go to `onLine`. */
export async function startGuest(
  subject: Exclude<Subject, 'native'>,
  guest: Guest,
  onLine: (line: string) => void,
): Promise<Started> {
  return start(await RUNNERS[subject].command(guest, guest.commandLine), onLine)
}

export interface Started {
  child: ChildProcess
  closed: Promise<void>
}

function kernelWords({ guest, programs, repetitions }: RunOptions): string {
  const names = programs.filter((name) => name !== BOOT).join(',')
  const words = [guest.commandLine, `bench.programs=${names}`]
  if (repetitions !== undefined) words.push(`bench.repetitions=${repetitions}`)
  return words.join(' ')
}

async function runPrograms(
  subject: Subject,
  command: string[],
  { guest, timeoutSeconds }: RunOptions,
  programs: readonly string[],
): Promise<Measurement[]> {
  const { child, closed } = start(command, (line) => marks.line(line, look))
  const look = () => sampleProcess(child.pid)
  const marks = new MarkReader(subject, guest.width, look())
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutSeconds * 1e3)
  await closed
  clearTimeout(timer)
  return marks.finish(programs)
}

function start([command, ...args]: string[], onLine: (line: string) => void): Started {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const closed = new Promise<void>((resolve) =>
    child.on('close', () => resolve()).on('error', () => resolve()),
  )
  createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', onLine)
  return { child, closed }
}
