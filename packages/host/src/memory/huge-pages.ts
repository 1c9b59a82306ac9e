/**
 * Huge pages for RAM. The host then faults once for 2 MiB that is touched instead of 512 times, and its TLB reaches as much
 * further; QEMU asks for the same. The price is memory: what the guest touches a little of counts whole.
 */
import { createRequire } from 'node:module'

/** Linux, include/uapi/asm-generic/mman-common.h. */
const MADV_HUGEPAGE = 14
const PAGE = 4096n

/** Asks the host for huge pages under a memory that does not move; false where it has none, and all stays as it was. */
export function preferHugePages(bytes: Uint8Array): boolean {
  if (process.platform !== 'linux') return false
  try {
    // Loaded here, since it throws on hosts that it is not built for.
    const koffi: typeof import('koffi') = createRequire(import.meta.url)('koffi')
    const madvise = koffi.load(null).func('int madvise(intptr_t address, size_t bytes, int advice)')
    const address = koffi.address(bytes)
    const start = ((address + PAGE - 1n) / PAGE) * PAGE
    const length = address + BigInt(bytes.length) - start
    return length > 0n && madvise(start, length, MADV_HUGEPAGE) === 0
  } catch {
    return false
  }
}

/** Zeros, in huge pages where the host has them. */
export function allocateHuge(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  preferHugePages(bytes)
  return bytes
}
