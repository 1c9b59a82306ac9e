import type { EXIT } from './state/exits.ts'

/** What a CPU counted since it was made. */
export interface CpuStatistics {
  /** Instructions run. */
  readonly retired: number
  /** Returns from WebAssembly by their reason. */
  readonly exits: Readonly<Record<keyof typeof EXIT, number>>
  /** Instructions that recompiled code left to the interpreter. */
  readonly leftToInterpreter: number
  /** By the CPU's clock, where it has one: how long WebAssembly ran between the exits, with what it called meanwhile. */
  readonly timeInside?: number
  /** Instructions decoded, times that all code was dropped, and pages whose code was changed. */
  readonly codeCache: { readonly decoded: number; readonly flushes: number; readonly invalidations: number }
  /** Left out where everything is interpreted. */
  readonly recompiler?: RecompilerStatistics
}

export interface RecompilerStatistics {
  /** Regions that may be entered now. */
  readonly small: number
  readonly large: number
  /** Regions made, and what they are of: instructions, and bytes of WebAssembly. */
  readonly smallMade: number
  readonly largeMade: number
  readonly instructions: number
  readonly bytes: number
  /** Bytes of the regions that may be entered now. */
  readonly bytesNow: number
  /** Regions dropped for any reason, and those of them for want of room. */
  readonly dropped: number
  readonly reclaimed: number
  /** Instructions at which speculation failed; regions made again without it, and with it again. */
  readonly failures: number
  readonly careful: number
  readonly returned: number
}

/** Where a CPU is between two runs. */
export interface CpuSample {
  /** Linear address of the next instruction. */
  readonly address: bigint
  readonly cpl: number
  /** Some of the page's code is recompiled. */
  readonly isRecompiled: boolean
}
