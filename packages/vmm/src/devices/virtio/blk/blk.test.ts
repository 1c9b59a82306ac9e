import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../../../clock/manual-clock.ts'
import { allocateGuestMemory, GuestRam } from '../../../memory/guest-memory.ts'
import { FakeGuest } from '../testing/fake-guest.ts'
import { VirtioBlk } from './blk.ts'
import { HeldDisk } from './testing/held-disk.ts'

const [IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES] = [0, 1, 4, 8, 11, 13]
const [OK, IOERR, UNSUPP] = [0, 1, 2]
const [RO, FLUSH_BIT, CONFIG_WCE, MQ, DISCARD_BIT, ZEROES_BIT] = [5, 9, 11, 12, 13, 14]
const DISK = 1 << 20
const MIB = 1 << 20
const NEEDS_RESET = 64

function header(type: number, sector: number | bigint = 0): Uint8Array {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, type, true)
  view.setBigUint64(8, BigInt(sector), true)
  return bytes
}

function range(sector: number | bigint, count: number, flags = 0): Uint8Array {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(sector), true)
  view.setUint32(8, count, true)
  view.setUint32(12, flags, true)
  return bytes
}

const pattern = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff)

interface Options {
  packed?: boolean
  readOnly?: boolean
  queues?: number
  features?: number[]
  ramMib?: number
  disk?: number
}

function setup(options: Options = {}) {
  const { packed = false, readOnly = false, queues = 1, features, ramMib = 8 } = options
  const clock = new ManualClock()
  const disk = new HeldDisk(pattern(options.disk ?? DISK), readOnly)
  const errors: string[] = []
  const make = () =>
    new VirtioBlk({
      disk,
      clock: clock.queue,
      serial: 'disk-0',
      queues,
      onError: (error) => errors.push((error as Error).message),
    })
  const device = make()
  const ram = new GuestRam(allocateGuestMemory(ramMib * MIB))
  const guest = new FakeGuest(device, { ram, packed, ...(features ? { features } : {}) }).begin()
  const [queue] = guest.queues
  /** Statuses of the requests that are over, in order. */
  const statuses = (index = 0) => guest.queues[index].usedAll().map(({ bytes }) => bytes.at(-1))
  const request = (parts: Uint8Array[], room: number[] = [1]) => {
    queue.add(parts, room)
    guest.kick(0)
    return queue.used()
  }
  const status = (parts: Uint8Array[], room?: number[]) => request(parts, room)?.bytes.at(-1)
  return { clock, device, disk, errors, guest, make, queue, ram, request, status, statuses }
}

for (const packed of [false, true]) {
  describe(`virtio-blk, ${packed ? 'packed' : 'split'}`, () => {
    it('reads sectors into scattered memory, and interrupts', () => {
      const { disk, guest, request } = setup({ packed })
      const { bytes, written } = request([header(IN, 3)], [100, 924, 1])!
      assert.equal(written, 1025)
      assert.deepEqual(bytes.subarray(0, 1024), disk.file.bytes().subarray(1536, 2560))
      assert.equal(bytes[1024], OK)
      assert.equal(guest.interrupted, true)
    })
    it('writes sectors from scattered memory, whatever part the header shares', () => {
      const { disk, status } = setup({ packed })
      const data = pattern(1024, 99)
      assert.equal(status([Buffer.concat([header(OUT, 5), data.subarray(0, 10)]), data.subarray(10)]), OK)
      assert.deepEqual(disk.file.bytes().subarray(2560, 3584), data)
      assert.deepEqual(disk.log, ['write 2560 1024'])
    })
    it('flushes, and tells its serial number', () => {
      const { disk, request, status } = setup({ packed })
      assert.equal(status([header(FLUSH)]), OK)
      assert.deepEqual(disk.log, ['flush'])
      const { bytes } = request([header(GET_ID)], [20, 1])!
      assert.equal(Buffer.from(bytes).toString('latin1'), `disk-0${'\0'.repeat(15)}`)
    })
    it('discards and zeroes ranges', () => {
      const { disk, status } = setup({ packed })
      assert.equal(status([header(DISCARD), range(0, 8), range(16, 2)]), OK)
      assert.equal(status([header(WRITE_ZEROES), range(1, 1), range(2, 1, 1)]), OK)
      assert.deepEqual(disk.log, ['discard 0 4096', 'discard 8192 1024', 'zero 512 512', 'unmap 1024 512'])
      assert.ok(
        disk.file
          .bytes()
          .subarray(512, 1536)
          .every((byte) => byte === 0),
      )
    })
    it('completes requests in the order of the back end, and interrupts for each', async () => {
      const { disk, guest, queue } = setup({ packed })
      disk.holds = true
      const ids = [0, 1, 2].map((sector) => queue.add([header(IN, sector)], [512, 1]))
      guest.kick(0)
      assert.equal(queue.used(), undefined)
      for (const index of [2, 0, 1]) {
        await disk.held[index]()
        assert.equal(guest.interrupted, true)
        guest.write(0x64, 1)
        const used = queue.used()!
        assert.equal(used.id, ids[index])
        assert.deepEqual(used.bytes.subarray(0, 512), pattern(DISK).subarray(512 * index, 512 * index + 512))
      }
    })
    it('continues with requests in flight from a saved state', async () => {
      const { clock, disk, guest, make, queue } = setup({ packed })
      disk.holds = true
      queue.add([header(OUT, 7), pattern(512, 40)], [1])
      guest.write(0x100 + 32, 0, 1)
      guest.kick(0)
      const state = JSON.parse(JSON.stringify(guest.transport.save()))
      disk.holds = false
      const other = new FakeGuest(make(), { packed })
      other.ram.write(0, guest.ram.read(0, 8 * MIB))
      other.transport.restore(state)
      clock.advance(1)
      assert.deepEqual(disk.file.bytes().subarray(3584, 4096), pattern(512, 40))
      assert.equal(other.read(0x100 + 32, 1), 0)
      assert.equal(other.interrupted, true)
    })
  })
}

describe('virtio-blk', () => {
  it('describes itself', () => {
    const { guest } = setup({ queues: 4 })
    const at = (offset: number, size: number) => guest.read(0x100 + offset, size)
    assert.equal(at(0, 4), DISK / 512)
    assert.deepEqual([at(12, 4), at(20, 4), at(24, 1), at(26, 2), at(34, 2)], [254, 512, 3, 8, 4])
    assert.deepEqual([at(36, 4), at(40, 4), at(44, 4)], [0x2_0000, 16, 128])
    assert.deepEqual([at(48, 4), at(52, 4), at(56, 1)], [0x2_0000, 16, 1])
    assert.ok(guest.transport.core.offered.has(MQ))
  })
  it('tells the guest of another size', async () => {
    const { device, disk, guest, status } = setup()
    await disk.resize(DISK + 700)
    device.resized()
    assert.equal(guest.read(0x60), 2)
    assert.equal(guest.read(0x100), DISK / 512 + 1)
    assert.equal(status([header(IN, DISK / 512)], [512, 1]), OK)
  })
  it('serves each of several queues', () => {
    const { guest, statuses } = setup({ queues: 3 })
    guest.queues.forEach((queue, index) => {
      queue.add([header(IN, index)], [512, 1])
      guest.kick(index)
      assert.deepEqual(statuses(index), [OK])
    })
  })
  it('of a read-only disk writes nothing', () => {
    const { disk, guest, status } = setup({ readOnly: true })
    for (const [bit, offered] of [
      [RO, true],
      [CONFIG_WCE, false],
      [DISCARD_BIT, false],
      [ZEROES_BIT, false],
    ] as const)
      assert.equal(guest.transport.core.offered.has(bit), offered)
    assert.equal(status([header(OUT), new Uint8Array(512)]), IOERR)
    assert.equal(status([header(DISCARD), range(0, 1)]), UNSUPP)
    assert.equal(status([header(WRITE_ZEROES), range(0, 1)]), UNSUPP)
    assert.equal(status([header(FLUSH)]), OK)
    assert.deepEqual(disk.log, ['flush'])
  })
  it('writes through where the driver does not flush, or does not want to', () => {
    const sector = new Uint8Array(512)
    const without = setup({ features: [CONFIG_WCE] })
    assert.equal(without.guest.read(0x100 + 32, 1), 0)
    without.status([header(OUT), sector])
    assert.deepEqual(without.disk.log, ['write 0 512', 'flush'])
    const toggles = setup()
    assert.equal(toggles.guest.read(0x100 + 32, 1), 1)
    toggles.guest.write(0x100 + 32, 0, 1)
    assert.equal(toggles.guest.read(0x100 + 32, 1), 0)
    toggles.status([header(OUT), sector])
    toggles.status([header(DISCARD), range(0, 1)])
    assert.deepEqual(toggles.disk.log, ['write 0 512', 'flush', 'discard 0 512', 'flush'])
    const fixed = setup({ features: [FLUSH_BIT] })
    fixed.guest.write(0x100 + 32, 0, 1)
    fixed.status([header(OUT), sector])
    assert.deepEqual(fixed.disk.log, ['write 0 512'])
  })
})

describe('virtio-blk, when the back end fails', () => {
  it('gives an I/O error, tells why, and goes on', async () => {
    const { disk, errors, guest, status, statuses, queue } = setup()
    disk.failure = 'no room'
    assert.equal(status([header(OUT), new Uint8Array(512)]), IOERR)
    assert.equal(status([header(FLUSH)]), IOERR)
    disk.holds = true
    queue.add([header(OUT), new Uint8Array(512)], [1])
    guest.kick(0)
    await disk.held[0]()
    assert.deepEqual(statuses(), [IOERR])
    assert.deepEqual(errors, ['no room', 'no room', 'no room'])
    disk.failure = undefined
    disk.holds = false
    assert.equal(status([header(FLUSH)]), OK)
  })
})

describe('virtio-blk against hostile drivers', () => {
  it('gives an error for what is not within the disk', () => {
    const { disk, status } = setup()
    const end = DISK / 512
    for (const sector of [end, end - 1, 2n ** 53n, 2n ** 55n, 2n ** 63n, 2n ** 64n - 1n]) {
      assert.equal(status([header(OUT, sector), new Uint8Array(1024)]), IOERR, `${sector}`)
      assert.equal(status([header(DISCARD), range(sector, 2)]), IOERR, `${sector}`)
    }
    assert.deepEqual(disk.log, [])
  })
  it('gives an error for lengths that are no whole sectors, or ranges', () => {
    const { disk, status } = setup()
    assert.equal(status([header(OUT), new Uint8Array(511)]), IOERR)
    for (const ranges of [new Uint8Array(0), new Uint8Array(15), new Uint8Array(17 * 16)])
      assert.equal(status([header(DISCARD), ranges]), IOERR, `${ranges.length}`)
    assert.equal(status([header(WRITE_ZEROES), range(0, 1), range(0, 0xffff_ffff)]), IOERR)
    assert.deepEqual(disk.log, [])
  })
  it('supports no unknown flags and requests', () => {
    const { disk, status } = setup()
    assert.equal(status([header(DISCARD), range(0, 1, 1)]), UNSUPP)
    assert.equal(status([header(WRITE_ZEROES), range(0, 1, 2)]), UNSUPP)
    assert.equal(status([header(0xffff_ffff)]), UNSUPP)
    assert.deepEqual(disk.log, [])
  })
  it('needs a reset behind a request without a header or a status', () => {
    for (const [parts, room] of [
      [[new Uint8Array(15)], [1]],
      [[header(IN)], []],
      [[], [600]],
    ] as const) {
      const { guest, queue } = setup()
      queue.add(parts, room)
      guest.kick(0)
      assert.ok(guest.status & NEEDS_RESET)
      assert.deepEqual(guest.faults, ['a request has no header, or no room for its status'])
      assert.equal(guest.begin().status, 15)
    }
  })
  it('holds a bounded number of bytes in flight', async () => {
    const { clock, disk, guest, queue, statuses } = setup({ ramMib: 64, disk: 16 * MIB })
    disk.holds = true
    for (let i = 0; i < 12; i++) queue.add([header(IN)], [4 * MIB, 1], true)
    guest.kick(0)
    for (let i = 0; i < 4; i++) clock.advance(1)
    assert.equal(disk.held.length, 8)
    for (let done = 0; done < disk.held.length; done++) {
      await disk.held[done]()
      clock.advance(1)
      clock.advance(1)
      assert.ok(disk.held.length - done - 1 <= 8)
    }
    assert.deepEqual(statuses(), new Array(12).fill(OK))
  })
  it('gives the run loop its turns while a back end does everything at once', () => {
    const { clock, disk, guest, queue, statuses } = setup({ ramMib: 64, disk: 16 * MIB })
    for (let i = 0; i < 4; i++) queue.add([header(IN)], [12 * MIB, 1], true)
    guest.kick(0)
    const steps = [disk.log.length]
    for (; clock.queue.next() < Infinity; steps.push(disk.log.length)) clock.queue.runDue()
    assert.deepEqual(steps, [4, 8, 12, 12])
    assert.deepEqual(statuses(), new Array(4).fill(OK))
  })
})

describe('virtio-blk, when it is reset', () => {
  it('waits for the back end, and drops what comes late', async () => {
    const { disk, guest, queue } = setup()
    disk.holds = true
    queue.add([header(IN)], [512, 1])
    queue.add([header(OUT), pattern(512, 9)], [1])
    guest.kick(0)
    guest.write(0x70, 0)
    assert.notEqual(guest.status, 0)
    guest.write(0x64, 1)
    await disk.held[0]()
    assert.notEqual(guest.status, 0)
    await disk.held[1]()
    assert.equal(guest.status, 0)
    assert.equal(guest.interrupted, false)
    assert.equal(queue.used(), undefined)
    disk.holds = false
    guest.begin()
    guest.queues[0].add([header(FLUSH)], [1])
    guest.kick(0)
    assert.deepEqual(guest.queues[0].used()?.bytes, Uint8Array.of(OK))
  })
  it('begins no further step of a request', async () => {
    const { clock, disk, guest, queue } = setup({ ramMib: 64, disk: 16 * MIB })
    queue.add([header(IN)], [16 * MIB, 1], true)
    queue.add([header(IN)], [16 * MIB, 1], true)
    guest.kick(0)
    assert.equal(disk.log.length, 4)
    guest.write(0x70, 0)
    assert.equal(guest.status, 0)
    clock.advance(1)
    assert.equal(disk.log.length, 4)
    assert.equal(clock.queue.next(), Infinity)
  })
  it('or stopped, waits for what is under way alone', async () => {
    const { clock, device, disk, guest, queue } = setup({ ramMib: 64, disk: 16 * MIB })
    disk.holds = true
    queue.add([header(IN)], [16 * MIB, 1], true)
    guest.kick(0)
    let stopped = false
    void device.stop()?.then(() => (stopped = true))
    queue.add([header(FLUSH)], [1])
    guest.kick(0)
    assert.equal(stopped, false)
    await disk.held[0]()
    assert.equal(stopped, true)
    clock.advance(1)
    assert.deepEqual(disk.log, ['read 0 4194304'])
    assert.equal(device.stop(), undefined)
  })
  it('of one queue lets the others go on', async () => {
    const { disk, guest } = setup({ queues: 2 })
    disk.holds = true
    for (const [index, queue] of guest.queues.entries()) {
      queue.add([header(FLUSH)], [1])
      guest.kick(index)
    }
    guest.write(0x30, 0)
    guest.write(0xc0, 1)
    assert.equal(guest.read(0xc0), 1)
    await disk.held[0]()
    assert.equal(guest.read(0xc0), 0)
    assert.equal(guest.queues[0].used(), undefined)
    await disk.held[1]()
    assert.deepEqual(guest.queues[1].used()?.bytes, Uint8Array.of(OK))
  })
})
