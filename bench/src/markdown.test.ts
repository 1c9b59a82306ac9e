import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { HostDescription } from './host-description.ts'
import { markdownReport } from './markdown.ts'
import { resultsByWidth } from './results.ts'
import { run } from './testing/measurements.ts'

const HOST: HostDescription = {
  date: '2026-01-02',
  cpu: 'CPU model',
  cores: 2,
  memoryGib: 8,
  node: '24.0.0',
  qemu: '7.2.0',
  v86: '0.5.0',
  kernels: { 32: '6.1-686', 64: '6.1-amd64' },
}

describe('the page', () => {
  const measurements = [1, 2, 3].flatMap((seconds) => [
    run('jit', 'boot', seconds),
    run('qemu-tcg', 'boot', 2 * seconds),
  ])
  const page = markdownReport(resultsByWidth(measurements), HOST, 'images/benchmark.svg')

  it('says what was measured on what host, and how to do it again', () => {
    assert.match(page, /medians of 3 rounds/)
    assert.match(page, /CPU model, 2 cores, 8 GiB; 2026-01-02\n- Node 24\.0\.0\n- QEMU 7\.2\.0/)
    assert.match(page, /!\[Speed .*\]\(images\/benchmark\.svg\)/)
    assert.match(page, /npm run bench -- .*--report docs/)
  })
  it('has the tables of the terminal, and names no subject that was not measured', () => {
    assert.match(page, /## 64-bit guests/)
    assert.match(page, /\| jit: boot \| at least 0\.50 × qemu-tcg \| 2\.00 × \| holds \|/)
    assert.match(page, /\| boot \| 2\.000 \| 4\.000 \| 2\.00 \|/)
    assert.doesNotMatch(page, /## 32-bit|- v86/)
  })
})
