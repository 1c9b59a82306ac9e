// A gcc for 64 bits compiles for 32 bits too when it has the libraries for it. Where they are not installed they come
// from Debian's packages into the user's cache, as images do.

import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { unpackedPackages } from './packages.ts'
import { BenchError, type Width } from './record.ts'

/** What gcc is to be told beside its usual options so that it makes static programs of that width. */
export async function compilerFlags(width: Width): Promise<readonly string[]> {
  requireTools(['make', 'gcc'])
  if (width === 64 || links32([])) return []
  const version = spawnSync('gcc', ['-dumpversion'], { encoding: 'utf8' }).stdout.trim().split('.', 1)[0]
  const root = await unpackedPackages(`gcc-${version}-32`, ['libc6-dev-i386', `lib32gcc-${version}-dev`])
  const flags = [
    `-B${join(root, 'usr/lib/gcc/x86_64-linux-gnu', version, '32')}`,
    `-B${join(root, 'usr/lib32')}`,
    `-L${join(root, 'usr/lib/gcc/x86_64-linux-gnu', version, '32')}`,
    `-L${join(root, 'usr/lib32')}`,
    `-isystem${join(root, 'usr/include')}`,
    '-idirafter/usr/include/x86_64-linux-gnu',
  ]
  if (links32(flags)) return flags
  throw new BenchError('TV_BENCH_COMPILE', 'gcc does not make 32-bit programs here; it needs gcc-multilib.')
}

function requireTools(tools: readonly string[]): void {
  const missing = tools.find((tool) => spawnSync(tool, ['--version']).error)
  if (missing === undefined) return
  throw new BenchError(
    'TV_BENCH_NO_COMPILER',
    `The programs are compiled here, and ${missing} is not installed.`,
  )
}

function links32(flags: readonly string[]): boolean {
  const input = '#include <stdio.h>\n#include <linux/types.h>\nint main(void) { return puts(""); }\n'
  const args = ['-m32', '-static', ...flags, '-x', 'c', '-', '-o', '/dev/null']
  return spawnSync('gcc', args, { input }).status === 0
}
