import type { TimerClock } from '../../packages/vmm/src/clock/clock.ts'
import { DeadlineQueue } from '../../packages/vmm/src/clock/deadline-queue.ts'

/** The clock that a machine's run loop is for the network otherwise: real time, on timers of Node's. */
export function realTimeClock(): TimerClock & { close(): void } {
  let timer: NodeJS.Timeout | undefined
  const arm = () => {
    clearTimeout(timer)
    const next = queue.next()
    if (next === Infinity) return
    timer = setTimeout(
      () => {
        queue.runDue()
        arm()
      },
      Math.max(0, (next - queue.now()) / 1e6),
    )
  }
  const queue = new DeadlineQueue({ now: () => performance.now() * 1e6 }, arm)
  return {
    now: () => queue.now(),
    at: (deadline, callback) => queue.at(deadline, callback),
    cancel: (entry) => queue.cancel(entry),
    close: () => clearTimeout(timer),
  }
}
