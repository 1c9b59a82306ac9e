import {
  type BootModule,
  type BootProtocol,
  type ByteSink,
  type Hypervisor,
  isBzImage,
  type KernelImage,
  loadKernel,
  Machine,
  type MachineExit,
  type PciPart,
  type Profile,
  writeAcpiTables,
} from '@typevisor/vmm'
import type { PortForward } from '@typevisor/vmm/net'
import { decompressors } from '../decompress/decompress.ts'
import { type Attachment, closeAttachments, type Tell } from './attachments/attachment.ts'
import type { DomainDisk } from './attachments/disk.ts'
import type { DomainNetwork } from './attachments/network.ts'
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
  /** Disks, in the order in which the guest finds them. */
  disks?: readonly DomainDisk[]
  /** A network card; none by default. */
  network?: DomainNetwork
  /** Further devices on the PCI bus. There is no bus without any device. */
  pci?: readonly PciPart[]
  /** Is told, in a sentence, what goes wrong with devices while the machine runs. */
  tell?: Tell
}

/** A machine with its kernel in RAM, ready to run. */
export interface Domain {
  readonly machine: Machine
  readonly protocol: BootProtocol
  /** Ports of the host's that lead to the guest. */
  readonly published: readonly PortForward[]
  /** Runs until the guest ends or is stopped, and closes the domain. */
  run(): Promise<MachineExit>
  /** Lets go of disks and ports; for a domain that is not run. */
  close(): Promise<void>
}

/** Makes a machine in this process, loads the kernel, and brings the CPU to its entry. */
export async function createDomain(options: DomainOptions): Promise<Domain> {
  const { engine = DEFAULT_ENGINE } = options
  const hypervisor = typeof engine === 'string' ? await loadEngine(engine) : engine
  const image = await readImage(options)
  const attachments: Attachment[] = []
  const close = () => closeAttachments(attachments.splice(0))
  try {
    const published = await attachDevices(options, attachments)
    const machine = makeMachine(
      options,
      hypervisor,
      attachments.map(({ part }) => part),
    )
    const rsdp = writeAcpiTables(machine.ram, { cpus: 1, pci: machine.parts.pci })
    const { protocol, registers } = await loadKernel(image, { ram: machine.ram, rsdp, decompressors })
    for (const attachment of attachments) await attachment.open?.()
    machine.start(registers)
    return { machine, protocol, published, run: () => machine.run().finally(close), close }
  } catch (error) {
    await close().catch(() => {})
    throw error
  }
}

async function readImage(options: DomainOptions): Promise<KernelImage> {
  const kernel = await readInput(options.kernel, 'kernel')
  const modules: BootModule[] = []
  if (options.initrd !== undefined) {
    const data = await readInput(options.initrd, 'initramfs')
    if (isBzImage(kernel)) await checkInitramfs(options.initrd, data, options.memoryBytes)
    modules.push({ data })
  }
  return { kernel, modules, commandLine: options.commandLine ?? '' }
}

/** Opens what the devices stand on; what is open is in `attachments`, also when the next one fails. */
async function attachDevices(
  { disks = [], network, tell = () => {} }: DomainOptions,
  attachments: Attachment[],
): Promise<readonly PortForward[]> {
  // Loaded here, since most machines have no disk and no network.
  for (const disk of disks) {
    const { attachDisk } = await import('./attachments/disk.ts')
    attachments.push(await attachDisk(disk, tell))
  }
  if (!network) return []
  const { attachNetwork } = await import('./attachments/network.ts')
  const attachment = attachNetwork(network, tell)
  attachments.push(attachment)
  return attachment.published
}

function makeMachine(options: DomainOptions, hypervisor: Hypervisor, attached: readonly PciPart[]): Machine {
  const { serial, memoryBytes, debugConsole = { write: () => {} } } = options
  const pci = [...attached, ...(options.pci ?? [])]
  return new Machine({
    hypervisor,
    memoryBytes,
    ...(options.cpu === undefined ? {} : { model: options.cpu }),
    serial,
    ...(options.profile ? { profile: options.profile } : {}),
    ...(options.onSerialRoom ? { onSerialRoom: options.onSerialRoom } : {}),
    debugConsole,
    ...(pci.length > 0 ? { pci } : {}),
    host: createMachineHost(() => serial.congestion?.()),
  })
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
