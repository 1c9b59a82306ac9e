// Linux documentation, "The Linux/x86 Boot Protocol", "32-bit Boot Protocol".

import { KernelError } from '../errors.ts'
import type { CpuRegisters } from '../hypervisor/hypervisor.ts'
import type { BzImage } from './bzimage.ts'
import type { BootContext } from './context.ts'
import { type ElfFile, physicalEntry } from './elf.ts'
import { writeZeroPage } from './zero-page.ts'

/**
 * Enters the unpacked kernel, which is loaded, as the bzImage's own decompressor would: in 32-bit mode without paging, the zero page in
 * ESI. At the addresses of its program headers it needs no relocation.
 */
export function bootLinux32(image: BzImage, vmlinux: ElfFile, context: BootContext): CpuRegisters {
  if (vmlinux.bits !== 32)
    throw new KernelError('TV_KERNEL_UNSUPPORTED', 'The bzImage is not a 32-bit kernel.')
  return {
    mode: 'protected32',
    rip: BigInt(physicalEntry(vmlinux)),
    rflags: 2,
    cr0: 0x11,
    gpr: { rsi: BigInt(writeZeroPage(image, context)) },
  }
}
