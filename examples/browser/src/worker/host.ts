import { entropyFrom, type MachineHost, sleepWith } from '@typevisor/vmm'
import type { SerialOutput } from './serial-output.ts'

/** A guest that will be idle for so long waits for somebody, who shall see what it says. */
const IDLE_MS = 30

/** A machine's surroundings in a browser. What is congested at a turn delays the machine; what it said before it rests is shown. */
export function createMachineHost(clock: MachineHost['monotonic'], output: SerialOutput): MachineHost {
  const nextTurn = eventLoopTurns()
  return {
    monotonic: clock,
    wall: { now: () => Date.now() },
    random: entropyFrom((words) => crypto.getRandomValues(words)),
    yieldToHost: async () => {
      await nextTurn()
      await output.congestion()
    },
    sleep: (milliseconds) => {
      if (milliseconds > IDLE_MS) output.flush()
      return sleep(milliseconds)
    },
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
