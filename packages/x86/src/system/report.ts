/** A CPU's state as text. */
import * as L from '../state/layout.ts'
import { GPR_NAMES } from '../state/registers.ts'
import type { Core } from './core.ts'

const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, '0')
const SEGMENT_NAMES = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS', 'LDTR', 'TR']
const EXCEPTION_NAMES: Record<number, string> = {
  0: '#DE',
  1: '#DB',
  3: '#BP',
  4: '#OF',
  5: '#BR',
  6: '#UD',
  7: '#NM',
  8: '#DF',
  10: '#TS',
  11: '#NP',
  12: '#SS',
  13: '#GP',
  14: '#PF',
  16: '#MF',
  17: '#AC',
  19: '#XM',
}

/** `code`: bytes from RIP on, where it can be read. */
export function report(core: Core, code: Uint8Array | undefined): string {
  const lines: string[] = []
  for (let row = 0; row < 16; row += 4) {
    const cells = GPR_NAMES.slice(row, row + 4).map(
      (name, i) => `${name.toUpperCase().padStart(3)}=${hex(core.pair(L.REGS + (row + i) * 8), 16)}`,
    )
    lines.push(cells.join(' '))
  }
  lines.push(
    `RIP=${hex(core.pair(L.RIP), 16)} RFLAGS=${hex(core.flags >>> 0, 8)} CPL=${core.cpl} ` +
      `${core.codeSize * 8}-bit code`,
  )
  for (const [i, name] of SEGMENT_NAMES.entries()) {
    const attributes = core.segmentWord(i, L.SEG_ATTRIBUTES)
    const limit = core.segmentWord(i, L.SEG_LIMIT) >>> 0
    const base =
      i === L.FS || i === L.GS ? L.REGS + (i === L.FS ? L.SLOT.fsBase : L.SLOT.gsBase) * 8 : undefined
    const address = core.pair(base ?? L.SEG + i * L.SEG_SIZE + L.SEG_BASE)
    const unusable = core.segmentWord(i, L.SEG_UNUSABLE) ? ' unusable' : ''
    lines.push(
      `${name.padEnd(4)} ${hex(core.selector(i), 4)} base=${hex(address, 16)} limit=${hex(limit, 8)} ` +
        `attributes=${hex(attributes, 4)}${unusable}`,
    )
  }
  const control = (name: string, at: number) => `${name}=${hex(core.pair(at), 16)}`
  lines.push(
    [control('CR0', L.CR0), control('CR2', L.CR2), control('CR3', L.CR3), control('CR4', L.CR4)].join(' '),
  )
  lines.push(
    `${control('EFER', L.EFER)} GDT=${hex(core.pair(L.GDTR_BASE), 16)}+${hex(core.word(L.GDTR_LIMIT), 4)} ` +
      `IDT=${hex(core.pair(L.IDTR_BASE), 16)}+${hex(core.word(L.IDTR_LIMIT), 4)}`,
  )
  const vector = core.word(L.LAST_FAULT) - 1
  if (vector >= 0) {
    const name = EXCEPTION_NAMES[vector] ?? `vector ${vector}`
    const errorCode = hex(core.word(L.LAST_FAULT_ERROR) >>> 0, 4)
    lines.push(
      `Last exception: ${name}, error code ${errorCode}, at RIP ${hex(core.pair(L.LAST_FAULT_RIP), 16)}`,
    )
  }
  const bytes = code && [...code].map((byte) => hex(byte, 2)).join(' ')
  lines.push(`Code at RIP: ${bytes ?? 'not readable'}`)
  return lines.join('\n')
}
