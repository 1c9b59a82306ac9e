// SDM Vol. 3A, "4-Level Paging": an identity map of the first 4 GiB by 2 MiB pages.

import { type GuestRam, PAGE_SIZE } from '../memory/guest-memory.ts'
import type { BootMemory } from './boot-memory.ts'
import { ByteWriter } from './byte-writer.ts'

const PRESENT_WRITABLE = 0x03
const LARGE_PAGE = 0x80
const DIRECTORIES = 4

/** CR0.PE|ET|PG, CR4.PAE, EFER.LME|LMA. */
export const LONG_MODE = { cr0: 0x8000_0011, cr4: 0x20, efer: 0x500 } as const

/** Writes the tables to low memory; returns the PML4's address, for CR3. */
export function writeIdentityPageTables(ram: GuestRam, memory: BootMemory): number {
  const tables = new ByteWriter((2 + DIRECTORIES) * PAGE_SIZE)
  const base = memory.allocateLow(tables.bytes.length, 'page tables')
  tables.u64(0, (base + PAGE_SIZE) | PRESENT_WRITABLE)
  for (let i = 0; i < DIRECTORIES; i++) {
    tables.u64(PAGE_SIZE + i * 8, (base + (2 + i) * PAGE_SIZE) | PRESENT_WRITABLE)
  }
  for (let i = 0; i < DIRECTORIES * 512; i++) {
    tables.u64(2 * PAGE_SIZE + i * 8, i * 0x20_0000 + (PRESENT_WRITABLE | LARGE_PAGE))
  }
  ram.write(base, tables.bytes)
  return base
}
