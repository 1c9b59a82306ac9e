import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MemoryFile } from '../memory-file.ts'
import { LateFile } from '../testing/late-file.ts'
import { Random } from '../testing/random.ts'
import { type CreateQcow2Options, createQcow2 } from './create.ts'
import { FIELD } from './header.ts'
import { Qcow2Disk } from './qcow2-disk.ts'

const MIB = 1 << 20

async function imageFile(options: Partial<CreateQcow2Options> = {}): Promise<MemoryFile> {
  const file = new MemoryFile()
  await createQcow2(file, { size: 8 * MIB, ...options })
  return file
}

async function byteAt(disk: Qcow2Disk, offset: number): Promise<number> {
  const bytes = new Uint8Array(1)
  await disk.read(offset, [bytes])
  return bytes[0]
}

/** An image with another value in a field of 4 bytes. */
async function withField(
  offset: number,
  value: number,
  options?: Partial<CreateQcow2Options>,
): Promise<MemoryFile> {
  const file = await imageFile(options)
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  file.write(offset, [bytes])
  return file
}

describe('a qcow2 image', () => {
  const refusals: [string, string, () => Promise<MemoryFile>][] = [
    ['that is none', 'TV_DISK_FORMAT', async () => new MemoryFile(new Uint8Array(1000))],
    ['that is empty', 'TV_DISK_FORMAT', async () => new MemoryFile()],
    [
      'that is cut off in its header',
      'TV_DISK_CORRUPT',
      async () => new MemoryFile((await imageFile()).bytes().slice(0, 80)),
    ],
    ['of version 4', 'TV_DISK_UNSUPPORTED', () => withField(FIELD.version, 4)],
    ['with clusters of 4 MiB', 'TV_DISK_UNSUPPORTED', () => withField(FIELD.clusterBits, 22)],
    ['with clusters of 256 bytes', 'TV_DISK_UNSUPPORTED', () => withField(FIELD.clusterBits, 8)],
    ['that is encrypted', 'TV_DISK_UNSUPPORTED', () => withField(FIELD.cryptMethod, 1)],
    ['with an external data file', 'TV_DISK_UNSUPPORTED', () => withField(FIELD.incompatible + 4, 4)],
    ['with an unknown feature', 'TV_DISK_UNSUPPORTED', () => withField(FIELD.incompatible, 0x100)],
    ['with refcounts of 128 bits', 'TV_DISK_UNSUPPORTED', () => withField(FIELD.refcountOrder, 7)],
    ['that is marked as corrupt', 'TV_DISK_CORRUPT', () => withField(FIELD.incompatible + 4, 2)],
    ['with an L1 table of 1 GiB', 'TV_DISK_LIMIT', () => withField(FIELD.l1Size, 1 << 27)],
    ['with an L1 table that is too small', 'TV_DISK_CORRUPT', () => withField(FIELD.l1Size, 0)],
    ['with an L1 table outside of the file', 'TV_DISK_CORRUPT', () => withField(FIELD.l1Offset, 1)],
    ['with tables that overlap', 'TV_DISK_CORRUPT', () => withField(FIELD.l1Offset + 4, 65536)],
    [
      'with a refcount table of 1 TiB',
      'TV_DISK_LIMIT',
      () => withField(FIELD.refcountTableClusters, 1 << 24),
    ],
    ['with a million snapshots', 'TV_DISK_LIMIT', () => withField(FIELD.snapshotCount, 1_000_000)],
    [
      'over a backing file, if nobody opens it',
      'TV_DISK_BACKING',
      () => imageFile({ backing: { name: 'base' } }),
    ],
  ]
  for (const [which, code, make] of refusals) {
    it(`${which}, is refused`, async () => {
      await assert.rejects(async () => Qcow2Disk.open(await make()), { code })
    })
  }

  it('names the feature that it needs, as the image calls it', async () => {
    await assert.rejects(
      async () => Qcow2Disk.open(await withField(FIELD.incompatible + 4, 16)),
      /extended L2 entries/,
    )
  })

  it('does not let a guest write into its tables, wherever L2 entries point', async () => {
    const file = await imageFile()
    const first = await Qcow2Disk.open(file)
    await first.write(0, [new Uint8Array(65536).fill(1)])
    await first.close()
    const image = file.bytes()
    const view = new DataView(image.buffer)
    const l1 = Number(view.getBigUint64(FIELD.l1Offset))
    const l2 = Number(view.getBigUint64(l1) & 0xff_ffff_ffff_fe00n)
    for (const target of [0, Number(view.getBigUint64(FIELD.refcountTableOffset)), l1, l2]) {
      view.setBigUint64(l2, (1n << 63n) | BigInt(target) | (target === 0 ? 1n << 40n : 0n))
      const disk = await Qcow2Disk.open(new MemoryFile(image.slice()))
      await assert.rejects(async () => disk.write(0, [new Uint8Array(10)]), { code: 'TV_DISK_CORRUPT' })
      if (target === 0) continue
      await assert.rejects(async () => disk.discard(0, 65536), { code: 'TV_DISK_CORRUPT' })
    }
  })

  it('keeps its file small: what is discarded is used again', async () => {
    const file = await imageFile()
    const disk = await Qcow2Disk.open(file)
    for (let round = 0; round < 20; round++) {
      await disk.write(0, [new Uint8Array(2 * MIB).fill(round)])
      await disk.flush()
      await disk.discard(0, 2 * MIB)
      await disk.flush()
    }
    assert.ok(file.size() < 5 * MIB, `${file.size()} bytes`)
  })

  it('goes on after the file had no room, with nothing lost', async () => {
    const file = new LateFile(new Random(1))
    await createQcow2(file, { size: 8 * MIB })
    const disk = await Qcow2Disk.open(file)
    await disk.write(0, [new Uint8Array(MIB).fill(1)])
    file.mostBytes = file.size()
    await assert.rejects(async () => disk.write(MIB, [new Uint8Array(MIB).fill(2)]), {
      code: 'TV_DISK_NO_SPACE',
    })
    await assert.rejects(async () => disk.flush(), { code: 'TV_DISK_NO_SPACE' })
    file.mostBytes = Infinity
    await disk.write(MIB, [new Uint8Array(MIB).fill(2)])
    await disk.close()
    const again = await Qcow2Disk.open(new MemoryFile(file.memory.bytes()))
    assert.deepEqual(
      [await byteAt(again, 0), await byteAt(again, MIB), await byteAt(again, 2 * MIB)],
      [1, 2, 0],
    )
  })

  it('has whole images at each write, for whoever is killed there', async () => {
    const file = await imageFile({ clusterSize: 4096, size: MIB })
    const images: Uint8Array[] = []
    const write = file.write.bind(file)
    file.write = (offset, buffers) => {
      const done = write(offset, buffers)
      images.push(file.bytes())
      return done
    }
    const disk = await Qcow2Disk.open(file)
    await disk.write(0, [new Uint8Array(100_000).fill(1)])
    await disk.flush()
    await disk.createSnapshot('before', { time: 0 })
    await disk.write(50_000, [new Uint8Array(100_000).fill(2)])
    await disk.flush()
    await disk.applySnapshot('before')
    await disk.deleteSnapshot('before')
    await disk.resize(2 * MIB)
    const seen = new Set<string>()
    for (const image of images) {
      const found = await Qcow2Disk.open(new MemoryFile(image))
      const bytes = [await byteAt(found, 0), await byteAt(found, 60_000), await byteAt(found, 120_000)]
      seen.add(`${bytes} ${found.snapshots.length} ${found.size / MIB}`)
    }
    assert.deepEqual([...seen], ['0,0,0 0 1', '1,1,0 0 1', '1,1,0 1 1', '1,2,2 1 1', '1,1,0 0 2'])
  })

  it('refuses a snapshot where refcounts have 1 bit, and stays as it was', async () => {
    const disk = await Qcow2Disk.open(await imageFile({ refcountBits: 1 }))
    await disk.write(0, [Uint8Array.of(5)])
    await assert.rejects(disk.createSnapshot('one', { time: 0 }), { code: 'TV_DISK_LIMIT' })
    assert.equal(disk.snapshots.length, 0)
    assert.equal(await byteAt(disk, 0), 5)
    await disk.write(100_000, [Uint8Array.of(6)])
    await disk.flush()
  })

  it('refuses snapshots that are not there, and names that are taken', async () => {
    const disk = await Qcow2Disk.open(await imageFile())
    await disk.createSnapshot('one', { time: 0 })
    for (const attempt of [
      disk.createSnapshot('one', { time: 0 }),
      disk.applySnapshot('two'),
      disk.deleteSnapshot(''),
    ]) {
      await assert.rejects(attempt, { code: 'TV_DISK_SNAPSHOT' })
    }
  })

  it('lets requests wait while a snapshot is made', async () => {
    const disk = await Qcow2Disk.open(await imageFile())
    await disk.write(0, [Uint8Array.of(1)])
    const snapshot = disk.createSnapshot('one', { time: 0 })
    await Promise.all([snapshot, disk.write(0, [Uint8Array.of(2)])])
    assert.equal(await byteAt(disk, 0), 2)
    await disk.applySnapshot('one')
    assert.equal(await byteAt(disk, 0), 1)
  })

  it('is resized while requests and flushes are in flight', async () => {
    const file = new LateFile(new Random(7))
    await createQcow2(file, { size: MIB, clusterSize: 512 })
    const disk = await Qcow2Disk.open(file)
    const work: unknown[] = []
    for (let round = 1; round <= 10; round++) {
      work.push(disk.write(round * 5000, [new Uint8Array(5000).fill(round)]), disk.flush())
      work.push(disk.resize((round % 2 === 0 ? 1 : 40) * MIB), disk.flush())
    }
    await Promise.all(work)
    await disk.close()
    const again = await Qcow2Disk.open(new MemoryFile(file.memory.bytes()))
    for (let round = 1; round <= 10; round++) assert.equal(await byteAt(again, round * 5000), round)
    assert.equal(again.size, MIB)
  })

  it('answers nothing when it is closed', async () => {
    const disk = await Qcow2Disk.open(await imageFile())
    await disk.close()
    await assert.rejects(async () => disk.read(0, [new Uint8Array(1)]), { code: 'TV_DISK_CLOSED' })
  })

  it('cannot be made with sizes that the format does not have', async () => {
    const wrong: Partial<CreateQcow2Options>[] = [
      { size: -1 },
      { size: 1000 },
      { clusterSize: 1000 },
      { clusterSize: 4 * MIB },
      { version: 2, refcountBits: 8 },
      { version: 2, compression: 'zstd' },
      { backing: { name: 'x'.repeat(1024) } },
    ]
    for (const options of wrong) await assert.rejects(imageFile(options), { code: 'TV_DISK_OPTION' })
    await assert.rejects(imageFile({ size: 2 ** 40, clusterSize: 512 }), { code: 'TV_DISK_LIMIT' })
  })
})
