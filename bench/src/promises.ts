import { ALL_PROGRAMS, BOOTING, FLOATING_POINT, INTEGER, MEMORY } from './groups.ts'
import type { Reference, Subject, Width } from './record.ts'
import type { Results } from './results.ts'

/** That our engine is at least so many times as fast as a reference. */
export interface SpeedPromise {
  text: string
  width: Width
  reference: Reference
  programs: readonly string[]
  /** Of all programs together, or of each. */
  of: 'geometric mean' | 'slowest'
  atLeast: number
}

const TCG = { width: 64, reference: 'qemu-tcg' } as const
const V86 = { width: 32, reference: 'v86' } as const

/** What the recompiler is to reach. Times that may be longer than the reference's are speeds below 1. */
export const PROMISES: readonly SpeedPromise[] = [
  { ...TCG, text: 'integer', programs: INTEGER.programs, of: 'geometric mean', atLeast: 1 },
  {
    ...TCG,
    text: 'floating point and SIMD',
    programs: FLOATING_POINT.programs,
    of: 'geometric mean',
    atLeast: 4,
  },
  { ...TCG, text: 'memcpy and memset', programs: MEMORY.programs, of: 'slowest', atLeast: 1 },
  { ...TCG, text: 'pgfault and forkexec', programs: ['pgfault', 'forkexec'], of: 'slowest', atLeast: 1 / 2 },
  { ...TCG, text: 'shell', programs: ['shell'], of: 'slowest', atLeast: 1 / 1.5 },
  { ...TCG, text: 'every program', programs: ALL_PROGRAMS, of: 'slowest', atLeast: 1 / 2 },
  { ...TCG, text: 'boot', programs: BOOTING.programs, of: 'slowest', atLeast: 1 / 2 },
  { ...V86, text: 'integer', programs: INTEGER.programs, of: 'geometric mean', atLeast: 2 },
  {
    ...V86,
    text: 'floating point and SIMD',
    programs: FLOATING_POINT.programs,
    of: 'geometric mean',
    atLeast: 4,
  },
  { ...V86, text: 'boot', programs: BOOTING.programs, of: 'slowest', atLeast: 2 },
]

export interface Verdict {
  promise: SpeedPromise
  subject: Subject
  speed: number
  /** The program that decides, where it is not all of them. */
  program?: string
  holds: boolean
}

/** The promises that the results say something about; those whose programs did not all run are left out. */
export function judge(results: Results): Verdict[] {
  return results.engines.flatMap((subject) =>
    PROMISES.filter(({ width }) => width === results.width).flatMap((promise) =>
      judgeOne(results, subject, promise),
    ),
  )
}

function judgeOne(results: Results, subject: Subject, promise: SpeedPromise): Verdict[] {
  const { programs, reference, atLeast } = promise
  const speeds = programs.flatMap((program) => {
    const speed = results.speed(subject, reference, program)
    return speed === undefined ? [] : [{ program, speed }]
  })
  if (speeds.length < programs.length) return []
  if (promise.of === 'geometric mean') {
    const speed = results.meanSpeed(subject, reference, programs)!
    return [{ promise, subject, speed, holds: speed >= atLeast }]
  }
  const slowest = speeds.reduce((least, each) => (each.speed < least.speed ? each : least))
  return [{ promise, subject, ...slowest, holds: slowest.speed >= atLeast }]
}
