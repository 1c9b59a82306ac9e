import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { instructionsOf } from '../isa/index.ts'
import { findModel } from '../system/model.ts'
import { type CodeSize, Decoder } from './decoder.ts'
import { buildTables } from './tables.ts'

const decoder = new Decoder(buildTables(instructionsOf(findModel('x86-64-v3'))))

const decode = (bytes: readonly number[], mode: CodeSize = 8) =>
  decoder.decode(Uint8Array.from(bytes), 0, bytes.length, mode)

const prefixes = (count: number) => new Array<number>(count).fill(0x67)

describe('decoding', () => {
  it('takes 15 bytes for an instruction, and no more', () => {
    assert.equal(decode([...prefixes(14), 0x90]), 'ok')
    assert.equal(decoder.length, 15)
    assert.equal(decode([...prefixes(15), 0x90]), 'too-long')
    assert.equal(decode([...prefixes(14), 0x8b, 0xc0]), 'too-long')
    assert.equal(decode([...prefixes(12), 0xb8, 1, 2, 3]), 'too-long')
  })
  it('asks for more as long as 15 bytes are not there', () => {
    for (let count = 0; count < 15; count++) assert.equal(decode(prefixes(count)), 'truncated')
    assert.equal(decode([...prefixes(13), 0x48]), 'truncated')
    assert.equal(decode([...prefixes(13), 0x8b]), 'truncated')
    assert.equal(decode([0x8b, 0x84, 0x24, 1, 2, 3]), 'truncated')
  })
  it('counts the bytes that make an instruction undefined', () => {
    assert.equal(decode([0x90]), 'ok')
    assert.equal(decode([0x0f, 0xba, 0xc0, 7]), 'undefined')
    assert.equal(decoder.length, 3)
    assert.equal(decode([0x06, 0]), 'undefined')
    assert.equal(decoder.length, 1)
  })
})
