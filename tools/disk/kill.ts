/**
 * Kills processes that write to qcow2 images, at random moments, and has qemu-img check what they leave.
 *
 *   node tools/disk/kill.ts [--rounds N] [--seed S]
 */
import { parseArgs } from 'node:util'
import { killWriters } from '../../packages/host/src/disk/testing/kill.ts'
import { temporaryFolder } from '../../packages/host/src/disk/testing/qemu.ts'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '200' }, seed: { type: 'string', default: '1' } },
})
const ROUNDS_PER_IMAGE = 20
const CLUSTER_SIZES = [4096, 65536, 2 << 20]

let flushes = 0
for (let done = 0; done < Number(values.rounds); done += ROUNDS_PER_IMAGE) {
  using folder = temporaryFolder()
  const clusterSize = CLUSTER_SIZES[(done / ROUNDS_PER_IMAGE) % CLUSTER_SIZES.length]
  const rounds = Math.min(ROUNDS_PER_IMAGE, Number(values.rounds) - done)
  flushes += await killWriters({
    path: folder.path('image'),
    seed: Number(values.seed) + done,
    rounds,
    image: { clusterSize },
  })
  console.log(`${done + rounds} kills, ${flushes} flushes held, every image clean`)
}
