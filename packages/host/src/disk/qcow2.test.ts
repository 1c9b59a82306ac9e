import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { type CreateQcow2Options, createQcow2, Qcow2Disk, RawDisk } from '@typevisor/vmm/disk'
import { diskCodecs } from './codecs.ts'
import { NodeFile } from './node-file.ts'
import { faultsOf, qemuImg, qemuIo, temporaryFolder, whyWithout } from './testing/qemu.ts'
import { Random } from './testing/random.ts'
import { useAtRandom } from './testing/random-use.ts'
import { SlowFile } from './testing/slow-file.ts'

const skip = whyWithout('qemu-img') || whyWithout('qemu-io')

const IMAGES: Record<string, Omit<CreateQcow2Options, 'size'>> = {
  'the defaults': {},
  'version 2': { version: 2 },
  'clusters of 512 bytes and refcounts of 64 bits': { clusterSize: 512, refcountBits: 64 },
  'clusters of 4 KiB and refcounts of 8 bits': { clusterSize: 4096, refcountBits: 8 },
  'refcounts of 1 bit': { refcountBits: 1 },
  'clusters of 2 MiB, zstd and lazy refcounts': {
    clusterSize: 2 << 20,
    compression: 'zstd',
    lazyRefcounts: true,
  },
}

async function open(path: string, readOnly = false): Promise<Qcow2Disk> {
  return Qcow2Disk.open(await NodeFile.open(path, { readOnly }), {
    codecs: diskCodecs,
    openBacking: async () => new RawDisk(await NodeFile.open(`${path}.base`, { readOnly: true })),
  })
}

async function useBlindly(disk: Qcow2Disk, random: Random): Promise<void> {
  const offset = random.below(disk.size)
  const length = Math.min(disk.size - offset, random.below(100_000))
  const cluster = offset - (offset % disk.clusterSize)
  const choice = random.below(40)
  if (choice < 18) await disk.write(offset, [random.bytes(length)])
  else if (choice < 24) await disk.discard(offset, length)
  else if (choice < 28) await disk.writeZeroes(offset, length, choice < 26)
  else if (choice < 32) await disk.writeCompressed(cluster, new Uint8Array(disk.clusterSize).fill(choice))
  else if (choice < 38) await disk.flush()
  else if (choice === 38) await disk.createSnapshot(String(random.below(1e9)), { time: 0 })
  else await disk.deleteSnapshot(disk.snapshots[0]?.name ?? '').catch(() => {}) // another was faster
}

async function readAll(disk: Qcow2Disk): Promise<Buffer> {
  const bytes = Buffer.alloc(disk.size)
  await disk.read(0, [bytes])
  return bytes
}

describe('qcow2 beside QEMU', { skip }, () => {
  for (const [name, image] of Object.entries(IMAGES)) {
    it(`is as QEMU sees it after writes, snapshots, resizes and discards, with ${name}`, async () => {
      using folder = temporaryFolder()
      await useAtRandom({ folder, seed: 1, steps: image.clusterSize === 2 << 20 ? 15 : 30, image })
    })
  }

  it('is clean at every moment, with many requests in flight', async () => {
    using folder = temporaryFolder()
    for (const clusterSize of [512, 65536]) {
      const random = new Random(clusterSize)
      const images: Uint8Array[] = []
      const file: SlowFile = new SlowFile(random, () => {
        if (images.length < 12 && random.below(12) === 0) images.push(file.bytes())
      })
      await createQcow2(file, { size: 2 << 20, clusterSize })
      images.length = 0
      const disk = await Qcow2Disk.open(file, { codecs: diskCodecs })
      const inFlight = new Set<Promise<void>>()
      for (let i = 0; i < 300; i++) {
        const request = useBlindly(disk, random).finally(() => inFlight.delete(request))
        inFlight.add(request)
        if (inFlight.size > 12) await Promise.race(inFlight)
      }
      await Promise.all(inFlight)
      await disk.close()
      for (const image of [...images, file.bytes()]) {
        writeFileSync(folder.path('image'), image)
        assert.equal(faultsOf(folder.path('image')), undefined)
      }
      assert.equal(images.length, 12)
    }
  })

  it('reads what qemu-img has converted, compressed or not', async () => {
    using folder = temporaryFolder()
    const random = new Random(5)
    const content = Buffer.concat([random.bytes(700_000), Buffer.alloc(300_000), random.bytes(200_000)])
    writeFileSync(folder.path('raw'), content)
    for (const options of [
      'compat=0.10',
      'compression_type=zlib',
      'compression_type=zstd',
      'cluster_size=512',
    ]) {
      for (const compressed of [[], ['-c']]) {
        const path = folder.path('image')
        qemuImg('convert', ...compressed, '-O', 'qcow2', '-o', options, folder.path('raw'), path)
        const disk = await open(path)
        const read = (await readAll(disk)).subarray(0, content.length)
        assert.ok(read.equals(content), `${options} ${compressed}`)
        await disk.write(65536 * 3 + 700, [Buffer.alloc(70_000, 9)])
        await disk.close()
        assert.equal(faultsOf(path), undefined)
      }
    }
  })

  it('writes compressed clusters that QEMU unpacks', async () => {
    using folder = temporaryFolder()
    for (const compression of ['zlib', 'zstd'] as const) {
      const path = folder.path(compression)
      const file = await NodeFile.open(path, { create: true })
      await createQcow2(file, { size: 640 * 1024, compression })
      const disk = await Qcow2Disk.open(file, { codecs: diskCodecs })
      const text = Buffer.from('all work and no play makes a dull guest. '.repeat(20_000)).subarray(
        0,
        disk.size,
      )
      for (let at = 0; at < disk.size; at += 65536)
        await disk.writeCompressed(at, text.subarray(at, at + 65536))
      await disk.close()
      assert.equal(faultsOf(path), undefined)
      writeFileSync(folder.path('raw'), text)
      qemuImg('compare', '-f', 'qcow2', '-F', 'raw', path, folder.path('raw'))
      assert.match(qemuImg('info', path), /compression type: z/)
    }
  })

  it('writes over a backing file, copying around what is written', async () => {
    using folder = temporaryFolder()
    for (const version of [2, 3] as const) {
      const path = folder.path(`image${version}`)
      const base = new Random(3).bytes(1 << 20)
      writeFileSync(`${path}.base`, base)
      const file = await NodeFile.open(path, { create: true })
      await createQcow2(file, {
        size: 2 << 20,
        version,
        backing: { name: `image${version}.base`, format: 'raw' },
      })
      await file.close()
      const disk = await open(path)
      const expected = Buffer.concat([base, Buffer.alloc(1 << 20)])
      await disk.write(100_000, [Buffer.alloc(200_000, 1)])
      expected.fill(1, 100_000, 300_000)
      await disk.writeZeroes(400_000, 300_000, true)
      expected.fill(0, 400_000, 700_000)
      await disk.write((1 << 20) - 5, [Buffer.alloc(10, 2)])
      expected.fill(2, (1 << 20) - 5, (1 << 20) + 5)
      await disk.resize(512 * 1024)
      await disk.resize(2 << 20)
      expected.fill(0, 512 * 1024)
      assert.ok((await readAll(disk)).equals(expected))
      await disk.close()
      assert.equal(faultsOf(path), undefined)
      writeFileSync(folder.path('expected'), expected)
      qemuImg('compare', '-f', 'qcow2', '-F', 'raw', path, folder.path('expected'))
    }
  })

  it('repairs what QEMU left dirty with lazy refcounts', async () => {
    using folder = temporaryFolder()
    const path = folder.path('image')
    qemuImg('create', '-f', 'qcow2', '-o', 'lazy_refcounts=on', path, '8M')
    try {
      qemuIo('-c', 'write -P 7 0 1M', '-c', 'write -P 8 3M 64k', '-c', 'flush', '-c', 'abort', path)
    } catch {
      // it aborts, as it was told to
    }
    assert.match(faultsOf(path) ?? '', /ERROR/)
    const disk = await open(path)
    await disk.write(5 << 20, [Buffer.alloc(4096, 9)])
    const bytes = await readAll(disk)
    await disk.close()
    assert.equal(faultsOf(path), undefined)
    assert.deepEqual([bytes[0], bytes[3 << 20], bytes[5 << 20]], [7, 8, 9])
  })

  it('keeps no bitmaps that it does not keep true, and leaks nothing of them', async () => {
    using folder = temporaryFolder()
    const path = folder.path('image')
    qemuImg('create', '-f', 'qcow2', path, '8M')
    qemuImg('bitmap', '--add', path, 'changes')
    await (await open(path)).close()
    assert.equal(faultsOf(path), undefined)
    assert.doesNotMatch(qemuImg('info', path), /changes/)
  })

  it('takes over snapshots of QEMU, and QEMU those of ours', async () => {
    using folder = temporaryFolder()
    const path = folder.path('image')
    qemuImg('create', '-f', 'qcow2', path, '4M')
    qemuIo('-c', 'write -P 1 0 1M', path)
    qemuImg('snapshot', '-c', 'theirs', path)
    const disk = await open(path)
    assert.deepEqual(
      disk.snapshots.map(({ id, name }) => ({ id, name })),
      [{ id: '1', name: 'theirs' }],
    )
    await disk.write(0, [Buffer.alloc(1 << 20, 2)])
    await disk.createSnapshot('ours', { time: Date.UTC(2026, 1, 3) })
    await disk.applySnapshot('theirs')
    assert.equal((await readAll(disk))[5], 1)
    await disk.deleteSnapshot('theirs')
    await disk.close()
    assert.equal(faultsOf(path), undefined)
    assert.match(qemuImg('snapshot', '-l', path), /2 +ours .*2026-02-03/)
    qemuImg('snapshot', '-a', 'ours', path)
    qemuIo('-r', '-c', 'read -P 2 0 1M', path)
  })
})
