import {
  isBzImage,
  loadKernel,
  Machine,
  type MachineExit,
  SerialInput,
  writeAcpiTables,
} from '@typevisor/vmm'
import { describeError } from '../errors.ts'
import type { FileKind, GuestOptions, Report, Request } from '../messages.ts'
import { MachineClock } from './clock.ts'
import { decompressors } from './decompress.ts'
import { download } from './download.ts'
import { engineByName } from './engines.ts'
import { createMachineHost } from './host.ts'
import { checkInitramfs } from './initramfs.ts'
import { SerialOutput } from './serial-output.ts'

const TIME_INTERVAL_MS = 250

const report = (message: Report, transfer: Transferable[] = []) => postMessage(message, transfer)
const output = new SerialOutput((bytes) => report({ kind: 'output', bytes }, [bytes.buffer]))
let machine: Machine | undefined
const input = new SerialInput({
  send: (bytes) => machine?.serialInput(bytes) ?? 0,
  source: { pause: () => {}, resume: () => {} },
})

addEventListener('message', ({ data }: MessageEvent<Request>) => {
  switch (data.kind) {
    case 'start':
      return void run(data.guest)
    case 'input':
      return input.push(data.bytes)
    case 'shown':
      return output.shown(data.bytes)
    case 'power-button':
      return machine?.powerButton()
  }
})

async function run(guest: GuestOptions): Promise<void> {
  try {
    machine = await boot(guest)
    report({ kind: 'running' })
    input.room()
    const timer = setInterval(reportTime, TIME_INTERVAL_MS, machine)
    const exit = await machine.run()
    clearInterval(timer)
    output.flush()
    reportTime(machine)
    report({ kind: 'ended', ...describeExit(exit) })
  } catch (error) {
    output.flush()
    report({ kind: 'failed', ...describeError(error) })
  }
}

/** A machine with its kernel in RAM. It is made while its files are on the way. */
async function boot(guest: GuestOptions): Promise<Machine> {
  const files = downloadFiles(guest)
  files.catch(() => {}) // it is looked at below, unless no machine can be made
  const { memoryBytes, cpu, commandLine } = guest
  const clock = new MachineClock()
  const made = new Machine({
    hypervisor: engineByName(guest.engine),
    memoryBytes,
    ...(cpu === undefined ? {} : { model: cpu }),
    serial: output,
    onSerialRoom: () => input.room(),
    debugConsole: { write: () => {} },
    host: createMachineHost(clock, () => output.congestion()),
  })
  const rsdp = writeAcpiTables(made.ram, { cpus: 1 })
  const { kernel, initrd } = await files
  if (initrd && isBzImage(kernel)) await checkInitramfs(initrd, memoryBytes)
  const image = { kernel, modules: initrd ? [{ data: initrd }] : [], commandLine }
  const { registers } = await loadKernel(image, { ram: made.ram, rsdp, decompressors })
  made.start(registers)
  clock.start()
  return made
}

async function downloadFiles({ kernel, initrd, memoryBytes }: GuestOptions) {
  const fetchFile = (what: FileKind, url: string) =>
    download({
      url,
      what,
      maxBytes: memoryBytes,
      onProgress: (received, total) => report({ kind: 'download', file: what, received, total }),
    })
  const [kernelFile, initrdFile] = await Promise.all([
    fetchFile('kernel', kernel),
    initrd === undefined ? undefined : fetchFile('initramfs', initrd),
  ])
  return { kernel: kernelFile, initrd: initrdFile }
}

function reportTime(machine: Machine): void {
  report({ kind: 'time', nanoseconds: machine.now() })
}

function describeExit(exit: MachineExit): { message: string; report?: string } {
  switch (exit.kind) {
    case 'poweroff':
      return { message: 'The guest switched itself off.' }
    case 'reset':
      return { message: 'The guest reset the machine.' }
    case 'debug-exit':
      return { message: `The guest ended with the exit status ${exit.status & 0xff}.` }
    case 'shutdown':
      return { message: `The guest's processor shut down: ${exit.reason}.`, report: exit.report }
    case 'stopped':
      return { message: 'The machine was stopped.' }
  }
}
