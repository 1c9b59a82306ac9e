import type { MachineHost } from '@typevisor/vmm'

/** What a timer can wait at most, in milliseconds. */
const LONGEST_TIMEOUT = 2 ** 31 - 1
const ENTROPY_WORDS = 1024

/** A machine's surroundings in a browser. `congestion` is asked at each turn and delays the machine. */
export function createMachineHost(
  clock: MachineHost['monotonic'],
  congestion: () => Promise<void> | undefined,
): MachineHost {
  const nextTurn = eventLoopTurns()
  return {
    monotonic: clock,
    wall: { now: () => Date.now() },
    random: entropy(),
    yieldToHost: async () => {
      await nextTurn()
      await congestion()
    },
    sleep,
  }
}

/** Resumes after what else waits. By messages, for a timer of 0 ms takes 4 ms after the first few. */
function eventLoopTurns(): () => Promise<void> {
  const { port1, port2 } = new MessageChannel()
  let resume = () => {}
  port1.onmessage = () => resume()
  return () =>
    new Promise((resolve) => {
      resume = resolve
      port2.postMessage(undefined)
    })
}

function entropy(): () => number {
  const words = new Uint32Array(ENTROPY_WORDS)
  let next = ENTROPY_WORDS
  return () => {
    if (next === ENTROPY_WORDS) {
      crypto.getRandomValues(words)
      next = 0
    }
    const word = words[next]
    words[next++] = 0 // what was given to a guest is kept nowhere
    return word
  }
}

/** Waits for `milliseconds`, of any size, or for `wake`. */
export function sleep(milliseconds: number): { done: Promise<void>; wake: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  let remaining = milliseconds
  let timer: ReturnType<typeof setTimeout>
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
