import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CPU_MODELS, DEFAULT_CPU_MODEL } from '../system/model.ts'
import { createEngine } from '../testing/interpreter-engine.ts'
import { describeFailure, replay } from '../testing/replay.ts'
import { instructions } from './index.ts'

describe('the interpreter', () => {
  it('agrees with the recorded CPU in every case of every form, as the largest model', () => {
    const { cases, failures, failed, problems } = replay(createEngine('x86-64-v3'), instructions)
    assert.deepEqual(problems, [])
    assert.equal(failed, 0, failures.map(describeFailure).join('\n'))
    assert.ok(cases > 300_000)
  })

  it('agrees with it in the forms of the default model, as that model', () => {
    const { features, name } = CPU_MODELS.find((model) => model.name === DEFAULT_CPU_MODEL)!
    const own = instructions.filter(({ feature }) => !feature || features.has(feature))
    const { cases, failures, failed, problems } = replay(createEngine(name), own)
    assert.deepEqual(
      problems.filter((problem) => !problem.includes('belong to no form')),
      [],
    )
    assert.equal(failed, 0, failures.map(describeFailure).join('\n'))
    assert.ok(cases > 200_000)
  })
})

describe('the recompiler', () => {
  it('agrees with the recorded CPU in every 23rd case', () => {
    const engine = createEngine('x86-64-v3', { recompile: true })
    const { failures, failed } = replay(engine, instructions, { every: 23 })
    assert.equal(failed, 0, failures.map(describeFailure).join('\n'))
  })
})
