import { getRandomValues } from 'node:crypto'
import { entropyFrom, type MachineHost, sleepWith } from '@typevisor/vmm'

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
    random: entropyFrom(getRandomValues),
    yieldToHost: async () => {
      await new Promise<void>((resolve) => setImmediate(resolve))
      await congestion()
    },
    sleep,
  }
}

/** Waits for `milliseconds`, of any size, or for `wake`; keeps the process alive meanwhile. */
export const sleep: MachineHost['sleep'] = sleepWith((callback, milliseconds) => {
  const timer = setTimeout(callback, milliseconds)
  return () => clearTimeout(timer)
})
