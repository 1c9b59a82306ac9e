import type { CpuPins } from '@typevisor/x86'
import type { EmulatedCpu } from '../hypervisor/emulated.ts'
import type { CpuRegisters, Exit } from '../hypervisor/hypervisor.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
/** A CPU whose program is a function: called once for each `run`, it acts on the pins and says how the run ended. */
export declare class FakeCpu implements EmulatedCpu {
  readonly pins: CpuPins
  readonly memory: GuestMemory
  readonly log: string[]
  registers: CpuRegisters | undefined
  runs: number
  exitRequests: number
  program: (cpu: FakeCpu, budget: number) => Exit
  constructor({
    pins,
    memory,
  }: {
    pins: CpuPins
    memory: GuestMemory
  })
  reset(): void
  setState(registers: CpuRegisters): void
  run(budget: number): Exit
  requestExit(): void
  memoryWritten(gpa: number, length: number): void
  report(): string
}
