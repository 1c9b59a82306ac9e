/** Regions made in another thread: the messages, and who answers them. */
import type { Plan } from './plan.ts'
import { type Linkage, RegionCompiler } from './region-compiler.ts'

/** The first message says what regions are linked to; each later one asks for a module. */
export type RegionRequest = { readonly linkage: Linkage } | { readonly plans: readonly Plan[] }

/** A module with the regions of a request, in the order of the requests. */
export interface RegionAnswer {
  readonly module: WebAssembly.Module
  readonly bytes: number
}

/** Another thread that answers with `answerRegions`. */
export interface RegionWorker {
  post(request: RegionRequest): void
  /** Called once, before the first request. */
  onAnswer(listener: (answer: RegionAnswer) => void): void
  /** Hands over now what has been answered, where a thread can look without giving its event loop a turn. */
  poll?(): void
  /** Nothing more will be asked. */
  end(): void
}

/** Answers requests, for the thread that makes regions. */
export function answerRegions(): (request: RegionRequest) => RegionAnswer | undefined {
  let linkage: Linkage
  let compiler: RegionCompiler | undefined
  return (request) => {
    if ('linkage' in request) {
      linkage = request.linkage
      return undefined
    }
    compiler ??= new RegionCompiler(linkage)
    const bytes = compiler.compile(request.plans)
    return { module: new WebAssembly.Module(bytes), bytes: bytes.length }
  }
}
