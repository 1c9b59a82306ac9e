/** How a machine ended. */
export type MachineExit =
  /** ACPI S5 soft off. */
  | { kind: 'poweroff' }
  | { kind: 'reset' }
  /** A write to `isa-debug-exit`. */
  | { kind: 'debug-exit'; status: number }
  /** Triple fault. */
  | { kind: 'shutdown'; reason: string; report: string }
  /** `stop()` was called. */
  | { kind: 'stopped' }
