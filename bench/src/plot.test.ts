import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { logScale, speedPlot } from './plot.ts'
import { resultsByWidth } from './results.ts'
import { run } from './testing/measurements.ts'

describe('the plot', () => {
  it('has a bar for each program and subject beside the reference', () => {
    const measurements = ([32, 64] as const).flatMap((width) => [
      run('jit', 'sieve', 1, { width }),
      run('qemu-tcg', 'sieve', 3, { width }),
      ...(width === 32 ? [run('v86', 'sieve', 6, { width })] : []),
    ])
    const svg = speedPlot(resultsByWidth(measurements))!
    assert.deepEqual(
      [...svg.matchAll(/<title>(\S+ \S+×)<\/title>/g)].map(([, title]) => title),
      ['jit: 3.00×', 'jit: 3.00×', 'v86: 0.50×'],
    )
    assert.match(svg, /64-bit guest.*32-bit guest/s)
    assert.doesNotMatch(svg, /NaN|undefined/)
  })
  it('is not drawn where nothing was compared', () => {
    assert.equal(speedPlot(resultsByWidth([run('jit', 'sieve', 1)])), undefined)
    assert.equal(speedPlot(resultsByWidth([run('qemu-tcg', 'sieve', 1)])), undefined)
  })
  it('has a logarithmic scale over powers of two, always with 1 in it', () => {
    const { ticks, x } = logScale([0.3, 5], 400)
    assert.deepEqual(ticks, [0.25, 0.5, 1, 2, 4, 8])
    assert.ok(Math.abs(x(2) - x(1) - (x(8) - x(4))) < 1e-9)
    assert.deepEqual(logScale([0.9], 400).ticks, [0.5, 1, 2])
    assert.ok(logScale([0.01, 100], 400).ticks.includes(1))
  })
})
