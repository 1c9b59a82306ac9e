/**
 * Operations that a meaning leaves to TypeScript: those that change the mode, reach outside the CPU, or are rare.
 * Arguments and results are i64 words in SCRATCH. An operation that raises a fault leaves everything as it was.
 */
export const HOST_OPERATIONS = [
  // Segments and tables
  'loadSegment',
  'loadLdt',
  'loadTask',
  'verify',
  'accessRights',
  'segmentLimit',
  // Control transfers
  'softwareInterrupt',
  'farJump',
  'farCall',
  'farReturn',
  'interruptReturn',
  'sysenter',
  'sysexit',
  // Registers
  'readControl',
  'writeControl',
  'readDebug',
  'writeDebug',
  'readMsr',
  'writeMsr',
  'xsetbv',
  // The rest
  'cpuid',
  'timeStamp',
  'invalidatePage',
  'invalidateProcessContext',
  'random',
  'portIn',
  'portOut',
  'hypercall',
  'transcendental',
] as const

export type HostOperation = (typeof HOST_OPERATIONS)[number]
