import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { allocateGuestMemory, GuestRam, HIGH_START, HOLE_START } from './guest-memory.ts'
import { addressRanges, memoryMap } from './memory-map.ts'

const MIB = 0x10_0000

describe('guest RAM', () => {
  it('refuses sizes that a machine cannot have', () => {
    for (const bytes of [0, MIB - 1, MIB + 1, 4097 * MIB, NaN, -MIB, 1.5 * MIB + 0.5]) {
      assert.throws(() => allocateGuestMemory(bytes), { code: 'TV_MEMORY_SIZE' })
    }
  })
  it('gives 4 GiB without touching it, split at the hole', () => {
    const before = process.memoryUsage().rss
    const guest = allocateGuestMemory(4096 * MIB)
    const ram = new GuestRam(guest)
    assert.equal(guest.lowBytes, HOLE_START)
    ram.writeU32(HIGH_START + 1024 * MIB - 4, 0x1234_5678)
    assert.equal(ram.readU32(HIGH_START + 1024 * MIB - 4), 0x1234_5678)
    assert.ok(process.memoryUsage().rss - before < 64 * MIB)
  })
  it('refuses what is not RAM, with a stable code', () => {
    const ram = new GuestRam(allocateGuestMemory(4 * MIB))
    for (const gpa of [
      -1,
      4 * MIB - 3,
      4 * MIB,
      HOLE_START,
      HIGH_START,
      HIGH_START - 2,
      2 ** 52,
      2 ** 60,
      NaN,
      0.5,
    ]) {
      assert.throws(() => ram.readU32(gpa), { code: 'TV_GUEST_ADDRESS' })
      assert.throws(() => ram.writeU32(gpa, 1), { code: 'TV_GUEST_ADDRESS' })
      assert.throws(() => ram.write(gpa, new Uint8Array(4)), { code: 'TV_GUEST_ADDRESS' })
      assert.throws(() => ram.read(gpa, 4), { code: 'TV_GUEST_ADDRESS' })
    }
    assert.throws(() => ram.read(0, -1), { code: 'TV_GUEST_ADDRESS' })
  })
  it('does not let a range cross the hole', () => {
    const ram = new GuestRam({ ...allocateGuestMemory(4 * MIB), lowBytes: 2 * MIB })
    assert.equal(ram.contains(2 * MIB - 4, 4), true)
    assert.equal(ram.contains(2 * MIB - 4, 8), false)
    assert.equal(ram.contains(HIGH_START, 2 * MIB), true)
    assert.equal(ram.contains(HIGH_START, 2 * MIB + 1), false)
  })
  it('is little-endian and tells of each write', () => {
    const log: [number, number][] = []
    const ram = new GuestRam(allocateGuestMemory(MIB), (gpa, length) => log.push([gpa, length]))
    ram.writeU64(8, 0x1122_3344_5566_7788n)
    assert.deepEqual([...ram.read(8, 8)], [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11])
    assert.equal(ram.readU16(8), 0x7788)
    assert.equal(ram.readU64(8), 0x1122_3344_5566_7788n)
    ram.fill(8, 8)
    assert.deepEqual(log, [
      [8, 8],
      [8, 8],
    ])
  })
})

describe('guest RAM lent to devices', () => {
  it('is a view without a copy, within RAM, and tells of a write when it is told', () => {
    const log: [number, number][] = []
    const ram = new GuestRam(allocateGuestMemory(MIB), (gpa, length) => log.push([gpa, length]))
    ram.view(16, 4).set([1, 2, 3, 4])
    assert.equal(ram.readU32(16), 0x0403_0201)
    assert.deepEqual(log, [])
    ram.written(16, 4)
    assert.deepEqual(log, [[16, 4]])
    assert.throws(() => ram.view(MIB - 2, 4), { code: 'TV_GUEST_ADDRESS' })
    assert.throws(() => ram.written(MIB - 2, 4), { code: 'TV_GUEST_ADDRESS' })
  })
})

describe('memory map', () => {
  it('is sorted, free of overlap, and reports all RAM from 1 MiB up', () => {
    for (const bytes of [2, 512, 3072, 4096].map((n) => n * MIB)) {
      const ranges = addressRanges(memoryMap({ bytes, lowBytes: Math.min(bytes, HOLE_START) }))
      ranges.reduce((end, { base, length }) => {
        assert.ok(base >= end)
        return base + length
      }, 0)
      const ram = ranges.filter((r) => r.type === 1 && r.base > 0).reduce((sum, r) => sum + r.length, 0)
      assert.equal(ram, bytes - MIB)
    }
  })
})
