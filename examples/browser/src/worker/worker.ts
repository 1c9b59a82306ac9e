import {
  isBzImage,
  loadKernel,
  Machine,
  type MachineExit,
  SerialInput,
  writeAcpiTables,
} from '@typevisor/vmm'
import { describeError } from '../errors.ts'
import type { Guest, MachineOptions, Report, Request } from '../messages.ts'
import { MachineClock } from './clock.ts'
import { decompressors } from './decompress.ts'
import { engineByName } from './engines.ts'
import { createMachineHost } from './host.ts'
import { checkInitramfs } from './initramfs.ts'
import { keptCode } from './kept-code.ts'
import { SerialOutput } from './serial-output.ts'

const TIME_INTERVAL_MS = 250

interface Made {
  machine: Machine
  clock: MachineClock
  memoryBytes: number
}

const report = (message: Report, transfer: Transferable[] = []) => postMessage(message, transfer)
const output = new SerialOutput((bytes) => report({ kind: 'output', bytes }, [bytes.buffer]))
let made: Made | undefined
const input = new SerialInput({
  send: (bytes) => made?.machine.serialInput(bytes) ?? 0,
  source: { pause: () => {}, resume: () => {} },
})

addEventListener('message', ({ data }: MessageEvent<Request>) => {
  switch (data.kind) {
    case 'make':
      return makeMachine(data.machine, data.code)
    case 'boot':
      return void run(data.guest)
    case 'input':
      output.typed()
      return input.push(data.bytes)
    case 'shown':
      return output.shown(data.bytes)
    case 'power-button':
      return made?.machine.powerButton()
  }
})

/** Takes longer than all else here but the guest, so it is done while the files are on the way. */
function makeMachine({ memoryBytes, cpu, engine }: MachineOptions, code: ArrayBuffer | undefined): void {
  try {
    const clock = new MachineClock()
    const machine = new Machine({
      hypervisor: engineByName(engine, keptCode(code)),
      memoryBytes,
      ...(cpu === undefined ? {} : { model: cpu }),
      serial: output,
      onSerialRoom: () => input.room(),
      debugConsole: { write: () => {} },
      host: createMachineHost(clock, output),
    })
    made = { machine, clock, memoryBytes }
  } catch (error) {
    report({ kind: 'failed', ...describeError(error) })
  }
}

async function run(guest: Guest): Promise<void> {
  if (!made) return // and that was reported
  const { machine } = made
  try {
    await boot(made, guest)
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

/** Puts the files into RAM and the processor to the kernel's entry. */
async function boot({ machine, clock, memoryBytes }: Made, { files, commandLine }: Guest): Promise<void> {
  const { kernel, initrd } = files
  const rsdp = writeAcpiTables(machine.ram, { cpus: 1 })
  if (initrd && isBzImage(kernel)) await checkInitramfs(initrd, memoryBytes)
  const image = { kernel, modules: initrd ? [{ data: initrd }] : [], commandLine }
  const { registers } = await loadKernel(image, { ram: machine.ram, rsdp, decompressors })
  machine.start(registers)
  clock.start()
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
