/** Ends a command of the benchmark with one line and status 2. */
export function failWith(error: unknown): void {
  const { code, message } = error as NodeJS.ErrnoException
  process.stderr.write(`bench: ${message} (${code ?? 'TV_INTERNAL'})\n`)
  process.exitCode = 2
}
