import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createEngine } from '../testing/interpreter-engine.ts'
import { describeFailure, replay } from '../testing/replay.ts'
import { instructions } from './index.ts'

describe('the interpreter', () => {
  it('agrees with the recorded CPU in every case of every form', () => {
    const { cases, failures, failed, problems } = replay(createEngine('x86-64-v3'), instructions)
    assert.deepEqual(problems, [])
    assert.equal(failed, 0, failures.map(describeFailure).join('\n'))
    assert.ok(cases > 80_000)
  })
})
