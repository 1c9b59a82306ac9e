import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { allocateGuestMemory, GuestRam } from '../../../memory/guest-memory.ts'
import { FakeDevice } from '../testing/fake-device.ts'
import { FakeGuest, type FakeGuestOptions } from '../testing/fake-guest.ts'
import { VirtioMmio } from './virtio-mmio.ts'

function setup(options: FakeGuestOptions = {}) {
  const device = new FakeDevice()
  return { device, guest: new FakeGuest(device, options) }
}
const bytes = (...values: number[]) => Uint8Array.from(values)
const [NEEDS_RESET, FEATURES_OK, DRIVER_OK] = [64, 8, 4]

describe('virtio over MMIO', () => {
  it('is found: magic, version 2, device, features, queues', () => {
    const { guest } = setup()
    assert.deepEqual([guest.read(0), guest.read(4), guest.read(8)], [0x7472_6976, 2, 2])
    const features = [0, 1, 2].map((select) => {
      guest.write(0x14, select)
      return guest.read(0x10)
    })
    assert.deepEqual(features, [0x3000_0208, 0x1000_0105, 0])
    guest.write(0x30, 1)
    assert.equal(guest.read(0x34), 16)
    guest.write(0x30, 3)
    assert.equal(guest.read(0x34), 0)
    assert.equal(guest.read(0xb0), 0xffff_ffff)
  })
  for (const packed of [false, true]) {
    it(`serves requests after DRIVER_OK, and not before (${packed ? 'packed' : 'split'})`, () => {
      const { device, guest } = setup({ packed })
      guest.kick(0)
      assert.deepEqual(device.log, [])
      guest.begin()
      guest.queues[1].add([bytes(1, 2, 3)], [3])
      guest.kick(1)
      assert.deepEqual([...guest.queues[1].used()!.bytes], [1, 2, 3])
      assert.equal(guest.read(0x60), 1)
      assert.equal(guest.interrupted, true)
      guest.write(0x64, 1)
      assert.equal(guest.interrupted, false)
      assert.deepEqual(device.log, ['reset', 'start', 'notified 1'])
    })
  }
  it('refuses features that were not offered, and a driver without VERSION_1', () => {
    const { guest } = setup({ features: [5] })
    guest.negotiate()
    assert.equal(guest.status, 3)
    guest.write(0x70, DRIVER_OK)
    assert.equal(guest.status, 3)
    guest.write(0x24, 0)
    guest.write(0x20, 0)
    guest.write(0x24, 1)
    guest.write(0x20, 0)
    guest.write(0x70, FEATURES_OK)
    assert.equal(guest.status, 3)
  })
  it('offers no packed rings when it is told not to', () => {
    const ram = new GuestRam(allocateGuestMemory(1 << 20))
    const device = new FakeDevice()
    const transport = new VirtioMmio({ device, ram, irq: { set: () => {} }, packed: false })
    transport.mmioWrite(0x14, 4, 1)
    assert.equal(transport.mmioRead(0x10, 4), 0x1000_0101)
  })
  it('does not let features change once they are agreed', () => {
    const { device, guest } = setup({ features: [3] })
    guest.negotiate()
    guest.write(0x24, 0)
    guest.write(0x20, 1 << 9)
    assert.deepEqual([device.driver!.has(3), device.driver!.has(9)], [true, false])
  })
  it('needs a reset when the driver breaks the rules, tells it, and works again after that', () => {
    const { guest } = setup()
    guest.begin()
    guest.queues[0].addDescriptors([{ gpa: 2 ** 40, length: 1, flags: 0 }])
    guest.kick(0)
    assert.equal(guest.status & NEEDS_RESET, NEEDS_RESET)
    assert.equal(guest.read(0x60) & 2, 2)
    assert.deepEqual(guest.faults, ['a descriptor is not in RAM'])
    guest.kick(1)
    guest.begin()
    guest.queues[0].add([bytes(7)], [1])
    guest.kick(0)
    assert.deepEqual([...guest.queues[0].used()!.bytes], [7])
    assert.equal(guest.status, 15)
  })
  it('needs a reset for queues of a wrong size, or elsewhere than in RAM', () => {
    for (const [offset, value] of [
      [0x38, 0],
      [0x38, 3],
      [0x38, 32],
      [0x84, 0xffff_ffff],
      [0xa0, 2],
    ]) {
      const { guest } = setup()
      guest.negotiate()
      guest.write(0x30, 1)
      guest.write(0x38, 16)
      guest.write(offset, value)
      guest.write(0x44, 1)
      assert.equal(guest.status & NEEDS_RESET, NEEDS_RESET, `${offset.toString(16)} = ${value}`)
    }
  })
  it('shows a reset done only when the device let go of memory, and drops its completions', async () => {
    const { device, guest } = setup()
    guest.begin()
    device.holds = true
    guest.queues[0].add([bytes(1)], [1])
    guest.kick(0)
    const { promise, resolve } = Promise.withResolvers<void>()
    device.pending = promise
    guest.write(0x70, 0)
    assert.equal(guest.status, 15)
    device.answer(device.held[0])
    assert.equal(guest.queues[0].used(), undefined)
    guest.write(0x70, 0)
    resolve()
    await promise
    assert.equal(guest.status, 0)
    assert.deepEqual(device.log, ['reset', 'start', 'notified 0', 'reset'])
  })
  it('resets one queue, and takes it again', async () => {
    const { device, guest } = setup()
    guest.begin()
    const { promise, resolve } = Promise.withResolvers<void>()
    device.pending = promise
    guest.write(0x30, 1)
    guest.write(0xc0, 1)
    assert.deepEqual([guest.read(0xc0), guest.read(0x44)], [1, 1])
    resolve()
    await promise
    assert.deepEqual([guest.read(0xc0), guest.read(0x44)], [0, 0])
    guest.enable(1, guest.queues[2])
    guest.queues[2].add([bytes(9)], [1])
    guest.kick(1)
    assert.deepEqual([...guest.queues[2].used()!.bytes], [9])
  })
  it('reads and writes the configuration at any width', () => {
    const { device, guest } = setup()
    guest.begin()
    assert.deepEqual([guest.read(0x101, 1), guest.read(0x102, 2), guest.read(0x104)], [2, 0x403, 0x0807_0605])
    guest.write(0x104, 0xaabb, 2)
    guest.write(0x106, 1, 4)
    assert.deepEqual([...device.config], [1, 2, 3, 4, 0xbb, 0xaa, 7, 8])
    assert.equal(guest.read(0x108), 0)
  })
  it('changes the generation of the configuration when the driver reads what has changed, however often', () => {
    const { device, guest } = setup()
    guest.begin()
    guest.read(0x100)
    assert.equal(guest.read(0xfc), 0)
    for (let i = 0; i < 256; i++) device.driver!.configChanged()
    assert.deepEqual([guest.read(0xfc), guest.read(0x60)], [0, 2])
    guest.read(0x100)
    guest.read(0x104)
    assert.equal(guest.read(0xfc), 1)
  })
  for (const packed of [false, true]) {
    it(`continues from a saved state with requests in flight (${packed ? 'packed' : 'split'})`, () => {
      const { device, guest } = setup({ packed, eventIndex: true })
      guest.begin()
      device.holds = true
      for (let i = 0; i < 3; i++) guest.queues[0].add([bytes(i)], [1])
      guest.kick(0)
      device.answer(device.held[2])
      const state = JSON.parse(JSON.stringify(guest.transport.save()))
      const other = setup({ packed, eventIndex: true })
      other.guest.ram.write(0, guest.ram.read(0, 8 << 20))
      other.guest.transport.restore(state)
      assert.deepEqual(other.device.log, ['restore', 'start'])
      guest.ram.write(0, other.guest.ram.read(0, 8 << 20))
      const used = guest.queues[0].usedAll()
      assert.deepEqual(
        used.map(({ bytes }) => bytes[0]),
        [2, 0, 1],
      )
      assert.equal(other.guest.status, 15)
    })
  }
})
