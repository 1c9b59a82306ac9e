export {
  Cpu,
  type CpuExit,
  type CpuOptions,
  type CpuRegisters,
  type GuestMemory,
  interpreterCode,
  type KeepCode,
} from './cpu.ts'
export type { InterpreterCode } from './interpreter/build.ts'
export { LockStepCpu, LockStepError } from './jit/lock-step.ts'
export {
  answerRegions,
  type RegionAnswer,
  type RegionRequest,
  type RegionWorker,
} from './jit/region-service.ts'
export type { CpuPins } from './pins.ts'
export type { CpuSample, CpuStatistics, RecompilerStatistics } from './statistics.ts'
export { CPU_MODELS, type CpuModel, CpuModelError, DEFAULT_CPU_MODEL } from './system/model.ts'
