/** A local APIC. Times are in guest nanoseconds. */
export interface LocalApicState {
  version: 1
  baseLow: number
  baseHigh: number
  id: number
  tpr: number
  ldr: number
  dfr: number
  svr: number
  isr: number[]
  tmr: number[]
  irr: number[]
  esr: number
  pendingErrors: number
  icrLow: number
  icrHigh: number
  lvt: number[]
  initialCount: number
  divide: number
  timerStart: number
  deadline: { low: number; high: number }
  lint0: boolean
}
