/** Data movement between registers and memory, and conversions of width. */
import { reverseBytes } from './bmi.ts'
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'

export const MOV = instruction({
  mnemonic: 'mov',
  spec: 'SDM Vol. 2B, "MOV—Move"',
  forms: [
    { bytes: '88 /r', operands: ['Eb', 'Gb'] },
    { bytes: '89 /r', operands: ['Ev', 'Gv'] },
    { bytes: '8A /r', operands: ['Gb', 'Eb'] },
    { bytes: '8B /r', operands: ['Gv', 'Ev'] },
    { bytes: 'A0', operands: ['AL', 'Ob'] },
    { bytes: 'A1', operands: ['rAX', 'Ov'] },
    { bytes: 'A2', operands: ['Ob', 'AL'] },
    { bytes: 'A3', operands: ['Ov', 'rAX'] },
    { bytes: 'B0+r', operands: ['Zb', 'Ib'] },
    { bytes: 'B8+r', operands: ['Zv', 'Iv'] },
    { bytes: 'C6 /0', operands: ['Eb', 'Ib'] },
    { bytes: 'C7 /0', operands: ['Ev', 'Iz'] },
  ],
  meaning: (u, dst, src) => u.write(dst!, u.read(src!)),
})

export const MOVZX = instruction({
  mnemonic: 'movzx',
  spec: 'SDM Vol. 2B, "MOVZX—Move With Zero-Extend"',
  forms: [
    { bytes: '0F B6 /r', operands: ['Gv', 'Eb'] },
    { bytes: '0F B7 /r', operands: ['Gv', 'Ew'] },
  ],
  meaning: (u, dst, src) => u.write(dst!, u.readUnsigned(src!)),
})

export const MOVSX = instruction({
  mnemonic: 'movsx',
  spec: 'SDM Vol. 2B, "MOVSX/MOVSXD—Move With Sign-Extension"',
  forms: [
    { bytes: '0F BE /r', operands: ['Gv', 'Eb'] },
    { bytes: '0F BF /r', operands: ['Gv', 'Ew'] },
  ],
  meaning: (u, dst, src) => u.write(dst!, u.read(src!)),
})

export const MOVSXD = instruction({
  mnemonic: 'movsxd',
  spec: 'SDM Vol. 2B, "MOVSX/MOVSXD—Move With Sign-Extension"',
  forms: [{ bytes: '63 /r', operands: ['Gv', 'Ez'], modes: 'only64' }],
  meaning: (u, dst, src) => u.write(dst!, u.read(src!)),
})

export const LEA = instruction({
  mnemonic: 'lea',
  spec: 'SDM Vol. 2A, "LEA—Load Effective Address"',
  forms: [{ bytes: '8D /r', operands: ['Gv', 'M'], access: 'none' }],
  meaning: (u, dst, src) => u.write(dst!, u.address(src!)),
})

/** 90h alone exchanges EAX with itself, and must not clear the upper half of RAX: it is NOP. */
export const XCHG = instruction({
  mnemonic: 'xchg',
  spec: 'SDM Vol. 2D, "XCHG—Exchange Register/Memory With Register"',
  forms: [
    { bytes: '86 /r', operands: ['Eb', 'Gb'], lockable: true },
    { bytes: '87 /r', operands: ['Ev', 'Gv'], lockable: true },
    { bytes: '90+r', operands: ['Zv', 'rAX'] },
  ],
  meaning: (u, dst, src) => {
    if (src!.kind === 'register' && src!.field === 0)
      u.if(u.offsetOf(dst!).ne(0), () => exchange(u, dst!, src!))
    else exchange(u, dst!, src!)
  },
})

function exchange(u: Meaning, dst: Operand, src: Operand): void {
  const b = u.read(src)
  const a = u.readForWrite(dst)
  u.write(dst, b)
  u.write(src, a)
}

/** 0D and 18 to 1F are hints: prefetches, CET, MPX and multi-byte NOP. */
export const NOP = instruction({
  mnemonic: 'nop',
  spec: 'SDM Vol. 2B, "NOP—No Operation", "PAUSE—Spin Loop Hint"',
  forms: [
    { bytes: 'F3 90', operands: [] },
    ...['0D', '18', '19', '1A', '1B', '1C', '1D', '1E', '1F'].map((opcode) => ({
      bytes: `0F ${opcode} /r`,
      operands: ['Ev'],
      access: 'none' as const,
    })),
  ],
  meaning: () => {},
})

export const BSWAP = instruction({
  mnemonic: 'bswap',
  spec: 'SDM Vol. 2A, "BSWAP—Byte Swap"',
  forms: [{ bytes: '0F C8+r', operands: ['Zy'] }],
  meaning: (u, dst) => {
    u.write(dst!, reverseBytes(u.readUnsigned(dst!), dst!.size))
  },
})

const conditions = [...Array(16).keys()]
const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')
export const CONDITION_NAMES = [
  'o',
  'no',
  'b',
  'ae',
  'e',
  'ne',
  'be',
  'a',
  's',
  'ns',
  'p',
  'np',
  'l',
  'ge',
  'le',
  'g',
]

const CMOV = conditions.map((code) =>
  instruction({
    mnemonic: `cmov${CONDITION_NAMES[code]}`,
    spec: 'SDM Vol. 2A, "CMOVcc—Conditional Move"',
    forms: [{ bytes: `0F ${hex(0x40 + code)} /r`, operands: ['Gv', 'Ev'] }],
    meaning: (u, dst, src) => {
      const value = u.read(src!)
      u.write(dst!, u.select(u.condition(code), value, u.read(dst!)))
    },
  }),
)

const SET = conditions.map((code) =>
  instruction({
    mnemonic: `set${CONDITION_NAMES[code]}`,
    spec: 'SDM Vol. 2B, "SETcc—Set Byte on Condition"',
    forms: [{ bytes: `0F ${hex(0x90 + code)} /r`, operands: ['Eb'] }],
    meaning: (u, dst) => u.write(dst!, u.condition(code).ne(0).extendU()),
  }),
)

export const CBW = instruction({
  mnemonic: 'cbw',
  spec: 'SDM Vol. 2A, "CBW/CWDE/CDQE—Convert Byte to Word/Convert Word to Doubleword/…"',
  forms: [{ bytes: '98', operands: [], sized: true }],
  meaning: (u) => {
    const { size } = u.variant
    u.setGpr(0, size, u.gprSigned(0, size / 2))
  },
})

export const CWD = instruction({
  mnemonic: 'cwd',
  spec: 'SDM Vol. 2A, "CWD/CDQ/CQO—Convert Word to Doubleword/…"',
  forms: [{ bytes: '99', operands: [], sized: true }],
  meaning: (u) => {
    const { size } = u.variant
    u.setGpr(2, size, u.gprSigned(0, size).shrS(63))
  },
})

export const XLAT = instruction({
  mnemonic: 'xlat',
  spec: 'SDM Vol. 2D, "XLAT/XLATB—Table Look-up Translation"',
  forms: [{ bytes: 'D7', operands: [] }],
  modeSensitive: true,
  addressSensitive: true,
  meaning: (u) => {
    const offset = u.zeroExtend(u.gpr(3).add(u.gpr(0, 1)), u.variant.addressSize)
    u.setGpr(0, 1, u.loadMemory(u.segmentAddress(u.stringSegment(), offset, 1, false), 1))
  },
})

export const MOVE: readonly Instruction[] = [
  MOV,
  MOVZX,
  MOVSX,
  MOVSXD,
  LEA,
  XCHG,
  NOP,
  BSWAP,
  ...CMOV,
  ...SET,
  CBW,
  CWD,
  XLAT,
]
