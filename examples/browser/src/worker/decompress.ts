import { type Decompressor, type Decompressors, unlz4Legacy } from '@typevisor/vmm'

/** The contents of a gzip file, piece by piece. */
export function gunzip(data: Uint8Array): ReadableStream<Uint8Array> {
  const unzip = new DecompressionStream('gzip')
  return streamOf(data).pipeThrough(unzip)
}

const unxz: Decompressor = async (data, maxBytes, take) => {
  // "Stream Footer": the streaming decoder does not miss it, but without it the last check may be missing too.
  if (data.at(-2) !== 0x59 || data.at(-1) !== 0x5a) throw new Error('corrupt XZ data: the end is missing')
  const { createUnxz, initModule } = await import('node-liblzma/wasm')
  await initModule()
  return takeAll(streamOf(data).pipeThrough(createUnxz()), maxBytes, take)
}

const unzstd: Decompressor = async (data, maxBytes, take) => {
  const { ZSTDDecoder } = await import('zstddec')
  const decoder = new ZSTDDecoder()
  await decoder.init()
  const output = decoder.decode(data, maxBytes)
  if (output.length === 0) throw new Error('corrupt zstd data') // all that it tells
  take(output)
}

/** What a bzImage may be compressed with. The libraries for what browsers do not unpack are loaded when needed. */
export const decompressors: Decompressors = {
  gzip: (data, maxBytes, take) => takeAll(gunzip(data), maxBytes, take),
  lz4: async (data, maxBytes, take) => unlz4Legacy(data, maxBytes, take),
  xz: unxz,
  zstd: unzstd,
}

const CHUNK = 0x1_0000

function streamOf(data: Uint8Array): ReadableStream<Uint8Array<ArrayBuffer>> {
  let at = 0
  return new ReadableStream({
    pull(controller) {
      if (at >= data.length) return controller.close()
      controller.enqueue(data.slice(at, (at += CHUNK)))
    },
  })
}

async function takeAll(
  stream: ReadableStream<Uint8Array>,
  maxBytes: number,
  take: (piece: Uint8Array) => void,
): Promise<void> {
  let left = maxBytes
  await forEachChunk(stream, (chunk) => {
    if (chunk.length > left) throw new Error('corrupt data: more than was announced')
    left -= chunk.length
    take(chunk)
  })
}

/** Not every browser iterates over streams. */
export async function forEachChunk(
  stream: ReadableStream<Uint8Array>,
  action: (chunk: Uint8Array) => void,
): Promise<void> {
  const reader = stream.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    action(value)
  }
}
