// The process to be killed. Is told image, seed and first operation in a line; says after each flush how many it holds.

import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { Qcow2Disk } from '@typevisor/vmm/disk'
import { NodeFile } from '../node-file.ts'
import { BLOCK, type KillOrder, nextOperation, type Operation, stamped } from './kill-workload.ts'
import { Random } from './random.ts'

flushCompileCache() // it will not be done at the end

const [line] = (await once(process.stdin.setEncoding('utf8'), 'data')) as [string]
const { path, seed, first } = JSON.parse(line) as KillOrder
const disk = await Qcow2Disk.open(await NodeFile.open(path))
const random = new Random(seed)

async function run(operation: Operation): Promise<void> {
  switch (operation.kind) {
    case 'write':
      return disk.write(operation.first * BLOCK, [stamped(operation.count, operation.stamp)])
    case 'zero':
      return disk.writeZeroes(operation.first * BLOCK, operation.count * BLOCK, true)
    case 'discard':
      return disk.discard(operation.first * BLOCK, operation.count * BLOCK)
    case 'flush':
      return disk.flush()
    case 'snapshot':
      if (disk.snapshots.some(({ name }) => name === operation.name))
        await disk.deleteSnapshot(operation.name)
      return disk.createSnapshot(operation.name, { time: 0 })
  }
}

for (let index = first; ; index++) {
  const operation = nextOperation(random, index)
  await run(operation)
  if (operation.kind === 'flush' || operation.kind === 'snapshot') writeSync(1, `${index + 1}\n`)
}
