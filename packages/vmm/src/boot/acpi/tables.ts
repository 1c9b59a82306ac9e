// ACPI 6.5, "ACPI System Description Tables": RSDP, XSDT, FADT, FACS, MADT, DSDT.

import { SLP_TYP_S5 } from '../../devices/pc/acpi-pm/acpi-pm.ts'
import type { GuestRam } from '../../memory/guest-memory.ts'
import { BIOS_AREA, PCI_IO, PCI_MEMORY } from '../../memory/memory-map.ts'
import { ByteWriter } from '../byte-writer.ts'
import {
  type Aml,
  busNumbers,
  device,
  eisaId,
  integer,
  ioPorts,
  ioWindow,
  irq,
  memoryWindow,
  name,
  packageOf,
  resources,
  scope,
} from './aml.ts'

const HEADER_SIZE = 36
const FADT_SIZE = 276
const FACS_SIZE = 64
const OEM_ID = 'TYPVSR'
const OEM_TABLE_ID = 'TYPEVISR'

const RESET_REGISTER = 0xcf9
const RESET_VALUE = 0x06
export const PM_BASE = 0x600
export const SCI_IRQ = 9

// "IA-PC Boot Architecture Flags": legacy devices, 8042, no VGA; and no MSI where there is no PCI.
const BOOT_ARCHITECTURE = 0x0007
const NO_MSI = 0x0008
// "Fixed Feature Flags": WBINVD, PROC_C1, no sleep button, RTC_S4 not in fixed hardware, TMR_VAL_EXT, RESET_REG_SUP.
const FIXED_FEATURES = (1 << 0) | (1 << 2) | (1 << 5) | (1 << 6) | (1 << 8) | (1 << 10)

export interface AcpiOptions {
  cpus: number
  /** The machine's PCI bus, if it has one: which interrupt INTA# of each slot is. */
  pci?: { readonly routes: readonly { readonly slot: number; readonly gsi: number }[] } | undefined
}

/** Writes the tables where firmware would have them; returns the RSDP's address, which a search finds too. */
export function writeAcpiTables(ram: GuestRam, { cpus, pci }: AcpiOptions): number {
  let next = BIOS_AREA + 64
  const put = (bytes: Uint8Array, align = 16) => {
    const gpa = Math.ceil(next / align) * align
    ram.write(gpa, bytes)
    next = gpa + bytes.length
    return gpa
  }
  const facs = put(firmwareControl(), 64)
  const dsdt = put(differentiatedDescription(pci))
  const tables = [put(fixedDescription(facs, dsdt, pci !== undefined)), put(multipleApics(cpus))]
  const xsdt = put(extendedDescription(tables))
  ram.write(BIOS_AREA, rootPointer(xsdt))
  return BIOS_AREA
}

function rootPointer(xsdt: number): Uint8Array {
  const rsdp = new ByteWriter(36)
  rsdp.ascii(0, 'RSD PTR ').ascii(9, OEM_ID).u8(15, 2).u32(20, 36).u64(24, xsdt)
  rsdp.u8(8, checksum(rsdp.bytes.subarray(0, 20)))
  rsdp.u8(32, checksum(rsdp.bytes))
  return rsdp.bytes
}

function extendedDescription(tables: readonly number[]): Uint8Array {
  const body = new ByteWriter(tables.length * 8)
  tables.forEach((gpa, i) => {
    body.u64(i * 8, gpa)
  })
  return table('XSDT', 1, body.bytes)
}

function firmwareControl(): Uint8Array {
  return new ByteWriter(FACS_SIZE).ascii(0, 'FACS').u32(4, FACS_SIZE).u8(32, 2).bytes
}

function fixedDescription(facs: number, dsdt: number, hasPci: boolean): Uint8Array {
  const fadt = new ByteWriter(FADT_SIZE)
  fadt.u32(36, facs).u32(40, dsdt)
  fadt.u16(46, SCI_IRQ)
  fadt
    .u32(56, PM_BASE)
    .u32(64, PM_BASE + 4)
    .u32(76, PM_BASE + 8)
  fadt.u8(88, 4).u8(89, 2).u8(91, 4)
  fadt.u16(96, 0xfff).u16(98, 0xfff) // no C2, no C3
  fadt.u8(108, 0x32) // the century is in CMOS
  fadt.u16(109, hasPci ? BOOT_ARCHITECTURE : BOOT_ARCHITECTURE | NO_MSI).u32(112, FIXED_FEATURES)
  ioAddress(fadt, 116, RESET_REGISTER, 8)
  fadt.u8(128, RESET_VALUE).u8(131, 0)
  fadt.u64(140, dsdt)
  ioAddress(fadt, 148, PM_BASE, 32)
  ioAddress(fadt, 172, PM_BASE + 4, 16)
  ioAddress(fadt, 208, PM_BASE + 8, 32)
  return table('FACP', 6, fadt.bytes.subarray(HEADER_SIZE))
}

/** "Generic Address Structure" in system I/O space. */
function ioAddress(fadt: ByteWriter, offset: number, port: number, bits: 8 | 16 | 32): void {
  fadt
    .u8(offset, 1)
    .u8(offset + 1, bits)
    .u8(offset + 3, { 8: 1, 16: 2, 32: 3 }[bits])
    .u64(offset + 4, port)
}

function multipleApics(cpus: number): Uint8Array {
  const PCAT_COMPAT = 1
  const body = new ByteWriter(8 + cpus * 8 + 12 + 2 * 10 + 6)
  body.u32(0, 0xfee0_0000).u32(4, PCAT_COMPAT)
  let at = 8
  for (let cpu = 0; cpu < cpus; cpu++, at += 8) {
    body
      .u8(at, 0)
      .u8(at + 1, 8)
      .u8(at + 2, cpu)
      .u8(at + 3, cpu)
      .u32(at + 4, 1)
  }
  body
    .u8(at, 1)
    .u8(at + 1, 12)
    .u8(at + 2, cpus)
    .u32(at + 4, 0xfec0_0000)
  at += 12
  const override = (source: number, gsi: number, flags: number) => {
    body
      .u8(at, 2)
      .u8(at + 1, 10)
      .u8(at + 3, source)
      .u32(at + 4, gsi)
      .u16(at + 8, flags)
    at += 10
  }
  override(0, 2, 0) // the 8254 is at pin 2, as its bus has it
  override(SCI_IRQ, SCI_IRQ, 0x000d) // level, active high
  body
    .u8(at, 4)
    .u8(at + 1, 6)
    .u8(at + 2, 0xff)
    .u8(at + 5, 1) // NMI is at LINT1 of all processors
  return table('APIC', 5, body.bytes)
}

function differentiatedDescription(pci: AcpiOptions['pci']): Uint8Array {
  const sleepType = integer(SLP_TYP_S5)
  const aml = [
    ...name('\\_S5_', packageOf(sleepType, sleepType, integer(0), integer(0))),
    ...scope(
      '\\_SB_',
      device(
        'COM1',
        name('_HID', eisaId('PNP0501')),
        name('_UID', integer(1)),
        name('_CRS', resources(ioPorts(0x3f8, 8), irq(4))),
      ),
      device('RTC_', name('_HID', eisaId('PNP0B00')), name('_CRS', resources(ioPorts(0x70, 2), irq(8)))),
      device(
        'KBD_',
        name('_HID', eisaId('PNP0303')),
        name('_CRS', resources(ioPorts(0x60, 1), ioPorts(0x64, 1), irq(1))),
      ),
      ...(pci ? [pciRoot(pci.routes)] : []),
    ),
  ]
  return table('DSDT', 2, Uint8Array.from(aml))
}

/** "PCI Routing Table" (_PRT): INTA# of each slot is an input of the I/O APIC. */
function pciRoot(routes: NonNullable<AcpiOptions['pci']>['routes']): Aml {
  const route = ({ slot, gsi }: { slot: number; gsi: number }) =>
    packageOf(integer(((slot << 16) | 0xffff) >>> 0), integer(0), integer(0), integer(gsi))
  return device(
    'PCI0',
    name('_HID', eisaId('PNP0A03')),
    name('_BBN', integer(0)),
    name('_UID', integer(0)),
    name(
      '_CRS',
      resources(
        busNumbers(0, 1),
        ioPorts(0xcf8, 8),
        ioWindow(PCI_IO.base, PCI_IO.length),
        memoryWindow(PCI_MEMORY.base, PCI_MEMORY.length),
      ),
    ),
    name('_PRT', packageOf(...routes.map(route))),
  )
}

/** "System Description Table Header", with a checksum over all. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const whole = new ByteWriter(HEADER_SIZE + body.length)
  whole.ascii(0, signature).u32(4, whole.bytes.length).u8(8, revision)
  whole.ascii(10, OEM_ID).ascii(16, OEM_TABLE_ID).u32(24, 1).ascii(28, 'TYPV').u32(32, 1)
  whole.set(HEADER_SIZE, body)
  return whole.u8(9, checksum(whole.bytes)).bytes
}

/** The byte that makes the sum of all bytes zero. */
function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff
}
