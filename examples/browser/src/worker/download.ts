import { MemorySizeError } from '@typevisor/vmm'
import { PageError } from '../errors.ts'
import type { FileKind } from '../messages.ts'

const REPORT_INTERVAL_MS = 50

export interface DownloadOptions {
  url: string
  what: FileKind
  /** What is larger is given up. */
  maxBytes: number
  onProgress: (received: number, total: number | undefined) => void
}

/** A file by its URL, with progress on the way. */
export async function download(options: DownloadOptions): Promise<Uint8Array> {
  const { url, what } = options
  const response = await fetch(url).catch((cause: unknown) => {
    throw failed(options, 'the server cannot be reached, or does not allow it to this page', cause)
  })
  if (response.status === 404 || response.status === 410) {
    throw new PageError('TV_DOWNLOAD_NOT_FOUND', `There is no ${what} at ${url}.`)
  }
  if (!response.ok || !response.body) throw failed(options, `the server answers ${response.status}`)
  const total = lengthOf(response)
  const chunks = await receive(response.body, total, options)
  const received = chunks.reduce((sum, { length }) => sum + length, 0)
  if (total !== undefined && received !== total) throw failed(options, 'it ended early')
  options.onProgress(received, received)
  return join(chunks, received)
}

/** The length of the body as it will be read: unknown where it is packed for the way. */
function lengthOf({ headers }: Response): number | undefined {
  const length = headers.get('content-length')
  return length === null || headers.has('content-encoding') ? undefined : Number(length)
}

async function receive(
  body: ReadableStream<Uint8Array>,
  total: number | undefined,
  options: DownloadOptions,
): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  const reader = body.getReader()
  let received = 0
  let reported = -Infinity
  for (;;) {
    const { done, value } = await reader.read().catch((cause: unknown) => {
      throw failed(options, 'the connection broke', cause)
    })
    if (done) return chunks
    chunks.push(value)
    received += value.length
    if (received > options.maxBytes) {
      await reader.cancel()
      throw new MemorySizeError(
        'TV_MEMORY_TOO_SMALL',
        `The ${options.what} is larger than the machine's RAM.`,
      )
    }
    if (performance.now() - reported < REPORT_INTERVAL_MS) continue
    reported = performance.now()
    options.onProgress(received, total)
  }
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let at = 0
  for (const chunk of chunks) {
    bytes.set(chunk, at)
    at += chunk.length
  }
  return bytes
}

function failed({ what, url }: DownloadOptions, why: string, cause?: unknown): PageError {
  return new PageError('TV_DOWNLOAD_FAILED', `The ${what} at ${url} cannot be downloaded: ${why}.`, { cause })
}
