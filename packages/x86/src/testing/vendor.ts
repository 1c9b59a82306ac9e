/**
 * Where processors of other makers differ from Intel's, whose behaviour the engine has and the vectors were recorded from.
 * A case that ends so is not compared on such a host; a recorded one is, everywhere.
 */
import { readFileSync } from 'node:fs'
import type { Part } from './sequence.ts'
import { CODE_ADDRESS, get64, OFFSET, type StateRecord } from './state-record.ts'

const UD = 6
/** #SS, #GP, #PF and #AC. */
const MEMORY_FAULTS: ReadonlySet<number> = new Set([12, 13, 14, 17])

/** Whether this host's processor is one of Intel's. */
export function isIntel(): boolean {
  return readFileSync('/proc/cpuinfo', 'utf8').includes('GenuineIntel')
}

/** Why the outcome that the CPU gave is not Intel's, or undefined. */
export function whyVendorDependent(parts: readonly Part[], { view }: StateRecord): string | undefined {
  const stop = view.getUint32(OFFSET.stop, true)
  const offset = get64(view, OFFSET.rip) - CODE_ADDRESS
  const part = parts.find(({ start }) => start === offset)
  if (!part) return undefined
  const isMmx = part.encoded?.form.operands.some((operand) => /^[PQN][a-z]/.test(operand)) ?? false
  if (stop === UD && part.mnemonic === 'nop') return '0F 0D with a register is undefined'
  if (MEMORY_FAULTS.has(stop) && (part.mnemonic.startsWith('f') || isMmx))
    return 'a memory fault of an x87 or MMX instruction comes at another point of it'
  return undefined
}
