import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { allocateGuestMemory, GuestRam } from '../../../memory/guest-memory.ts'
import { FakeDriver } from '../testing/fake-driver.ts'
import type { Chain } from './chain.ts'
import { RingFault, VIRTQ_DESC_F_INDIRECT, VIRTQ_DESC_F_NEXT, VIRTQ_DESC_F_WRITE } from './segments.ts'
import { Virtqueue } from './virtqueue.ts'

const KINDS = [
  { packed: false, eventIndex: false },
  { packed: false, eventIndex: true },
  { packed: true, eventIndex: false },
  { packed: true, eventIndex: true },
]
const MIB = 0x10_0000

function setup({ packed, eventIndex, size = 8 }: { packed: boolean; eventIndex: boolean; size?: number }) {
  const written: [number, number][] = []
  const ram = new GuestRam(allocateGuestMemory(4 * MIB), (gpa, length) => written.push([gpa, length]))
  const driver = FakeDriver.make({ ram, size, packed, eventIndex })
  const log = { interrupts: 0, faults: [] as string[] }
  const open = () => {
    const queue = Virtqueue.open(
      driver.layout,
      { packed, eventIndex, indirect: true },
      { ram, onUsed: () => log.interrupts++, onFault: (reason) => log.faults.push(reason) },
    )
    assert.ok(queue instanceof Virtqueue)
    return queue
  }
  return { ram, driver, log, open, queue: open(), written }
}

const bytes = (...values: number[]) => Uint8Array.from(values)

/** Answers each chain with its readable bytes. */
function echo(chain: Chain): boolean {
  const request = new Uint8Array(Math.min(chain.readableBytes, chain.writableBytes))
  chain.read(request)
  chain.complete(chain.write(request))
  return true
}

for (const kind of KINDS) {
  const name = `${kind.packed ? 'packed' : 'split'} ring${kind.eventIndex ? ' with event indices' : ''}`
  describe(`virtqueue, ${name}`, () => {
    it('carries requests and answers, direct and indirect, around the ring many times', () => {
      const { driver, queue } = setup(kind)
      for (let i = 0; i < 100; i++) {
        driver.add([bytes(i, 1), bytes(2, 3, 4)], [3, 4], i % 3 === 0)
        if (i % 2) driver.add([], [1])
        queue.serve(echo)
        const [first, second] = driver.usedAll()
        assert.deepEqual([...first.bytes], [i, 1, 2, 3, 4])
        assert.equal(second?.written, i % 2 ? 0 : undefined)
      }
      assert.equal(queue.inFlight, 0)
    })
    it('lends the bytes as they lie in RAM, and tells which were written', () => {
      const { driver, queue, ram, written } = setup(kind)
      driver.add([], [6, 10])
      const chain = queue.pop()!
      assert.equal(chain.writable[0].bytes.buffer, ram.view(0, 1).buffer)
      written.length = 0
      chain.complete(8)
      assert.deepEqual(written.slice(0, 2), [
        [chain.writable[0].gpa, 6],
        [chain.writable[1].gpa, 2],
      ])
    })
    it('takes completions in any order', () => {
      const { driver, queue } = setup(kind)
      const ids = [driver.add([bytes(1)], [1]), driver.add([bytes(2)], [1]), driver.add([bytes(3)])]
      const chains = [queue.pop()!, queue.pop()!, queue.pop()!]
      for (const i of [2, 0, 1]) chains[i].complete(chains[i].writableBytes)
      assert.deepEqual(
        driver.usedAll().map(({ id }) => id),
        [ids[2], ids[0], ids[1]],
      )
      for (let i = 0; i < 20; i++) {
        driver.add([bytes(i)], [1])
        queue.serve(echo)
        assert.deepEqual([...driver.used()!.bytes], [i])
      }
    })
    it('puts a chain back, and gives it again', () => {
      const { driver, queue } = setup(kind)
      driver.add([bytes(1), bytes(2)])
      driver.add([bytes(3)])
      queue.unpop(queue.pop()!)
      assert.equal(queue.inFlight, 0)
      assert.equal(queue.pop()!.readableBytes, 2)
      assert.equal(queue.pop()!.readableBytes, 1)
    })
    it('stops serving where the device has no room, and asks for notifications otherwise', () => {
      const { driver, queue } = setup(kind)
      driver.add([bytes(1)])
      driver.kickWanted()
      queue.serve(() => false)
      assert.equal(queue.inFlight, 1)
      driver.add([bytes(2)])
      assert.equal(driver.kickWanted(), true)
      queue.wantKicks(false)
      driver.add([bytes(3)])
      if (!kind.eventIndex) assert.equal(driver.kickWanted(), false)
    })
    it('interrupts once for a batch, and not when the driver wants none', () => {
      const { driver, log, queue } = setup(kind)
      driver.wantInterrupts(true)
      for (let i = 0; i < 4; i++) driver.add([bytes(i)])
      queue.serve(echo)
      assert.equal(log.interrupts, 1)
      driver.usedAll()
      driver.wantInterrupts(false)
      driver.add([bytes(5)])
      queue.serve(echo)
      assert.equal(log.interrupts, 1)
    })
    it('continues from a saved state, with the chains that were in flight', () => {
      const { driver, open, queue } = setup(kind)
      for (let i = 0; i < 11; i++) {
        driver.add([bytes(i)], [1])
        queue.serve(echo)
        driver.used()
      }
      const ids = [driver.add([bytes(7)], [1]), driver.add([bytes(8)], [1]), driver.add([bytes(9)], [1])]
      const [, second] = [queue.pop()!, queue.pop()!]
      second.complete(0) // in a packed ring this takes the place of the first one's descriptor
      const state = JSON.parse(JSON.stringify(queue.save()))
      queue.close()
      const other = open()
      other.restore(state)
      assert.equal(other.inFlight, 1)
      other.serve(echo)
      const used = driver.usedAll()
      assert.deepEqual(
        used.map(({ id, written }) => [id, written]),
        [
          [ids[1], 0],
          [ids[0], 1],
          [ids[2], 1],
        ],
      )
      assert.deepEqual([...used[1].bytes], [7])
    })
    it('refuses a saved state that cannot be', () => {
      const { open, queue } = setup(kind)
      const state = queue.save()
      const chain = { id: 0, slots: 1, readable: [[2 ** 40, 8]] as [number, number][], writable: [] }
      assert.throws(() => open().restore({ ...state, next: 1e9 }), { code: 'TV_SNAPSHOT_STATE' })
      assert.throws(() => open().restore({ ...state, inFlight: [chain] }), { code: 'TV_SNAPSHOT_STATE' })
    })
    it('does nothing for a chain of a queue that was closed, or that is complete already', () => {
      const { driver, queue } = setup(kind)
      driver.add([bytes(1)])
      driver.add([bytes(2)], [1])
      const [first, second] = [queue.pop()!, queue.pop()!]
      first.complete()
      first.complete()
      queue.close()
      assert.equal(second.isHeld, false)
      assert.equal(second.write(bytes(1)), 0)
      second.complete()
      assert.equal(driver.usedAll().length, 1)
      assert.equal(queue.pop(), undefined)
    })
    for (const [fault, chain] of [
      ['outside RAM', [{ gpa: 4 * MIB - 1, length: 2, flags: 0 }]],
      ['far outside RAM', [{ gpa: 2 ** 53, length: 2, flags: 0 }]],
      [
        'readable behind writable',
        [
          { gpa: 0, length: 2, flags: VIRTQ_DESC_F_WRITE },
          { gpa: 0, length: 2, flags: 0 },
        ],
      ],
      ['an indirect table of odd length', [{ gpa: 0, length: 24, flags: VIRTQ_DESC_F_INDIRECT }]],
      ['an empty indirect table', [{ gpa: 0, length: 0, flags: VIRTQ_DESC_F_INDIRECT }]],
      ['an endless indirect table', [{ gpa: 0, length: 0xffff_fff0, flags: VIRTQ_DESC_F_INDIRECT }]],
      ['an indirect table outside RAM', [{ gpa: 4 * MIB, length: 16, flags: VIRTQ_DESC_F_INDIRECT }]],
      [
        'a chain behind an indirect table',
        [
          { gpa: 0, length: 16, flags: VIRTQ_DESC_F_INDIRECT },
          { gpa: 0, length: 2, flags: 0 },
        ],
      ],
    ] as const) {
      it(`breaks, and closes, for ${fault}`, () => {
        const { driver, log, queue } = setup(kind)
        driver.addDescriptors(chain)
        assert.equal(queue.pop(), undefined)
        assert.equal(log.faults.length, 1)
        assert.equal(queue.isOpen, false)
      })
    }
    it(`${kind.packed ? 'ignores, as it should,' : 'breaks for'} an indirect table in an indirect table`, () => {
      const { driver, log, queue, ram } = setup(kind)
      const table = driver.allocate(16, 16)
      ram.writeU64(table, BigInt(table))
      ram.writeU32(table + 8, 16)
      ram.writeU16(table + (kind.packed ? 14 : 12), VIRTQ_DESC_F_INDIRECT)
      driver.addDescriptors([{ gpa: table, length: 16, flags: VIRTQ_DESC_F_INDIRECT }])
      assert.equal(queue.pop()?.readableBytes, kind.packed ? 16 : undefined)
      assert.equal(log.faults.length, kind.packed ? 0 : 1)
    })
    it('breaks for a chain of more than 4 GiB', () => {
      const { driver, log, queue } = setup(kind)
      driver.addDescriptors(
        [0xffff_fff0, 17].map((length) => ({ gpa: 0, length, flags: VIRTQ_DESC_F_WRITE })),
      )
      assert.equal(queue.pop(), undefined)
      assert.equal(log.faults.length, 1)
    })
    it('takes overlapping buffers as they are', () => {
      const { driver, log, queue } = setup(kind)
      driver.addDescriptors([
        { gpa: 0x8000, length: 8, flags: 0 },
        { gpa: 0x8004, length: 8, flags: VIRTQ_DESC_F_WRITE },
        { gpa: 0x8004, length: 8, flags: VIRTQ_DESC_F_WRITE },
      ])
      queue.serve(echo)
      assert.deepEqual(log.faults, [])
      assert.equal(driver.used()!.written, 8)
    })
    it('waits with further chains while many segments are in flight', () => {
      const { driver, queue } = setup({ ...kind, size: 128 })
      const parts = new Array(1000).fill(1)
      for (let i = 0; i < 100; i++) driver.add([], parts, true)
      const chains: Chain[] = []
      for (let chain = queue.pop(); chain; chain = queue.pop()) chains.push(chain)
      assert.equal(chains.length, 66)
      for (const chain of chains) chain.complete()
      assert.ok(queue.pop())
    })
  })
}

describe('split virtqueue', () => {
  const kind = { packed: false, eventIndex: false }
  it('breaks for a chain that loops, also in an indirect table', () => {
    for (const indirect of [false, true]) {
      const { driver, log, queue, ram } = setup(kind)
      const id = driver.add([bytes(1), bytes(2)], [], indirect)
      const table = indirect
        ? Number(ram.readU64(driver.layout.descriptors + 16 * id))
        : driver.layout.descriptors
      for (let i = 0; i < 2; i++) {
        ram.writeU16(table + 16 * i + 12, VIRTQ_DESC_F_NEXT)
        ram.writeU16(table + 16 * i + 14, 1 - i)
      }
      assert.equal(queue.pop(), undefined)
      assert.deepEqual(log.faults, ['a chain loops'])
    }
  })
  it('breaks for an index that jumps, a head or a next beyond the table, and a head that is in flight', () => {
    for (const spoil of [
      ({ ram, driver }: ReturnType<typeof setup>) => ram.writeU16(driver.layout.driver + 2, 10),
      ({ ram, driver }: ReturnType<typeof setup>) => ram.writeU16(driver.layout.driver + 4, 8),
      ({ ram, driver }: ReturnType<typeof setup>) => {
        ram.writeU16(driver.layout.descriptors + 12, VIRTQ_DESC_F_NEXT)
        ram.writeU16(driver.layout.descriptors + 14, 8)
      },
      ({ ram, driver, queue }: ReturnType<typeof setup>) => {
        queue.pop()
        ram.writeU16(driver.layout.driver + 2, 2)
      },
    ]) {
      const all = setup(kind)
      all.driver.add([bytes(1)])
      spoil(all)
      assert.equal(all.queue.pop(), undefined)
      assert.equal(all.log.faults.length, 1)
    }
  })
  it('has an event index that is crossed when the entry is used, also where 16 bits wrap', () => {
    const { driver, log, queue } = setup({ packed: false, eventIndex: true })
    for (let i = 0; i < 0x1_0008; i++) {
      driver.wantInterrupts(i % 4 === 3)
      driver.add([bytes(1)])
      queue.serve(echo)
      driver.used()
    }
    assert.equal(log.interrupts, 0x4002)
  })
  it('is refused for a size that is no power of 2, and for places that are not RAM or not aligned', () => {
    const { driver, ram } = setup(kind)
    const pins = { ram, onUsed: () => {}, onFault: () => {} }
    const features = { packed: false, eventIndex: false, indirect: true }
    for (const change of [
      { size: 0 },
      { size: 3 },
      { size: 0x1_0000 },
      { descriptors: 8 },
      { device: 2 ** 60 },
    ])
      assert.ok(Virtqueue.open({ ...driver.layout, ...change }, features, pins) instanceof RingFault)
  })
})

describe('packed virtqueue', () => {
  it('has an event at a descriptor, also in the next round', () => {
    const { driver, log, queue } = setup({ packed: true, eventIndex: true })
    for (let i = 0; i < 40; i++) {
      driver.wantInterrupts(true, 2)
      const before = log.interrupts
      for (let j = 0; j < 3; j++) {
        assert.equal(log.interrupts, before)
        driver.add([bytes(1)])
        queue.serve(echo)
      }
      assert.equal(log.interrupts, before + 1)
      driver.usedAll()
    }
  })
  it('breaks for a ring that is made available again while all of it is in flight', () => {
    const { driver, log, queue, ram } = setup({ packed: true, eventIndex: false, size: 3 })
    for (let i = 0; i < 3; i++) driver.add([bytes(i)])
    for (let i = 0; i < 3; i++) queue.pop()
    ram.writeU16(driver.layout.descriptors + 12, 99)
    ram.writeU16(driver.layout.descriptors + 14, 1 << 15)
    assert.equal(queue.pop(), undefined)
    assert.deepEqual(log.faults, ['the ring is overrun'])
  })
  it('breaks for a chain that is longer than the ring', () => {
    const { driver, log, queue, ram } = setup({ packed: true, eventIndex: false })
    for (let i = 0; i < 8; i++)
      ram.writeU16(driver.layout.descriptors + 16 * i + 14, VIRTQ_DESC_F_NEXT | (1 << 7))
    assert.equal(queue.pop(), undefined)
    assert.deepEqual(log.faults, ['a chain is longer than its ring'])
  })
})
