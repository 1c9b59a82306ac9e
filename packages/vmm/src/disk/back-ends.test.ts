import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../clock/manual-clock.ts'
import type { BlockBackend } from './block-backend.ts'
import { CachedDisk } from './cached-disk.ts'
import { MemoryFile } from './memory-file.ts'
import { MemoryOverlay } from './memory-overlay.ts'
import { createQcow2 } from './qcow2/create.ts'
import { Qcow2Disk } from './qcow2/qcow2-disk.ts'
import { RawDisk } from './raw.ts'
import { ReadOnlyDisk } from './read-only.ts'
import { LateFile } from './testing/late-file.ts'
import { Random } from './testing/random.ts'
import { ThrottledDisk } from './throttled-disk.ts'

const SIZE = 1 << 20

function raw(random: Random): BlockBackend {
  return new RawDisk(new LateFile(random, new Uint8Array(SIZE)))
}

async function qcow2(random: Random, clusterSize: number): Promise<Qcow2Disk> {
  const file = new LateFile(random)
  await createQcow2(file, { size: SIZE, clusterSize })
  return Qcow2Disk.open(file)
}

function throttled(disk: BlockBackend): BlockBackend {
  const clock = new ManualClock()
  const sleep = async (milliseconds: number) => clock.advance(milliseconds * 1e6 + 1)
  return new ThrottledDisk(disk, { bytesPerSecond: 1e6, operationsPerSecond: 100, clock, sleep })
}

/** Every way to have a disk of zeros. */
const BACK_ENDS: Record<string, (random: Random) => BlockBackend | Promise<BlockBackend>> = {
  raw,
  'qcow2 with clusters of 512 bytes': (random) => qcow2(random, 512),
  'qcow2 with clusters of 64 KiB': (random) => qcow2(random, 65536),
  'an overlay in memory': (random) => new MemoryOverlay(raw(random)),
  'a small cache': (random) => new CachedDisk(raw(random), { bytes: 65536, lineBytes: 4096 }),
  'a cache of qcow2': async (random) => new CachedDisk(await qcow2(random, 4096), { bytes: 1 << 18 }),
  'a throttle': (random) => throttled(raw(random)),
}

interface Request {
  start: number
  end: number
  done: Promise<void>
}

/** Uses a disk beside a model, with several requests in flight that touch different sectors. */
async function use(disk: BlockBackend, random: Random, steps: number): Promise<void> {
  const model = new Uint8Array(SIZE)
  let inFlight: Request[] = []
  for (let step = 0; step < steps; step++) {
    const start = 512 * random.below(SIZE / 512)
    const end = Math.min(SIZE, start + 512 * (1 + random.below(100)))
    for (const request of inFlight) if (request.start < end && start < request.end) await request.done
    const request: Request = { start, end, done: one(disk, model, random, start, end) }
    inFlight.push(request)
    void request.done.then(() => {
      inFlight = inFlight.filter((other) => other !== request)
    })
    if (inFlight.length > 8) await inFlight[0].done
  }
  await Promise.all(inFlight.map(({ done }) => done))
  await expectContent(disk, model, 0, SIZE)
}

async function one(
  disk: BlockBackend,
  model: Uint8Array,
  random: Random,
  start: number,
  end: number,
): Promise<void> {
  const part = model.subarray(start, end)
  const choice = random.below(20)
  if (choice < 9) {
    const bytes = new Uint8Array(end - start).fill(1 + random.below(255))
    bytes[0] = step(random)
    part.set(bytes)
    const middle = random.below(bytes.length)
    await disk.write(start, [bytes.subarray(0, middle), bytes.subarray(middle)])
  } else if (choice < 16) await expectContent(disk, model, start, end)
  else if (choice < 18) {
    part.fill(0)
    await disk.writeZeroes(start, end - start, choice === 16)
  } else if (choice < 19) {
    await disk.discard(start, end - start)
    await disk.read(start, [part])
  } else await disk.flush()
}

const step = (random: Random) => random.below(256)

async function expectContent(
  disk: BlockBackend,
  model: Uint8Array,
  start: number,
  end: number,
): Promise<void> {
  const bytes = new Uint8Array(end - start)
  const third = Math.floor(bytes.length / 3)
  await disk.read(start, [bytes.subarray(0, third), bytes.subarray(third)])
  assert.ok(Buffer.from(bytes).equals(model.subarray(start, end)), `${start} to ${end}`)
}

describe('block back ends', () => {
  for (const [name, make] of Object.entries(BACK_ENDS)) {
    it(`read what was written, with requests in flight: ${name}`, async () => {
      for (let seed = 1; seed <= 3; seed++) {
        const random = new Random(seed)
        await use(await make(random), random, 300)
      }
    })
    it(`refuse requests that leave the disk: ${name}`, async () => {
      const disk = await make(new Random(1))
      const requests: (() => unknown)[] = [
        () => disk.read(SIZE - 1, [new Uint8Array(2)]),
        () => disk.write(SIZE, [new Uint8Array(1)]),
        () => disk.read(-1, [new Uint8Array(1)]),
        () => disk.discard(SIZE, 1),
        () => disk.writeZeroes(0, SIZE + 1, true),
      ]
      for (const request of requests) {
        await assert.rejects(async () => request(), { code: 'TV_DISK_RANGE' })
      }
    })
  }
})

describe('an overlay in memory', () => {
  it('leaves what lies under it as it is', async () => {
    const file = new MemoryFile(new Uint8Array(SIZE).fill(7))
    const overlay = new MemoryOverlay(new RawDisk(file))
    await overlay.write(100, [new Uint8Array(10_000)])
    await overlay.writeZeroes(50_000, 100_000)
    assert.ok(file.bytes().every((byte) => byte === 7))
  })
  it('refuses to grow beyond its limit, and goes on with what it has', async () => {
    const overlay = new MemoryOverlay(new RawDisk(new MemoryFile(new Uint8Array(SIZE))), { maxBytes: 8192 })
    await overlay.write(0, [new Uint8Array(8192).fill(1)])
    await assert.rejects(async () => overlay.write(8192, [new Uint8Array(4096)]), {
      code: 'TV_DISK_NO_SPACE',
    })
    await overlay.write(0, [new Uint8Array(8192).fill(2)])
  })
  it('shows zeros behind where it was cut off', async () => {
    const overlay = new MemoryOverlay(new RawDisk(new MemoryFile(new Uint8Array(SIZE).fill(7))))
    await overlay.resize(5000)
    await overlay.resize(SIZE)
    const bytes = new Uint8Array(10_000)
    await overlay.read(0, [bytes])
    assert.deepEqual([bytes[4999], bytes[5000], bytes[9999]], [7, 0, 0])
  })
})

describe('a disk for reading only', () => {
  it('refuses every change', async () => {
    const disk = new ReadOnlyDisk(new RawDisk(new MemoryFile(new Uint8Array(512))))
    for (const change of [
      () => disk.write(),
      () => disk.discard(),
      () => disk.writeZeroes(),
      () => disk.resize(),
    ]) {
      await assert.rejects(async () => change(), { code: 'TV_DISK_READ_ONLY' })
    }
  })
})

describe('a cache', () => {
  it('holds writes back until they are flushed', async () => {
    const file = new MemoryFile(new Uint8Array(SIZE))
    const disk = new CachedDisk(new RawDisk(file))
    await disk.write(5, [Uint8Array.of(1)])
    assert.equal(file.bytes()[5], 0)
    await disk.flush()
    assert.equal(file.bytes()[5], 1)
  })
})

describe('a throttle', () => {
  it('lets through as many bytes as it is told to', async () => {
    const clock = new ManualClock()
    const disk = new ThrottledDisk(new RawDisk(new MemoryFile(new Uint8Array(SIZE))), {
      bytesPerSecond: 100_000,
      clock,
      sleep: async (milliseconds) => clock.advance(milliseconds * 1e6 + 1),
    })
    for (let i = 0; i < 10; i++) await disk.read(0, [new Uint8Array(100_000)])
    assert.ok(clock.now() > 9.8e9 && clock.now() < 10.1e9, `${clock.now()} ns`)
  })
})
