import { once } from 'node:events'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { gunzip, zstdDecompress } from 'node:zlib'
import { type Decompressor, type Decompressors, unlz4Legacy } from '@typevisor/vmm'
import { allocateHuge } from '../memory/huge-pages.ts'
import type { UnxzAnswer } from './unxz-worker.ts'

/** What a bzImage may be compressed with: zlib and zstd of Node, liblzma in WebAssembly, LZ4 of our own. */
export const decompressors: Decompressors = {
  gzip: atOnce((data, maxBytes) => promisify(gunzip)(data, { maxOutputLength: maxBytes })),
  zstd: atOnce((data, maxBytes) => promisify(zstdDecompress)(data, { maxOutputLength: maxBytes })),
  lz4: async (data, maxBytes, take) => unlz4Legacy(data, maxBytes, take, allocateHuge),
  xz: atOnce(unxz),
}

/** For what unpacks all in one piece: tens of megabytes, given back now rather than at some later garbage collection. */
function atOnce(unpack: (data: Uint8Array, maxBytes: number) => Promise<Uint8Array>): Decompressor {
  return async (data, maxBytes, take) => {
    const output = await unpack(data, maxBytes)
    take(output)
    const { buffer } = output
    if (output.byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0)
  }
}

/** In a thread of its own: the decoder's memory, which grows to tens of megabytes, goes with it. */
async function unxz(data: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  const worker = new Worker(new URL('unxz-worker.ts', import.meta.url), { workerData: { data, maxBytes } })
  try {
    const [answer] = (await once(worker, 'message')) as [UnxzAnswer]
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer.output!
  } finally {
    await worker.terminate()
  }
}
