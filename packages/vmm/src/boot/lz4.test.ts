import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { unlz4Legacy } from './lz4.ts'

/** An LZ4 legacy frame with one block. */
function legacyFrame(block: readonly number[]): Uint8Array {
  const frame = Uint8Array.from([0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0, ...block])
  new DataView(frame.buffer).setUint32(4, block.length, true)
  return frame
}

/** "abcabcabcabc" + "xyzzy": a match that overlaps itself, then literals. */
const LZ4_BLOCK = [0x35, 0x61, 0x62, 0x63, 3, 0, 0x50, 0x78, 0x79, 0x7a, 0x7a, 0x79]

function unpack(frame: Uint8Array, maxBytes: number): string {
  let text = ''
  unlz4Legacy(frame, maxBytes, (bytes) => {
    text += String.fromCharCode(...bytes)
  })
  return text
}

describe('LZ4', () => {
  it('unpacks literals and matches that overlap themselves', () => {
    assert.equal(unpack(legacyFrame(LZ4_BLOCK), 17), 'abcabcabcabcxyzzy')
  })
  it('reads lengths that go on', () => {
    const block = [0xf0, 255, 1, ...new Array(271).fill(0x61)]
    assert.equal(unpack(legacyFrame(block), 1000), 'a'.repeat(271))
  })
  it('repeats what a long match overlaps', () => {
    for (const offset of [1, 2, 3, 31, 100]) {
      const literals = Array.from({ length: 100 }, (_, i) => 0x20 + (i % 90))
      const block = [0xff, 85, ...literals, offset, 0, 255, 226, 0x00] // 100 literals, a match of 500
      const expected = [...literals]
      while (expected.length < 600) expected.push(expected.at(-offset)!)
      assert.equal(unpack(legacyFrame(block), 600), String.fromCharCode(...expected))
    }
  })
  it('unpacks block after block, to no more than is allowed in all', () => {
    const [one, two] = [legacyFrame(LZ4_BLOCK), legacyFrame([0x30, 0x6f, 0x6e, 0x65])]
    const both = Uint8Array.from([...one, ...two])
    assert.equal(unpack(both, 20), 'abcabcabcabcxyzzyone')
    assert.throws(() => unpack(both, 19))
  })
  it('rejects every truncation', () => {
    const frame = legacyFrame(LZ4_BLOCK)
    for (let length = 8; length < frame.length; length++) {
      assert.throws(() => unpack(frame.subarray(0, length), 17), `cut at ${length}`)
      assert.throws(() => {
        assert.equal(unpack(legacyFrame(LZ4_BLOCK.slice(0, length - 8)), 17).length, 17)
      })
    }
  })
  it('rejects matches before the start, offset 0, and output beyond the limit', () => {
    assert.throws(() => unpack(legacyFrame([0x10, 0x61, 2, 0, 0x00]), 100))
    assert.throws(() => unpack(legacyFrame([0x10, 0x61, 0, 0, 0x00]), 100))
    assert.throws(() => unpack(legacyFrame(LZ4_BLOCK), 16))
    assert.throws(() => unpack(legacyFrame([0x1f, 0x61, 1, 0, 255, 255, 255, 0, 0x00]), 100))
  })
})
