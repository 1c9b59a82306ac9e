import { MemorySizeError } from '@typevisor/vmm'
import { PageError } from '../errors.ts'
import type { FileKind, GuestFiles } from '../messages.ts'
import type { GuestOptions } from './options.ts'

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
  { kernel, initrd, machine }: GuestOptions,
  { onProgress, signal }: { onProgress: OnProgress; signal: AbortSignal },
): Promise<GuestFiles> {
  const fetchFile = (what: FileKind, url: string) =>
    download({ url, what, maxBytes: machine.memoryBytes, onProgress, signal })
  const [kernelFile, initrdFile] = await Promise.all([
    fetchFile('kernel', kernel),
    initrd === undefined ? undefined : fetchFile('initramfs', initrd),
  ])
  return { kernel: kernelFile, initrd: initrdFile }
}

/** By XMLHttpRequest: it gathers the bytes outside JavaScript, and tells of progress, where `fetch` does one of both. */
function download(options: DownloadOptions): Promise<Uint8Array<ArrayBuffer>> {
  const { url, what, maxBytes, onProgress, signal } = options
  const request = new XMLHttpRequest()
  let hasAnswer = false
  return new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      reject(error)
      request.abort()
    }
    const checkSize = (bytes: number) => {
      const message = `The ${what} is larger than the machine's RAM.`
      if (bytes > maxBytes) fail(new MemorySizeError('TV_MEMORY_TOO_SMALL', message))
      return bytes <= maxBytes
    }
    request.onreadystatechange = () => {
      if (request.readyState !== XMLHttpRequest.HEADERS_RECEIVED) return
      hasAnswer = true
      const { status } = request
      if (status === 404 || status === 410)
        fail(new PageError('TV_DOWNLOAD_NOT_FOUND', `There is no ${what} at ${url}.`))
      else if (status < 200 || status > 299) fail(failed(options, `the server answers ${status}`))
    }
    request.onprogress = ({ loaded, total, lengthComputable }) => {
      if (checkSize(loaded)) onProgress(what, loaded, lengthComputable ? total : undefined)
    }
    request.onload = () => {
      const bytes = new Uint8Array(request.response as ArrayBuffer)
      if (!checkSize(bytes.length)) return
      onProgress(what, bytes.length, bytes.length)
      resolve(bytes)
    }
    request.onerror = () => {
      const unreachable = 'the server cannot be reached, or does not allow it to this page'
      reject(failed(options, hasAnswer ? 'the connection broke' : unreachable))
    }
    request.onabort = () => reject(signal.reason)
    signal.addEventListener('abort', () => request.abort())
    request.open('GET', url)
    request.responseType = 'arraybuffer'
    request.send()
  })
}

function failed({ what, url }: DownloadOptions, why: string): PageError {
  return new PageError('TV_DOWNLOAD_FAILED', `The ${what} at ${url} cannot be downloaded: ${why}.`)
}
