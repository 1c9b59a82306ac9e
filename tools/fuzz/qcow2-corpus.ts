// The images that the fuzzer damages, as recipes: they are made anew for each run.

import { readFileSync } from 'node:fs'
import { diskCodecs } from '../../packages/host/src/disk/codecs.ts'
import { qemuImg, qemuIo, temporaryFolder, whyWithout } from '../../packages/host/src/disk/testing/qemu.ts'
import {
  type CreateQcow2Options,
  createQcow2,
  MemoryFile,
  Qcow2Disk,
  RawDisk,
} from '../../packages/vmm/src/disk/index.ts'

export interface Seed {
  name: string
  image: Uint8Array
}

const SIZE = 1 << 20

const OURS: Record<string, Omit<CreateQcow2Options, 'size'>> = {
  'ours, version 2': { version: 2, clusterSize: 4096 },
  'ours, 512-byte clusters': { clusterSize: 512 },
  'ours, 64-bit refcounts': { clusterSize: 1024, refcountBits: 64 },
  'ours, 1-bit refcounts': { clusterSize: 4096, refcountBits: 1 },
  'ours, zstd': { clusterSize: 4096, compression: 'zstd' },
  'ours, with a backing file': { clusterSize: 4096, backing: { name: 'base', format: 'raw' } },
}

const QEMU: Record<string, { options: string; steps: (path: string) => void }> = {
  'QEMU, lazy refcounts, left dirty': {
    options: 'cluster_size=4k,lazy_refcounts=on',
    steps: (path) => {
      try {
        qemuIo('-c', 'write -P 3 0 100k', '-c', 'flush', '-c', 'abort', path)
      } catch {
        // it aborts, as it was told to
      }
    },
  },
  'QEMU, snapshots': {
    options: 'cluster_size=4k',
    steps: (path) => {
      qemuIo('-c', 'write -P 3 0 100k', '-c', 'write -z 200k 50k', path)
      qemuImg('snapshot', '-c', 'one', path)
      qemuIo('-c', 'write -P 4 50k 100k', '-c', 'write -c -P 5 512k 4k', path)
      qemuImg('snapshot', '-c', 'two', path)
    },
  },
  'QEMU, 64 KiB clusters and a bitmap': {
    options: 'cluster_size=64k',
    steps: (path) => {
      qemuIo('-c', 'write -P 3 0 200k', path)
      qemuImg('bitmap', '--add', path, 'changes')
    },
  },
}

export async function makeCorpus(): Promise<Seed[]> {
  const seeds: Seed[] = []
  for (const [name, options] of Object.entries(OURS)) seeds.push({ name, image: await makeOurs(options) })
  if (whyWithout('qemu-img') || whyWithout('qemu-io')) return seeds
  for (const [name, { options, steps }] of Object.entries(QEMU)) {
    using folder = temporaryFolder()
    const path = folder.path('image')
    qemuImg('create', '-q', '-f', 'qcow2', '-o', options, path, String(SIZE))
    steps(path)
    seeds.push({ name, image: readFileSync(path) })
  }
  return seeds
}

async function makeOurs(options: Omit<CreateQcow2Options, 'size'>): Promise<Uint8Array> {
  const file = new MemoryFile()
  await createQcow2(file, { size: SIZE, ...options })
  const disk = await Qcow2Disk.open(file, {
    codecs: diskCodecs,
    openBacking: async () => new RawDisk(new MemoryFile(new Uint8Array(SIZE / 2).fill(1))),
  })
  await disk.write(0, [new Uint8Array(100_000).fill(2)])
  await disk.writeZeroes(200_000, 50_000, false)
  await disk.writeCompressed(512 * 1024, new Uint8Array(disk.clusterSize).fill(3))
  await disk.writeCompressed(512 * 1024 + disk.clusterSize, new Uint8Array(disk.clusterSize).fill(4))
  if (options.refcountBits !== 1) {
    await disk.createSnapshot('one', { time: 0 })
    await disk.write(50_000, [new Uint8Array(100_000).fill(5)])
  }
  await disk.close()
  return file.bytes()
}
