/** The thread that unpacks XZ data with liblzma; see decompress.ts. */
import { parentPort, workerData } from 'node:worker_threads'
import { createUnxz, initModule } from 'node-liblzma/wasm'

export interface UnxzAnswer {
  readonly output?: Uint8Array
  readonly error?: string
}

const CHUNK = 0x1_0000

async function unxz(data: Uint8Array, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
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

if (parentPort && workerData) {
  const { data, maxBytes } = workerData as { data: Uint8Array; maxBytes: number }
  try {
    const output = await unxz(data, maxBytes)
    parentPort.postMessage({ output } satisfies UnxzAnswer, [output.buffer])
  } catch (error) {
    parentPort.postMessage({ error: (error as Error).message } satisfies UnxzAnswer)
  }
}
