export {
  Cpu,
  type CpuExit,
  CpuModelError,
  type CpuOptions,
  type CpuRegisters,
  type GuestMemory,
} from './cpu.ts'
export { LockStepCpu, LockStepError } from './jit/lock-step.ts'
export type { CpuPins } from './pins.ts'
export { CPU_MODELS, type CpuModel, DEFAULT_CPU_MODEL } from './system/model.ts'
