import {
  type BootModule,
  type BootProtocol,
  type ByteSink,
  type Hypervisor,
  isBzImage,
  loadKernel,
  Machine,
  type MachineExit,
  type PciPart,
  type Profile,
  writeAcpiTables,
} from '@typevisor/vmm'
import { decompressors } from '../decompress/decompress.ts'
import { DEFAULT_ENGINE, loadEngine } from './engines.ts'
import { checkInitramfs, readInput } from './files.ts'
import { createMachineHost } from './host.ts'

export interface DomainOptions {
  /** Path of a kernel: bzImage, ELF or Multiboot. */
  kernel: string
  /** Path of an initramfs, or of a Multiboot kernel's module. */
  initrd?: string
  commandLine?: string
  memoryBytes: number
  /** An engine by name, or one of the caller's. */
  engine?: string | Hypervisor
  /** A CPU model by name. */
  cpu?: string
  /** Is told where the guest's time goes. */
  profile?: Profile
  /** The guest's serial output; `congestion` gives a promise while no more should come. */
  serial: ByteSink & { congestion?: () => Promise<void> | undefined }
  /** All serial input was taken; there is room for more. */
  onSerialRoom?: () => void
  /** Port 0xE9; to nowhere by default. */
  debugConsole?: ByteSink
  /** Devices on a PCI bus; none by default, and then no bus. */
  pci?: readonly PciPart[]
}

/** A machine with its kernel in RAM, ready to run. */
export interface Domain {
  readonly machine: Machine
  readonly protocol: BootProtocol
  /** Runs until the guest ends or is stopped. */
  run(): Promise<MachineExit>
}

/** Makes a machine in this process, loads the kernel, and brings the CPU to its entry. */
export async function createDomain(options: DomainOptions): Promise<Domain> {
  const { serial, memoryBytes, engine = DEFAULT_ENGINE } = options
  const hypervisor = typeof engine === 'string' ? await loadEngine(engine) : engine
  const kernel = await readInput(options.kernel, 'kernel')
  const modules: BootModule[] = []
  if (options.initrd !== undefined) {
    const data = await readInput(options.initrd, 'initramfs')
    if (isBzImage(kernel)) await checkInitramfs(options.initrd, data, memoryBytes)
    modules.push({ data })
  }
  const machine = new Machine({
    hypervisor,
    memoryBytes,
    ...(options.cpu === undefined ? {} : { model: options.cpu }),
    serial,
    ...(options.profile ? { profile: options.profile } : {}),
    ...(options.onSerialRoom ? { onSerialRoom: options.onSerialRoom } : {}),
    debugConsole: options.debugConsole ?? { write: () => {} },
    ...(options.pci ? { pci: options.pci } : {}),
    host: createMachineHost(() => serial.congestion?.()),
  })
  const rsdp = writeAcpiTables(machine.ram, { cpus: 1, pci: machine.parts.pci })
  const image = { kernel, modules, commandLine: options.commandLine ?? '' }
  const { protocol, registers } = await loadKernel(image, { ram: machine.ram, rsdp, decompressors })
  machine.start(registers)
  return { machine, protocol, run: () => machine.run() }
}

/** Exit statuses of a process that ran a guest. What a guest gives through isa-debug-exit is odd; these are not. */
export const EXIT_STATUS = { powerOff: 0, tripleFault: 4, reset: 6 } as const

/** How a process should end after its guest did: the status, and what to tell the operator. */
export function describeExit(exit: MachineExit): { status: number; message?: string } {
  switch (exit.kind) {
    case 'poweroff':
    case 'stopped':
      return { status: EXIT_STATUS.powerOff }
    case 'debug-exit':
      return { status: exit.status & 0xff }
    case 'reset':
      return { status: EXIT_STATUS.reset, message: 'The guest reset the machine.' }
    case 'shutdown':
      return {
        status: EXIT_STATUS.tripleFault,
        message: `The guest's processor shut down: ${exit.reason}.\n${exit.report}`,
      }
  }
}
