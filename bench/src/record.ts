export const SUBJECTS = ['jit', 'interpreter', 'kvm', 'qemu-tcg', 'v86', 'native'] as const
export type Subject = (typeof SUBJECTS)[number]

/** What the others are divided by. */
export const REFERENCES = ['qemu-tcg', 'v86'] as const satisfies readonly Subject[]
export type Reference = (typeof REFERENCES)[number]

export const WIDTHS = [64, 32] as const
export type Width = (typeof WIDTHS)[number]

/** The program that is no program: from the start of the process to /init. */
export const BOOT = 'boot'

/** One measurement, as `--json` writes it. */
export interface Measurement {
  subject: Subject
  program: string
  width: Width
  /** By the guest's clock; null where it has none yet, or did not get there. */
  guestSeconds: number | null
  /** By the host's clock, from the program's first line to its last. */
  wallSeconds: number | null
  /** User and system time of the process in that time; null where the host does not tell. */
  cpuSeconds: number | null
  /** The most memory that the process had had when the program ended; null where the host does not tell. */
  peakRssBytes: number | null
  /** The program ran and its checksum was right. */
  ok: boolean
  /** Instructions that it took, where the engine counts them. */
  instructions?: number
}

/** Something that cannot be measured here: one sentence with a stable code. */
export class BenchError extends Error {
  readonly code: `TV_BENCH_${string}`
  constructor(code: `TV_BENCH_${string}`, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
  }
}
