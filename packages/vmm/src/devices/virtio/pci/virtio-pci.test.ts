import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { AccessSize } from '../../../bus/port-bus.ts'
import { allocateGuestMemory, GuestRam } from '../../../memory/guest-memory.ts'
import { FakeDevice } from '../testing/fake-device.ts'
import { FakeDriver } from '../testing/fake-driver.ts'
import { VirtioPci } from './virtio-pci.ts'

const COMMON = 0
const NOTIFY = 0x3000

function setup() {
  const ram = new GuestRam(allocateGuestMemory(1 << 20))
  const log = { line: false, messages: [] as number[][], faults: [] as string[] }
  const make = () => {
    const device = new FakeDevice()
    const pci = new VirtioPci({ device, ram, onFault: (reason) => log.faults.push(reason) })
    pci.function.plug({
      interrupt: { set: (asserted) => (log.line = asserted) },
      message: (address, data) => log.messages.push([address, data]),
      map: () => {},
    })
    return { device, pci }
  }
  const { device, pci } = make()
  pci.function.configWrite(4, 2, 6)
  const read = (offset: number, size: AccessSize) => pci.mmioRead(offset, size)
  const write = (offset: number, size: AccessSize, value: number) => pci.mmioWrite(offset, size, value)
  const driver = FakeDriver.make({ ram, size: 16, packed: true })
  /** Up to DRIVER_OK, with queue 1. */
  const begin = (vector = 0xffff) => {
    write(20, 1, 0)
    write(20, 1, 3)
    write(8, 4, 1)
    write(12, 4, 5) // VERSION_1, RING_PACKED
    write(20, 1, 11)
    write(16, 2, vector === 0xffff ? vector : 0)
    write(22, 2, 1)
    write(24, 2, 16)
    write(26, 2, vector)
    const { descriptors, driver: available, device: used } = driver.layout
    for (const [offset, gpa] of [
      [32, descriptors],
      [40, available],
      [48, used],
    ]) {
      write(offset, 4, gpa)
      write(offset + 4, 4, 0)
    }
    write(28, 2, 1)
    write(20, 1, 15)
  }
  return { begin, device, driver, log, make, pci, read, write }
}

/** The vendor capabilities: type to place. */
function capabilities({ function: fn }: VirtioPci) {
  const found = new Map<number, { at: number; bar: number; offset: number; length: number }>()
  for (let at = fn.configRead(0x34, 1); at !== 0; at = fn.configRead(at + 1, 1)) {
    if (fn.configRead(at, 1) !== 9) continue
    found.set(fn.configRead(at + 3, 1), {
      at,
      bar: fn.configRead(at + 4, 1),
      offset: fn.configRead(at + 8, 4),
      length: fn.configRead(at + 12, 4),
    })
  }
  return found
}

describe('virtio over PCI', () => {
  it('is found by its IDs, and says by capabilities where its structures are', () => {
    const { pci } = setup()
    assert.equal(pci.function.configRead(0, 4), 0x1042_1af4)
    assert.ok(pci.function.configRead(8, 1) >= 1)
    const found = capabilities(pci)
    assert.deepEqual([...found.keys()].sort(), [1, 2, 3, 4, 5])
    assert.equal(found.get(1)!.length, 60)
    assert.equal(found.get(4)!.length, 8)
    assert.equal(pci.function.configRead(found.get(2)!.at + 16, 4), 4)
    for (const type of [1, 2, 3, 4]) assert.equal(found.get(type)!.bar, 4)
  })
  it('has the fields of the common configuration at their places, and no others', () => {
    const { read, write } = setup()
    assert.deepEqual([read(18, 2), read(20, 1), read(21, 1)], [3, 0, 0])
    write(0, 4, 1)
    assert.equal(read(4, 4), 0x1000_0105)
    write(22, 2, 2)
    assert.deepEqual([read(24, 2), read(26, 2), read(28, 2), read(30, 2)], [16, 0xffff, 0, 2])
    write(22, 2, 77)
    assert.deepEqual([read(24, 2), read(26, 2)], [0, 0xffff])
    assert.deepEqual([read(60, 4), read(0x400, 4), read(19, 1), read(18, 4)], [0, 0, 0, 0])
  })
  it('serves a queue by its notification, and asserts INTA# until ISR is read', () => {
    const { begin, driver, log, read, write } = setup()
    begin()
    driver.add([Uint8Array.of(5)], [1])
    write(NOTIFY + 4, 2, 1)
    assert.deepEqual([...driver.used()!.bytes], [5])
    assert.equal(log.line, true)
    assert.equal(read(0x1000, 1), 1)
    assert.equal(log.line, false)
    assert.equal(read(0x1000, 1), 0)
  })
  it('sends the messages that the driver chose, and none for vectors that do not exist', () => {
    const { begin, device, driver, log, pci, read, write } = setup()
    const msiX = pci.function.bars.find(({ index }) => index === 1)!
    assert.ok(msiX.kind === 'memory')
    for (let vector = 0; vector < 2; vector++) {
      msiX.device.mmioWrite(16 * vector, 4, 0xfee0_0000)
      msiX.device.mmioWrite(16 * vector + 8, 4, 0x50 + vector)
      msiX.device.mmioWrite(16 * vector + 12, 4, 0)
    }
    pci.function.configWrite(0x42, 2, 0x8000)
    begin(1)
    assert.equal(read(26, 2), 1)
    driver.add([Uint8Array.of(5)], [1])
    write(NOTIFY + 4, 2, 1)
    device.driver!.configChanged()
    assert.deepEqual(log.messages, [
      [0xfee0_0000, 0x51],
      [0xfee0_0000, 0x50],
    ])
    // ISR has the bit for the configuration with MSI-X too, and that for queues not.
    assert.deepEqual([log.line, read(0x1000, 1)], [false, 2])
    write(26, 2, 4)
    assert.equal(read(26, 2), 0xffff)
  })
  it('is reached through configuration space alone, too', () => {
    const { pci } = setup()
    const { at } = capabilities(pci).get(5)!
    const access = (offset: number, length: number) => {
      pci.function.configWrite(at + 4, 1, 4)
      pci.function.configWrite(at + 8, 4, offset)
      pci.function.configWrite(at + 12, 4, length)
    }
    access(COMMON + 18, 2)
    assert.equal(pci.function.configRead(at + 16, 4), 3)
    access(COMMON + 20, 1)
    pci.function.configWrite(at + 16, 4, 3)
    assert.equal(pci.core.status, 3)
    for (const [offset, length] of [
      [0x4000, 4],
      [0xffff_fffc, 4],
      [1, 4],
      [0, 3],
      [0, 0],
    ]) {
      access(offset, length)
      pci.function.configWrite(at + 16, 4, 0)
      pci.function.configRead(at + 16, 4)
    }
    assert.equal(pci.core.status, 3)
  })
  it('continues from a saved state', () => {
    const { begin, device, driver, make, pci, write } = setup()
    begin()
    device.holds = true
    driver.add([Uint8Array.of(8)], [1])
    write(NOTIFY + 4, 2, 1)
    const other = make()
    other.pci.restore(JSON.parse(JSON.stringify(pci.save())))
    assert.deepEqual([...driver.used()!.bytes], [8])
    assert.equal(other.pci.mmioRead(0x1000, 1), 1)
    assert.equal(other.pci.core.status, 15)
  })
  it('refuses a state of another version', () => {
    const { pci } = setup()
    const state = { ...pci.save(), version: 2 as 1 }
    assert.throws(() => pci.restore(state), { code: 'TV_SNAPSHOT_VERSION' })
  })
})
