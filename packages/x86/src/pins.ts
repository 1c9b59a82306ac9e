/** What a CPU reaches outside itself. The machine provides it; every call is synchronous. */
export interface CpuPins {
  /** Reads an I/O port. Returns an unsigned value of `size` bytes; all ones where nothing answers. */
  portRead(port: number, size: 1 | 2 | 4): number
  portWrite(port: number, size: 1 | 2 | 4, value: number): void
  /** Reads guest-physical address space that is not RAM. `gpa` is exact up to 2^53. Wider accesses are split. */
  mmioRead(gpa: number, size: 1 | 2 | 4): number
  mmioWrite(gpa: number, size: 1 | 2 | 4, value: number): void
  /** True while the interrupt controller has a vector to deliver (its INTR output). */
  interruptPending(): boolean
  /** INTA: takes the vector with the highest priority, or -1 where the request was withdrawn. */
  acknowledgeInterrupt(): number
  /** CR8, bits 3:0. */
  readTaskPriority(): number
  writeTaskPriority(value: number): void
  /** MSRs that live outside the core (APIC base, x2APIC, TSC deadline): undefined or false means #GP(0). */
  readMsr(index: number): { low: number; high: number } | undefined
  writeMsr(index: number, low: number, high: number): boolean
  /** Time-stamp counter before IA32_TSC_ADJUST, in ticks since reset. */
  timeStampCounter(): number
  /** 32 bits of entropy for RDRAND and RDSEED. */
  random(): number
}
