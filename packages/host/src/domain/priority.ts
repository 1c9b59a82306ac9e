/**
 * Threads that compile give way to the one that runs the guest. Where there are fewer processors than threads with work, a start
 * takes about a tenth less time: the guest's thread otherwise waits for a processor for a fifth of it.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority, setPriority } from 'node:os'

/** More than the process's own. */
const NICE = 10
const LOWEST = 19
const THREADS = '/proc/self/task'
/** What V8 calls its threads, for compiling and for collecting garbage. */
const V8_WORKER = 'V8Worker'

/** Lowers the priority of V8's threads; elsewhere than on Linux, or where it may not, nothing changes. */
export function lowerCompilerThreads(): void {
  if (process.platform !== 'linux') return
  unlessForbidden(() => {
    for (const thread of readdirSync(THREADS))
      if (readFileSync(`${THREADS}/${thread}/comm`, 'utf8').trim() === V8_WORKER)
        setPriority(Number(thread), lowered())
  })
}

/** Lowers the priority of the calling thread. */
export function lowerThisThread(): void {
  // On other systems it would be the process's.
  if (process.platform === 'linux') unlessForbidden(() => setPriority(lowered()))
}

const lowered = (): number => Math.min(getPriority(process.pid) + NICE, LOWEST)

function unlessForbidden(change: () => void): void {
  try {
    change()
  } catch {
    // As it was: slower, and as right.
  }
}
