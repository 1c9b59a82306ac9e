/** Comparing outcomes, and saying where they differ in words of the manual. */
import {
  CODE_ADDRESS,
  CODE_BYTES,
  DATA_ADDRESS,
  DATA_BYTES,
  FLAG,
  FX,
  gprOffset,
  OFFSET,
  RECORD_BYTES,
  type StateRecord,
  stOffset,
  xmmOffset,
} from './state-record.ts'

export const GPR_NAMES = [
  'RAX',
  'RCX',
  'RDX',
  'RBX',
  'RSP',
  'RBP',
  'RSI',
  'RDI',
  'R8',
  'R9',
  'R10',
  'R11',
  'R12',
  'R13',
  'R14',
  'R15',
]

interface Field {
  readonly name: string
  readonly offset: number
  readonly bytes: number
}

const FIELDS: readonly Field[] = [
  { name: 'exception', offset: OFFSET.stop, bytes: 4 },
  { name: 'RIP', offset: OFFSET.rip, bytes: 8 },
  { name: 'error code', offset: OFFSET.errorCode, bytes: 4 },
  { name: 'CR2', offset: OFFSET.cr2, bytes: 8 },
  ...GPR_NAMES.map((name, i) => ({ name, offset: gprOffset(i), bytes: 8 })),
  { name: 'RFLAGS', offset: OFFSET.rflags, bytes: 8 },
  { name: 'FS base', offset: OFFSET.fsBase, bytes: 8 },
  { name: 'GS base', offset: OFFSET.gsBase, bytes: 8 },
  ...['ES', 'CS', 'SS', 'DS', 'FS', 'GS'].map((name, i) => ({
    name,
    offset: OFFSET.selectors + 2 * i,
    bytes: 2,
  })),
  { name: 'x87 control', offset: FX.control, bytes: 2 },
  { name: 'x87 status', offset: FX.status, bytes: 2 },
  { name: 'x87 tags', offset: FX.tag, bytes: 1 },
  { name: 'MXCSR', offset: FX.mxcsr, bytes: 4 },
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((i) => ({ name: `ST${i}`, offset: stOffset(i), bytes: 10 })),
  ...GPR_NAMES.map((_, i) => ({ name: `XMM${i}`, offset: xmmOffset(i), bytes: 16 })),
  ...GPR_NAMES.map((_, i) => ({ name: `YMM${i} high`, offset: OFFSET.ymmHigh + 16 * i, bytes: 16 })),
]

export function hex({ bytes }: StateRecord, offset: number, length: number): string {
  let text = ''
  for (let i = length - 1; i >= 0; i--) text += bytes[offset + i]!.toString(16).padStart(2, '0')
  return text
}

function equalBytes(a: Uint8Array, b: Uint8Array, offset: number, length: number): boolean {
  for (let i = offset; i < offset + length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Whether two normalized outcomes, cleared of what is undefined, are the same. */
export function sameOutcome(a: StateRecord, b: StateRecord): boolean {
  const compare = (from: number, to: number): boolean =>
    Buffer.compare(a.bytes.subarray(from, to), b.bytes.subarray(from, to)) === 0
  return (
    compare(0, OFFSET.codeLength) && compare(OFFSET.cr2, OFFSET.code) && compare(OFFSET.data, RECORD_BYTES)
  )
}

/** One line per difference. */
export function differences(actual: StateRecord, expected: StateRecord): string[] {
  const lines: string[] = []
  for (const { name, offset, bytes } of FIELDS) {
    if (equalBytes(actual.bytes, expected.bytes, offset, bytes)) continue
    const names = name === 'RFLAGS' ? flagDifference(actual, expected) : ''
    lines.push(`${name}: ${hex(actual, offset, bytes)}, should be ${hex(expected, offset, bytes)}${names}`)
  }
  for (let at = 0; at < DATA_BYTES; at += 8) {
    const offset = OFFSET.data + at
    if (equalBytes(actual.bytes, expected.bytes, offset, 8)) continue
    lines.push(
      `[${(DATA_ADDRESS + at).toString(16)}]: ${hex(actual, offset, 8)}, should be ${hex(expected, offset, 8)}`,
    )
    if (lines.length > 24) return [...lines, '…']
  }
  return lines
}

function flagDifference(a: StateRecord, b: StateRecord): string {
  const bits = a.view.getUint32(OFFSET.rflags, true) ^ b.view.getUint32(OFFSET.rflags, true)
  return ` (${Object.entries(FLAG)
    .filter(([, bit]) => bits & bit)
    .map(([name]) => name)
    .join(' ')})`
}

/** A state in words, for the report of a difference. */
export function describeState(record: StateRecord): string {
  const lines = FIELDS.filter(
    ({ name, offset, bytes }) =>
      /^(R|EX|x87|MXCSR)/i.test(name) ||
      !equalBytes(record.bytes, new Uint8Array(RECORD_BYTES), offset, bytes),
  ).map(({ name, offset, bytes }) => `  ${name.padEnd(12)} ${hex(record, offset, bytes)}`)
  return lines.join('\n')
}

/** The code of a case as bytes, one line per instruction where their starts are known. */
export function describeCode(
  record: StateRecord,
  parts: readonly { start: number; length: number; mnemonic: string }[],
): string {
  const code = record.bytes.subarray(OFFSET.code, OFFSET.code + CODE_BYTES)
  return parts
    .map(({ start, length, mnemonic }) => {
      const bytes = Buffer.from(code.subarray(start, start + length)).toString('hex')
      return `  ${(CODE_ADDRESS + start).toString(16)}  ${bytes.padEnd(32)} ${mnemonic}`
    })
    .join('\n')
}

/** Within the manual's bounds: 1.5 × 2^−12 relative for RCP and RSQRT, one unit in the last place or so for x87. */
export function withinBounds(actual: StateRecord, expected: StateRecord): boolean {
  for (let i = 0; i < 16; i++) {
    for (let lane = 0; lane < 8; lane++) {
      const at = (lane < 4 ? xmmOffset(i) : OFFSET.ymmHigh + 16 * i - 16) + 4 * lane
      const [a, b] = [actual.view.getFloat32(at, true), expected.view.getFloat32(at, true)]
      if (!(Object.is(a, b) || Math.abs(a - b) <= Math.abs(b) * 3 * 2 ** -12)) return false
    }
  }
  for (let i = 0; i < 8; i++) if (!closeFloat80(actual, expected, stOffset(i))) return false
  return true
}

function closeFloat80(a: StateRecord, b: StateRecord, at: number): boolean {
  if (equalBytes(a.bytes, b.bytes, at, 10)) return true
  if (a.view.getUint16(at + 8, true) !== b.view.getUint16(at + 8, true)) return false
  const difference = a.view.getBigUint64(at, true) - b.view.getBigUint64(at, true)
  return difference >= -2n && difference <= 2n
}

/** Makes all single NaNs of XMM and YMM registers the same, and with them the double ones. */
export function unifyNans({ view }: StateRecord): void {
  const unify = (at: number): void => {
    if (Number.isNaN(view.getFloat32(at, true))) view.setUint32(at, 0x7fffffff, true)
    if (Number.isNaN(view.getFloat64(at & ~7, true))) view.setUint32(at & ~7, 0, true)
  }
  for (let at = FX.xmm; at < FX.reserved; at += 4) unify(at)
  for (let at = OFFSET.ymmHigh; at < OFFSET.mode; at += 4) unify(at)
}

/** Copies the registers, status and tags of the x87, so that the rest can be compared. */
export function copyX87(to: StateRecord, from: StateRecord): void {
  to.bytes.set(from.bytes.subarray(FX.status, FX.tag + 1), FX.status)
  to.bytes.set(from.bytes.subarray(FX.st, FX.xmm), FX.st)
}

/** Copies the registers that `withinBounds` compared, so that the rest can be compared as bytes. */
export function copyApproximate(to: StateRecord, from: StateRecord): void {
  to.bytes.set(from.bytes.subarray(FX.st, FX.reserved), FX.st)
  to.bytes.set(from.bytes.subarray(OFFSET.ymmHigh, OFFSET.mode), OFFSET.ymmHigh)
  // C1 and the precision flag follow the last digit.
  const status =
    (to.view.getUint16(FX.status, true) & ~0x220) | (from.view.getUint16(FX.status, true) & 0x220)
  to.view.setUint16(FX.status, status, true)
}
