import { spawn, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { engineNames } from '@typevisor/host'
import type { Guest } from './guest.ts'
import { type Clocks, MarkReader } from './marks.ts'
import { BOOT, type Measurement, type Subject } from './record.ts'

const GUEST_PROCESS = fileURLToPath(new URL('guest-process.ts', import.meta.url))
const QEMU = 'qemu-system-x86_64'
const MEMORY_MIB = 512

export interface RunOptions {
  guest: Guest
  executable: string
  programs: readonly string[]
  width: 32 | 64
  repetitions: number | undefined
  timeoutSeconds: number
}

/** Why a subject cannot be measured here, or undefined. */
export function whyNot(subject: Subject): string | undefined {
  switch (subject) {
    case 'jit':
    case 'interpreter':
    case 'kvm':
      return engineNames().includes(subject) ? undefined : `this version has no engine ${subject}`
    case 'qemu-tcg':
      return spawnSync(QEMU, ['--version']).error ? `${QEMU} is not installed` : undefined
    case 'native':
      return process.arch === 'x64' && process.platform === 'linux'
        ? undefined
        : 'this host is not x86-64 Linux'
    case 'v86':
      return 'this version has no runner for v86'
  }
}

/** One run of all programs. */
export async function runSubject(subject: Subject, options: RunOptions): Promise<Measurement[]> {
  if (subject !== 'native') return runProcess(subject, commandOf(subject, options), options, options.programs)
  const all: Measurement[] = []
  for (const program of options.programs.filter((name) => name !== BOOT)) {
    const args = ['-m', program, ...(options.repetitions === undefined ? [] : [String(options.repetitions)])]
    all.push(...(await runProcess(subject, [options.executable, ...args], options, [program])))
  }
  return all
}

function commandOf(subject: Subject, { guest, programs, repetitions }: RunOptions): string[] {
  const names = programs.filter((name) => name !== BOOT).join(',')
  const words = [`bench.programs=${names}`]
  if (repetitions !== undefined) words.push(`bench.repetitions=${repetitions}`)
  const { kernel, initrd, commandLine } = guest
  const append = [commandLine, ...words].join(' ')
  if (subject === 'qemu-tcg') {
    const machine = ['-accel', 'tcg', '-m', `${MEMORY_MIB}M`, '-no-reboot', '-nodefaults', '-display', 'none']
    return [QEMU, ...machine, '-serial', 'stdio', '-kernel', kernel, '-initrd', initrd, '-append', append]
  }
  return [process.execPath, GUEST_PROCESS, subject, String(MEMORY_MIB), kernel, initrd, append]
}

async function runProcess(
  subject: Subject,
  [command, ...args]: string[],
  { width, timeoutSeconds }: RunOptions,
  programs: readonly string[],
): Promise<Measurement[]> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const clocks = (): Clocks => ({ wall: performance.now() / 1e3, cpu: cpuSeconds(child.pid) })
  const marks = new MarkReader(subject, width, clocks())
  const closed = new Promise<void>((resolve) =>
    child.on('close', () => resolve()).on('error', () => resolve()),
  )
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutSeconds * 1e3)
  createInterface({ input: child.stdout, crlfDelay: Infinity }).on('line', (line) =>
    marks.line(line, clocks()),
  )
  await closed
  clearTimeout(timer)
  return marks.finish(programs)
}

/** User and system time of a process. proc(5), "/proc/pid/stat"; USER_HZ is 100 on all of Linux's architectures here. */
function cpuSeconds(pid: number | undefined): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) / 100
  } catch {
    return null
  }
}
