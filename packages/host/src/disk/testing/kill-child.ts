// The process to be killed: node kill-child.ts IMAGE SEED FIRST. Says after each flush how many operations it holds.

import { writeSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { Qcow2Disk } from '@typevisor/vmm'
import { NodeFile } from '../node-file.ts'
import { BLOCK, nextOperation, type Operation, stamped } from './kill-workload.ts'
import { Random } from './random.ts'

flushCompileCache() // it will not be done at the end

const [path, seed, first] = process.argv.slice(2)
const disk = await Qcow2Disk.open(await NodeFile.open(path))
const random = new Random(Number(seed))

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

for (let index = Number(first); ; index++) {
  const operation = nextOperation(random, index)
  await run(operation)
  if (operation.kind === 'flush' || operation.kind === 'snapshot') writeSync(1, `${index + 1}\n`)
}
