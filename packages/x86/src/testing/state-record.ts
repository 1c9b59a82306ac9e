/**
 * The state record: one fixed binary layout for a test case before it runs and for its outcome, shared by the native
 * harness (which gets these constants from its compiler's command line), the vector files and every engine.
 * Everything is little-endian.
 *
 * ```
 *    0  RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15     16 × 8
 *  128  RFLAGS                                       8
 *  136  RIP                                          8
 *  144  FS base, GS base                             2 × 8
 *  160  FXSAVE image: x87, MXCSR, XMM0–15            512   SDM Vol. 1, "FXSAVE Area"
 *  672  bits 255:128 of YMM0–15                      16 × 16
 *  928  mode: 64, or 32 for compatibility mode       4     in
 *  932  stop: exception vector, or a `STOP_…`        4     out
 *  936  error code                                   4     out
 *  940  length of the code                           4     in
 *  944  CR2 (page faults only, else 0)               8     out
 *  952  ES CS SS DS FS GS                            6 × 2 out
 *  964  signal                                       4     out, native only
 *  968  zero                                         56
 * 1024  code, to be placed at CODE_ADDRESS           256   in
 * 1280  contents of the data area at DATA_ADDRESS    8192
 * 9472  end
 * ```
 *
 * The machine around a case: linear = virtual addresses, flat segments (64-bit: CS 0x33, SS, DS, ES 0x2B, FS, GS 0;
 * compatibility mode: CS 0x23, all others 0x2B), CPL 3, CR0.AM, CR0.NE, CR4.OSFXSR, CR4.OSXMMEXCPT and CR4.FSGSBASE set,
 * CR4.OSXSAVE and XCR0[2:0] too on a processor with AVX, RFLAGS.IF and bit 1 set though a case's RFLAGS does not say so (PUSHF shows them), IOPL 0.
 * One code page is present, readable and executable, not writable; INT3 fills it behind the code. Two data pages are
 * readable and writable, not executable. Nothing else is mapped. A case ends at its first exception, normally the
 * #BP of the INT3 behind it; RIP is what that exception would push.
 */

export const STATE_BYTES = 1024
export const CODE_BYTES = 256
export const DATA_BYTES = 8192
export const RECORD_BYTES: number = STATE_BYTES + CODE_BYTES + DATA_BYTES

export const CODE_ADDRESS = 0x20000000
export const DATA_ADDRESS = 0x10000000
export const PAGE_BYTES = 4096

export const OFFSET = {
  gpr: 0,
  rflags: 128,
  rip: 136,
  fsBase: 144,
  gsBase: 152,
  fx: 160,
  ymmHigh: 672,
  mode: 928,
  stop: 932,
  errorCode: 936,
  codeLength: 940,
  cr2: 944,
  selectors: 952,
  signal: 964,
  code: STATE_BYTES,
  data: STATE_BYTES + CODE_BYTES,
} as const

/** Parts of the FXSAVE image, from the record's start. */
export const FX = {
  control: OFFSET.fx,
  status: OFFSET.fx + 2,
  tag: OFFSET.fx + 4,
  opcode: OFFSET.fx + 6,
  ip: OFFSET.fx + 8,
  dp: OFFSET.fx + 16,
  mxcsr: OFFSET.fx + 24,
  mxcsrMask: OFFSET.fx + 28,
  st: OFFSET.fx + 32,
  xmm: OFFSET.fx + 160,
  reserved: OFFSET.fx + 416,
} as const

/** Values of `stop` that are no exception vector. */
export const STOP_TIMEOUT = 0x100
export const STOP_SYSTEM_CALL = 0x101
/** #BP: the case ran to an INT3, normally the one behind its code. */
export const STOP_BREAKPOINT = 3

export const FLAG = {
  CF: 1 << 0,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  DF: 1 << 10,
  OF: 1 << 11,
  NT: 1 << 14,
  AC: 1 << 18,
  ID: 1 << 21,
} as const

export const ARITHMETIC_FLAGS = FLAG.CF | FLAG.PF | FLAG.AF | FLAG.ZF | FLAG.SF | FLAG.OF
/** What user mode can change and a comparison sees; RF depends on how the exception was taken. */
export const COMPARED_FLAGS = ARITHMETIC_FLAGS | FLAG.TF | FLAG.DF | FLAG.NT | FLAG.AC | FLAG.ID

export type Mode = 32 | 64

/** Numbers and bytes of one record inside a larger buffer. */
export interface StateRecord {
  readonly bytes: Uint8Array
  readonly view: DataView
}

/** A view of the record at `offset` of a buffer. */
export function recordAt(buffer: Uint8Array, offset = 0): StateRecord {
  const bytes = buffer.subarray(offset, offset + RECORD_BYTES)
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) }
}

export function newRecord(): StateRecord {
  return recordAt(new Uint8Array(RECORD_BYTES))
}

export function gprOffset(register: number): number {
  return OFFSET.gpr + register * 8
}
export function xmmOffset(register: number): number {
  return FX.xmm + register * 16
}
/** Where the physical slot ST(i) relative to TOP lies: FXSAVE stores them in stack order. */
export function stOffset(index: number): number {
  return FX.st + index * 16
}

/** Sets a 64-bit field to a sign-extended 32-bit or smaller safe integer. */
export function set64(view: DataView, offset: number, value: number): void {
  view.setInt32(offset, value | 0, true)
  view.setInt32(offset + 4, Math.floor(value / 0x1_0000_0000) | 0, true)
}

/** Reads a 64-bit field as a number, exact up to 2^53. */
export function get64(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getInt32(offset + 4, true) * 0x1_0000_0000
}

/**
 * Brings an outcome to the form that is compared: clears what is not architectural user state (x87 instruction and
 * data pointers, which processors update differently), what the mode does not have, and what only tells how it ran.
 */
export function normalizeOutcome({ bytes, view }: StateRecord): void {
  view.setUint32(OFFSET.rflags, view.getUint32(OFFSET.rflags, true) & COMPARED_FLAGS, true)
  view.setUint32(OFFSET.rflags + 4, 0, true)
  bytes.fill(0, FX.opcode, FX.mxcsr)
  bytes.fill(0, FX.mxcsrMask, FX.st)
  bytes[FX.tag + 1] = 0
  for (let i = 0; i < 8; i++) bytes.fill(0, stOffset(i) + 10, stOffset(i) + 16)
  bytes.fill(0, FX.reserved, OFFSET.ymmHigh)
  view.setUint32(OFFSET.signal, 0, true)
  normalizeFault(view)
  if (view.getUint32(OFFSET.mode, true) === 32) normalize32(bytes, view)
}

/** A supervisor half address is reported as present by some kernels, so that user mode cannot probe it. */
function normalizeFault(view: DataView): void {
  const stop = view.getUint32(OFFSET.stop, true)
  if (stop !== 14) set64(view, OFFSET.cr2, 0)
  else if (view.getInt32(OFFSET.cr2 + 4, true) < 0)
    view.setUint32(OFFSET.errorCode, view.getUint32(OFFSET.errorCode, true) | 1, true)
  const hasErrorCode = stop === 8 || (stop >= 10 && stop <= 14) || stop === 17
  if (!hasErrorCode) view.setUint32(OFFSET.errorCode, 0, true)
}

function normalize32(bytes: Uint8Array, view: DataView): void {
  for (let i = 0; i < 8; i++) view.setUint32(gprOffset(i) + 4, 0, true)
  bytes.fill(0, gprOffset(8), gprOffset(16))
  bytes.fill(0, xmmOffset(8), xmmOffset(16))
  bytes.fill(0, OFFSET.ymmHigh + 128, OFFSET.mode)
  view.setUint32(OFFSET.rip + 4, 0, true)
  bytes.fill(0, OFFSET.fsBase, OFFSET.fx)
}
