import { type CreateCpu, emulated, type Hypervisor } from '@typevisor/vmm'
import { Cpu, type KeepCode } from '@typevisor/x86'
import { PageError } from '../errors.ts'
import { HOT_AFTER } from '../heat.ts'
import { startRegionWorker } from './region-worker.ts'

/** The engines that run in a browser. */
const ENGINES = {
  interpreter: (options) => new Cpu(options),
  jit: (options) => new Cpu({ ...options, recompile: { worker: startRegionWorker(), hotAfter: HOT_AFTER } }),
} as const satisfies Partial<Record<'interpreter' | 'jit', (options: EngineOptions) => ReturnType<CreateCpu>>>
type EngineOptions = Parameters<CreateCpu>[0] & { readonly keepCode: KeepCode }

/** The engine of that name. */
export function engineByName(name: string, keepCode: KeepCode): Hypervisor {
  if (isEngine(name)) return emulated(name, (options) => ENGINES[name]({ ...options, keepCode }))
  const known = Object.keys(ENGINES).join(', ')
  throw new PageError('TV_ENGINE_UNKNOWN', `There is no engine named ${name}; known engines: ${known}.`)
}

function isEngine(name: string): name is keyof typeof ENGINES {
  return Object.hasOwn(ENGINES, name)
}
