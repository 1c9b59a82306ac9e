import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { allocateGuestMemory, GuestRam } from '../../memory/guest-memory.ts'
import { device, eisaId, integer, name, packageOf } from './aml.ts'
import { type AcpiOptions, writeAcpiTables } from './tables.ts'

function read(options: Partial<AcpiOptions> = {}) {
  const ram = new GuestRam(allocateGuestMemory(0x20_0000))
  const rsdp = writeAcpiTables(ram, { cpus: 2, ...options })
  const text = (gpa: number, length: number) => Buffer.from(ram.read(gpa, length)).toString('latin1')
  const sum = (gpa: number, length: number) => ram.read(gpa, length).reduce((a, b) => a + b, 0) & 0xff
  const xsdt = Number(ram.readU64(rsdp + 24))
  const tables = new Map<string, number>()
  for (let at = xsdt + 36; at < xsdt + ram.readU32(xsdt + 4); at += 8) {
    const gpa = Number(ram.readU64(at))
    tables.set(text(gpa, 4), gpa)
  }
  return { ram, rsdp, sum, tables, text, xsdt }
}

describe('ACPI tables', () => {
  it('have an RSDP on a 16-byte boundary of the BIOS area, with both checksums', () => {
    const { rsdp, sum, text } = read()
    assert.equal(text(rsdp, 8), 'RSD PTR ')
    assert.ok(rsdp >= 0xe_0000 && rsdp < 0x10_0000 && rsdp % 16 === 0)
    assert.deepEqual([sum(rsdp, 20), sum(rsdp, 36)], [0, 0])
  })
  it('have lengths and checksums, and lie in the BIOS area', () => {
    const { ram, sum, tables, xsdt } = read()
    const dsdt = Number(ram.readU64(tables.get('FACP')! + 140))
    for (const gpa of [xsdt, dsdt, ...tables.values()]) {
      const length = ram.readU32(gpa + 4)
      assert.ok(gpa >= 0xe_0000 && gpa + length <= 0x10_0000)
      assert.equal(sum(gpa, length), 0)
    }
  })
  it('FADT: PM blocks, reset register, SCI, and a FACS on a 64-byte boundary', () => {
    const { ram, tables, text } = read()
    const fadt = tables.get('FACP')!
    assert.equal(ram.readU32(fadt + 4), 276)
    assert.equal(ram.readU16(fadt + 46), 9)
    assert.deepEqual(
      [56, 64, 76].map((at) => ram.readU32(fadt + at)),
      [0x600, 0x604, 0x608],
    )
    assert.deepEqual([...ram.read(fadt + 116, 4), ram.readU32(fadt + 120)], [1, 8, 0, 1, 0xcf9])
    assert.equal(ram.readU8(fadt + 128), 6)
    assert.equal(ram.readU16(fadt + 109) & 3, 3)
    assert.equal(ram.readU32(fadt + 112) & (1 << 4), 0) // the power button is fixed hardware
    const facs = ram.readU32(fadt + 36)
    assert.equal(text(facs, 4), 'FACS')
    assert.equal(facs % 64, 0)
  })
  it('DSDT: a PCI bus with its windows and interrupts, and MSI, only where the machine has that', () => {
    const dsdt = ({ ram, tables }: ReturnType<typeof read>) => {
      const gpa = Number(ram.readU64(tables.get('FACP')! + 140))
      return Buffer.from(ram.read(gpa, ram.readU32(gpa + 4)))
    }
    const without = read()
    assert.equal(dsdt(without).includes('PCI0'), false)
    assert.equal(without.ram.readU16(without.tables.get('FACP')! + 109), 0x0f)
    const pci = read({ pci: { routes: Array.from({ length: 31 }, (_, i) => ({ slot: i + 1, gsi: 16 })) } })
    assert.equal(pci.ram.readU16(pci.tables.get('FACP')! + 109), 0x07)
    const aml = dsdt(pci)
    assert.equal(pci.sum(Number(pci.ram.readU64(pci.tables.get('FACP')! + 140)), aml.length), 0)
    const route = [0x12, 0x0b, 0x04, 0x0c, 0xff, 0xff, 0x02, 0x00, 0x00, 0x00, 0x0a, 0x10]
    assert.ok(aml.includes(Buffer.from(route)))
    const window = [0x87, 0x17, 0, 0, 0x0c, 1, 0, 0, 0, 0, 0, 0, 0, 0xe0, 0xff, 0xff, 0xbf, 0xfe]
    assert.ok(aml.includes(Buffer.from(window)))
  })
  it('MADT: processors, I/O APIC, IRQ0 at GSI 2, a level SCI, and NMI at LINT1', () => {
    const { ram, tables } = read()
    const madt = tables.get('APIC')!
    const entries: number[][] = []
    for (let at = madt + 44; at < madt + ram.readU32(madt + 4); at += ram.readU8(at + 1)) {
      entries.push([...ram.read(at, ram.readU8(at + 1))])
    }
    assert.deepEqual(entries, [
      [0, 8, 0, 0, 1, 0, 0, 0],
      [0, 8, 1, 1, 1, 0, 0, 0],
      [1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
      [2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
      [2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0],
      [4, 6, 0xff, 0, 0, 1],
    ])
  })
})

describe('AML', () => {
  it('encodes names, integers and packages as the specification does', () => {
    const s5 = [...name('\\_S5', packageOf(integer(5), integer(0)))]
    assert.deepEqual(s5, [0x08, 0x5c, 0x5f, 0x53, 0x35, 0x5f, 0x12, 0x05, 0x02, 0x0a, 0x05, 0x00])
    assert.deepEqual(eisaId('PNP0501'), [0x0c, 0x41, 0xd0, 0x05, 0x01])
    assert.deepEqual(integer(0x12345), [0x0c, 0x45, 0x23, 0x01, 0x00])
  })
  it('gives long packages a length of two bytes that counts itself', () => {
    const term = device('ABCD', new Array(100).fill(0xa3))
    assert.deepEqual(term.slice(0, 4), [0x5b, 0x82, 0x40 | (106 & 15), 106 >> 4])
    assert.equal(term.length, 2 + 106)
    const longer = device('ABCD', new Array(5000).fill(0xa3))
    assert.deepEqual(longer.slice(0, 5), [0x5b, 0x82, 0x80 | (5007 & 15), (5007 >> 4) & 0xff, 5007 >> 12])
    assert.equal(longer.length, 2 + 5007)
  })
})
