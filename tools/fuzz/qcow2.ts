/**
 * Damages qcow2 images at random and uses them. Whatever an image holds, only a `DiskError` may come of it, soon, and
 * with little memory.
 *
 *   node tools/fuzz/qcow2.ts [--seconds N] [--seed S] [--case N]
 *
 * Ends with status 1 at the first case that fails; `--seed S --case N` runs that case alone.
 */
import { parseArgs } from 'node:util'
import { isMainThread, Worker } from 'node:worker_threads'
import { diskCodecs } from '../../packages/host/src/disk/codecs.ts'
import { Random } from '../../packages/host/src/disk/testing/random.ts'
import {
  type Buffers,
  type Completion,
  DiskError,
  MemoryFile,
  Qcow2Disk,
  RawDisk,
} from '../../packages/vmm/src/disk/index.ts'
import { makeCorpus, type Seed } from './qcow2-corpus.ts'

const LONGEST_CASE_MS = 10_000
/** More than any image of the corpus may grow to. */
const MOST_BYTES = 1 << 26
const MOST_SIZE = 1 << 24

/** A file that ends somewhere, as file systems do. */
class SmallFile extends MemoryFile {
  override write(offset: number, buffers: Buffers): Completion {
    if (offset + buffers.reduce((sum, { length }) => sum + length, 0) > MOST_BYTES) {
      throw new DiskError('TV_DISK_NO_SPACE', 'The file is full.')
    }
    return super.write(offset, buffers)
  }
}

export interface FuzzResult {
  cases: number
  opened: number
  failure?: { index: number; seed: string; error: unknown }
}

export async function fuzz(options: {
  seed: number
  seconds: number
  only?: number
  onCase?: (index: number) => void
}): Promise<FuzzResult> {
  const corpus = await makeCorpus()
  const end = performance.now() + options.seconds * 1000
  const result: FuzzResult = { cases: 0, opened: 0 }
  for (let index = options.only ?? 0; options.only === undefined || index === options.only; index++) {
    if (performance.now() > end) break
    options.onCase?.(index)
    const random = new Random(Math.imul(options.seed, 0x9e37_79b1) + index)
    const seed = random.pick(corpus)
    const start = performance.now()
    try {
      if (await runCase(seed, random)) result.opened++
      const took = performance.now() - start
      if (took > LONGEST_CASE_MS) throw new Error(`it took ${took} ms`)
    } catch (error) {
      return { ...result, failure: { index, seed: seed.name, error } }
    }
    result.cases++
  }
  return result
}

/** Returns whether the image could be opened. */
async function runCase(seed: Seed, random: Random): Promise<boolean> {
  const image = damage(seed.image, random)
  const readOnly = random.below(4) === 0
  const file = readOnly ? new MemoryFile(image, { readOnly }) : new SmallFile(image)
  const openBacking = async () => new RawDisk(new MemoryFile(new Uint8Array(5000).fill(9)))
  let disk: Qcow2Disk | undefined
  await allowed(async () => {
    disk = await Qcow2Disk.open(file, { codecs: diskCodecs, openBacking })
  })
  if (!disk) return false
  for (let step = 0; step < 12; step++) await allowed(() => useOnce(disk!, random))
  await allowed(() => disk!.close())
  await allowed(async () => {
    const again = await Qcow2Disk.open(new MemoryFile(file.bytes(), { readOnly: true }), {
      codecs: diskCodecs,
      openBacking,
    })
    await again.read(0, [new Uint8Array(Math.min(again.size, MOST_SIZE))])
  })
  return true
}

/** Errors for the operator are what is expected; all others are bugs. */
async function allowed(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof DiskError)) throw error
  }
}

const USES = 'read read write write zero discard flush snapshot apply delete resize compress'.split(' ')

async function useOnce(disk: Qcow2Disk, random: Random): Promise<void> {
  const size = Math.min(disk.size, MOST_SIZE)
  const offset = random.below(size) + (random.below(8) === 0 ? Math.max(0, disk.size - size) : 0)
  const length = Math.max(
    0,
    Math.min(disk.size - offset, random.below(random.below(6) === 0 ? size : 20_000)),
  )
  const name = random.pick([...disk.snapshots.map((snapshot) => snapshot.name), 'new'])
  switch (random.pick(USES)) {
    case 'read':
      return disk.read(offset, [new Uint8Array(length)])
    case 'write':
      return disk.write(offset, [random.bytes(length)])
    case 'zero':
      return disk.writeZeroes(offset, length, random.below(2) === 0)
    case 'discard':
      return disk.discard(offset, length)
    case 'flush':
      return disk.flush()
    case 'snapshot':
      return disk.createSnapshot(`s${random.below(100)}`, { time: 0 })
    case 'apply':
      return disk.applySnapshot(name)
    case 'delete':
      return disk.deleteSnapshot(name)
    case 'resize':
      return disk.resize(512 * random.below(MOST_SIZE / 256))
    case 'compress': {
      const start = offset - (offset % disk.clusterSize)
      return disk.writeCompressed(start, new Uint8Array(Math.min(disk.clusterSize, disk.size - start)))
    }
  }
}

function damage(image: Uint8Array, random: Random): Uint8Array {
  const damaged = image.slice()
  for (let count = 1 + random.below(6); count > 0; count--) damageOnce(damaged, random)
  if (random.below(12) === 0) return damaged.slice(0, random.below(damaged.length))
  return damaged
}

const HEADER = 112

function damageOnce(image: Uint8Array, random: Random): void {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength)
  const clusterSize = 2 ** (view.getUint32(20) % 32)
  switch (random.below(6)) {
    case 0: // a byte of the header
      image[random.below(HEADER)] = random.below(256)
      return
    case 1: // a field of the header
      view.setUint32(4 * random.below(HEADER / 4), interesting(image, view, random) % 2 ** 32)
      return
    case 2: {
      // a bit anywhere
      const at = random.below(image.length)
      image[at] ^= 1 << random.below(8)
      return
    }
    case 3: {
      // one cluster over another
      const clusters = Math.max(1, Math.floor(image.length / clusterSize))
      const from = random.below(clusters) * clusterSize
      image.copyWithin(random.below(clusters) * clusterSize, from, from + clusterSize)
      return
    }
    default: // an entry of a table
      setEntry(image, view, random, clusterSize)
  }
}

/** Changes one of the 8-byte words that are not 0 now, mostly: those are in tables. */
function setEntry(image: Uint8Array, view: DataView, random: Random, clusterSize: number): void {
  for (let attempt = 0; attempt < 50; attempt++) {
    const cluster = random.below(Math.ceil(image.length / clusterSize)) * clusterSize
    const at = cluster + 8 * random.below(Math.min(clusterSize / 8, 32))
    if (at + 8 > image.length || (view.getUint32(at + 4) === 0 && attempt < 49)) continue
    const flags = random.pick([0, 0x8000_0000, 0x4000_0000, 0xc000_0000, 0x3f00_0000])
    const value = interesting(image, view, random)
    view.setUint32(at, ((Math.floor(value / 2 ** 32) & 0x3fff_ffff) | flags) >>> 0)
    view.setUint32(at + 4, value % 2 ** 32)
    return
  }
}

/** Values at which readers break: offsets of tables, ends, powers of two and what is beside them. */
function interesting(image: Uint8Array, view: DataView, random: Random): number {
  const pointers = [8, 24, 40, 48, 64].map((at) =>
    Number(view.getBigUint64(at % image.length) & 0x1f_ffff_ffff_ffffn),
  )
  const base = random.pick([0, image.length, 2 ** random.below(53), random.below(image.length), ...pointers])
  return Math.max(0, base + random.pick([0, 0, 0, 1, -1, 512, 4096, -4096, 65536]))
}

/** Ends the process when a case does not end. */
function watch(cases: Int32Array): void {
  const code = `
    const { workerData } = require('node:worker_threads')
    let last = -1
    setInterval(() => {
      const now = Atomics.load(workerData, 0)
      if (now === last) { console.error('case ' + now + ' hangs'); process.kill(process.pid, 'SIGKILL') }
      last = now
    }, ${2 * LONGEST_CASE_MS})`
  new Worker(code, { eval: true, workerData: cases }).unref()
}

if (import.meta.main && isMainThread) {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      case: { type: 'string' },
    },
  })
  const cases = new Int32Array(new SharedArrayBuffer(4))
  watch(cases)
  const result = await fuzz({
    seed: Number(values.seed),
    seconds: Number(values.seconds),
    ...(values.case !== undefined && { only: Number(values.case) }),
    onCase: (index) => Atomics.store(cases, 0, index),
  })
  const memory = Math.round(process.resourceUsage().maxRSS / 1024)
  console.log(`seed ${values.seed}: ${result.cases} cases, ${result.opened} opened, at most ${memory} MiB`)
  if (result.failure) {
    console.error(`case ${result.failure.index} (${result.failure.seed}):`, result.failure.error)
    process.exitCode = 1
  }
}
