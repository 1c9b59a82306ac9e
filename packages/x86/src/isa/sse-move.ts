/** Moves of XMM, YMM and MMX registers. */
import * as L from '../state/layout.ts'
import type { Expr } from '../wasm/code.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { avx, type Extension, enterMmx, mmx, sse, vector, writeMmx } from './vector.ts'

/** Whole registers, loads and stores; unaligned ones never fault for that. */
function wholeMove(
  mnemonic: string,
  prefix: string,
  load: string,
  store: string,
  type: string,
  aligned: boolean,
): Instruction[] {
  const both = (bytes: string, v: string, w: string): Form[] => [
    { bytes: `${bytes} ${load} /r`, operands: [v, w] },
    { bytes: `${bytes} ${store} /r`, operands: [w, v] },
  ]
  const legacy = both(`${prefix} 0F`, `V${type}`, `W${type}`)
  const vex = [
    ...both(`VEX.128.${prefix}.0F`, `V${type}`, `W${type}`),
    ...both(`VEX.256.${prefix}.0F`, 'Vqq', 'Wqq'),
  ]
  return [
    sse('sse2', mnemonic, legacy, (u, dst, src) =>
      u.writeVector(dst!, u.readVector(src!, { aligned }), { aligned }),
    ),
    avx('avx', `v${mnemonic}`, vex, (u, dst, src) =>
      u.writeHalves(dst!, u.readHalves(src!, { aligned }), { aligned }),
    ),
  ]
}

/** MOVSS and MOVSD: from memory the rest of the register becomes zero, from a register it stays. */
function scalarMove(mnemonic: string, prefix: string, type: 'ss' | 'sd'): Instruction[] {
  const vex = `VEX.LIG.${prefix}.0F`
  const [v, h] = [`V${type}`, `H${type}`]
  return [
    sse(
      'sse2',
      mnemonic,
      [
        { bytes: `${prefix} 0F 10 /r`, operands: [v, `W${type}`] },
        { bytes: `${prefix} 0F 11 /r`, operands: [`W${type}`, v] },
      ],
      (u, dst, src) => {
        if (src!.kind === 'memory') u.writeVector(dst!, u.readLowOfVector(src!))
        else u.writeLow(dst!, u.readLow(src!))
      },
    ),
    avx(
      'avx',
      `v${mnemonic}`,
      [
        { bytes: `${vex} 10 /r`, operands: [v, `M${type}`], access: 'r' },
        { bytes: `${vex} 11 /r`, operands: [`M${type}`, v], access: 'w' },
      ],
      (u, dst, src) => {
        if (dst!.kind === 'memory') return u.writeLow(dst!, u.readLow(src!))
        u.writeHalves(dst!, [u.readLowOfVector(src!)])
      },
    ),
    // The rest of the register is that of VEX.vvvv.
    avx(
      'avx',
      `v${mnemonic}`,
      [
        { bytes: `${vex} 10 /r`, operands: [v, h, `U${type}`] },
        { bytes: `${vex} 11 /r`, operands: [`U${type}`, h, v] },
      ],
      (u, dst, first, src) => {
        const low = u.readLow(src!)
        const rest = u.readVector(first!)
        const merged = type === 'ss' ? rest.withLane('i32x4', 0, low.wrap()) : rest.withLane('i64x2', 0, low)
        u.writeHalves(dst!, [merged])
      },
    ),
  ]
}

/** The low 64 bits, and what is above them in 128. */
function writeWhole(u: Meaning, dst: Operand, low: Expr, high: Expr | number = 0): void {
  const offset = u.offsetOf(dst)
  u.store('i64', offset, low, L.XMM)
  u.store('i64', offset, high, L.XMM + 8)
}
const lowHalf = (u: Meaning, operand: Operand): Expr => u.load('i64', u.offsetOf(operand), L.XMM)
const highHalf = (u: Meaning, operand: Operand): Expr => u.load('i64', u.offsetOf(operand), L.XMM + 8)
const setHighHalf = (u: Meaning, operand: Operand, value: Expr): void =>
  u.store('i64', u.offsetOf(operand), value, L.XMM + 8)

const setLowHalf = (u: Meaning, operand: Operand, value: Expr): void =>
  u.store('i64', u.offsetOf(operand), value, L.XMM)

/** MOVLPS, MOVHPS, MOVLPD, MOVHPD: one half and memory. */
function halfMove(
  mnemonic: string,
  prefix: string,
  load: string,
  store: string,
  high: boolean,
): Instruction[] {
  const row = { extension: 'sse2', mnemonic } as const
  return [
    ...vector(
      {
        ...row,
        bytes: `${prefix} 0F ${load} /r`,
        operands: ['Vq', 'Mq'],
        access: 'r',
        twoSources: true,
      },
      (u, v, dst, first, src) => {
        const value = u.readLow(src!)
        v.copy(dst, { ...first!, size: 16 })
        if (high) setHighHalf(u, dst, value)
        else u.writeLow(dst, value)
      },
    ),
    ...vector(
      { ...row, bytes: `${prefix} 0F ${store} /r`, operands: ['Mq', 'Vq'], access: 'w' },
      (u, _v, dst, src) => u.writeLow(dst, high ? highHalf(u, src!) : u.readLow(src!)),
    ),
  ]
}
/** MOVHLPS and MOVLHPS: a half of one register to the other half of another. */
function crossMove(
  mnemonic: string,
  opcode: string,
  read: (u: Meaning, src: Operand) => Expr,
  write: (u: Meaning, dst: Operand, value: Expr) => void,
): Instruction[] {
  const row = { mnemonic, bytes: `NP 0F ${opcode} /r`, operands: ['Vdq', 'Udq'], twoSources: true }
  return vector({ ...row, extension: 'sse' }, (u, v, dst, first, src) => {
    const value = read(u, src!)
    v.copy(dst, first!)
    write(u, dst, value)
  })
}

function nonTemporal(mnemonic: string, prefix: string, opcode: string): Instruction[] {
  const legacy = { bytes: `${prefix} 0F ${opcode} /r`, operands: ['Mdq', 'Vdq'], access: 'w' } as const
  const vex = (length: string, type: string): Form => ({
    bytes: `VEX.${length}.${prefix}.0F ${opcode} /r`,
    operands: [`M${type}`, `V${type}`],
    access: 'w',
  })
  return [
    sse('sse2', mnemonic, [legacy], (u, dst, src) => u.writeVector(dst!, u.readVector(src!))),
    avx('avx', `v${mnemonic}`, [vex('128', 'dq'), vex('256', 'qq')], (u, dst, src) =>
      u.writeHalves(dst!, u.readHalves(src!), { aligned: true }),
    ),
  ]
}
/** Loads alone: LDDQU without, MOVNTDQA with a check of the alignment. */
function load(
  extension: Extension,
  mnemonic: string,
  encoding: readonly [prefix: string, map: string, opcode: string],
  wide: 'avx' | 'avx2',
  aligned: boolean,
): Instruction[] {
  const [prefix, map, opcode] = encoding
  const legacy = `${prefix} ${map === '0F38' ? '0F 38' : map} ${opcode} /r`
  const vex = (feature: 'avx' | 'avx2', length: string, type: string): Instruction =>
    avx(
      feature,
      `v${mnemonic}`,
      [
        {
          bytes: `VEX.${length}.${prefix}.${map} ${opcode} /r`,
          operands: [`V${type}`, `M${type}`],
          access: 'r',
        },
      ],
      (u, dst, src) => u.writeHalves(dst!, u.readHalves(src!, { aligned })),
    )
  return [
    sse(extension, mnemonic, [{ bytes: legacy, operands: ['Vx', 'Mx'], access: 'r' }], (u, dst, src) =>
      u.writeVector(dst!, u.readVector(src!, { aligned })),
    ),
    vex('avx', '128', 'x'),
    vex(wide, '256', 'qq'),
  ]
}

function duplicate(
  mnemonic: string,
  prefix: string,
  opcode: string,
  lanes: readonly number[],
): Instruction[] {
  const row = { mnemonic, bytes: `${prefix} 0F ${opcode} /r`, operands: ['Vps', 'Wps'] }
  return vector({ ...row, extension: 'sse3', wide: 'avx' }, (_u, v, dst, src) =>
    v.write(
      dst,
      v.read(src!).map((half) => half.shuffle(half, lanes)),
    ),
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
  wide: 'avx' | 'avx2',
): Instruction[] {
  const row = { extension: 'sse2', mnemonic, bytes: `${prefix} 0F ${opcode} /r`, operands, wide } as const
  const lanes = { i32x4: 4, i64x2: 2, i8x16: 16 }[op]
  return vector(row, (u, v, dst, src) => {
    const [low, high] = v.read(src!).map((half) => half.simdMixed(`${op}.bitmask`))
    u.write(dst, (high ? low!.or(high.shl(lanes)) : low!).extendU())
  })
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

/** MOVD, with REX.W MOVQ: the low 32 or 64 bits and a general register or memory. */
const MOVD: readonly Instruction[] = [
  ...vector(
    { extension: 'sse2', mnemonic: 'movd', bytes: '66 0F 6E /r', operands: ['Vdq', 'Ey'] },
    (u, v, dst, src) => {
      writeWhole(u, dst, u.readUnsigned(src!))
      v.finish(dst)
    },
  ),
  ...vector(
    { extension: 'sse2', mnemonic: 'movd', bytes: '66 0F 7E /r', operands: ['Ey', 'Vdq'] },
    (u, _v, dst, src) => u.write(dst, lowHalf(u, src!)),
  ),
  mmx('movd', [{ bytes: 'NP 0F 6E /r', operands: ['Pq', 'Ey'] }], (u, dst, src) =>
    writeMmx(u, dst!, u.readUnsigned(src!)),
  ),
  mmxStore('movd', [{ bytes: 'NP 0F 7E /r', operands: ['Ey', 'Pq'] }]),
]
const MOVQ: readonly Instruction[] = [
  mmx('movq', [{ bytes: 'NP 0F 6F /r', operands: ['Pq', 'Qq'] }], (u, dst, src) =>
    writeMmx(u, dst!, u.readLow(src!)),
  ),
  mmxStore('movq', [{ bytes: 'NP 0F 7F /r', operands: ['Qq', 'Pq'] }]),
  ...vector(
    { extension: 'sse2', mnemonic: 'movq', bytes: 'F3 0F 7E /r', operands: ['Vq', 'Wq'] },
    (u, v, dst, src) => {
      writeWhole(u, dst, u.readLow(src!))
      v.finish(dst)
    },
  ),
  ...vector(
    { extension: 'sse2', mnemonic: 'movq', bytes: '66 0F D6 /r', operands: ['Wq', 'Vq'] },
    (u, v, dst, src) => {
      const value = u.readLow(src!)
      if (dst.kind === 'memory') return u.writeLow(dst, value)
      writeWhole(u, dst, value)
      v.finish(dst)
    },
  ),
  mmx('movq2dq', [{ bytes: 'F3 0F D6 /r', operands: ['Vdq', 'Nq'] }], (u, dst, src) => {
    u.requireSse()
    writeWhole(u, dst!, u.load('i64', u.offsetOf(src!), L.X87))
  }),
  mmx('movdq2q', [{ bytes: 'F2 0F D6 /r', operands: ['Pq', 'Udq'] }], (u, dst, src) => {
    u.requireSse()
    writeMmx(u, dst!, lowHalf(u, src!))
  }),
]

/** MOVDDUP: the even quadwords twice; 128 bits need 64 of memory. */
const MOVDDUP = vector(
  {
    extension: 'sse3',
    mnemonic: 'movddup',
    bytes: 'F2 0F 12 /r',
    operands: ['Vq', 'Wq'],
    wide: 'avx',
    wideOperands: ['Vqq', 'Wqq'],
  },
  (u, v, dst, src) => {
    if (src!.size === 32) {
      const even = v.read(src!).map((half) => half.shuffle(half, words([0, 1, 0, 1])))
      return v.write(dst, even)
    }
    const value = u.readLow(src!)
    writeWhole(u, dst, value, value)
    v.finish(dst)
  },
)

const sensitive = (list: readonly Instruction[]): Instruction[] =>
  list.map((one) => ({ ...one, modeSensitive: true, addressSensitive: true }))

export const SSE_MOVE: readonly Instruction[] = [
  ...wholeMove('movups', 'NP', '10', '11', 'ps', false),
  ...wholeMove('movupd', '66', '10', '11', 'pd', false),
  ...wholeMove('movaps', 'NP', '28', '29', 'ps', true),
  ...wholeMove('movapd', '66', '28', '29', 'pd', true),
  ...wholeMove('movdqa', '66', '6F', '7F', 'x', true),
  ...wholeMove('movdqu', 'F3', '6F', '7F', 'x', false),
  ...load('sse3', 'lddqu', ['F2', '0F', 'F0'], 'avx', false),
  ...scalarMove('movss', 'F3', 'ss'),
  ...scalarMove('movsd', 'F2', 'sd'),
  ...halfMove('movlps', 'NP', '12', '13', false),
  ...halfMove('movlpd', '66', '12', '13', false),
  ...halfMove('movhps', 'NP', '16', '17', true),
  ...halfMove('movhpd', '66', '16', '17', true),
  ...crossMove('movhlps', '12', highHalf, setLowHalf),
  ...crossMove('movlhps', '16', lowHalf, setHighHalf),
  ...nonTemporal('movntps', 'NP', '2B'),
  ...nonTemporal('movntpd', '66', '2B'),
  ...nonTemporal('movntdq', '66', 'E7'),
  ...load('sse4.1', 'movntdqa', ['66', '0F38', '2A'], 'avx2', true),
  sse('sse2', 'movnti', [{ bytes: 'NP 0F C3 /r', operands: ['My', 'Gy'], access: 'w' }], (u, dst, src) =>
    u.write(dst!, u.read(src!)),
  ),
  mmxStore('movntq', [{ bytes: 'NP 0F E7 /r', operands: ['Mq', 'Pq'] }]),
  ...MOVD,
  ...MOVQ,
  ...duplicate('movsldup', 'F3', '12', words([0, 0, 2, 2])),
  ...duplicate('movshdup', 'F3', '16', words([1, 1, 3, 3])),
  ...MOVDDUP,
  ...signMask('movmskps', 'NP', ['Gy', 'Ups'], 'i32x4', '50', 'avx'),
  ...signMask('movmskpd', '66', ['Gy', 'Upd'], 'i64x2', '50', 'avx'),
  ...signMask('pmovmskb', '66', ['Gy', 'Ux'], 'i8x16', 'D7', 'avx2'),
  mmx('pmovmskb', [{ bytes: 'NP 0F D7 /r', operands: ['Gy', 'Nq'] }], (u, dst, src) => {
    const value = u.zero('v128').withLane('i64x2', 0, u.load('i64', u.offsetOf(src!), L.X87))
    u.write(dst!, value.simdMixed('i8x16.bitmask').extendU())
  }),
  ...sensitive(
    vector(
      { extension: 'sse2', mnemonic: 'maskmovdqu', bytes: '66 0F F7 /r', operands: ['Vx', 'Ux'] },
      (u, _v, value, mask) => maskedStore(u, byteOf(u, value, L.XMM), byteOf(u, mask!, L.XMM), 16),
    ),
  ),
  ...sensitive([
    mmx('maskmovq', [{ bytes: 'NP 0F F7 /r', operands: ['Pq', 'Nq'] }], (u, value, mask) =>
      maskedStore(u, byteOf(u, value!, L.X87), byteOf(u, mask!, L.X87), 8),
    ),
  ]),
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
