import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { type CreateQcow2Options, createQcow2, Qcow2Disk } from '@typevisor/vmm/disk'
import { NodeFile } from '../node-file.ts'
import { Allowed, BLOCK, BLOCKS, type KillOrder, nextOperation } from './kill-workload.ts'
import { faultsOf } from './qemu.ts'
import { Random } from './random.ts'

const CHILD = fileURLToPath(new URL('kill-child.ts', import.meta.url))
const LONGEST_MS = 150
/** No process gets so far in the time that it has. */
const MOST_OPERATIONS = 100_000

/** Kills writers of one image, one after the other, and looks at what they leave. Returns the flushes that were held. */
export async function killWriters(options: {
  path: string
  seed: number
  rounds: number
  image?: Omit<CreateQcow2Options, 'size'>
}): Promise<number> {
  const { path, seed, rounds, image = {} } = options
  const random = new Random(seed)
  const file = await NodeFile.open(path, { create: true })
  await createQcow2(file, { size: BLOCKS * BLOCK, ...image })
  await file.close()
  let stamps: Float64Array = new Float64Array(BLOCKS)
  let flushes = 0
  let next = startWriter()
  for (let round = 0; round < rounds; round++) {
    const first = round * MOST_OPERATIONS
    const order = { path, seed: random.below(2 ** 31), first }
    const writer = next
    if (round + 1 < rounds) next = startWriter()
    const lines = await runAndKill(writer, order, random.below(LONGEST_MS))
    assert.equal(faultsOf(path), undefined, `round ${round} of seed ${seed}`)
    stamps = await check(path, stamps, new Random(order.seed), first, lines.at(-1) ?? first)
    flushes += lines.length
  }
  return flushes
}

/** Starts a process that is ready to write: most of its life would be its start. */
function startWriter(): ChildProcess {
  return spawn(process.execPath, [CHILD], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'typevisor-compile-cache') },
  })
}

/** Kills a writer some milliseconds after its first flush; returns what it said it had flushed. */
async function runAndKill(child: ChildProcess, order: KillOrder, milliseconds: number): Promise<number[]> {
  const lines: number[] = []
  const errors: string[] = []
  child.stderr!.on('data', (text) => errors.push(String(text)))
  const closed = once(child, 'close')
  const reader = createInterface(child.stdout!)
  reader.on('line', (line) => lines.push(Number(line)))
  child.stdin!.write(`${JSON.stringify(order)}\n`)
  await Promise.race([once(reader, 'line'), closed])
  await new Promise((resolve) => setTimeout(resolve, milliseconds))
  child.kill('SIGKILL')
  await closed
  assert.equal(errors.join(''), '')
  return lines
}

/** Every block holds what was flushed, or what was written to it later; returns what they hold. */
async function check(
  path: string,
  before: Float64Array,
  random: Random,
  first: number,
  flushed: number,
): Promise<Float64Array> {
  const allowed = new Allowed(before)
  for (let index = first; index < flushed + 1000; index++) {
    allowed.apply(nextOperation(random, index), index < flushed)
  }
  const disk = await Qcow2Disk.open(await NodeFile.open(path, { readOnly: true }))
  const content = new Float64Array((BLOCKS * BLOCK) / 8)
  await disk.read(0, [new Uint8Array(content.buffer)])
  await disk.close()
  const perBlock = BLOCK / 8
  return Float64Array.from({ length: BLOCKS }, (_, block) => {
    const stamp = content[block * perBlock]
    assert.ok(allowed.allows(block, stamp), `block ${block} holds what operation ${stamp - 1} wrote`)
    assert.equal(content[(block + 1) * perBlock - 1], stamp, `block ${block} is whole`)
    return stamp
  })
}
