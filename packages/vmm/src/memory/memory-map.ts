import { HIGH_START } from './guest-memory.ts'

export type RegionKind = 'ram' | 'reserved' | 'rom' | 'mmio' | 'acpi'

export interface Region {
  kind: RegionKind
  base: number
  length: number
}

/** An address range as firmware reports it: ACPI 6.5, "Address Range Types". */
export interface AddressRange {
  base: number
  length: number
  type: 1 | 2 | 3
}

/** The EBDA's and the video memory's place: not for the operating system, though RAM lies below some of it. */
export const LOW_RAM_END = 0x9_fc00
export const BIOS_AREA = 0xe_0000
export const HIGH_MEMORY = 0x10_0000

/** Where PCI devices are: above all RAM that lies below 4 GiB, up to the I/O APIC. */
export const PCI_MEMORY = { base: 0xe000_0000, length: 0x1ec0_0000 } as const
export const PCI_IO = { base: 0xc000, length: 0x4000 } as const

/** What is where in guest-physical address space, in ascending order. */
export function memoryMap(ram: { bytes: number; lowBytes: number }): Region[] {
  const regions: Region[] = [
    { kind: 'ram', base: 0, length: LOW_RAM_END },
    { kind: 'reserved', base: LOW_RAM_END, length: 0xa_0000 - LOW_RAM_END },
    { kind: 'rom', base: BIOS_AREA, length: HIGH_MEMORY - BIOS_AREA },
    { kind: 'ram', base: HIGH_MEMORY, length: ram.lowBytes - HIGH_MEMORY },
    { kind: 'mmio', base: 0xfec0_0000, length: 0x1000 },
    { kind: 'mmio', base: 0xfee0_0000, length: 0x1000 },
    { kind: 'ram', base: HIGH_START, length: ram.bytes - ram.lowBytes },
  ]
  return regions.filter((region) => region.length > 0)
}

const TYPE = { ram: 1, reserved: 2, rom: 2, mmio: 2, acpi: 3 } as const satisfies Record<
  RegionKind,
  1 | 2 | 3
>

/** The same for e820 and for PVH, whose types agree. */
export function addressRanges(regions: readonly Region[]): AddressRange[] {
  return regions.map(({ kind, base, length }) => ({ base, length, type: TYPE[kind] }))
}
