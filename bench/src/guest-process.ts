// Runs a guest in this process and tells, beside what it prints, how many instructions its programs took:
// after each BEGIN and END of a program comes a line `COUNT n` with the instructions run so far.
//
//   node guest-process.ts ENGINE MEMORY-MIB KERNEL INITRD COMMAND-LINE

import '@typevisor/host/cache/modules'
import { Lines } from './lines.ts'

const { createDomain, describeExit, loadEngine } = await import('@typevisor/host')

type Hypervisor = Awaited<ReturnType<typeof loadEngine>>
type Vm = ReturnType<Hypervisor['createVm']>

const [engineName = '', memory = '', kernel = '', initrd = '', commandLine = ''] = process.argv.slice(2)
const engine = await loadEngine(engineName)
let vm: Vm | undefined
const counting: Hypervisor = {
  engine: engine.engine,
  createVm(options) {
    vm = engine.createVm(options)
    return vm
  },
}
const lines = new Lines((line) => {
  process.stdout.write(`${line}\n`)
  if (/^(BEGIN|END) /.test(line)) process.stdout.write(`COUNT ${vm?.vcpus[0]?.retired ?? 0}\n`)
})
const domain = await createDomain({
  kernel,
  initrd,
  commandLine,
  memoryBytes: Number(memory) * 2 ** 20,
  engine: counting,
  serial: { write: (byte: number) => lines.take(byte) },
})
const { status, message } = describeExit(await domain.run())
if (message !== undefined) process.stderr.write(`${message}\n`)
process.exitCode = status
