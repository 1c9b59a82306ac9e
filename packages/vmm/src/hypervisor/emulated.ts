import type { CpuPins } from '@typevisor/x86'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { Hypervisor, Vcpu, Vm } from './hypervisor.ts'

/** What this needs of `Cpu` in @typevisor/x86. */
export interface EmulatedCpu extends Vcpu {
  memoryWritten(gpa: number, length: number): void
  release?(): void
}

export type CreateCpu = (options: {
  memory: GuestMemory
  pins: CpuPins
  model?: string
  clock?: () => number
}) => EmulatedCpu

/** One vCPU in this process, by a CPU in TypeScript: `emulated('interpreter', (options) => new Cpu(options))`. */
export function emulated(engine: 'interpreter' | 'jit' | 'lock-step', createCpu: CreateCpu): Hypervisor {
  return {
    engine,
    createVm(options): Vm {
      const cpu = createCpu(options)
      return {
        memory: options.memory,
        vcpus: [cpu],
        memoryWritten: (gpa, length) => cpu.memoryWritten(gpa, length),
        release: () => cpu.release?.(),
      }
    },
  }
}
