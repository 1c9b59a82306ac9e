/**
 * Uses qcow2 images at random, beside a model in memory, and has qemu-img judge them.
 *
 *   node tools/disk/random.ts [--seeds N] [--first S] [--steps N]
 */
import { parseArgs } from 'node:util'
import { temporaryFolder } from '../../packages/host/src/disk/testing/qemu.ts'
import { useAtRandom } from '../../packages/host/src/disk/testing/random-use.ts'
import type { CreateQcow2Options } from '../../packages/vmm/src/disk/index.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '50' },
    first: { type: 'string', default: '1' },
    steps: { type: 'string', default: '150' },
  },
})

const IMAGES: readonly Omit<CreateQcow2Options, 'size'>[] = [
  {},
  { version: 2 },
  { clusterSize: 512, refcountBits: 64 },
  { clusterSize: 1024, refcountBits: 32, compression: 'zstd' },
  { clusterSize: 4096, refcountBits: 8 },
  { clusterSize: 16384, refcountBits: 2 },
  { refcountBits: 1 },
]

for (let seed = Number(values.first); seed < Number(values.first) + Number(values.seeds); seed++) {
  using folder = temporaryFolder()
  const image = IMAGES[seed % IMAGES.length]
  await useAtRandom({ folder, seed, steps: Number(values.steps), image })
  console.log(`seed ${seed}: clean and equal, with ${JSON.stringify(image)}`)
}
