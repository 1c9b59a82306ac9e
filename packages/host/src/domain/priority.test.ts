import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { describe, it } from 'node:test'
import { lowerCompilerThreads } from './priority.ts'

const isLinux = process.platform === 'linux'

describe('priorities of threads', () => {
  it('V8’s threads have a lower one than the thread that runs the guest', { skip: !isLinux }, () => {
    const before = getPriority(process.pid)
    lowerCompilerThreads()
    const compilers = readdirSync('/proc/self/task').filter((thread) =>
      readFileSync(`/proc/self/task/${thread}/comm`, 'utf8').startsWith('V8Worker'),
    )
    assert.ok(compilers.length > 0)
    for (const thread of compilers) assert.equal(getPriority(Number(thread)), Math.min(before + 10, 19))
    assert.equal(getPriority(process.pid), before)
  })
})
