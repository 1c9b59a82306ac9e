import type { CounterState } from './counter.ts'

/** An 8254 with port B's two own bits. Ticks are of 1,193,182 Hz since the guest's time began. */
export interface I8254State {
  version: 1
  counters: CounterState[]
  portB: number
}
