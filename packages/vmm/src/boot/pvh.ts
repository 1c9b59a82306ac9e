// Xen, "x86/HVM direct boot ABI"; xen/include/public/arch-x86/hvm/start_info.h.

import type { CpuRegisters } from '../hypervisor/hypervisor.ts'
import { ByteWriter, cString } from './byte-writer.ts'
import type { BootContext } from './context.ts'

const MAGIC = 0x336e_c578
const START_INFO_SIZE = 56
const MODULE_SIZE = 32
const MEMMAP_ENTRY_SIZE = 24

/** Writes hvm_start_info with command line, modules and memory map; the CPU enters at `entry` in 32-bit mode. */
export function bootPvh(entry: number, context: BootContext): CpuRegisters {
  const { ram, memory, commandLine, modules, rsdp, ranges } = context
  const put = (bytes: Uint8Array, what: string) => {
    const gpa = memory.allocateLow(bytes.length, what)
    ram.write(gpa, bytes)
    return gpa
  }
  const list = new ByteWriter(modules.length * MODULE_SIZE)
  modules.forEach(({ data, commandLine: text }, i) => {
    const gpa = memory.allocateHigh(data.length, 'module')
    ram.write(gpa, data)
    list.u64(i * MODULE_SIZE, gpa).u64(i * MODULE_SIZE + 8, data.length)
    if (text !== undefined) list.u64(i * MODULE_SIZE + 16, put(cString(text), "module's command line"))
  })
  const map = new ByteWriter(ranges.length * MEMMAP_ENTRY_SIZE)
  ranges.forEach(({ base, length, type }, i) => {
    map
      .u64(i * MEMMAP_ENTRY_SIZE, base)
      .u64(i * MEMMAP_ENTRY_SIZE + 8, length)
      .u32(i * MEMMAP_ENTRY_SIZE + 16, type)
  })
  const info = new ByteWriter(START_INFO_SIZE)
  info.u32(0, MAGIC).u32(4, 1).u32(12, modules.length)
  if (modules.length > 0) info.u64(16, put(list.bytes, 'module list'))
  info.u64(24, put(cString(commandLine), 'command line'))
  info.u64(32, rsdp)
  info.u64(40, put(map.bytes, 'memory map')).u32(48, ranges.length)
  return {
    mode: 'protected32',
    rip: BigInt(entry),
    rflags: 2,
    cr0: 0x11,
    gpr: { rbx: BigInt(put(info.bytes, 'start info')) },
  }
}
