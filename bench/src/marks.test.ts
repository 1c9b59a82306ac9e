import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MarkReader } from './marks.ts'
import type { Measurement, Subject } from './record.ts'
import { geometricMean, median, report } from './report.ts'

const at = (wall: number, cpu: number | null = wall) => ({ wall, cpu })

describe('marks', () => {
  it('are timed by the host, with the seconds that the guest says', () => {
    const marks = new MarkReader('interpreter', 64, at(10))
    marks.line('[    1.2] Run /init as init process', at(12))
    marks.line('BENCH INIT', at(13, 12))
    marks.line('BEGIN sieve', at(14))
    marks.line('END sieve 2.5000 ok\r', at(17, 16))
    marks.line('END gzip - skipped', at(18))
    assert.deepEqual(marks.finish(['boot', 'sieve', 'gzip', 'sort']).map(Object.values), [
      ['interpreter', 'boot', 64, null, 3, 2, true],
      ['interpreter', 'sieve', 64, 2.5, 3, 2, true],
      ['interpreter', 'gzip', 64, null, null, null, false],
      ['interpreter', 'sort', 64, null, null, null, false],
    ])
  })
  it('say when a checksum was wrong, and do without the CPU time of a host that tells none', () => {
    const marks = new MarkReader('native', 32, at(0))
    marks.line('BEGIN sieve', at(1, null))
    marks.line('END sieve 1.0000 WRONG', at(2, null))
    assert.deepEqual(marks.finish([]).map(Object.values), [['native', 'sieve', 32, 1, 1, null, false]])
  })
})

describe('report', () => {
  const run = (subject: Subject, program: string, wallSeconds: number, ok = true): Measurement => ({
    subject,
    program,
    width: 64,
    guestSeconds: wallSeconds,
    wallSeconds,
    cpuSeconds: null,
    ok,
  })
  it('gives medians, ratios to TCG and their mean without the boot', () => {
    const text = report([
      run('interpreter', 'boot', 20),
      run('interpreter', 'sieve', 4),
      run('interpreter', 'sieve', 40),
      run('interpreter', 'sieve', 5),
      run('interpreter', 'sort', 8),
      run('qemu-tcg', 'boot', 4),
      run('qemu-tcg', 'sieve', 1),
      run('qemu-tcg', 'sort', 0.4),
    ])
    assert.equal(
      text,
      [
        'program         interpreter s  qemu-tcg s  interpreter / tcg',
        'boot                   20.000       4.000               5.00',
        'sieve                   5.000       1.000               5.00',
        'sort                    8.000       0.400              20.00',
        'geometric mean                                         10.00',
        '',
      ].join('\n'),
    )
  })
  it('counts failed runs and leaves them out of the median', () => {
    const text = report([run('native', 'sieve', 1), run('native', 'sieve', 9, false)])
    assert.match(text, /sieve +1\.000 \(1 failed\)/)
    assert.match(report([run('native', 'sieve', 9, false)]), /sieve +- \(1 failed\)/)
  })
  it('knows the median of odd and even numbers of values, and the mean of ratios', () => {
    assert.deepEqual([median([3, 1, 2]), median([4, 1, 2, 3]), median([])], [2, 2.5, undefined])
    assert.ok(Math.abs(geometricMean([2, 8])! - 4) < 1e-12)
    assert.equal(geometricMean([]), undefined)
  })
})
