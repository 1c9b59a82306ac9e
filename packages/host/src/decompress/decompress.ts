import { promisify } from 'node:util'
import { gunzip, zstdDecompress } from 'node:zlib'
import type { Decompressors } from '@typevisor/vmm'
import { createUnxz, initModule } from 'node-liblzma/wasm'
import { unlz4Legacy } from './lz4.ts'

const CHUNK = 0x1_0000

/** What a bzImage may be compressed with: zlib and zstd of Node, liblzma in WebAssembly, LZ4 of our own. */
export const decompressors: Decompressors = {
  gzip: (data, maxBytes) => promisify(gunzip)(data, { maxOutputLength: maxBytes }),
  zstd: (data, maxBytes) => promisify(zstdDecompress)(data, { maxOutputLength: maxBytes }),
  lz4: async (data, maxBytes) => unlz4Legacy(data, maxBytes),
  xz: unxz,
}

async function unxz(data: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  // "Stream Footer": the streaming decoder does not miss it, but without it the last check may be missing too.
  if (data.at(-2) !== 0x59 || data.at(-1) !== 0x5a) throw new Error('corrupt XZ data: the end is missing')
  await initModule()
  const output = new Uint8Array(maxBytes)
  let length = 0
  for await (const chunk of chunks(data).pipeThrough(createUnxz())) {
    if (length + chunk.length > maxBytes) throw new Error('corrupt XZ data: more than was announced')
    output.set(chunk, length)
    length += chunk.length
  }
  return output.subarray(0, length)
}

function chunks(data: Uint8Array): ReadableStream<Uint8Array> {
  let at = 0
  return new ReadableStream({
    pull(controller) {
      if (at >= data.length) return controller.close()
      controller.enqueue(data.subarray(at, (at += CHUNK)))
    },
  })
}
