import { once } from 'node:events'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { gunzip, zstdDecompress } from 'node:zlib'
import { type Decompressor, type Decompressors, unlz4Legacy } from '@typevisor/vmm'
import { allocateHuge } from '../memory/huge-pages.ts'
import type { UnxzAnswer } from './unxz-worker.ts'

/** What a bzImage may be compressed with: zlib and zstd of Node, liblzma, LZ4 of our own. */
export const decompressors: Decompressors = {
  gzip: atOnce((data, maxBytes) => promisify(gunzip)(data, { maxOutputLength: maxBytes })),
  zstd: atOnce((data, maxBytes) => promisify(zstdDecompress)(data, { maxOutputLength: maxBytes })),
  lz4: async (data, maxBytes, take) => unlz4Legacy(data, maxBytes, take, allocateHuge),
  xz: async (data, maxBytes, take) => {
    const native = await nativeLiblzma()
    await (native ? unxz(native, data, maxBytes, take) : unxzInWebAssembly(data, maxBytes, take))
  },
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

type Liblzma = typeof import('node-liblzma')
const CHUNK = 0x10_0000

/** It is twice as fast; undefined on hosts that it is not built for. */
const nativeLiblzma = (): Promise<Liblzma | undefined> => import('node-liblzma').catch(() => undefined)

async function unxz(
  { createUnxz }: Liblzma,
  data: Uint8Array,
  maxBytes: number,
  take: (piece: Uint8Array) => void,
): Promise<void> {
  checkFooter(data)
  const stream = createUnxz({ chunkSize: CHUNK })
  stream.end(data)
  let left = maxBytes
  for await (const piece of stream as AsyncIterable<Uint8Array>) {
    left -= piece.length
    if (left < 0) throw new Error('corrupt XZ data: more than was announced')
    take(piece)
  }
}

/** For hosts without the native one. */
export const unxzInWebAssembly = atOnce(async (data, maxBytes) => {
  checkFooter(data)
  // In a thread of its own: the decoder's memory, which grows to tens of megabytes, goes with it.
  const worker = new Worker(new URL('unxz-worker.ts', import.meta.url), { workerData: { data, maxBytes } })
  try {
    const [answer] = (await once(worker, 'message')) as [UnxzAnswer]
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer.output!
  } finally {
    await worker.terminate()
  }
})

/** "Stream Footer": the streaming decoders do not miss it, but without it the last check may be missing too. */
function checkFooter(data: Uint8Array): void {
  if (data.at(-2) !== 0x59 || data.at(-1) !== 0x5a) throw new Error('corrupt XZ data: the end is missing')
}
