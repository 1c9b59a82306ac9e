import { readFile, writeFile } from 'node:fs/promises'
import type { HostDescription } from './host-description.ts'
import { BenchError, type Measurement } from './record.ts'

/** What `--json` writes. */
export interface BenchRecord {
  version: 1
  host: HostDescription
  measurements: Measurement[]
}

export async function writeRecord(path: string, record: BenchRecord): Promise<void> {
  await writeFile(path, `${JSON.stringify(record, undefined, 1)}\n`)
}

/** The measurements of all files together; what was the host's is taken from the last. */
export async function readRecords(paths: readonly string[]): Promise<BenchRecord> {
  const records = await Promise.all(paths.map(readRecord))
  const kernels = Object.assign({}, ...records.map(({ host }) => host.kernels))
  const measurements = records.flatMap((record) => record.measurements)
  return { version: 1, host: { ...records.at(-1)!.host, kernels }, measurements }
}

async function readRecord(path: string): Promise<BenchRecord> {
  const record = parse(await readFile(path, 'utf8').catch(() => ''))
  if (record?.version === 1 && Array.isArray(record.measurements) && record.host) return record
  throw new BenchError('TV_BENCH_RECORD', `${path} is no file that --json wrote.`)
}

function parse(text: string): BenchRecord | undefined {
  try {
    return JSON.parse(text) as BenchRecord
  } catch {
    return undefined
  }
}
