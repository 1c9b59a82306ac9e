// SDM Vol. 3A, "Local APIC Register Address Map" and "x2APIC Register Address Space": an xAPIC register's offset is
// its index here times 16, an x2APIC register's MSR is 0x800 plus the index.

export const REGISTER = {
  id: 0x02,
  version: 0x03,
  tpr: 0x08,
  apr: 0x09,
  ppr: 0x0a,
  eoi: 0x0b,
  rrd: 0x0c,
  ldr: 0x0d,
  dfr: 0x0e,
  svr: 0x0f,
  isr: 0x10,
  tmr: 0x18,
  irr: 0x20,
  esr: 0x28,
  icrLow: 0x30,
  icrHigh: 0x31,
  lvtTimer: 0x32,
  lvtThermal: 0x33,
  lvtPerformance: 0x34,
  lvtLint0: 0x35,
  lvtLint1: 0x36,
  lvtError: 0x37,
  initialCount: 0x38,
  currentCount: 0x39,
  divide: 0x3e,
  selfIpi: 0x3f,
} as const

export const IA32_APIC_BASE = 0x1b
export const IA32_TSC_DEADLINE = 0x6e0
export const X2APIC_FIRST = 0x800
export const X2APIC_LAST = 0x8ff

export const APIC_BASE_BSP = 1 << 8
export const APIC_BASE_EXTD = 1 << 10
export const APIC_BASE_EN = 1 << 11

export const LVT_MASKED = 1 << 16
export const LVT_LEVEL = 1 << 15
export const SVR_ENABLED = 1 << 8

/** Error Status Register bits: SDM Vol. 3A, "Error Handling". */
export const ESR = { sendIllegalVector: 0x20, receiveIllegalVector: 0x40, illegalRegister: 0x80 } as const

/** Writable bits of each LVT entry, in the order timer, thermal, performance, LINT0, LINT1, error. */
export const LVT_WRITABLE = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff] as const
