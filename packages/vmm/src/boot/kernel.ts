import { KernelError } from '../errors.ts'
import type { CpuRegisters } from '../hypervisor/hypervisor.ts'
import type { GuestRam } from '../memory/guest-memory.ts'
import { addressRanges, memoryMap } from '../memory/memory-map.ts'
import { BootMemory } from './boot-memory.ts'
import { type Decompressors, isBzImage, parseBzImage, unpackVmlinux } from './bzimage.ts'
import type { BootContext, BootModule } from './context.ts'
import { ElfLoading, isElf, loadElf, parseElf, physicalEntry, pvhEntry } from './elf.ts'
import { bootLinux32 } from './linux32.ts'
import { bootLinux64 } from './linux64.ts'
import { bootMultiboot, findMultibootHeader } from './multiboot.ts'
import { LONG_MODE, writeIdentityPageTables } from './page-tables.ts'
import { bootPvh } from './pvh.ts'

export type BootProtocol = 'pvh' | 'linux64' | 'linux32' | 'multiboot' | 'elf'

export interface KernelImage {
  kernel: Uint8Array
  commandLine?: string
  /** For Linux the first is the initramfs. */
  modules?: readonly BootModule[]
  /** How to enter it; by default what the file offers: PVH, then Linux's own entries, Multiboot, the ELF entry. */
  protocol?: BootProtocol
}

export interface BootResult {
  protocol: BootProtocol
  registers: CpuRegisters
}

/** Puts a kernel and what belongs to it into RAM; returns how the CPU enters it. */
export async function loadKernel(
  image: KernelImage,
  { ram, rsdp, decompressors }: { ram: GuestRam; rsdp: number; decompressors: Decompressors },
): Promise<BootResult> {
  const context: BootContext = {
    ram,
    memory: new BootMemory(ram),
    commandLine: image.commandLine ?? '',
    modules: image.modules ?? [],
    rsdp,
    ranges: addressRanges(memoryMap(ram)),
  }
  if (isBzImage(image.kernel)) return bootBzImage(image, context, decompressors)
  if (isElf(image.kernel)) return bootElf(image, context)
  if (findMultibootHeader(image.kernel)) return multiboot(image, context)
  if (image.kernel.length < 512) {
    throw new KernelError('TV_KERNEL_TRUNCATED', `The kernel file has only ${image.kernel.length} bytes.`)
  }
  throw new KernelError(
    'TV_KERNEL_FORMAT',
    'The kernel file is neither a Linux bzImage, nor ELF, nor Multiboot.',
  )
}

async function bootBzImage(
  image: KernelImage,
  context: BootContext,
  decompressors: Decompressors,
): Promise<BootResult> {
  const { protocol } = image
  if (protocol === 'multiboot' || protocol === 'elf') throw noSuchEntry(protocol)
  const bzImage = parseBzImage(image.kernel)
  if (protocol === 'linux64') return { protocol, registers: bootLinux64(bzImage, context) }
  const loading = new ElfLoading(context.ram, context.memory)
  await unpackVmlinux(image.kernel, decompressors, loading)
  const elf = loading.end()
  const entry = protocol === 'linux32' ? undefined : pvhEntry(elf)
  if (entry !== undefined) return { protocol: 'pvh', registers: bootPvh(entry, context) }
  if (protocol === 'pvh') throw noSuchEntry(protocol)
  if (protocol === undefined && elf.bits === 64) {
    // Over what has been loaded, which unpacks itself again.
    const memory = new BootMemory(context.ram)
    return { protocol: 'linux64', registers: bootLinux64(bzImage, { ...context, memory }) }
  }
  return { protocol: 'linux32', registers: bootLinux32(bzImage, elf, context) }
}

function bootElf(image: KernelImage, context: BootContext): BootResult {
  const elf = parseElf(image.kernel)
  const entry = pvhEntry(elf)
  const { protocol } = image
  if (protocol === 'linux64' || protocol === 'linux32') throw noSuchEntry(protocol)
  if (entry !== undefined && (protocol === undefined || protocol === 'pvh')) {
    loadElf(image.kernel, context.ram, context.memory)
    return { protocol: 'pvh', registers: bootPvh(entry, context) }
  }
  if (protocol === 'pvh') throw noSuchEntry(protocol)
  if (protocol !== 'elf' && findMultibootHeader(image.kernel)) return multiboot(image, context)
  if (protocol === 'multiboot') throw noSuchEntry(protocol)
  return { protocol: 'elf', registers: bootPlainElf(image.kernel, context) }
}

function multiboot(image: KernelImage, context: BootContext): BootResult {
  return { protocol: 'multiboot', registers: bootMultiboot(image.kernel, context) }
}

/** A kernel that follows no protocol: entered at its ELF entry, 64-bit ones with the first 4 GiB mapped to themselves. */
function bootPlainElf(kernel: Uint8Array, { ram, memory }: BootContext): CpuRegisters {
  const elf = loadElf(kernel, ram, memory)
  const rip = BigInt(physicalEntry(elf))
  if (elf.bits === 32) return { mode: 'protected32', rip }
  return { mode: 'long64', rip, ...LONG_MODE, cr3: writeIdentityPageTables(ram, memory) }
}

function noSuchEntry(protocol: BootProtocol): KernelError {
  return new KernelError('TV_KERNEL_UNSUPPORTED', `The kernel cannot be booted by the ${protocol} protocol.`)
}
