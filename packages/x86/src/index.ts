export type { CpuPins } from './pins.ts'
