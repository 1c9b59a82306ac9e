import { spawnSync } from 'node:child_process'
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { buildImage, ImageStore, writeCpio } from '@typevisor/host'
import { BenchError } from './record.ts'

const SOURCES = fileURLToPath(new URL('../vmbench', import.meta.url))

/** Compiles the programs, statically; gives the path of the executable. */
export function buildPrograms(width: 32 | 64): string {
  for (const tool of ['make', 'gcc']) {
    if (spawnSync(tool, ['--version']).error) {
      throw new BenchError(
        'TV_BENCH_NO_COMPILER',
        `The programs are compiled here, and ${tool} is not installed.`,
      )
    }
  }
  const target = `out${width}/vmbench`
  const { status, stderr } = spawnSync('make', ['-s', '-C', SOURCES, target], { encoding: 'utf8' })
  if (status === 0) return join(SOURCES, target)
  const first = stderr.split('\n').find((line) => /error|Error|fatal/.test(line)) ?? stderr.trim()
  throw new BenchError('TV_BENCH_COMPILE', `The programs cannot be compiled for ${width} bits: ${first}`)
}

/** Names of the programs in the executable, in its order. */
export function programNames(executable: string): string[] {
  const { stdout, status } = spawnSync(executable, ['-l'], { encoding: 'utf8' })
  if (status !== 0) throw new BenchError('TV_BENCH_LIST', `${executable} does not run on this host.`)
  return stdout
    .trim()
    .split('\n')
    .map((line) => line.split(' ', 1)[0])
}

export interface Guest {
  kernel: string
  initrd: string
  commandLine: string
}

/** The image tiny, with the programs and an init of ours laid over its own. */
export async function buildGuest(executable: string): Promise<Guest & { directory: string }> {
  const store = new ImageStore()
  const progress = (line: string) => process.stderr.write(`bench: ${line} ...\n`)
  const image = (await store.find('tiny')) ?? (await buildImage('tiny', { store, progress }))
  const overlay = writeCpio([
    { kind: 'file', path: 'init', mode: 0o755, data: await readFile(new URL('init', import.meta.url)) },
    { kind: 'file', path: 'vmbench', mode: 0o755, data: await readFile(executable) },
  ])
  const directory = await mkdtemp(join(tmpdir(), 'typevisor-bench-'))
  const initrd = join(directory, 'initramfs.gz')
  // Linux unpacks archives one after the other; what comes later replaces what was there.
  await writeFile(
    initrd,
    Buffer.concat([await readFile(join(image.directory, image.record.initrd)), gzipSync(overlay)]),
  )
  const kernel = join(image.directory, image.record.kernel)
  return { directory, kernel, initrd, commandLine: image.record.commandLine }
}
