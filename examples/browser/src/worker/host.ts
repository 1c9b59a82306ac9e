import { entropyFrom, type MachineHost, sleepWith } from '@typevisor/vmm'

/** A machine's surroundings in a browser. `congestion` is asked at each turn and delays the machine. */
export function createMachineHost(
  clock: MachineHost['monotonic'],
  congestion: () => Promise<void> | undefined,
): MachineHost {
  const nextTurn = eventLoopTurns()
  return {
    monotonic: clock,
    wall: { now: () => Date.now() },
    random: entropyFrom((words) => crypto.getRandomValues(words)),
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

/** Waits for `milliseconds`, of any size, or for `wake`. */
export const sleep: MachineHost['sleep'] = sleepWith((callback, milliseconds) => {
  const timer = setTimeout(callback, milliseconds)
  return () => clearTimeout(timer)
})
