// Linux documentation, "The Linux/x86 Boot Protocol", "64-bit Boot Protocol".

import { KernelError } from '../errors.ts'
import type { CpuRegisters } from '../hypervisor/hypervisor.ts'
import type { BzImage } from './bzimage.ts'
import type { BootContext } from './context.ts'
import { LONG_MODE, writeIdentityPageTables } from './page-tables.ts'
import { writeZeroPage } from './zero-page.ts'

const ENTRY_64 = 0x200

/** Loads the protected-mode kernel at its preferred address; it unpacks itself from there. */
export function bootLinux64(image: BzImage, context: BootContext): CpuRegisters {
  const { ram, memory } = context
  if (!image.has64BitEntry)
    throw new KernelError('TV_KERNEL_UNSUPPORTED', 'The bzImage is not a 64-bit kernel.')
  const kernel = image.file.slice(image.setupBytes, image.file.length - image.setupBytes)
  memory.claim(image.prefAddress, Math.max(image.initSize, kernel.length), 'kernel')
  ram.write(image.prefAddress, kernel)
  const zeroPage = writeZeroPage(image, context)
  return {
    mode: 'long64',
    rip: BigInt(image.prefAddress + ENTRY_64),
    rflags: 2,
    ...LONG_MODE,
    cr3: writeIdentityPageTables(ram, memory),
    gpr: { rsi: BigInt(zeroPage) },
  }
}
