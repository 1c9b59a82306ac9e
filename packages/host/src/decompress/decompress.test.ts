import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { xzAsync } from 'node-liblzma/wasm'
import { decompressors } from './decompress.ts'

/** Text that compresses, then noise that does not. */
function sample(): Uint8Array {
  const bytes = new Uint8Array(300_000)
  let seed = 1
  for (let i = 0; i < bytes.length; i++) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    bytes[i] = i < 200_000 ? 'typevisor '.charCodeAt(i % 10) : seed >>> 24
  }
  return bytes
}

/** An LZ4 legacy frame with one block. */
function legacyFrame(block: readonly number[]): Uint8Array {
  const frame = Uint8Array.from([0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0, ...block])
  new DataView(frame.buffer).setUint32(4, block.length, true)
  return frame
}

/** "abcabcabcabc" + "xyzzy": a match that overlaps itself, then literals. */
const LZ4_BLOCK = [0x35, 0x61, 0x62, 0x63, 3, 0, 0x50, 0x78, 0x79, 0x7a, 0x7a, 0x79]

const STREAMS = {
  gzip: async () => gzipSync(sample()),
  zstd: async () => zstdCompressSync(sample()),
  xz: async () => xzAsync(sample()),
} as const

for (const [kind, make] of Object.entries(STREAMS)) {
  const decompress = decompressors[kind as keyof typeof STREAMS]
  describe(kind, () => {
    it('unpacks a stream', async () => {
      assert.deepEqual(Buffer.compare(await decompress(await make(), 300_000), sample()), 0)
    })
    it('rejects a stream that is cut off', async () => {
      const stream = await make()
      await assert.rejects(decompress(stream.subarray(0, stream.length - 9), 300_000))
    })
    it('rejects a stream with a changed byte', async () => {
      const stream = Uint8Array.from(await make())
      stream[stream.length >> 1] ^= 0x55
      await assert.rejects(async () => {
        assert.equal(Buffer.compare(await decompress(stream, 300_000), sample()), 0)
      })
    })
    it('rejects a stream that unpacks to more than was announced', async () => {
      await assert.rejects(decompress(await make(), 299_999))
    })
  })
}

describe('lz4', () => {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString()
  it('unpacks literals and matches that overlap themselves', async () => {
    assert.equal(text(await decompressors.lz4(legacyFrame(LZ4_BLOCK), 17)), 'abcabcabcabcxyzzy')
  })
  it('reads lengths that go on', async () => {
    const block = [0xf0, 255, 1, ...new Array(271).fill(0x61)]
    assert.equal(text(await decompressors.lz4(legacyFrame(block), 1000)), 'a'.repeat(271))
  })
  it('rejects every truncation', async () => {
    const frame = legacyFrame(LZ4_BLOCK)
    for (let length = 8; length < frame.length; length++) {
      await assert.rejects(decompressors.lz4(frame.subarray(0, length), 17), `cut at ${length}`)
      await assert.rejects(
        decompressors.lz4(legacyFrame(LZ4_BLOCK.slice(0, length - 8)), 17).then((b) => {
          assert.equal(b.length, 17)
        }),
      )
    }
  })
  it('rejects matches before the start, offset 0, and output beyond the limit', async () => {
    await assert.rejects(decompressors.lz4(legacyFrame([0x10, 0x61, 2, 0, 0x00]), 100))
    await assert.rejects(decompressors.lz4(legacyFrame([0x10, 0x61, 0, 0, 0x00]), 100))
    await assert.rejects(decompressors.lz4(legacyFrame(LZ4_BLOCK), 16))
    await assert.rejects(decompressors.lz4(legacyFrame([0x1f, 0x61, 1, 0, 255, 255, 255, 0, 0x00]), 100))
  })
})
