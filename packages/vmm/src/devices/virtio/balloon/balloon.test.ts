import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { FakeGuest } from '../testing/fake-guest.ts'
import { type BalloonStatistics, VirtioBalloon } from './balloon.ts'

function setup(packed = false) {
  const released: [number, number][] = []
  const answers: BalloonStatistics[] = []
  const make = () =>
    new VirtioBalloon({
      release: (gpa, length) => released.push([gpa, length]),
      onStatistics: (statistics) => answers.push(statistics),
    })
  const device = make()
  const guest = new FakeGuest(device, { packed }).begin()
  return { answers, device, guest, make, queues: guest.queues, released }
}

const words = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer)

function statistic(tag: number, value: bigint): Uint8Array {
  const record = Buffer.alloc(10)
  record.writeUInt16LE(tag, 0)
  record.writeBigUInt64LE(value, 2)
  return new Uint8Array(record)
}

for (const packed of [false, true]) {
  describe(`virtio-balloon, ${packed ? 'packed' : 'split'}`, () => {
    it('asks for pages by its configuration, and reads how many there are', () => {
      const { device, guest } = setup(packed)
      device.target = 5 * 4096 + 1
      assert.equal(guest.read(0x60), 2)
      assert.equal(guest.read(0x100), 5)
      guest.write(0x104, 3)
      guest.write(0x100, 99)
      assert.deepEqual([device.target, device.actual], [5 * 4096, 3 * 4096])
    })
    it('releases the pages of an inflation, neighbours together, and none outside RAM', () => {
      const { guest, queues, released } = setup(packed)
      queues[0].add([words(16, 17, 18, 32), words(0x10_0000, 40)])
      guest.kick(0)
      assert.deepEqual(released, [
        [0x1_0000, 0x3000],
        [0x2_0000, 0x1000],
        [0x2_8000, 0x1000],
      ])
      queues[1].add([words(16)])
      guest.kick(1)
      assert.ok(queues[0].used() && queues[1].used())
    })
    it('keeps the statistics that the guest gives, and asks again by giving its buffer back', () => {
      const { answers, device, guest, queues } = setup(packed)
      assert.equal(device.refreshStatistics(), false)
      queues[2].add([statistic(4, 1000n), statistic(5, 2n ** 33n), statistic(999, 1n)])
      guest.kick(2)
      assert.equal(queues[2].used(), undefined)
      assert.deepEqual(answers, [{ freeBytes: 1000, totalBytes: 2 ** 33 }])
      assert.equal(device.refreshStatistics(), true)
      assert.ok(queues[2].used())
      assert.equal(device.refreshStatistics(), false)
    })
    it('releases whole pages of reported free memory, on the queue of the specification and on that of Linux', () => {
      const { guest, queues, released } = setup(packed)
      for (const index of [3, 4]) {
        queues[index].addDescriptors([{ gpa: 0x20_0800, length: 0x3000, flags: 2 }])
        guest.kick(index)
        assert.ok(queues[index].used())
      }
      assert.deepEqual(released, [
        [0x20_1000, 0x2000],
        [0x20_1000, 0x2000],
      ])
    })
    it('continues from a saved state', () => {
      const { device, guest, make, queues } = setup(packed)
      device.target = 8 * 4096
      guest.write(0x104, 7)
      queues[2].add([statistic(4, 1000n)])
      guest.kick(2)
      const state = JSON.parse(JSON.stringify(guest.transport.save()))
      const copy = make()
      const other = new FakeGuest(copy, { packed })
      other.ram.write(0, guest.ram.read(0, 8 << 20))
      other.transport.restore(state)
      assert.deepEqual([copy.target, copy.actual, copy.statistics], [8 * 4096, 7 * 4096, { freeBytes: 1000 }])
      assert.equal(copy.refreshStatistics(), true)
    })
  })
}
