/** The instructions that are recorded and fuzzed: the engine's own, or a module's that the caller names. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { EncodableInstruction } from '../../packages/x86/src/testing/form.ts'

const OWN: string = new URL('../../packages/x86/src/isa/index.ts', import.meta.url).href

/** Loads `instructions` of a module. Throws where it has none. */
export async function loadInstructions(path?: string): Promise<readonly EncodableInstruction[]> {
  const module = (await import(path ? pathToFileURL(resolve(path)).href : OWN)) as Record<string, unknown>
  const list = module.instructions ?? module.SAMPLE
  if (!Array.isArray(list)) throw new Error(`${path ?? OWN} exports no list named instructions`)
  return list as readonly EncodableInstruction[]
}
