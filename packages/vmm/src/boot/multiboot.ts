// Multiboot Specification 0.6.96: "The layout of Multiboot header", "Machine state", "Boot information format".

import { KernelError } from '../errors.ts'
import type { CpuRegisters } from '../hypervisor/hypervisor.ts'
import { HIGH_MEMORY } from '../memory/memory-map.ts'
import { Binary } from './binary.ts'
import { ByteWriter, cString } from './byte-writer.ts'
import type { BootContext } from './context.ts'
import { isElf, loadElf } from './elf.ts'

const HEADER_MAGIC = 0x1bad_b002
const BOOTLOADER_MAGIC = 0x2bad_b002
const SEARCH_LIMIT = 8192
const ADDRESS_FIELDS = 1 << 16
/** Modules on pages, memory information, and the wish for a video mode, which may go unheard. */
const KNOWN_REQUIREMENTS = 0x7

const INFO_MEMORY = 1 << 0
const INFO_COMMAND_LINE = 1 << 2
const INFO_MODULES = 1 << 3
const INFO_MEMORY_MAP = 1 << 6
const INFO_LOADER_NAME = 1 << 9
const INFO_SIZE = 116
const MODULE_SIZE = 16
const MAP_ENTRY_SIZE = 24

export interface MultibootHeader {
  offset: number
  flags: number
}

/** The header, 32-bit aligned within the first 8 KiB, whose three words add up to zero. */
export function findMultibootHeader(bytes: Uint8Array): MultibootHeader | undefined {
  const file = new Binary(bytes)
  for (let offset = 0; offset < SEARCH_LIMIT && file.has(offset, 12); offset += 4) {
    if (file.u32(offset) !== HEADER_MAGIC) continue
    const flags = file.u32(offset + 4)
    if ((HEADER_MAGIC + flags + file.u32(offset + 8)) >>> 0 === 0) return { offset, flags }
  }
  return undefined
}

/** Loads a Multiboot kernel (by its address fields or its ELF segments), modules and the information structure. */
export function bootMultiboot(kernel: Uint8Array, context: BootContext): CpuRegisters {
  const header = findMultibootHeader(kernel)
  if (!header) throw new KernelError('TV_KERNEL_FORMAT', 'The kernel has no Multiboot header.')
  if (header.flags & 0xffff & ~KNOWN_REQUIREMENTS) {
    throw new KernelError(
      'TV_KERNEL_UNSUPPORTED',
      'The Multiboot kernel requires what no Multiboot 1 loader gives.',
    )
  }
  const entry =
    header.flags & ADDRESS_FIELDS ? loadByAddresses(kernel, header, context) : loadSegments(kernel, context)
  return {
    mode: 'protected32',
    rip: BigInt(entry),
    rflags: 2,
    cr0: 0x11,
    gpr: { rax: BigInt(BOOTLOADER_MAGIC), rbx: BigInt(writeInformation(context)) },
  }
}

function loadSegments(kernel: Uint8Array, { ram, memory }: BootContext): number {
  if (!isElf(kernel)) {
    throw new KernelError(
      'TV_KERNEL_FORMAT',
      'The Multiboot kernel is no ELF file and gives no load addresses.',
    )
  }
  return loadElf(kernel, ram, memory).entry
}

/** "The address fields of Multiboot header": the kludge for files that are not ELF. */
function loadByAddresses(
  kernel: Uint8Array,
  { offset }: MultibootHeader,
  { ram, memory }: BootContext,
): number {
  const file = new Binary(kernel)
  const headerAddress = file.u32(offset + 12)
  const load = file.u32(offset + 16)
  const loadEnd = file.u32(offset + 20)
  const bssEnd = file.u32(offset + 24)
  const start = offset - (headerAddress - load)
  const length = loadEnd === 0 ? file.length - start : loadEnd - load
  if (start < 0 || start > offset || length <= 0) {
    throw new KernelError('TV_KERNEL_FORMAT', "The Multiboot header's load addresses contradict each other.")
  }
  const size = Math.max(length, bssEnd === 0 ? 0 : bssEnd - load)
  const bytes = file.slice(start, length)
  memory.claim(load, size, 'kernel')
  ram.write(load, bytes)
  ram.fill(load + length, size - length)
  return file.u32(offset + 28)
}

function writeInformation(context: BootContext): number {
  const { ram, memory, commandLine, modules, ranges } = context
  const put = (bytes: Uint8Array, what: string) => {
    const gpa = memory.allocateLow(bytes.length, what)
    ram.write(gpa, bytes)
    return gpa
  }
  const list = new ByteWriter(modules.length * MODULE_SIZE)
  modules.forEach(({ data, commandLine: text }, i) => {
    const gpa = memory.allocateHigh(data.length, 'module')
    ram.write(gpa, data)
    list.u32(i * MODULE_SIZE, gpa).u32(i * MODULE_SIZE + 4, gpa + data.length)
    list.u32(i * MODULE_SIZE + 8, put(cString(text ?? ''), "module's string"))
  })
  const map = new ByteWriter(ranges.length * MAP_ENTRY_SIZE)
  ranges.forEach(({ base, length, type }, i) => {
    const at = i * MAP_ENTRY_SIZE
    map
      .u32(at, MAP_ENTRY_SIZE - 4)
      .u64(at + 4, base)
      .u64(at + 12, length)
      .u32(at + 20, type)
  })
  const info = new ByteWriter(INFO_SIZE)
  info.u32(0, INFO_MEMORY | INFO_COMMAND_LINE | INFO_MODULES | INFO_MEMORY_MAP | INFO_LOADER_NAME)
  info.u32(4, 639).u32(8, (ram.lowBytes - HIGH_MEMORY) / 1024)
  info.u32(16, put(cString(commandLine), 'command line'))
  info.u32(20, modules.length).u32(24, modules.length > 0 ? put(list.bytes, 'module list') : 0)
  info.u32(44, map.bytes.length).u32(48, put(map.bytes, 'memory map'))
  info.u32(64, put(cString('Typevisor'), 'name of the loader'))
  return put(info.bytes, 'Multiboot information')
}
