import type { Measurement, Subject, Width } from '../record.ts'

/** One measurement for tests. */
export function run(
  subject: Subject,
  program: string,
  wallSeconds: number,
  more: Partial<Measurement> & { width?: Width } = {},
): Measurement {
  return {
    subject,
    program,
    width: 64,
    guestSeconds: wallSeconds,
    wallSeconds,
    cpuSeconds: null,
    peakRssBytes: null,
    ok: true,
    ...more,
  }
}
