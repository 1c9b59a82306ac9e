// The seam between a machine and what executes its instructions. A machine sees no more of an engine than this:
// an interpreter and a recompiler implement it over a CPU in TypeScript, KVM over a file descriptor.
//
// Port, MMIO and MSR accesses reach the machine through CpuPins, synchronously, from inside `run`: in an emulator a
// call is all they need, and a KVM engine makes the calls itself from its exits. What ends `run` is an Exit.

import type { CpuPins, CpuSample, CpuStatistics } from '@typevisor/x86'
import type { GuestMemory } from '../memory/guest-memory.ts'

export type EngineName = 'interpreter' | 'jit' | 'lock-step' | 'kvm'

/** Why a vCPU stopped. */
export type Exit =
  /** The slice is used up, or `requestExit` was called. */
  | { kind: 'slice' }
  /** HLT with nothing to deliver: to be run again when an interrupt is pending. */
  | { kind: 'hlt' }
  /** Triple fault; `reason` names what led to it. */
  | { kind: 'shutdown'; reason: string }

type GeneralRegister =
  | 'rax'
  | 'rbx'
  | 'rcx'
  | 'rdx'
  | 'rsi'
  | 'rdi'
  | 'rsp'
  | 'rbp'
  | 'r8'
  | 'r9'
  | 'r10'
  | 'r11'
  | 'r12'
  | 'r13'
  | 'r14'
  | 'r15'

/** The state that a boot protocol demands; what is absent is as after reset in that mode, with flat segments. */
export interface CpuRegisters {
  mode: 'real' | 'protected32' | 'long64'
  rip: bigint
  rflags?: number
  cr0?: number
  cr3?: number
  cr4?: number
  efer?: number
  gpr?: Partial<Record<GeneralRegister, bigint>>
}

export interface Vcpu {
  /** The architectural power-up state. */
  reset(): void
  setState(registers: CpuRegisters): void
  /** Runs at most about `maxInstructions`. Interrupts are taken from the pins on the way. */
  run(maxInstructions: number): Exit
  /** Ends the running slice soon: an interrupt became pending, or the machine is to stop. */
  requestExit(): void
  /** Registers, the last exception, the code around RIP: for a person to read. */
  report(): string
  /** Instructions run so far, where the engine counts them; a repeated string instruction counts less than its elements. */
  readonly retired?: number
  /** What an engine that emulates counted. */
  statistics?(): CpuStatistics
  /** Where it is between two runs, for profiles. */
  sample?(): CpuSample
}

export interface Vm {
  readonly memory: GuestMemory
  readonly vcpus: readonly Vcpu[]
  /** RAM was written from outside the vCPUs: what was made from its old contents must go. */
  memoryWritten(gpa: number, length: number): void
  /** Gives back threads and the like; the vCPUs do not run again. */
  release?(): void
}

export interface Hypervisor {
  readonly engine: EngineName
  /** `clock`, in ns, is given where the engine is to measure itself. */
  createVm(options: { memory: GuestMemory; pins: CpuPins; model?: string; clock?: () => number }): Vm
}
