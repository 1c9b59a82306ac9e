import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { BenchRecord } from './bench-record.ts'
import { markdownReport } from './markdown.ts'
import { speedPlot } from './plot.ts'
import { resultsByWidth } from './results.ts'

const PLOT = 'images/benchmark.svg'

/** Writes `benchmarks.md` and its picture into a directory. */
export async function writeReport(directory: string, { host, measurements }: BenchRecord): Promise<void> {
  const results = resultsByWidth(measurements)
  const plot = speedPlot(results)
  const picture = plot === undefined ? undefined : PLOT
  await mkdir(dirname(join(directory, PLOT)), { recursive: true })
  await writeFile(join(directory, 'benchmarks.md'), markdownReport(results, host, picture))
  if (plot !== undefined) await writeFile(join(directory, PLOT), plot)
}
