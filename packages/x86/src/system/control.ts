/** Control registers, debug registers, XCR0 and MSRs. SDM Vol. 3A, "Control Registers"; SDM Vol. 4. */
import * as L from '../state/layout.ts'
import {
  CR0_CD,
  CR0_EM,
  CR0_ET,
  CR0_MP,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR4_DE,
  CR4_OSFXSR,
  CR4_PAE,
  CR4_PCIDE,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
  EXCEPTION,
} from '../state/registers.ts'
import { type Core, isCanonical } from './core.ts'
import type { CpuModel } from './model.ts'
import { noticeInterrupts } from './ports.ts'

const CR0_KNOWN = 0xe005003f | 0
const MAXPHYADDR_HIGH = 0xff
const EFER_KNOWN = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE

/** Which FPU instructions CR0 and CR4 let run. SDM Vol. 3A, Table "EM, MP, and TS". */
export function updateFpu(core: Core): void {
  const cr0 = core.word(L.CR0)
  const unavailable = cr0 & CR0_TS ? EXCEPTION.NM + 1 : 0
  const undefinedOpcode = EXCEPTION.UD + 1
  core.setWord(L.X87_BLOCKED, cr0 & (CR0_EM | CR0_TS) ? EXCEPTION.NM + 1 : 0)
  core.setWord(L.MMX_BLOCKED, cr0 & CR0_EM ? undefinedOpcode : unavailable)
  const noSse = cr0 & CR0_EM || !(core.word(L.CR4) & CR4_OSFXSR)
  core.setWord(L.SSE_BLOCKED, noSse ? undefinedOpcode : unavailable)
  core.setWord(L.WAIT_BLOCKED, (cr0 & (CR0_TS | CR0_MP)) === (CR0_TS | CR0_MP) ? EXCEPTION.NM + 1 : 0)
}

export function readControl(core: Core, register: number): void {
  const at = [L.CR0, 0, L.CR2, L.CR3, L.CR4][register]
  if (at) return core.setResult(0, core.word(at), core.word(at + 4))
  if (register !== 8) core.fail(EXCEPTION.UD)
  core.setResult(0, core.pins.readTaskPriority())
}

export function writeControl(core: Core, model: CpuModel, register: number, low: number, high: number): void {
  switch (register) {
    case 0:
      return writeCr0(core, low, high)
    case 2:
      return core.setPair(L.CR2, low, high)
    case 3:
      return writeCr3(core, low, high)
    case 4:
      return writeCr4(core, model, low, high)
    case 8:
      if (high !== 0 || low & ~15) core.fail(EXCEPTION.GP, 0)
      core.pins.writeTaskPriority(low)
      return noticeInterrupts(core)
    default:
      core.fail(EXCEPTION.UD)
  }
}

function writeCr0(core: Core, low: number, high: number): void {
  const value = (low & CR0_KNOWN) | CR0_ET
  const bad = high !== 0 || (value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD))
  if (bad) core.fail(EXCEPTION.GP, 0)
  const old = core.word(L.CR0)
  const changed = old ^ value
  if (changed & CR0_PG) changePaging(core, value)
  core.setWord(L.CR0, value)
  // PG, WP and PE.
  if (changed & (CR0_PG | 0x10001)) core.exports.flushTlb(0)
  updateFpu(core)
  core.exports.updateMode()
}

/** Paging goes on or off; with EFER.LME that is what starts and ends long mode. */
function changePaging(core: Core, value: number): void {
  const efer = core.word(L.EFER)
  if (!(efer & EFER_LME)) return
  if (value & CR0_PG) {
    const longCode = core.segmentWord(L.CS, L.SEG_ATTRIBUTES) & (1 << 13)
    if (!(core.word(L.CR4) & CR4_PAE) || longCode) core.fail(EXCEPTION.GP, 0)
    core.setWord(L.EFER, efer | EFER_LMA)
  } else {
    if (core.codeSize === 8 || core.word(L.CR4) & CR4_PCIDE) core.fail(EXCEPTION.GP, 0)
    core.setWord(L.EFER, efer & ~EFER_LMA)
  }
}

/** Bit 63 asks to keep translations, which is a wish: they go. */
function writeCr3(core: Core, low: number, high: number): void {
  const pcid = (core.word(L.CR4) & CR4_PCIDE) !== 0
  const address = pcid ? high & 0x7fffffff : high
  if (core.isLongMode && address & ~MAXPHYADDR_HIGH) core.fail(EXCEPTION.GP, 0)
  core.setPair(L.CR3, low, core.isLongMode ? address : 0)
  core.exports.flushTlb(1)
}

function writeCr4(core: Core, model: CpuModel, low: number, high: number): void {
  const old = core.word(L.CR4)
  if (high !== 0 || low & ~model.cr4) core.fail(EXCEPTION.GP, 0)
  if (core.isLongMode && !(low & CR4_PAE)) core.fail(EXCEPTION.GP, 0)
  const startsPcid = low & CR4_PCIDE && !(old & CR4_PCIDE)
  if (startsPcid && (!core.isLongMode || core.word(L.CR3) & 0xfff)) core.fail(EXCEPTION.GP, 0)
  core.setWord(L.CR4, low)
  if (old !== low) core.exports.flushTlb(0)
  updateFpu(core)
  core.exports.updateMode()
}

const DR6_FIXED = 0xffff0ff0 | 0
const DR7_FIXED = 0x400
const DR7_GD = 1 << 13
const DR6_BD = 1 << 13

/** DR4 and DR5 are DR6 and DR7 unless CR4.DE is set; DR7.GD guards them all. */
function debugRegister(core: Core, register: number): number {
  if (core.word(L.DR + 56) & DR7_GD) {
    core.setWord(L.DR + 48, core.word(L.DR + 48) | DR6_BD)
    core.setWord(L.DR + 56, core.word(L.DR + 56) & ~DR7_GD)
    core.fail(EXCEPTION.DB)
  }
  const alias = register === 4 || register === 5
  if (register > 7 || (alias && core.word(L.CR4) & CR4_DE)) core.fail(EXCEPTION.UD)
  return alias ? register + 2 : register
}
export function readDebug(core: Core, register: number): void {
  const at = L.DR + debugRegister(core, register) * 8
  core.setResult(0, core.word(at), core.word(at + 4))
}
export function writeDebug(core: Core, register: number, low: number, high: number): void {
  const number = debugRegister(core, register)
  const at = L.DR + number * 8
  if (number < 4) return core.setPair(at, low, high)
  if (high !== 0) core.fail(EXCEPTION.GP, 0)
  if (number === 6) return core.setPair(at, (low & 0xe00f) | DR6_FIXED, 0)
  core.setPair(at, (low & 0xffff2fff) | DR7_FIXED, 0)
  core.setWord(L.WATCHING, low & 0xff)
  core.exports.flushTlb(0)
}

export function xsetbv(core: Core, model: CpuModel, index: number, low: number, high: number): void {
  const avxAlone = (low & 6) === 4
  if (index !== 0 || high !== 0 || low & ~model.xcr0 || !(low & 1) || avxAlone) core.fail(EXCEPTION.GP, 0)
  core.setPair(L.XCR0, low, 0)
  core.exports.updateMode()
}

export const MSR = {
  TSC: 0x10,
  TSC_ADJUST: 0x3b,
  TSC_DEADLINE: 0x6e0,
  EFER: 0xc0000080 | 0,
  FS_BASE: 0xc0000100 | 0,
  GS_BASE: 0xc0000101 | 0,
} as const

/** MSRs that are plain words of the state; those in the second list hold linear addresses. */
const STATE_MSRS: ReadonlyMap<number, number> = new Map([
  [0x174, L.MSR_SYSENTER_CS],
  [0xc0000081 | 0, L.MSR_STAR],
  [0xc0000084 | 0, L.MSR_FMASK],
])
const ADDRESS_MSRS: ReadonlyMap<number, number> = new Map([
  [0x175, L.MSR_SYSENTER_ESP],
  [0x176, L.MSR_SYSENTER_EIP],
  [0xc0000082 | 0, L.MSR_LSTAR],
  [0xc0000083 | 0, L.MSR_CSTAR],
  [0xc0000102 | 0, L.MSR_KERNEL_GS_BASE],
  [MSR.FS_BASE, L.REGS + L.SLOT.fsBase * 8],
  [MSR.GS_BASE, L.REGS + L.SLOT.gsBase * 8],
])
const MSR_TSC_AUX = 0xc0000103 | 0

/** MSRs that hold what is written and do nothing; MTRRs and PAT among them, since memory has one type here. */
function isInert(index: number): boolean {
  return (
    (index >= 0x200 && index < 0x210) ||
    index === 0x250 ||
    index === 0x258 ||
    index === 0x259 ||
    (index >= 0x268 && index < 0x270) ||
    index === 0x277 ||
    index === 0x2ff ||
    index === 0x1a0 ||
    index === 0x1d9 ||
    index === 0x8b
  )
}

/** MSRs that only answer: [low, high]. */
const CONSTANT_MSRS: ReadonlyMap<number, readonly [number, number]> = new Map([
  [0x17, [0, 0]], // IA32_PLATFORM_ID
  [0x3a, [1, 0]], // IA32_FEATURE_CONTROL: locked, no VMX
  [0xfe, [0x508, 0]], // IA32_MTRRCAP: 8 variable ranges, fixed ranges, write-combining
  [0x179, [0, 0]], // IA32_MCG_CAP: no banks
  [0x17a, [0, 0]], // IA32_MCG_STATUS
  [0xce, [0, 0]], // MSR_PLATFORM_INFO
])

/** Inert MSRs by index: low and high word. */
export type InertMsrs = Map<number, readonly [number, number]>

export const RESET_MSRS: readonly (readonly [number, readonly [number, number]])[] = [
  [0x277, [0x00070406, 0x00070406]],
  [0x1a0, [1, 0]],
]

const TWO32 = 2 ** 32
const timeStamp = (core: Core): number => core.pins.timeStampCounter() + core.tscAdjust

export function readTimeStamp(core: Core): void {
  const ticks = timeStamp(core)
  const high = Math.floor(ticks / TWO32)
  core.setResult(0, (ticks - high * TWO32) | 0)
  core.setResult(1, high | 0)
}

export function readMsr(core: Core, inert: InertMsrs, index: number): void {
  const give = (low: number, high: number) => {
    core.setResult(0, low)
    core.setResult(1, high)
  }
  const at = STATE_MSRS.get(index) ?? ADDRESS_MSRS.get(index)
  if (at !== undefined) return give(core.word(at), core.word(at + 4))
  if (index === MSR.EFER) return give(core.word(L.EFER), 0)
  if (index === MSR_TSC_AUX) return give(core.word(L.MSR_TSC_AUX), 0)
  if (index === MSR.TSC) return readTimeStamp(core)
  if (index === MSR.TSC_ADJUST) return give(core.tscAdjust | 0, Math.floor(core.tscAdjust / TWO32) | 0)
  const constant = CONSTANT_MSRS.get(index)
  if (constant) return give(constant[0], constant[1])
  if (isInert(index)) {
    const [low, high] = inert.get(index) ?? [0, 0]
    return give(low, high)
  }
  const outside = core.pins.readMsr(index)
  noticeInterrupts(core)
  if (!outside) core.fail(EXCEPTION.GP, 0)
  give(outside.low, outside.high)
}

export function writeMsr(core: Core, inert: InertMsrs, index: number, low: number, high: number): void {
  const plain = STATE_MSRS.get(index)
  if (plain !== undefined) return core.setPair(plain, low, high)
  const address = ADDRESS_MSRS.get(index)
  if (address !== undefined) {
    if (!isCanonical(high)) core.fail(EXCEPTION.GP, 0)
    return core.setPair(address, low, high)
  }
  const value = (high >>> 0) * TWO32 + (low >>> 0)
  switch (index) {
    case MSR.EFER:
      return writeEfer(core, low, high)
    case MSR_TSC_AUX:
      if (high !== 0) core.fail(EXCEPTION.GP, 0)
      return core.setPair(L.MSR_TSC_AUX, low, 0)
    case MSR.TSC:
      core.tscAdjust = value - core.pins.timeStampCounter()
      return
    case MSR.TSC_ADJUST:
      core.tscAdjust = high * TWO32 + (low >>> 0)
      return
    case MSR.TSC_DEADLINE:
      return writeDeadline(core, value === 0 ? 0 : Math.max(value - core.tscAdjust, 1))
  }
  if (isInert(index)) {
    inert.set(index, [low, high])
    return
  }
  writeOutside(core, index, low, high)
}

function writeDeadline(core: Core, value: number): void {
  const high = Math.floor(value / TWO32)
  writeOutside(core, MSR.TSC_DEADLINE, value - high * TWO32, high)
}
function writeOutside(core: Core, index: number, low: number, high: number): void {
  if (!core.pins.writeMsr(index, low >>> 0, high >>> 0)) core.fail(EXCEPTION.GP, 0)
  noticeInterrupts(core)
}

function writeEfer(core: Core, low: number, high: number): void {
  const old = core.word(L.EFER)
  if (high !== 0 || low & ~EFER_KNOWN) core.fail(EXCEPTION.GP, 0)
  if ((old ^ low) & EFER_LME && core.word(L.CR0) & CR0_PG) core.fail(EXCEPTION.GP, 0)
  core.setWord(L.EFER, (low & ~EFER_LMA) | (old & EFER_LMA))
  if ((old ^ low) & EFER_NXE) core.exports.flushTlb(0)
}
