import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { complement, onesSum, onesSumOfParts } from './checksum.ts'

/** RFC 1071's own definition, bit by bit. */
function slowSum(bytes: Uint8Array): number {
  let sum = 0
  for (let index = 0; index < bytes.length; index++) sum += index % 2 === 0 ? bytes[index] << 8 : bytes[index]
  while (sum > 0xffff) sum = (sum % 0x1_0000) + Math.floor(sum / 0x1_0000)
  return sum
}

const bytes = Uint8Array.from({ length: 70_000 }, (_, index) => (index * 167 + (index >> 8) * 31) & 0xff)

describe('Internet checksum', () => {
  it("sums RFC 1071's example", () => {
    const sum = onesSum(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7))
    assert.equal(sum, 0xddf2)
    assert.equal(complement(sum), 0x220d)
  })
  it('is the same at every address and for every length', () => {
    for (const start of [0, 1, 2, 3, 7]) {
      for (const length of [0, 1, 2, 63, 64, 65, 66, 127, 1459, 1460, 65_535, 65_536, 66_001]) {
        const piece = bytes.subarray(start, start + length)
        assert.equal(onesSum(piece), slowSum(piece), `${length} bytes from ${start}`)
        assert.equal(onesSum(bytes, start, start + length), slowSum(piece), `${length} bytes from ${start}`)
      }
    }
  })
  it('does not overflow on bytes that are all ones', () => {
    assert.equal(onesSum(new Uint8Array(65_536).fill(0xff)), 0xffff)
  })
  it('goes on over pieces of odd length', () => {
    const parts = [bytes.subarray(0, 101), bytes.subarray(101, 102), bytes.subarray(102, 1000)]
    for (const offset of [0, 1, 33, 101, 150]) {
      assert.equal(onesSumOfParts(parts, offset), slowSum(bytes.subarray(offset, 1000)), `from ${offset}`)
    }
  })
})
