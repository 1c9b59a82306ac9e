import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Profile } from './profile.ts'

describe('a profile', () => {
  it('sums up time by address and by page, user and kernel apart, most first', () => {
    const profile = new Profile()
    profile.slice({ address: 0x1010n, cpl: 3, isRecompiled: true }, 'slice', 10)
    profile.slice({ address: 0x1020n, cpl: 3, isRecompiled: false }, 'slice', 25)
    profile.slice({ address: 0x1010n, cpl: 3, isRecompiled: false }, 'slice', 10)
    profile.slice({ address: 0x1010n, cpl: 0, isRecompiled: true }, 'slice', 40)
    assert.deepEqual(profile.addresses(), [
      { mode: 'kernel', address: 0x1010n, time: 40, recompiledTime: 40 },
      { mode: 'user', address: 0x1020n, time: 25, recompiledTime: 0 },
      { mode: 'user', address: 0x1010n, time: 20, recompiledTime: 10 },
    ])
    assert.deepEqual(profile.pages(), [
      { mode: 'user', address: 0x1000n, time: 45, recompiledTime: 10 },
      { mode: 'kernel', address: 0x1000n, time: 40, recompiledTime: 40 },
    ])
    assert.equal(profile.samples, 4)
  })
  it('does not put down to the idle loop what ran before a halt', () => {
    const profile = new Profile()
    profile.slice({ address: 0x1010n, cpl: 0, isRecompiled: false }, 'hlt', 10)
    assert.deepEqual([profile.addresses(), profile.untilHalt], [[], 10])
  })
  it('has slices of lengths that differ, and are half a millisecond on average', () => {
    const profile = new Profile()
    const lengths = Array.from({ length: 1000 }, () => profile.nextSlice())
    assert.equal(new Set(lengths.map(Math.round)).size, 1000)
    assert.ok(Math.abs(lengths.reduce((a, b) => a + b) / 1000 - 0.5e6) < 1e4)
  })
})
