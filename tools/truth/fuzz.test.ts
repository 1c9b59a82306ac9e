import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import type { Engine } from '../../packages/x86/src/testing/engine.ts'
import { NativeCpu, whyNotNative } from '../../packages/x86/src/testing/native.ts'
import { variants } from '../../packages/x86/src/testing/plan.ts'
import { describeFailure, replay } from '../../packages/x86/src/testing/replay.ts'
import { SAMPLE } from '../../packages/x86/src/testing/sample-forms.ts'
import { SequenceGenerator } from '../../packages/x86/src/testing/sequence.ts'
import {
  FLAG,
  OFFSET,
  RECORD_BYTES,
  recordAt,
  type StateRecord,
} from '../../packages/x86/src/testing/state-record.ts'
import { Fuzzer, fuzz } from './fuzz.ts'
import { recordGroup } from './record.ts'

const reason = whyNotNative()

describe('truth', { skip: reason && `not on this host: it ${reason}` }, () => {
  const cpu = reason ? undefined! : new NativeCpu()
  after(() => cpu?.[Symbol.dispose]())
  const modes = cpu?.modes() ?? []
  const all = [...variants(SAMPLE)].filter(({ mode }) => modes.includes(mode))

  /** The CPU itself, with its answers changed. */
  const engine = (spoil: (input: StateRecord, outcome: StateRecord) => void): Engine => ({
    name: 'spoilt',
    run(input, outcome) {
      cpu.run(input.bytes, outcome.bytes, 1)
      spoil(input, outcome)
    },
  })
  const setsParity = engine((input, { view }) => {
    const code = Buffer.from(input.bytes.subarray(OFFSET.code, OFFSET.data))
    if (code.includes(Buffer.from([0x0f, 0x58])))
      view.setUint32(OFFSET.rflags, view.getUint32(OFFSET.rflags, true) ^ FLAG.DF, true)
  })

  it('finds no difference between the CPU and itself', () => {
    const generator = new SequenceGenerator(all)
    const cases = new Uint8Array(300 * RECORD_BYTES)
    const outcomes = cases.slice()
    const parts = Array.from({ length: 300 }, (_, i) =>
      generator.generate(i, recordAt(cases, i * RECORD_BYTES)),
    )
    cpu.run(cases, outcomes, 300)
    const fuzzer = new Fuzzer(
      cpu,
      engine(() => {}),
    )
    for (let i = 0; i < 300; i++) {
      const at = i * RECORD_BYTES
      assert.deepEqual(
        fuzzer.check(recordAt(cases, at), parts[i]!, recordAt(outcomes, at)),
        [],
        `sequence ${i}`,
      )
    }
  })

  it('finds a wrong instruction in a sequence and leaves only that', () => {
    const generator = new SequenceGenerator(all)
    const found = fuzz(generator, new Fuzzer(cpu, setsParity), cpu, 5, 4000, () => {})
    assert.ok(found)
    assert.deepEqual(
      found.difference.parts.map((p) => p.mnemonic),
      ['addps'],
    )
    assert.match(found.difference.lines.join('\n'), /RFLAGS.*\(DF\)/)
  })

  it('records a group whose replay agrees with the CPU and not with another', () => {
    const folder = mkdtempSync(join(tmpdir(), 'typevisor-vectors-'))
    try {
      const instructions = SAMPLE.filter((i) => i.mnemonic === 'addps')
      const { file, cases, skipped } = recordGroup(cpu, [...variants(instructions)], 'test')
      writeFileSync(join(folder, 'test.bin'), file)
      const right = replay(
        engine(() => {}),
        instructions,
        { folder },
      )
      assert.deepEqual([right.cases, right.failed, right.problems], [cases - skipped, 0, []])
      const wrong = replay(setsParity, instructions, { folder })
      assert.equal(wrong.failed, cases - skipped)
      assert.match(describeFailure(wrong.failures[0]!), /^addps NP 0F 58 .r .*, case 0, /)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})
