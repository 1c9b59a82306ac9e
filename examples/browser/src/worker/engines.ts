import { type CreateCpu, emulated, type Hypervisor } from '@typevisor/vmm'
import { Cpu } from '@typevisor/x86'
import { PageError } from '../errors.ts'
import { startRegionWorker } from './region-worker.ts'

/** The engines that run in a browser. */
const ENGINES = {
  interpreter: (options) => new Cpu(options),
  jit: (options) => new Cpu({ ...options, recompile: { worker: startRegionWorker() } }),
} as const satisfies Partial<Record<'interpreter' | 'jit', CreateCpu>>

/** The engine of that name. */
export function engineByName(name: string): Hypervisor {
  if (isEngine(name)) return emulated(name, ENGINES[name])
  const known = Object.keys(ENGINES).join(', ')
  throw new PageError('TV_ENGINE_UNKNOWN', `There is no engine named ${name}; known engines: ${known}.`)
}

function isEngine(name: string): name is keyof typeof ENGINES {
  return Object.hasOwn(ENGINES, name)
}
