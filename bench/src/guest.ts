import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { type CpioEntry, writeCpio } from '@typevisor/host'
import { buildImage, ImageStore } from '@typevisor/host/images'
import { BenchError, type Width } from './record.ts'
import { compilerFlags } from './toolchain.ts'

const SOURCES = fileURLToPath(new URL('../vmbench', import.meta.url))

/** Compiles the programs, statically; gives the path of the executable. */
export async function buildPrograms(width: Width): Promise<string> {
  const target = `out${width}/vmbench`
  const flags = (await compilerFlags(width)).join(' ')
  const args = ['-s', '-C', SOURCES, target, `EXTRA32=${flags}`]
  const { status, stderr } = spawnSync('make', args, { encoding: 'utf8' })
  if (status === 0) return join(SOURCES, target)
  const first = stderr.split('\n').find((line) => /error|Error|fatal/.test(line)) ?? stderr.trim()
  throw new BenchError('TV_BENCH_COMPILE', `The programs cannot be compiled for ${width} bits: ${first}`)
}

export interface Guest {
  width: Width
  kernel: string
  kernelVersion: string
  initrd: string
  commandLine: string
}

const IMAGES: Record<Width, string> = { 64: 'tiny', 32: 'tiny32' }

/** The image tiny of that width with files of ours laid over its own. The caller removes `directory`. */
export async function buildGuest(
  width: Width,
  overlay: readonly CpioEntry[],
): Promise<Guest & { directory: string }> {
  const store = new ImageStore()
  const name = IMAGES[width]
  const progress = (line: string) => process.stderr.write(`bench: ${line} ...\n`)
  const { directory: from, record } =
    (await store.find(name)) ?? (await buildImage(name, { store, progress }))
  const directory = await mkdtemp(join(tmpdir(), 'typevisor-bench-'))
  const initrd = join(directory, 'initramfs.gz')
  // Linux unpacks archives one after the other; what comes later replaces what was there.
  const archives = [await readFile(join(from, record.initrd)), gzipSync(writeCpio(overlay))]
  await writeFile(initrd, Buffer.concat(archives))
  const { kernelVersion, commandLine } = record
  return { directory, width, kernel: join(from, record.kernel), kernelVersion, initrd, commandLine }
}

/** The guest of the benchmark: its init runs the programs that the command line names. */
export async function buildBenchGuest(
  width: Width,
  executable: string,
): Promise<Guest & { directory: string }> {
  return buildGuest(width, [
    executableFile('init', await readFile(new URL('init', import.meta.url))),
    executableFile('vmbench', await readFile(executable)),
  ])
}

export function executableFile(path: string, data: Uint8Array): CpioEntry {
  return { kind: 'file', path, mode: 0o755, data }
}
