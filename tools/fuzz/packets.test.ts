import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { round } from './packets.ts'

describe('fuzzing the network', () => {
  it('finds nothing in a few rounds, and gets answers', async () => {
    let answers = 0
    for (let seed = 1; seed <= 6; seed++) answers += (await round(seed)).answers
    assert.ok(answers > 1000, `${answers} answers`)
  })
  it('does the same for the same seed', async () => {
    assert.deepEqual(await round(7, 500), await round(7, 500))
  })
})
