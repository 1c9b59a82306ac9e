import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../../../clock/manual-clock.ts'
import { FakeGuest } from '../testing/fake-guest.ts'
import { VirtioRng } from './rng.ts'

function setup({ packed = false, bytesPerSecond = 16_000 } = {}) {
  const clock = new ManualClock()
  let word = 0
  const make = () =>
    new VirtioRng({ random: () => (word += 0x0101_0101), clock: clock.queue, bytesPerSecond })
  const device = make()
  const guest = new FakeGuest(device, { packed }).begin()
  return { clock, device, guest, make, queue: guest.queues[0] }
}

for (const packed of [false, true]) {
  describe(`virtio-rng, ${packed ? 'packed' : 'split'}`, () => {
    it('fills the buffer with what it is given, odd lengths too', () => {
      const { guest, queue } = setup({ packed })
      queue.add([], [3, 4])
      guest.kick(0)
      assert.deepEqual([...queue.used()!.bytes], [1, 1, 1, 1, 2, 2, 2])
      assert.equal(guest.interrupted, true)
    })
    it('gives what may be taken at once, then no more than the rate', () => {
      const { clock, guest, queue } = setup({ packed })
      for (let i = 0; i < 4; i++) queue.add([], [800])
      guest.kick(0)
      assert.deepEqual(
        queue.usedAll().map(({ written }) => written),
        [800, 200],
      )
      guest.kick(0)
      assert.equal(queue.used(), undefined)
      clock.advance(1e9)
      const later = queue.usedAll().reduce((sum, { written }) => sum + written, 0)
      assert.ok(later > 0 && later <= 1600, `${later}`)
    })
    it('fills a part of an enormous request, and gives an empty one back', () => {
      const { guest, queue } = setup({ packed, bytesPerSecond: 2 ** 20 })
      queue.addDescriptors([{ gpa: 0, length: 8 << 20, flags: 2 }])
      queue.add([Uint8Array.of(1)])
      guest.kick(0)
      assert.deepEqual([guest.ram.readU8(4095) !== 0, guest.ram.readU8(4096)], [true, 0])
      assert.deepEqual(
        queue.usedAll().map(({ written }) => written),
        [4096, 0],
      )
    })
    it('sets no timer behind a reset', () => {
      const { clock, guest, queue } = setup({ packed })
      for (let i = 0; i < 4; i++) queue.add([], [4000])
      guest.kick(0)
      assert.notEqual(clock.queue.next(), Infinity)
      guest.write(0x70, 0)
      assert.equal(clock.queue.next(), Infinity)
    })
    it('continues from a saved state', () => {
      const { clock, guest, make, queue } = setup({ packed })
      for (let i = 0; i < 3; i++) queue.add([], [700])
      guest.kick(0)
      queue.usedAll()
      const state = JSON.parse(JSON.stringify(guest.transport.save()))
      const other = new FakeGuest(make(), { packed })
      other.ram.write(0, guest.ram.read(0, 8 << 20))
      other.transport.restore(state)
      clock.advance(1e9)
      assert.notDeepEqual(other.ram.read(0, 8 << 20), guest.ram.read(0, 8 << 20))
      assert.equal(other.interrupted, true)
    })
  })
}
