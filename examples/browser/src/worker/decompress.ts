import { type Decompressors, unlz4Legacy } from '@typevisor/vmm'

/** What a bzImage may be compressed with. The libraries for what browsers do not unpack are loaded when needed. */
export const decompressors: Decompressors = {
  gzip: (data, maxBytes) => collect(gunzip(data), maxBytes),
  lz4: async (data, maxBytes) => unlz4Legacy(data, maxBytes),
  xz: unxz,
  zstd: unzstd,
}

/** The contents of a gzip file, piece by piece. */
export function gunzip(data: Uint8Array): ReadableStream<Uint8Array> {
  const unzip = new DecompressionStream('gzip')
  return streamOf(data).pipeThrough(unzip)
}

async function unxz(data: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  // "Stream Footer": the streaming decoder does not miss it, but without it the last check may be missing too.
  if (data.at(-2) !== 0x59 || data.at(-1) !== 0x5a) throw new Error('corrupt XZ data: the end is missing')
  const { createUnxz, initModule } = await import('node-liblzma/wasm')
  await initModule()
  return collect(streamOf(data).pipeThrough(createUnxz()), maxBytes)
}

async function unzstd(data: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  const { ZSTDDecoder } = await import('zstddec')
  const decoder = new ZSTDDecoder()
  await decoder.init()
  const output = decoder.decode(data, maxBytes)
  if (output.length === 0) throw new Error('corrupt zstd data') // all that it tells
  return output
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

async function collect(stream: ReadableStream<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const output = new Uint8Array(maxBytes)
  let length = 0
  await forEachChunk(stream, (chunk) => {
    if (length + chunk.length > maxBytes) throw new Error('corrupt data: more than was announced')
    output.set(chunk, length)
    length += chunk.length
  })
  return output.subarray(0, length)
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
