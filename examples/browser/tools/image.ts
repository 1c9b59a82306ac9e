import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const TYPEVISOR = fileURLToPath(new URL('../../../packages/cli/src/main.ts', import.meta.url))

/** Runs the command `typevisor` and gives its standard output. */
export function typevisor(...args: string[]): string {
  const stdio: ['ignore', 'pipe', 'inherit'] = ['ignore', 'pipe', 'inherit']
  const { status, stdout, error } = spawnSync(process.execPath, [TYPEVISOR, ...args], {
    encoding: 'utf8',
    stdio,
  })
  if (status === 0) return stdout
  throw new Error(`typevisor ${args.join(' ')} failed`, { cause: error })
}

/** Where an image lies, or undefined when it was not built. */
export function imageDirectory(name: string): string | undefined {
  const images = JSON.parse(typevisor('image', 'ls', '--json')) as { name: string; directory: string }[]
  return images.find((image) => image.name === name)?.directory
}
