import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { engineNames } from '@typevisor/host'
import { choosePrograms, readOptions } from './options.ts'

describe('options', () => {
  it('take one width or both, 64 bits by default', () => {
    const widths = (...args: string[]) => readOptions(args).subjects.map(({ width }) => width)
    assert.deepEqual(widths(), [64])
    assert.deepEqual(widths('--width', '32'), [32])
    assert.deepEqual(widths('--width', '32,64'), [64, 32])
    for (const text of ['16', '64,64', '32,', '']) {
      assert.throws(() => readOptions(['--width', text]), { code: 'TV_BENCH_OPTION' }, text)
    }
  })
  it('measure our fastest engine when no subject is named, and v86 with 32 bits only', () => {
    const own = engineNames().includes('jit') ? 'jit' : 'interpreter'
    const [wide, narrow] = readOptions(['--width', '32,64']).subjects
    assert.deepEqual([wide.subjects[0], narrow.subjects[0]], [own, own])
    assert.deepEqual(
      [wide, narrow].map(({ subjects }) => subjects.includes('v86')),
      [false, true],
    )
    const both = readOptions(['--width', '32,64', '--subjects', 'v86,interpreter']).subjects
    assert.deepEqual(
      both.map(({ subjects }) => subjects),
      [['interpreter'], ['v86', 'interpreter']],
    )
  })
  it('say of a subject why it cannot be measured', () => {
    const code = 'TV_BENCH_SUBJECT'
    assert.throws(() => readOptions(['--subjects', 'v86']), { code, message: /32 bits only/ })
    assert.throws(() => readOptions(['--subjects', 'bochs']), { code, message: /known are jit, interpreter/ })
  })
  it('know their numbers and programs', () => {
    assert.throws(() => readOptions(['--rounds', '0']), { code: 'TV_BENCH_OPTION' })
    assert.throws(() => readOptions(['--unknown']), { code: 'TV_BENCH_OPTION' })
    assert.deepEqual(choosePrograms(undefined, ['boot', 'sieve']), ['boot', 'sieve'])
    assert.throws(() => choosePrograms(['nothing'], ['boot']), { code: 'TV_BENCH_PROGRAM' })
  })
})
