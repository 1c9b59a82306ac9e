import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { killWriters } from './testing/kill.ts'
import { temporaryFolder, whyWithout } from './testing/qemu.ts'

describe('a process that is killed while it writes', { skip: whyWithout('qemu-img') }, () => {
  for (const clusterSize of [4096, 65536]) {
    it(`leaves an image that is clean and holds what was flushed, with clusters of ${clusterSize}`, async () => {
      using folder = temporaryFolder()
      const flushes = await killWriters({
        path: folder.path('image'),
        seed: 1,
        rounds: 12,
        image: { clusterSize },
      })
      assert.ok(flushes > 12)
    })
  }
})
