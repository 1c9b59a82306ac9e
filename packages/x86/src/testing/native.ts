/** Running cases on the host's own CPU: compiles the harness with the host's C compiler and feeds it batches. */
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  CODE_ADDRESS,
  CODE_BYTES,
  DATA_ADDRESS,
  DATA_BYTES,
  type Mode,
  newRecord,
  normalizeOutcome,
  OFFSET,
  PAGE_BYTES,
  RECORD_BYTES,
  recordAt,
  STOP_BREAKPOINT,
  STOP_SYSTEM_CALL,
  STOP_TIMEOUT,
  set64,
} from './state-record.ts'

const SOURCE: URL = new URL('../../../../tools/truth/native/harness.c', import.meta.url)

/** The host cannot be the oracle, or the harness failed. */
export class NativeError extends Error {
  readonly code = 'TV_NATIVE_HARNESS'
}

/** Why this host cannot run cases natively, or undefined where it can. */
export function whyNotNative(): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'needs an x86-64 Linux host'
  if (spawnSync('gcc', ['--version']).status !== 0) return 'needs gcc'
  return undefined
}

/** Features whose names in /proc/cpuinfo are not the manual's with the dot as a line; some kernels leave LZCNT's out. */
const LINUX_NAMES: Readonly<Record<string, string>> = {
  sse3: 'pni',
  pcid: 'pcid',
  lzcnt: 'bmi2',
  lahf: 'lahf_lm',
}

/** Whether user mode on this host has an instruction's CPUID feature. */
export function hostHas(feature: string): boolean {
  const flags = /^flags\s*: (.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' ') ?? []
  return flags.includes(LINUX_NAMES[feature] ?? feature.replace('.', '_'))
}

function macros(): string[] {
  const offsets = Object.entries(OFFSET).map(([name, value]) => `OFFSET_${name.toUpperCase()}=${value}`)
  const others = {
    CODE_ADDRESS,
    CODE_BYTES,
    DATA_ADDRESS,
    DATA_BYTES,
    PAGE_BYTES,
    RECORD_BYTES,
    STOP_SYSTEM_CALL,
    STOP_TIMEOUT,
  }
  return [...offsets, ...Object.entries(others).map(([name, value]) => `${name}=${value}`)].map(
    (m) => `-D${m}`,
  )
}

/** Compiles the harness into the user's cache directory, once per source and layout; returns its path. */
export function compileHarness(): string {
  const args = ['-O2', '-Wall', '-Wextra', '-Werror', '-fno-stack-protector', '-mfsgsbase', ...macros()]
  const key = createHash('sha256')
    .update(readFileSync(SOURCE))
    .update(args.join(' '))
    .digest('hex')
    .slice(0, 16)
  const directory = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'typevisor', 'truth')
  const program = join(directory, `harness-${key}`)
  if (existsSync(program)) return program
  mkdirSync(directory, { recursive: true })
  const temporary = `${program}.${process.pid}`
  try {
    execFileSync('gcc', [...args, '-o', temporary, SOURCE.pathname], { stdio: 'pipe' })
  } catch (error) {
    throw new NativeError(
      `gcc cannot compile the native harness: ${(error as { stderr?: Buffer }).stderr ?? error}`,
    )
  }
  renameSync(temporary, program)
  return program
}

/** The host's CPU as an engine for batches. */
export class NativeCpu {
  readonly #program = compileHarness()
  readonly #directory = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'typevisor-truth-'))

  /**
   * Runs `count` records from `cases` and writes their normalized outcomes to `outcomes`.
   * Throws when the harness dies, naming the case.
   */
  run(cases: Uint8Array, outcomes: Uint8Array, count: number): void {
    const bytes = count * RECORD_BYTES
    const [input, output] = [join(this.#directory, 'in'), join(this.#directory, 'out')]
    const writer = openSync(input, 'w')
    writeAll(writer, cases, bytes)
    closeSync(writer)
    const [stdin, stdout] = [openSync(input, 'r'), openSync(output, 'w+')]
    try {
      const result = spawnSync(this.#program, { stdio: [stdin, stdout, 'pipe'] })
      const have = readAll(stdout, outcomes, bytes)
      if (have < bytes) {
        const batch = Math.floor(have / RECORD_BYTES)
        throw new NativeError(
          `the native harness ended (${result.signal ?? result.status}) in the batch from case ${batch} of ${count}: ${result.stderr}`,
        )
      }
    } finally {
      closeSync(stdin)
      closeSync(stdout)
    }
    for (let i = 0; i < count; i++) normalizeOutcome(recordAt(outcomes, i * RECORD_BYTES))
  }

  /** The modes that the host's kernel has: some have no segment for 32-bit code. */
  modes(): readonly Mode[] {
    const record = newRecord()
    record.bytes.fill(0xcc, OFFSET.code, OFFSET.data)
    set64(record.view, OFFSET.rip, CODE_ADDRESS)
    record.view.setUint32(OFFSET.mode, 32, true)
    this.run(record.bytes, record.bytes, 1)
    return record.view.getUint32(OFFSET.stop, true) === STOP_BREAKPOINT ? [64, 32] : [64]
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

function writeAll(fd: number, bytes: Uint8Array, length: number): void {
  for (let at = 0; at < length; ) at += writeSync(fd, bytes, at, length - at)
}
function readAll(fd: number, bytes: Uint8Array, length: number): number {
  let at = 0
  while (at < length) {
    const n = readSync(fd, bytes, at, length - at, at)
    if (n === 0) break
    at += n
  }
  return at
}
