/** Ports and their permission. SDM Vol. 1, "I/O-Sensitive Instructions", "I/O Permission Bit Map". */
import { IF } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import type { Core } from './core.ts'

/** #GP(0) unless CPL ≤ IOPL or the TSS's bitmap allows all the ports; in virtual-8086 mode only the bitmap counts. */
function checkPermission(core: Core, port: number, size: number): void {
  if ((core.word(L.CR0) & 1) === 0) return
  const iopl = (core.word(L.RFLAGS_SYSTEM) >> 12) & 3
  if (!core.isVirtual8086 && core.cpl <= iopl) return
  const limit = core.segmentWord(L.TR, L.SEG_LIMIT) >>> 0
  const is32 = (core.segmentWord(L.TR, L.SEG_ATTRIBUTES) & 8) !== 0
  if (core.segmentWord(L.TR, L.SEG_UNUSABLE) !== 0 || !is32 || limit < 0x67) core.fail(EXCEPTION.GP, 0)
  const base = core.pair(L.SEG + L.TR * L.SEG_SIZE + L.SEG_BASE)
  const bitmap = Number(core.exports.systemLoad(BigInt.asIntN(64, base + 0x66n), 2))
  core.check()
  const at = bitmap + (port >> 3)
  if (at + 1 > limit) core.fail(EXCEPTION.GP, 0)
  const bits = Number(core.exports.systemLoad(BigInt.asIntN(64, base + BigInt(at)), 2))
  core.check()
  if ((bits >> (port & 7)) & ((1 << size) - 1)) core.fail(EXCEPTION.GP, 0)
}

export function portIn(core: Core, port: number, size: 1 | 2 | 4): void {
  checkPermission(core, port, size)
  core.setResult(0, core.pins.portRead(port, size) | 0)
  noticeInterrupts(core)
}

export function portOut(core: Core, port: number, size: 1 | 2 | 4, value: number): void {
  checkPermission(core, port, size)
  core.pins.portWrite(port, size, size === 4 ? value >>> 0 : value & (2 ** (size * 8) - 1))
  noticeInterrupts(core)
}

/** A device may have raised its interrupt: the slice ends at the next branch. */
export function noticeInterrupts(core: Core): void {
  const pending = core.pins.interruptPending()
  core.setWord(L.INTERRUPT_PENDING, pending ? 1 : 0)
  const enabled = (core.word(L.RFLAGS_SYSTEM) & IF) !== 0
  if (enabled && pending) core.setWord(L.EXIT_REQUEST, 0x80000000 | 0)
}
