import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { instructions } from '../../packages/x86/src/isa/index.ts'
import { variants } from '../../packages/x86/src/testing/plan.ts'
import { SequenceGenerator } from '../../packages/x86/src/testing/sequence.ts'
import { newRecord } from '../../packages/x86/src/testing/state-record.ts'
import { closeLoop, LoopRunner } from './loops.ts'

describe('random loops', () => {
  it('come to the same recompiled and interpreted', () => {
    const generator = new SequenceGenerator([...variants(instructions)])
    const runner = new LoopRunner('x86-64-v3')
    const input = newRecord()
    for (let seed = 1; seed <= 40; seed++) {
      const parts = generator.generate(seed, input)
      closeLoop(input, parts)
      assert.equal(runner.run(input), undefined, `loop ${seed} differs`)
    }
    assert.ok(runner.compared > 100_000)
    assert.ok(runner.regions > 20)
  })
})
