import { setFlagsFromString } from 'node:v8'
import { type EngineName, emulated, type Hypervisor } from '@typevisor/vmm'
import { CPU_MODELS, Cpu, DEFAULT_CPU_MODEL, LockStepCpu } from '@typevisor/x86'
import { keepCodeIn } from '../cache/engine-code.ts'
import { preferHugePages } from '../memory/huge-pages.ts'
import { DomainError } from './errors.ts'
import { lowerCompilerThreads } from './priority.ts'
import { startRegionWorker } from './region-worker.ts'

/** The engines of this version; a `kvm` is to follow. */
const ENGINES = {
  interpreter: loadInterpreter,
  jit: loadRecompiler,
  'lock-step': loadLockStep,
} as const satisfies Partial<Record<EngineName, () => Promise<Hypervisor>>>

export const DEFAULT_ENGINE = 'jit'

export function engineNames(): string[] {
  return Object.keys(ENGINES)
}

/** Names of the CPU models, and the one that a machine has when none is asked for. */
export function cpuModelNames(): { names: string[]; standard: string } {
  return { names: CPU_MODELS.map(({ name }) => name), standard: DEFAULT_CPU_MODEL }
}

/** The engine of that name. */
export async function loadEngine(name: string): Promise<Hypervisor> {
  if (Object.hasOwn(ENGINES, name)) return ENGINES[name as keyof typeof ENGINES]()
  const known = engineNames().join(', ')
  throw new DomainError('TV_ENGINE_UNKNOWN', `There is no engine named ${name}; known engines: ${known}.`)
}

/**
 * V8 up to version 13 heeds two things that recompiled code says only when it is asked to: which branches are unlikely, and that
 * regions, which are hot, are to be optimized at once. Without them all is as right, and slower.
 */
function heedHints(): void {
  if (Number.parseInt(process.versions.v8, 10) > 13) return
  setFlagsFromString('--experimental-wasm-branch-hinting')
  setFlagsFromString('--experimental-wasm-compilation-hints')
}

async function loadRecompiler(): Promise<Hypervisor> {
  heedHints()
  lowerCompilerThreads()
  const keepCode = keepCodeIn()
  return emulated('jit', (options) => {
    preferHugePages(new Uint8Array(options.memory.memory.buffer))
    const recompile = { worker: startRegionWorker() }
    return new Cpu({ ...options, keepCode, prepareMemory: preferHugePages, recompile })
  })
}
async function loadLockStep(): Promise<Hypervisor> {
  return emulated('lock-step', (options) => new LockStepCpu(options))
}
async function loadInterpreter(): Promise<Hypervisor> {
  const keepCode = keepCodeIn()
  return emulated('interpreter', (options) => {
    preferHugePages(new Uint8Array(options.memory.memory.buffer))
    return new Cpu({ ...options, keepCode, prepareMemory: preferHugePages })
  })
}
