// Linux documentation, "Zero Page", and "The Linux/x86 Boot Protocol", "The Real-Mode Kernel Header".

import { KernelError } from '../errors.ts'
import { ByteWriter, cString } from './byte-writer.ts'
import type { BzImage } from './bzimage.ts'
import type { BootContext } from './context.ts'

const HEADER = 0x1f1
const LOADER_UNDEFINED = 0xff
const E820_TABLE = 0x2d0
const E820_ENTRY_SIZE = 20

/** Writes struct boot_params with header, command line, initramfs and memory map; returns its address. */
export function writeZeroPage(image: BzImage, context: BootContext): number {
  const { ram, memory, commandLine, modules } = context
  const zeroPage = new ByteWriter(4096)
  const headerEnd = 0x202 + image.file.u8(0x201)
  zeroPage.set(HEADER, image.file.slice(HEADER, headerEnd - HEADER))
  zeroPage.u8(0x210, LOADER_UNDEFINED)
  writeCommandLine(zeroPage, commandLine, image, context)
  const initrd = modules[0]?.data
  if (initrd) {
    const gpa = memory.allocateHigh(initrd.length, 'initramfs', image.initrdMax + 1)
    ram.write(gpa, initrd)
    zeroPage.u32(0x218, gpa).u32(0x21c, initrd.length)
  }
  writeMemoryMap(zeroPage, context)
  const gpa = memory.allocateLow(4096, 'zero page')
  ram.write(gpa, zeroPage.bytes)
  return gpa
}

function writeCommandLine(
  zeroPage: ByteWriter,
  text: string,
  image: BzImage,
  { ram, memory }: BootContext,
): void {
  const bytes = cString(text)
  if (bytes.length - 1 > image.commandLineMax) {
    const message = `The kernel takes a command line of at most ${image.commandLineMax} bytes.`
    throw new KernelError('TV_KERNEL_UNSUPPORTED', message)
  }
  const gpa = memory.allocateLow(bytes.length, 'command line')
  ram.write(gpa, bytes)
  zeroPage.u32(0x228, gpa)
}

function writeMemoryMap(zeroPage: ByteWriter, { ranges, rsdp }: BootContext): void {
  zeroPage.u64(0x070, rsdp).u8(0x1e8, ranges.length)
  ranges.forEach(({ base, length, type }, i) => {
    const at = E820_TABLE + i * E820_ENTRY_SIZE
    zeroPage
      .u64(at, base)
      .u64(at + 8, length)
      .u32(at + 16, type)
  })
}
