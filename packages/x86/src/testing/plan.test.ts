import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { APPROXIMATE } from './excluded.ts'
import { NativeCpu, whyNotNative } from './native.ts'
import { CASES_PER_FORM, CaseFactory, variantName, variants } from './plan.ts'
import { SAMPLE } from './sample-forms.ts'
import {
  CODE_ADDRESS,
  get64,
  newRecord,
  OFFSET,
  RECORD_BYTES,
  recordAt,
  STOP_BREAKPOINT,
  STOP_TIMEOUT,
} from './state-record.ts'
import { VectorFile, VectorWriter } from './vectors.ts'

const reason = whyNotNative()
const native = { skip: reason && `not on this host: it ${reason}` }
const ALL = [...variants(SAMPLE)]
/** Change RIP, so where they end says nothing about their length. */
const BRANCHES = new Set(['call', 'jmp', 'jz', 'ret', 'loop'])

describe('the plan', () => {
  it('gives every form at least 200 cases', () => {
    const counts = Map.groupBy(ALL, (v) => v.key)
    for (const [key, list] of counts) {
      const total = list.reduce((sum, v) => sum + v.count, 0)
      assert.ok(total >= CASES_PER_FORM, `${key} has ${total}`)
    }
  })

  it('makes the same case from the same seed, whatever was generated before', () => {
    const [a, b] = [newRecord(), newRecord()]
    const [one, other] = [new CaseFactory(), new CaseFactory()]
    for (const variant of ALL) {
      one.generate(variant, 3, a)
      other.generate(variant, 7, b)
      other.generate(variant, 3, b)
      assert.deepEqual(a.bytes, b.bytes, variantName(variant))
    }
  })

  it('makes instructions of the length that the CPU consumes, most of which complete', native, () => {
    using cpu = new NativeCpu()
    const factory = new CaseFactory()
    const modes = cpu.modes()
    for (const variant of ALL) {
      if (!modes.includes(variant.mode)) continue
      if (BRANCHES.has(variant.instruction.mnemonic)) continue
      const count = Math.min(variant.count, 60)
      const cases = new Uint8Array(count * RECORD_BYTES)
      const outcomes = new Uint8Array(count * RECORD_BYTES)
      let completed = 0
      for (let i = 0; i < count; i++) factory.generate(variant, i, recordAt(cases, i * RECORD_BYTES))
      cpu.run(cases, outcomes, count)
      for (let i = 0; i < count; i++) {
        const { view } = recordAt(outcomes, i * RECORD_BYTES)
        if (view.getUint32(OFFSET.stop, true) !== STOP_BREAKPOINT) continue
        completed++
        const length = recordAt(cases, i * RECORD_BYTES).view.getUint32(OFFSET.codeLength, true)
        assert.equal(get64(view, OFFSET.rip), CODE_ADDRESS + length + 1, `${variantName(variant)}, case ${i}`)
      }
      assert.ok(completed >= count * 0.25, `${variantName(variant)}: only ${completed} of ${count} complete`)
    }
  })
})

describe('forms', () => {
  it('in a notation that the encoder does not know are refused, not encoded wrongly', () => {
    const form = { bytes: '0F 01 /r', operands: ['Gv', 'Qx7'] }
    assert.throws(() => [...variants([{ mnemonic: 'odd', forms: [form] }])], { code: 'TV_FORM_NOTATION' })
  })
})

describe('vector files', () => {
  it('give back the outcomes that were written', native, () => {
    using cpu = new NativeCpu()
    const factory = new CaseFactory()
    const writer = new VectorWriter()
    const some = ALL.filter((_, i) => i % 9 === 0)
    const recorded: Uint8Array[] = []
    for (const variant of some) {
      writer.beginVariant(variant)
      const cases = new Uint8Array(variant.count * RECORD_BYTES)
      const outcomes = new Uint8Array(variant.count * RECORD_BYTES)
      for (let i = 0; i < variant.count; i++) factory.generate(variant, i, recordAt(cases, i * RECORD_BYTES))
      cpu.run(cases, outcomes, variant.count)
      for (let i = 0; i < variant.count; i++) {
        const outcome = recordAt(outcomes, i * RECORD_BYTES)
        writer.add(recordAt(cases, i * RECORD_BYTES), outcome)
        // Some kernels refuse segment bases of their own half.
        if (outcome.view.getUint32(OFFSET.stop, true) !== STOP_TIMEOUT) recorded.push(outcome.bytes)
      }
    }
    assert.ok(writer.skipped < recorded.length / 3)
    const problems: string[] = []
    let at = 0
    for (const { variant, index, expected } of new VectorFile(writer.finish('test')).cases(ALL, (p) =>
      problems.push(p),
    )) {
      const original = recorded[at++]!
      const same =
        Buffer.compare(
          expected.bytes.subarray(0, OFFSET.codeLength),
          original.subarray(0, OFFSET.codeLength),
        ) === 0
      const sameData =
        Buffer.compare(expected.bytes.subarray(OFFSET.data), original.subarray(OFFSET.data)) === 0
      assert.ok(same && sameData, `${variantName(variant)}, case ${index}`)
    }
    assert.equal(at, recorded.length)
    assert.deepEqual(problems, [])
  })

  it('say which forms are stale and skip them', () => {
    const writer = new VectorWriter()
    const [first, second] = ALL
    const factory = new CaseFactory()
    const input = newRecord()
    for (const variant of [first!, second!]) {
      writer.beginVariant(variant)
      for (let i = 0; i < variant.count; i++) {
        factory.generate(variant, i, input)
        const outcome = { bytes: input.bytes.slice() } as { bytes: Uint8Array }
        writer.add(input, recordAt(outcome.bytes))
      }
    }
    const changed = { ...first!, form: { ...first!.form, lockable: false } }
    const problems: string[] = []
    const cases = [
      ...new VectorFile(writer.finish('test')).cases([changed, second!], (p) => problems.push(p)),
    ]
    assert.equal(cases.length, second!.count)
    assert.equal(problems.length, 1)
    assert.match(problems[0]!, /stale/)
  })

  it('are refused with a code when they are damaged', () => {
    assert.throws(() => new VectorFile(new Uint8Array([1, 2, 3])), { code: 'TV_VECTORS' })
  })
})

it('names approximate instructions by their mnemonics in lower case', () => {
  for (const mnemonic of APPROXIMATE) assert.equal(mnemonic, mnemonic.toLowerCase())
})
