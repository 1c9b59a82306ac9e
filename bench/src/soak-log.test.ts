import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SoakLog } from './soak-log.ts'

/** A sample each second; `speed` and `rss` by the minute. */
function soak(speeds: readonly number[], rss: readonly number[] = [], wrong = 0, busy = 0.5): SoakLog {
  const log = new SoakLog()
  let programs = 7
  for (let second = 0; second <= speeds.length * 60; second++) {
    const minute = Math.floor(second / 60)
    log.add({
      seconds: 100 + second,
      programs,
      wrong,
      rssBytes: rss[minute] ?? 1000,
      cpuSeconds: busy === 0 ? null : second * busy,
    })
    programs += speeds[minute] ?? 0
  }
  return log
}

describe('a soak', () => {
  it('has the throughput and the memory of each minute that is over', () => {
    const minutes = soak([5, 10], [300, 400]).minutes()
    assert.deepEqual(
      minutes.map(({ rssBytes }) => rssBytes),
      [300, 400],
    )
    assert.deepEqual(
      minutes.map(({ programsPerSecond }) => Math.round(programsPerSecond)),
      [5, 10],
    )
    assert.deepEqual(
      minutes.map(({ programsPerCpuSecond }) => Math.round(programsPerCpuSecond ?? 0)),
      [10, 20],
    )
    assert.deepEqual(new SoakLog().minutes(), [])
  })
  it('holds when the last minute is as fast as the second and memory stays', () => {
    assert.deepEqual(soak([1, 100, 90, 96]).judge().complaints, [])
    assert.deepEqual(soak([9, 9, 9, 9, 9, 9], [1, 2, 3, 4, 4, 4]).judge().complaints, [])
  })
  it('does not hold when it gets slower, grows, goes wrong or ends', () => {
    assert.match(
      soak([100, 100, 100, 90]).judge().complaints.join(),
      /last minute has 9\d.\d % of the second/,
    )
    assert.match(soak([9, 9, 8], [], 0, 0).judge().complaints.join(), /throughput/)
    assert.match(soak([9, 9, 9], [100, 100, 106]).judge().complaints.join(), /memory grew to 106.0 %/)
    assert.match(soak([9, 9, 9], [], 3).judge().complaints.join(), /3 programs ended with a wrong status/)
    assert.match(soak([9]).judge().complaints.join(), /ended in minute 2/)
  })
})
