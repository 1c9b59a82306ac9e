import type { GuestRam } from '../memory/guest-memory.ts'
import type { AddressRange } from '../memory/memory-map.ts'
import type { BootMemory } from './boot-memory.ts'

export interface BootModule {
  data: Uint8Array
  commandLine?: string
}

/** What a protocol's loader is given. */
export interface BootContext {
  ram: GuestRam
  memory: BootMemory
  commandLine: string
  modules: readonly BootModule[]
  rsdp: number
  ranges: readonly AddressRange[]
}
