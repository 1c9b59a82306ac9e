/** What hosts have in common when they make a machine's surroundings (`MachineHost`) from their own timers and entropy. */
import type { MachineHost } from './machine.ts'

/** What a timer of an event loop can wait at most, in milliseconds. */
const LONGEST_TIMEOUT = 2 ** 31 - 1
const ENTROPY_WORDS = 1024

/** `random` from a source that fills many words at once. */
export function entropyFrom(fill: (words: Uint32Array<ArrayBuffer>) => unknown): MachineHost['random'] {
  const words = new Uint32Array(ENTROPY_WORDS)
  let next = ENTROPY_WORDS
  return () => {
    if (next === ENTROPY_WORDS) {
      fill(words)
      next = 0
    }
    const word = words[next]
    words[next++] = 0 // what was given to a guest is kept nowhere
    return word
  }
}

/** `sleep` for any number of milliseconds: `start` sets a timer and gives what cancels it. */
export function sleepWith(
  start: (callback: () => void, milliseconds: number) => () => void,
): MachineHost['sleep'] {
  return (milliseconds) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    let remaining = milliseconds
    let cancel: () => void
    const arm = () => {
      const step = Math.min(remaining, LONGEST_TIMEOUT)
      remaining -= step
      cancel = start(() => (remaining > 0 ? arm() : resolve()), Math.ceil(step))
    }
    arm()
    const wake = () => {
      cancel()
      resolve()
    }
    return { done: promise, wake }
  }
}
