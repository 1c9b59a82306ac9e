#!/usr/bin/env node
import '@typevisor/host/cache/modules'

const { describeError } = await import('./errors.ts')
const { runProgram } = await import('./program.ts')

function fail(error: unknown): never {
  const { status, line } = describeError(error)
  process.stderr.write(`typevisor: ${line}\n`)
  if (process.env.TYPEVISOR_TRACE && error instanceof Error) process.stderr.write(`${error.stack}\n`)
  process.exit(status)
}

process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
try {
  process.exitCode = await runProgram(process.argv.slice(2))
} catch (error) {
  fail(error)
}
