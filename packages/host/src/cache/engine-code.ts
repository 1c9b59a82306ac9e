/**
 * The interpreter's code, kept from one start to the next.
 *
 * A file is named by what it was made for and by a hash of all that it was made from: the source of the package of the engine. So what
 * one version keeps no other finds. It begins with a hash of the rest, and is written beside its place and renamed. Whatever is wrong
 * with it, or with its folder, the code is made anew.
 */
import { createHash, randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deserialize, serialize } from 'node:v8'
import type { InterpreterCode, KeepCode } from '@typevisor/x86'
import { cacheFolder } from './folder.ts'

const HASH_BYTES = 32
/** Files that are kept: those of other versions go when there are more. */
const KEPT = 8

/** Keeps code in a folder; `sources` is the folder of what it is made from. */
export function keepCodeIn(
  folder: string = join(cacheFolder(), 'engines'),
  sources: string = dirname(fileURLToPath(import.meta.resolve('@typevisor/x86'))),
): KeepCode {
  let version: string | undefined
  return (name, make) => {
    version ??= hashOfSources(sources)
    const path = join(folder, `${name}-${version}`)
    const known = read(path)
    if (known) return known
    const code = make()
    try {
      write(path, code)
      prune(folder)
    } catch {
      // A folder that cannot be written to makes later starts slower, nothing else.
    }
    return code
  }
}

function hashOfSources(folder: string): string {
  const hash = createHash('sha256')
  const names = readdirSync(folder, { recursive: true }) as string[]
  for (const name of names.filter((name) => /(?<!\.test)\.[jt]s$/.test(name)).sort())
    hash.update(`${name}\n`).update(readFileSync(join(folder, name)))
  return hash.digest('hex').slice(0, 32)
}

function read(path: string): InterpreterCode | undefined {
  try {
    const file = readFileSync(path)
    const [hash, rest] = [file.subarray(0, HASH_BYTES), file.subarray(HASH_BYTES)]
    return hash.equals(sha256(rest)) ? (deserialize(rest) as InterpreterCode) : undefined
  } catch {
    return undefined
  }
}

function write(path: string, code: InterpreterCode): void {
  const rest = serialize(code)
  mkdirSync(dirname(path), { recursive: true })
  const temporary = `${path}.${randomUUID()}`
  writeFileSync(temporary, Buffer.concat([sha256(rest), rest]))
  renameSync(temporary, path)
}

function prune(folder: string): void {
  const files = readdirSync(folder).map((name) => join(folder, name))
  const age = new Map(files.map((path) => [path, statSync(path).mtimeMs]))
  const newest = files.sort((a, b) => age.get(b)! - age.get(a)!)
  for (const path of newest.slice(KEPT)) rmSync(path)
}

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()
