import type { CpuPins } from '@typevisor/x86'
import type { EmulatedCpu } from '../hypervisor/emulated.ts'
import type { CpuRegisters, Exit } from '../hypervisor/hypervisor.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'

/** A CPU whose program is a function: called once for each `run`, it acts on the pins and says how the run ended. */
export class FakeCpu implements EmulatedCpu {
  readonly pins: CpuPins
  readonly memory: GuestMemory
  readonly log: string[] = []
  registers: CpuRegisters | undefined
  runs = 0
  exitRequests = 0
  program: (cpu: FakeCpu, budget: number) => Exit = () => ({ kind: 'hlt' })

  constructor({ pins, memory }: { pins: CpuPins; memory: GuestMemory }) {
    this.pins = pins
    this.memory = memory
  }

  reset(): void {
    this.log.push('reset')
  }

  setState(registers: CpuRegisters): void {
    this.registers = registers
  }

  run(budget: number): Exit {
    this.runs++
    return this.program(this, budget)
  }

  requestExit(): void {
    this.exitRequests++
  }

  memoryWritten(gpa: number, length: number): void {
    this.log.push(`written ${gpa} ${length}`)
  }

  report(): string {
    return 'report of the fake CPU'
  }
}
