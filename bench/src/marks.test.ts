import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MarkReader } from './marks.ts'

const at = (wall: number, cpu: number | null = wall, peakRssBytes: number | null = null) => ({
  wall,
  cpu,
  peakRssBytes,
})

describe('marks', () => {
  it('are timed by the host, with the seconds that the guest says and the memory that there was', () => {
    const marks = new MarkReader('interpreter', 64, at(10))
    marks.line('[    1.2] Run /init as init process', () => at(12))
    marks.line('BENCH INIT', () => at(13, 12, 2000))
    marks.line('BEGIN sieve', () => at(14))
    marks.line('END sieve 2.5000 ok\r', () => at(17, 16, 3000))
    marks.line('END gzip - skipped', () => at(18))
    assert.deepEqual(marks.finish(['boot', 'sieve', 'gzip', 'sort']).map(Object.values), [
      ['interpreter', 'boot', 64, null, 3, 2, 2000, true],
      ['interpreter', 'sieve', 64, 2.5, 3, 2, 3000, true],
      ['interpreter', 'gzip', 64, null, null, null, null, false],
      ['interpreter', 'sort', 64, null, null, null, null, false],
    ])
  })
  it('say when a checksum was wrong, and do without the CPU time of a host that tells none', () => {
    const marks = new MarkReader('native', 32, at(0))
    marks.line('BEGIN sieve', () => at(1, null))
    marks.line('END sieve 1.0000 WRONG', () => at(2, null))
    assert.deepEqual(marks.finish([]).map(Object.values), [['native', 'sieve', 32, 1, 1, null, null, false]])
  })
  it('cost the host a look at the process only when they are marks', () => {
    const marks = new MarkReader('v86', 32, at(0))
    marks.line('[    0.0] Linux version', () => assert.fail('looked'))
    marks.line('COUNT 17', () => assert.fail('looked'))
  })
})
