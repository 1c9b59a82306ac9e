import { MemorySizeError } from '@typevisor/vmm'
import { PageError } from '../errors.ts'
import type { FileKind, GuestFiles, GuestOptions } from '../messages.ts'

const REPORT_INTERVAL_MS = 50

/** `total` is undefined when the server does not tell it. */
export type OnProgress = (file: FileKind, received: number, total: number | undefined) => void

interface DownloadOptions {
  url: string
  what: FileKind
  /** What is larger is given up. */
  maxBytes: number
  onProgress: OnProgress
  signal: AbortSignal
}

/** All files of a guest at once, with progress on the way. */
export async function downloadFiles(
  { kernel, initrd, memoryBytes }: GuestOptions,
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<GuestFiles> {
  const fetchFile = (what: FileKind, url: string) =>
    download({ url, what, maxBytes: memoryBytes, onProgress, signal })
  const [kernelFile, initrdFile] = await Promise.all([
    fetchFile('kernel', kernel),
    initrd === undefined ? undefined : fetchFile('initramfs', initrd),
  ])
  return { kernel: kernelFile, initrd: initrdFile }
}

async function download(options: DownloadOptions): Promise<Uint8Array<ArrayBuffer>> {
  const { url, what, signal } = options
  const response = await fetch(url, { signal }).catch((cause: unknown) => {
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
  options.onProgress(what, received, received)
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
    options.onProgress(options.what, received, total)
  }
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array<ArrayBuffer> {
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
