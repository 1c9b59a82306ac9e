/** Moves of XMM and MMX registers. */
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { type Extension, enterMmx, mmx, sse, writeMmx } from './vector.ts'

/** All 128 bits, loads and stores; unaligned ones never fault for that. */
function wholeMove(
  mnemonic: string,
  prefix: string,
  load: string,
  store: string,
  type: string,
  aligned: boolean,
): Instruction {
  return sse(
    'sse2',
    mnemonic,
    [
      { bytes: `${prefix} 0F ${load} /r`, operands: [`V${type}`, `W${type}`] },
      { bytes: `${prefix} 0F ${store} /r`, operands: [`W${type}`, `V${type}`] },
    ],
    (u, dst, src) => u.writeVector(dst!, u.readVector(src!, { aligned }), { aligned }),
  )
}

/** MOVSS and MOVSD: from memory the rest of the register becomes zero, from a register it stays. */
function scalarMove(mnemonic: string, prefix: string, type: 'ss' | 'sd'): Instruction {
  return sse(
    'sse2',
    mnemonic,
    [
      { bytes: `${prefix} 0F 10 /r`, operands: [`V${type}`, `W${type}`] },
      { bytes: `${prefix} 0F 11 /r`, operands: [`W${type}`, `V${type}`] },
    ],
    (u, dst, src) => {
      const value = u.readLow(src!)
      if (src!.kind === 'memory') writeWhole(u, dst!, value)
      else u.writeLow(dst!, value)
    },
  )
}

/** The low 64 bits, zero above. */
function writeWhole(u: Meaning, dst: Operand, low: Expr, high: Expr | number = 0): void {
  const offset = u.offsetOf(dst)
  u.store('i64', offset, low, L.XMM)
  u.store('i64', offset, high, L.XMM + 8)
}
const highHalf = (u: Meaning, operand: Operand): Expr => u.load('i64', u.offsetOf(operand), L.XMM + 8)
const setHighHalf = (u: Meaning, operand: Operand, value: Expr): void =>
  u.store('i64', u.offsetOf(operand), value, L.XMM + 8)

/** MOVLPS, MOVHPS, MOVLPD, MOVHPD: one half and memory. */
function halfMove(mnemonic: string, prefix: string, load: string, store: string, high: boolean): Instruction {
  return sse(
    'sse2',
    mnemonic,
    [
      { bytes: `${prefix} 0F ${load} /r`, operands: ['Vq', 'Mq'], access: 'r' },
      { bytes: `${prefix} 0F ${store} /r`, operands: ['Mq', 'Vq'], access: 'w' },
    ],
    (u, dst, src) => {
      if (dst!.kind === 'memory') return u.writeLow(dst!, high ? highHalf(u, src!) : u.readLow(src!))
      const value = u.readLow(src!)
      if (high) setHighHalf(u, dst!, value)
      else u.writeLow(dst!, value)
    },
  )
}

function nonTemporal(mnemonic: string, prefix: string, opcode: string): Instruction {
  return sse(
    'sse2',
    mnemonic,
    [{ bytes: `${prefix} 0F ${opcode} /r`, operands: ['Mdq', 'Vdq'], access: 'w' }],
    (u, dst, src) => u.writeVector(dst!, u.readVector(src!)),
  )
}

function duplicate(mnemonic: string, prefix: string, opcode: string, lanes: readonly number[]): Instruction {
  return sse(
    'sse3',
    mnemonic,
    [{ bytes: `${prefix} 0F ${opcode} /r`, operands: ['Vps', 'Wps'] }],
    (u, dst, src) => {
      const value = u.readVector(src!)
      u.writeVector(dst!, value.shuffle(value, lanes))
    },
  )
}
const words = (lanes: readonly number[]): number[] =>
  lanes.flatMap((lane) => [0, 1, 2, 3].map((i) => lane * 4 + i))

function signMask(
  mnemonic: string,
  prefix: string,
  operands: string[],
  op: 'i32x4' | 'i64x2' | 'i8x16',
  opcode: string,
) {
  return sse('sse2', mnemonic, [{ bytes: `${prefix} 0F ${opcode} /r`, operands }], (u, dst, src) =>
    u.write(dst!, u.readVector(src!).simdMixed(`${op}.bitmask`).extendU()),
  )
}

/** Bytes whose mask byte has its top bit are stored at DS:rDI. */
function maskedStore(u: Meaning, value: (i: number) => Expr, mask: (i: number) => Expr, bytes: number): void {
  const { addressSize } = u.variant
  const base = u.zeroExtend(u.gpr(7), addressSize)
  const address = u.segmentAddress(u.stringSegment(), base, bytes, true)
  for (let i = 0; i < bytes; i++)
    u.if(mask(i).and(0x80).ne(0), () => u.storeMemory(address.add(i), 1, value(i)))
}
const byteOf = (u: Meaning, operand: Operand, file: number) => (i: number) =>
  u.load('i64_8u', u.offsetOf(operand), file + i)

/** MOVD and MOVQ: the low 32 or 64 bits and a general register or memory. */
const MOVD_LOAD = (u: Meaning, dst: Operand, src: Operand): void => writeWhole(u, dst, u.readUnsigned(src))

/** Stores of an MMX register; its memory is checked by the meaning, after TOP was cleared. */
function mmxStore(mnemonic: string, forms: readonly Form[]): Instruction {
  const checked = forms.map((form) => ({ ...form, access: 'bit' as const }))
  const store = mmx(mnemonic, checked, (u, dst, src) => {
    const value = u.load('i64', u.offsetOf(src!), L.X87)
    if (dst!.kind === 'memory') {
      const offset = u.address(dst!)
      const { size } = dst!
      const address = u.long ? offset : u.segmentAddress(u.memorySegment(), offset, size, true)
      u.storeMemory(address, size, value)
    } else if (dst!.kind === 'register' && dst!.file === 'mmx') writeMmx(u, dst!, value)
    else u.write(dst!, value)
  })
  return { ...store, modeSensitive: true }
}

const twoForms = (extension: Extension, mnemonic: string): Instruction[] => [
  sse(extension, mnemonic, [{ bytes: '66 0F 6E /r', operands: ['Vdq', 'Ey'] }], (u, dst, src) =>
    MOVD_LOAD(u, dst!, src!),
  ),
  sse(extension, mnemonic, [{ bytes: '66 0F 7E /r', operands: ['Ey', 'Vdq'] }], (u, dst, src) =>
    u.write(dst!, u.load('i64', u.offsetOf(src!), L.XMM)),
  ),
  mmx(mnemonic, [{ bytes: 'NP 0F 6E /r', operands: ['Pq', 'Ey'] }], (u, dst, src) =>
    writeMmx(u, dst!, u.readUnsigned(src!)),
  ),
  mmxStore(mnemonic, [{ bytes: 'NP 0F 7E /r', operands: ['Ey', 'Pq'] }]),
]

export const SSE_MOVE: readonly Instruction[] = [
  wholeMove('movups', 'NP', '10', '11', 'ps', false),
  wholeMove('movupd', '66', '10', '11', 'pd', false),
  wholeMove('movaps', 'NP', '28', '29', 'ps', true),
  wholeMove('movapd', '66', '28', '29', 'pd', true),
  wholeMove('movdqa', '66', '6F', '7F', 'x', true),
  wholeMove('movdqu', 'F3', '6F', '7F', 'x', false),
  sse('sse3', 'lddqu', [{ bytes: 'F2 0F F0 /r', operands: ['Vx', 'Mx'], access: 'r' }], (u, dst, src) =>
    u.writeVector(dst!, u.readVector(src!, { aligned: false })),
  ),
  scalarMove('movss', 'F3', 'ss'),
  scalarMove('movsd', 'F2', 'sd'),
  halfMove('movlps', 'NP', '12', '13', false),
  halfMove('movlpd', '66', '12', '13', false),
  halfMove('movhps', 'NP', '16', '17', true),
  halfMove('movhpd', '66', '16', '17', true),
  sse('sse', 'movhlps', [{ bytes: 'NP 0F 12 /r', operands: ['Vdq', 'Udq'] }], (u, dst, src) =>
    u.store('i64', u.offsetOf(dst!), highHalf(u, src!), L.XMM),
  ),
  sse('sse', 'movlhps', [{ bytes: 'NP 0F 16 /r', operands: ['Vdq', 'Udq'] }], (u, dst, src) =>
    setHighHalf(u, dst!, u.load('i64', u.offsetOf(src!), L.XMM)),
  ),
  nonTemporal('movntps', 'NP', '2B'),
  nonTemporal('movntpd', '66', '2B'),
  nonTemporal('movntdq', '66', 'E7'),
  sse(
    'sse4.1',
    'movntdqa',
    [{ bytes: '66 0F 38 2A /r', operands: ['Vx', 'Mx'], access: 'r' }],
    (u, dst, src) => u.writeVector(dst!, u.readVector(src!)),
  ),
  sse('sse2', 'movnti', [{ bytes: 'NP 0F C3 /r', operands: ['My', 'Gy'], access: 'w' }], (u, dst, src) =>
    u.write(dst!, u.read(src!)),
  ),
  mmxStore('movntq', [{ bytes: 'NP 0F E7 /r', operands: ['Mq', 'Pq'] }]),
  ...twoForms('sse2', 'movd'),
  mmx('movq', [{ bytes: 'NP 0F 6F /r', operands: ['Pq', 'Qq'] }], (u, dst, src) =>
    writeMmx(u, dst!, u.readLow(src!)),
  ),
  mmxStore('movq', [{ bytes: 'NP 0F 7F /r', operands: ['Qq', 'Pq'] }]),
  sse('sse2', 'movq', [{ bytes: 'F3 0F 7E /r', operands: ['Vq', 'Wq'] }], (u, dst, src) =>
    writeWhole(u, dst!, u.readLow(src!)),
  ),
  sse('sse2', 'movq', [{ bytes: '66 0F D6 /r', operands: ['Wq', 'Vq'] }], (u, dst, src) => {
    const value = u.readLow(src!)
    if (dst!.kind === 'memory') u.writeLow(dst!, value)
    else writeWhole(u, dst!, value)
  }),
  mmx('movq2dq', [{ bytes: 'F3 0F D6 /r', operands: ['Vdq', 'Nq'] }], (u, dst, src) => {
    u.requireSse()
    writeWhole(u, dst!, u.load('i64', u.offsetOf(src!), L.X87))
  }),
  mmx('movdq2q', [{ bytes: 'F2 0F D6 /r', operands: ['Pq', 'Udq'] }], (u, dst, src) => {
    u.requireSse()
    writeMmx(u, dst!, u.load('i64', u.offsetOf(src!), L.XMM))
  }),
  duplicate('movsldup', 'F3', '12', words([0, 0, 2, 2])),
  duplicate('movshdup', 'F3', '16', words([1, 1, 3, 3])),
  sse('sse3', 'movddup', [{ bytes: 'F2 0F 12 /r', operands: ['Vq', 'Wq'] }], (u, dst, src) => {
    const value = u.readLow(src!)
    writeWhole(u, dst!, value, value)
  }),
  signMask('movmskps', 'NP', ['Gy', 'Ups'], 'i32x4', '50'),
  signMask('movmskpd', '66', ['Gy', 'Upd'], 'i64x2', '50'),
  signMask('pmovmskb', '66', ['Gy', 'Ux'], 'i8x16', 'D7'),
  mmx('pmovmskb', [{ bytes: 'NP 0F D7 /r', operands: ['Gy', 'Nq'] }], (u, dst, src) => {
    const value = u.zero('v128').withLane('i64x2', 0, u.load('i64', u.offsetOf(src!), L.X87))
    u.write(dst!, value.simdMixed('i8x16.bitmask').extendU())
  }),
  {
    ...sse('sse2', 'maskmovdqu', [{ bytes: '66 0F F7 /r', operands: ['Vx', 'Ux'] }], (u, value, mask) =>
      maskedStore(u, byteOf(u, value!, L.XMM), byteOf(u, mask!, L.XMM), 16),
    ),
    modeSensitive: true,
    addressSensitive: true,
  },
  {
    ...mmx('maskmovq', [{ bytes: 'NP 0F F7 /r', operands: ['Pq', 'Nq'] }], (u, value, mask) =>
      maskedStore(u, byteOf(u, value!, L.X87), byteOf(u, mask!, L.X87), 8),
    ),
    modeSensitive: true,
    addressSensitive: true,
  },
]

export const EMMS: Instruction = instruction({
  mnemonic: 'emms',
  spec: 'SDM Vol. 2A, "EMMS—Empty MMX Technology State"',
  forms: [{ bytes: 'NP 0F 77', operands: [] }],
  meaning: (u) => {
    enterMmx(u)
    u.setState('i32', L.FPU_TOP, 0)
    u.setState('i32', L.FPU_TAGS, 0)
  },
})
