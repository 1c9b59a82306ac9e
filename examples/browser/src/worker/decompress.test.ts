import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { xzAsync } from 'node-liblzma/wasm'
import { decompressors } from './decompress.ts'

const BYTES = 300_000

/** Text that compresses, then noise that does not. */
function sample(): Uint8Array {
  let seed = 1
  return Uint8Array.from({ length: BYTES }, (_, i) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return i < 200_000 ? 'typevisor '.charCodeAt(i % 10) : seed >>> 24
  })
}

const STREAMS = {
  gzip: async () => gzipSync(sample()),
  xz: () => xzAsync(sample()),
  zstd: async () => zstdCompressSync(sample()),
} as const

for (const [kind, make] of Object.entries(STREAMS)) {
  const decompress = async (data: Uint8Array, maxBytes: number): Promise<Uint8Array> => {
    const pieces: Uint8Array[] = []
    await decompressors[kind as keyof typeof STREAMS](data, maxBytes, (piece) =>
      pieces.push(Uint8Array.from(piece)),
    )
    return Buffer.concat(pieces)
  }
  describe(`${kind} in a browser`, () => {
    it('is unpacked', async () => {
      assert.equal(Buffer.compare(await decompress(await make(), BYTES), sample()), 0)
    })
    it('is rejected when it is cut off', async () => {
      const stream = await make()
      await assert.rejects(decompress(stream.subarray(0, stream.length - 9), BYTES))
    })
    it('is rejected when a byte was changed', async () => {
      const stream = Uint8Array.from(await make())
      stream[stream.length >> 1] ^= 0x55
      await assert.rejects(async () => {
        assert.equal(Buffer.compare(await decompress(stream, BYTES), sample()), 0)
      })
    })
    it('is rejected when it unpacks to more than was announced', async () => {
      await assert.rejects(decompress(await make(), BYTES - 1))
    })
  })
}
