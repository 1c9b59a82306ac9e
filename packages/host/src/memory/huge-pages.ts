/**
 * Huge pages for RAM. The host then faults once for 2 MiB that is touched instead of 512 times, and its TLB reaches as much
 * further; QEMU asks for the same. The price is memory: what the guest touches a little of counts whole.
 */
import koffi from 'koffi'

/** Linux, include/uapi/asm-generic/mman-common.h. */
const MADV_HUGEPAGE = 14
const PAGE = 4096n

type Madvise = (address: bigint, bytes: bigint, advice: number) => number

/** Asks the host for huge pages under a memory that does not move; false where it has none, and all stays as it was. */
export function preferHugePages(bytes: Uint8Array): boolean {
  const madvise = findMadvise()
  if (!madvise) return false
  const address = koffi.address(bytes)
  const start = ((address + PAGE - 1n) / PAGE) * PAGE
  const length = address + BigInt(bytes.length) - start
  return length > 0n && madvise(start, length, MADV_HUGEPAGE) === 0
}

/** Zeros, in huge pages where the host has them. */
export function allocateHuge(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  preferHugePages(bytes)
  return bytes
}

function findMadvise(): Madvise | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    return koffi.load(null).func('int madvise(intptr_t address, size_t bytes, int advice)') as Madvise
  } catch {
    return undefined
  }
}
