import { TypevisorError } from '@typevisor/vmm'

/** What keeps a machine from starting in a page. */
export class PageError extends TypevisorError {
  constructor(
    code:
      | 'TV_ENGINE_UNKNOWN'
      | 'TV_INITRD_FORMAT'
      | 'TV_INITRD_CORRUPT'
      | 'TV_PAGE_PARAMETER'
      | 'TV_PAGE_BROWSER'
      | 'TV_DOWNLOAD_NOT_FOUND'
      | 'TV_DOWNLOAD_FAILED',
    message: string,
    options?: { cause?: unknown },
  ) {
    super(code, message, options)
  }
}

/** One sentence and a code for whatever was thrown. */
export function describeError(error: unknown): { code: string; message: string } {
  const { code, message } =
    error instanceof Error ? (error as Error & { code?: unknown }) : { message: String(error) }
  if (typeof code === 'string' && code.startsWith('TV_')) return { code, message }
  if (error instanceof WebAssembly.CompileError) {
    return {
      code: 'TV_PAGE_BROWSER',
      message: 'This browser lacks a part of WebAssembly that the machine needs; a newer one has it.',
    }
  }
  return { code: 'TV_INTERNAL', message: `A bug in Typevisor, or in this browser: ${message}.` }
}
