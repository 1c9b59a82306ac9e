import { getRandomValues } from 'node:crypto'
import type { MachineHost } from '@typevisor/vmm'

/** What a timer of the event loop can wait at most, in milliseconds. */
const LONGEST_TIMEOUT = 2 ** 31 - 1
const ENTROPY_WORDS = 1024

/**
 * A machine's surroundings in this process: its clocks, its entropy, its event loop. `congestion` is asked at each
 * turn and delays the machine while its output cannot go out, so that a guest cannot fill the host's memory with it.
 */
export function createMachineHost(
  congestion: () => Promise<void> | undefined = () => undefined,
): MachineHost {
  return {
    monotonic: { now: () => performance.now() * 1e6 },
    wall: { now: () => Date.now() },
    random: entropy(),
    yieldToHost: async () => {
      await new Promise<void>((resolve) => setImmediate(resolve))
      await congestion()
    },
    sleep,
  }
}

function entropy(): () => number {
  const words = new Uint32Array(ENTROPY_WORDS)
  let next = ENTROPY_WORDS
  return () => {
    if (next === ENTROPY_WORDS) {
      getRandomValues(words)
      next = 0
    }
    const word = words[next]
    words[next++] = 0 // what was given to a guest is kept nowhere
    return word
  }
}

/** Waits for `milliseconds`, of any size, or for `wake`; keeps the process alive meanwhile. */
export function sleep(milliseconds: number): { done: Promise<void>; wake: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  let remaining = milliseconds
  let timer: NodeJS.Timeout
  const arm = () => {
    const step = Math.min(remaining, LONGEST_TIMEOUT)
    remaining -= step
    timer = setTimeout(() => (remaining > 0 ? arm() : resolve()), Math.ceil(step))
  }
  arm()
  const wake = () => {
    clearTimeout(timer)
    resolve()
  }
  return { done: promise, wake }
}
