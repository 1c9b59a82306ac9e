import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { xzAsync } from 'node-liblzma/wasm'
import { decompressors, unxzInWebAssembly } from './decompress.ts'

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

const STREAMS = {
  gzip: async () => gzipSync(sample()),
  zstd: async () => zstdCompressSync(sample()),
  xz: async () => xzAsync(sample()),
} as const

const ALL = [
  ['gzip', STREAMS.gzip, decompressors.gzip],
  ['zstd', STREAMS.zstd, decompressors.zstd],
  ['xz', STREAMS.xz, decompressors.xz],
  ['xz in WebAssembly', STREAMS.xz, unxzInWebAssembly],
] as const

for (const [kind, make, decompressor] of ALL) {
  const decompress = async (data: Uint8Array, maxBytes: number): Promise<Uint8Array> => {
    const pieces: Uint8Array[] = []
    await decompressor(data, maxBytes, (piece) => pieces.push(Uint8Array.from(piece)))
    return Buffer.concat(pieces)
  }
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
