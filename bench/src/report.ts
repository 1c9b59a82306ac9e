import type { Measurement } from './record.ts'
import { resultsByWidth } from './results.ts'
import { memoryTable, promiseTable, rateTable, speedTable, textTable } from './tables.ts'

/** Tables for the terminal, for each width that was measured. */
export function report(measurements: readonly Measurement[]): string {
  return resultsByWidth(measurements)
    .map((results) => {
      const tables = [speedTable, promiseTable, memoryTable, rateTable].flatMap((make) => make(results) ?? [])
      return [`${results.width} bits\n`, ...tables.map(textTable)].join('\n')
    })
    .join('\n')
}
