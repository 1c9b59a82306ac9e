import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { runStatistics, statisticsTable } from './statistics.ts'

const MACHINE = { seconds: 10, runningSeconds: 2, slices: 1000 }
const CPU = {
  retired: 50_000_000,
  exits: { slice: 1, fault: 2, decode: 3, halt: 4, dispatch: 5, hot: 6 },
  leftToInterpreter: 7,
  codeCache: { decoded: 8, flushes: 9, invalidations: 10 },
}

describe('statistics of a run', () => {
  it('count millions of instructions per second that the processor ran', () => {
    const statistics = runStatistics({ ...MACHINE, cpu: CPU }, 3 << 20)
    assert.equal(statistics.mips, 25)
    const table = statisticsTable(statistics)
    assert.match(table, /^instructions +50,000,000\nMIPS +25\.0\nseconds +10\.000\n/)
    assert.match(table, /\npeak memory, MiB +3\.0\n/)
    assert.match(table, /\nexits: hot +6\n/)
    assert.doesNotMatch(table, /regions/)
  })
  it('do without what an engine does not count', () => {
    const statistics = runStatistics(MACHINE, 0)
    assert.equal('mips' in statistics, false)
    assert.match(statisticsTable(statistics), /^seconds/)
    assert.equal('mips' in runStatistics({ ...MACHINE, runningSeconds: 0, cpu: CPU }, 0), false)
  })
})
