import assert from 'node:assert/strict'
import { it } from 'node:test'
import { fuzz } from './qcow2.ts'

it('damaged qcow2 images do no harm, in a short run of the fuzzer', async () => {
  const { cases, opened, failure } = await fuzz({ seed: 1, seconds: 3 })
  assert.equal(failure, undefined)
  assert.ok(cases > 50 && opened > 20, `${cases} cases, ${opened} opened`)
})
