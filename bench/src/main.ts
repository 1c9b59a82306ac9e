// Runs guest programs on our engines and on others in turn, and compares them.

import { type BenchRecord, readRecords, writeRecord } from './bench-record.ts'
import { failWith } from './failure.ts'
import { measure } from './measure.ts'
import { type BenchOptions, HELP, readOptions } from './options.ts'
import { report } from './report.ts'
import { writeReport } from './write-report.ts'

async function main(args: string[]): Promise<void> {
  const options = readOptions(args)
  if (options.help) return void process.stdout.write(HELP)
  const record = await recordOf(options)
  if (options.report !== undefined) await writeReport(options.report, record)
  process.stdout.write(report(record.measurements))
  if (record.measurements.some(({ ok }) => !ok)) process.exitCode = 1
}

async function recordOf(options: BenchOptions): Promise<BenchRecord> {
  if (options.from !== undefined) return readRecords(options.from)
  const { json } = options
  return measure(options, async (record) => {
    if (json !== undefined) await writeRecord(json, record)
  })
}

await main(process.argv.slice(2)).catch(failWith)
