import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

export interface BuiltPage extends AsyncDisposable {
  /** What a static host is given, but for the folder `guest`. */
  readonly directory: string
}

/** Builds the page into a directory of its own. */
export async function buildPage(): Promise<BuiltPage> {
  const directory = await mkdtemp(join(tmpdir(), 'typevisor-page-'))
  const options = { outDir: directory, emptyOutDir: true }
  await build({ root: ROOT, logLevel: 'warn', publicDir: false, build: options })
  return {
    directory,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  }
}
