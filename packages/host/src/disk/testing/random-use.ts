import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { type CreateQcow2Options, createQcow2, type DiskError, Qcow2Disk } from '@typevisor/vmm/disk'
import { diskCodecs } from '../codecs.ts'
import { NodeFile } from '../node-file.ts'
import { faultsOf, qemuImg } from './qemu.ts'
import { Random } from './random.ts'

const SECTOR = 512

interface Model {
  bytes: Uint8Array
  snapshots: Map<string, Uint8Array>
}

/** Uses an image in every way at random, beside a model in memory, and lets qemu-img judge the result. */
export async function useAtRandom(options: {
  folder: { path: (name: string) => string }
  seed: number
  steps: number
  image?: Omit<CreateQcow2Options, 'size'>
}): Promise<void> {
  const { folder, seed, steps, image = {} } = options
  const random = new Random(seed)
  const path = folder.path(`random-${seed}.qcow2`)
  const size = (4 << 20) + SECTOR * random.below(4096)
  const file = await NodeFile.open(path, { create: true })
  await createQcow2(file, { size, ...image })
  await file.close()
  const model: Model = { bytes: new Uint8Array(size), snapshots: new Map() }
  let disk = await open(path)
  for (let step = 0; step < steps; step++) {
    if (random.below(20) === 0) {
      await disk.close()
      assert.equal(faultsOf(path), undefined, `after step ${step} of seed ${seed}`)
      disk = await open(path)
    } else await useOnce(disk, model, random)
    assert.equal(disk.size, model.bytes.length)
  }
  await disk.close()
  assert.equal(faultsOf(path), undefined, `at the end of seed ${seed}`)
  compare(path, model, folder.path('expected'))
}

async function open(path: string): Promise<Qcow2Disk> {
  const file = await NodeFile.open(path)
  file.sync = async () => {} // no host crashes here, and it is most of the time
  return Qcow2Disk.open(file, { codecs: diskCodecs })
}

/** By frequency. */
const USES =
  'write write write write write read read read flush zero discard snapshot restore delete resize compress'.split(
    ' ',
  )

async function useOnce(disk: Qcow2Disk, model: Model, random: Random): Promise<void> {
  const offset = SECTOR * random.below(disk.size / SECTOR)
  const sectors = random.below(8) === 0 ? random.below(4000) : random.below(60)
  const length = Math.min(disk.size - offset, SECTOR * (1 + sectors))
  const names = [...model.snapshots.keys()]
  switch (random.pick(USES)) {
    case 'write': {
      const bytes = random.bytes(length)
      const middle = random.below(length)
      await disk.write(offset, [bytes.subarray(0, middle), bytes.subarray(middle)])
      model.bytes.set(bytes, offset)
      return
    }
    case 'read':
      return expectRead(disk, model, offset, length)
    case 'flush':
      return disk.flush()
    case 'zero':
      await disk.writeZeroes(offset, length, random.below(2) === 0)
      model.bytes.fill(0, offset, offset + length)
      return
    case 'discard': {
      await disk.discard(offset, length)
      await disk.read(offset, [model.bytes.subarray(offset, offset + length)])
      return
    }
    case 'snapshot': {
      const name = `snapshot ${names.length} at ${offset}`
      if (names.includes(name)) return
      if (await couldSnapshot(disk, name)) model.snapshots.set(name, model.bytes.slice())
      return
    }
    case 'restore': {
      if (names.length === 0) return
      const name = random.pick(names)
      await disk.applySnapshot(name)
      model.bytes = model.snapshots.get(name)!.slice()
      return
    }
    case 'delete': {
      if (names.length === 0) return
      const name = random.pick(names)
      await disk.deleteSnapshot(name)
      model.snapshots.delete(name)
      return
    }
    case 'resize': {
      const bytes = new Uint8Array(SECTOR * (1 + random.below(12000)))
      await disk.resize(bytes.length)
      bytes.set(model.bytes.subarray(0, bytes.length))
      model.bytes = bytes
      return
    }
    case 'compress': {
      const start = offset - (offset % disk.clusterSize)
      const bytes = new Uint8Array(Math.min(disk.clusterSize, disk.size - start)).fill(random.below(256))
      await disk.writeCompressed(start, bytes)
      model.bytes.set(bytes, start)
    }
  }
}

/** Small refcounts are used up by a few snapshots. */
async function couldSnapshot(disk: Qcow2Disk, name: string): Promise<boolean> {
  try {
    await disk.createSnapshot(name, { time: 1.7e12 })
    return true
  } catch (error) {
    assert.equal((error as DiskError).code, 'TV_DISK_LIMIT')
    return false
  }
}

async function expectRead(disk: Qcow2Disk, model: Model, offset: number, length: number): Promise<void> {
  const bytes = new Uint8Array(length)
  await disk.read(offset, [bytes])
  assert.ok(
    Buffer.from(bytes).equals(model.bytes.subarray(offset, offset + length)),
    'what was written is read',
  )
}

function compare(path: string, model: Model, expected: string): void {
  writeFileSync(expected, model.bytes)
  qemuImg('compare', '-f', 'qcow2', '-F', 'raw', path, expected)
  for (const [name, bytes] of model.snapshots) {
    qemuImg('convert', '-f', 'qcow2', '-l', `snapshot.name=${name}`, '-O', 'raw', path, expected)
    const found = readFileSync(expected) // of the disk's size, not of the snapshot's
    const length = Math.min(found.length, bytes.length)
    assert.ok(found.subarray(0, length).equals(bytes.subarray(0, length)), `${name} is what it was`)
  }
}
