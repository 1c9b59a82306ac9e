import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { FLOATING_POINT, INTEGER, MEMORY } from './groups.ts'
import { judge } from './promises.ts'
import type { Subject } from './record.ts'
import { report } from './report.ts'
import { geometricMean, median, Results } from './results.ts'
import { run } from './testing/measurements.ts'

describe('report', () => {
  it('gives medians, speeds relative to TCG, and their mean by group', () => {
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
        '64 bits',
        '',
        'program                       interpreter, s  qemu-tcg, s  interpreter, × qemu-tcg',
        'sieve                                  5.000        1.000                     0.20',
        'sort                                   8.000        0.400                     0.05',
        'integer, geometric mean                                                       0.10',
        'boot                                  20.000        4.000                     0.20',
        'all but boot, geometric mean                                                  0.10',
        '',
        'promise                               speed  measured',
        'interpreter: boot  at least 0.50 × qemu-tcg    0.20 ×  does not hold',
        '',
      ].join('\n'),
    )
  })
  it('counts failed runs and leaves them out of the median', () => {
    const text = report([run('native', 'sieve', 1), run('native', 'sieve', 9, { ok: false })])
    assert.match(text, /sieve +1\.000 \(1 failed\)/)
    assert.match(report([run('native', 'sieve', 9, { ok: false })]), /sieve +- \(1 failed\)/)
  })
  it('has tables for each width, 32 bits with v86 beside TCG', () => {
    const subjects: Subject[] = ['interpreter', 'qemu-tcg', 'v86']
    const text = report(subjects.map((subject, i) => run(subject, 'sort', i + 1, { width: 32 })))
    assert.match(text, /^32 bits/)
    assert.match(text, /interpreter, × qemu-tcg {2}interpreter, × v86\nsort .* 2\.00 +3\.00/)
  })
  it('tells memory at /init and the most of the whole run, and rates of engines that count', () => {
    const mib = (count: number) => ({ peakRssBytes: count * 2 ** 20 })
    const text = report([
      run('interpreter', 'boot', 1, mib(200)),
      run('interpreter', 'sieve', 2, { ...mib(300), instructions: 5e8 }),
      run('interpreter', 'shell', 2, { ...mib(250), instructions: 1e8 }),
    ])
    assert.match(text, /\ninterpreter +200 +300\n/)
    assert.match(text, /\nsieve +250\nshell +50\.0\n/)
  })
})

describe('results', () => {
  it('know the median of odd and even numbers of values, and the mean of ratios', () => {
    assert.deepEqual([median([3, 1, 2]), median([4, 1, 2, 3]), median([])], [2, 2.5, undefined])
    assert.ok(Math.abs(geometricMean([2, 8])! - 4) < 1e-12)
    assert.equal(geometricMean([]), undefined)
  })
})

describe('promises', () => {
  const speeds = (programs: readonly string[], speed: number) =>
    programs.flatMap((program) => [run('jit', program, 1 / speed), run('qemu-tcg', program, 1)])
  const verdicts = (...measurements: ReturnType<typeof speeds>[]) =>
    judge(new Results(64, measurements.flat())).map(({ promise, holds, program }) => [
      promise.text,
      holds,
      program,
    ])

  it('hold from their number on', () => {
    assert.deepEqual(verdicts(speeds(INTEGER.programs, 1.01)), [['integer', true, undefined]])
    assert.deepEqual(verdicts(speeds(INTEGER.programs, 0.99)), [['integer', false, undefined]])
    assert.deepEqual(verdicts(speeds(FLOATING_POINT.programs, 4.1)), [
      ['floating point and SIMD', true, undefined],
    ])
  })
  it('name the slowest program where each has to keep them', () => {
    const [memcpy, memset] = MEMORY.programs
    assert.deepEqual(verdicts(speeds([memcpy], 30), speeds([memset], 0.9)), [
      ['memcpy and memset', false, memset],
    ])
    assert.deepEqual(verdicts(speeds(['boot'], 0.51)), [['boot', true, 'boot']])
  })
  it('are not judged by half of their programs, nor without the reference', () => {
    assert.deepEqual(verdicts(speeds(INTEGER.programs.slice(1), 9)), [])
    assert.deepEqual(judge(new Results(64, [run('jit', 'boot', 1)])), [])
  })
})
