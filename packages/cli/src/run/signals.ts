import { constants } from 'node:os'

export interface SignalActions {
  /** Ask the guest to end. */
  shutDown(): void
  /** End it. */
  stop(): void
}

/** How long a guest that was asked to shut down may take. */
const PATIENCE_MS = 10_000
const STATUS_BASE = 128

/**
 * SIGINT ends the machine at once. SIGTERM and SIGHUP press its power button, and end it when they come again or the
 * guest does not follow. `status` is that of a process that a signal ended, or undefined when none came.
 */
export function handleSignals(actions: SignalActions): {
  status: () => number | undefined
  release: () => void
} {
  let first: 'SIGINT' | 'SIGTERM' | 'SIGHUP' | undefined
  let timer: NodeJS.Timeout | undefined
  const onSignal = (signal: 'SIGINT' | 'SIGTERM' | 'SIGHUP') => {
    const again = first !== undefined
    first ??= signal
    if (again || signal === 'SIGINT') return actions.stop()
    actions.shutDown()
    timer = setTimeout(() => actions.stop(), PATIENCE_MS)
  }
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.on(signal, onSignal)
  return {
    status: () => (first === undefined ? undefined : STATUS_BASE + constants.signals[first]),
    release: () => {
      clearTimeout(timer)
      for (const signal of signals) process.off(signal, onSignal)
    },
  }
}
