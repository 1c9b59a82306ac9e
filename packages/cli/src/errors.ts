import { TypevisorError } from '@typevisor/host'

export type UsageErrorCode =
  | 'TV_COMMAND_UNKNOWN'
  | 'TV_OPTION_UNKNOWN'
  | 'TV_OPTION_VALUE'
  | 'TV_ARGUMENT_MISSING'
  | 'TV_ARGUMENT_UNEXPECTED'

/** A command line that says nothing we know: exit status 2. */
export class UsageError extends TypevisorError {
  constructor(code: UsageErrorCode, message: string) {
    super(code, message)
  }
}

/** A file for output that cannot be written. */
export class OutputFileError extends TypevisorError {
  constructor(path: string, why: string) {
    super('TV_FILE_UNWRITABLE', `The file ${path} cannot be written: ${why}.`)
  }
}

/** Errors of other modules that are the command line's fault. */
const USAGE_CODES: readonly string[] = [
  'TV_ENGINE_UNKNOWN',
  'TV_CPU_MODEL',
  'TV_IMAGE_UNKNOWN',
  'TV_MEMORY_SIZE',
]

export const STATUS_ERROR = 1
export const STATUS_USAGE = 2

/** What to print for an error, in one sentence with its code, and the status to end with. Never a stack trace. */
export function describeError(error: unknown): { status: number; line: string } {
  const { code, message } =
    error instanceof Error ? (error as NodeJS.ErrnoException) : { message: String(error) }
  if (code?.startsWith('TV_')) {
    const usage = error instanceof UsageError || USAGE_CODES.includes(code)
    return { status: usage ? STATUS_USAGE : STATUS_ERROR, line: `${message} (${code})` }
  }
  return { status: STATUS_ERROR, line: `A bug in Typevisor, or in what it runs on: ${message} (TV_INTERNAL)` }
}
