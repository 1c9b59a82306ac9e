/** A sample of forms in every shape, for tests of the test support itself. */
import type { EncodableForm, EncodableInstruction } from './form.ts'

const x = (mnemonic: string, ...forms: EncodableForm[]): EncodableInstruction => ({ mnemonic, forms })
const f = (bytes: string, operands: string, more: Partial<EncodableForm> = {}): EncodableForm => ({
  bytes,
  operands: operands ? operands.split(' ') : [],
  ...more,
})

const aluForms = (n: number): EncodableForm[] => {
  const opcode = (low: number): string => (n * 8 + low).toString(16).toUpperCase().padStart(2, '0')
  return [
    f(`${opcode(0)} /r`, 'Eb Gb', { lockable: true }),
    f(`${opcode(1)} /r`, 'Ev Gv', { lockable: true }),
    f(`${opcode(3)} /r`, 'Gv Ev'),
    f(opcode(4), 'AL Ib'),
    f(opcode(5), 'rAX Iz'),
    f(`81 /${n}`, 'Ev Iz', { lockable: true }),
    f(`83 /${n}`, 'Ev Ib', { lockable: true }),
  ]
}
const shiftForms = (n: number): EncodableForm[] => [
  f(`C0 /${n}`, 'Eb Ib'),
  f(`C1 /${n}`, 'Ev Ib'),
  f(`D1 /${n}`, 'Ev 1'),
  f(`D3 /${n}`, 'Ev CL'),
]
const stringForms = (n: number, b: string, v: string, repeat: 'rep' | 'repe' = 'rep'): EncodableForm[] => [
  f(n.toString(16).toUpperCase(), b, { repeat }),
  f((n + 1).toString(16).toUpperCase(), v, { repeat }),
]
const sse = (opcode: string, kinds: string): EncodableForm[] =>
  kinds
    .split(' ')
    .map((k) => f(`${{ ps: 'NP', pd: '66', ss: 'F3', sd: 'F2' }[k]} 0F ${opcode} /r`, `V${k} W${k}`))

export const SAMPLE: readonly EncodableInstruction[] = [
  ...['add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp'].map((m, n) => x(m, ...aluForms(n))),
  ...['rol', 'ror', 'rcl', 'rcr', 'shl', 'shr'].map((m, n) => x(m, ...shiftForms(n))),
  x('sar', ...shiftForms(7)),
  x('mul', f('F6 /4', 'Eb'), f('F7 /4', 'Ev')),
  x('imul', f('0F AF /r', 'Gv Ev'), f('69 /r', 'Gv Ev Iz')),
  x('div', f('F6 /6', 'Eb'), f('F7 /6', 'Ev')),
  x('idiv', f('F6 /7', 'Eb'), f('F7 /7', 'Ev')),
  x(
    'mov',
    f('89 /r', 'Ev Gv'),
    f('8A /r', 'Gb Eb'),
    f('B8+r', 'Zv Iv'),
    f('A1', 'rAX Ov'),
    f('C7 /0', 'Ev Iz'),
    f('8C /r', 'Ev Sw'),
    f('8E /r', 'Sw Ew'),
  ),
  x('movzx', f('0F B6 /r', 'Gv Eb')),
  x('lea', f('8D /r', 'Gv M', { access: 'none' })),
  x('bsf', f('0F BC /r', 'Gv Ev')),
  x('bts', f('0F AB /r', 'Ev Gv', { lockable: true }), f('0F BA /5', 'Ev Ib', { lockable: true })),
  x('shld', f('0F A4 /r', 'Ev Gv Ib'), f('0F A5 /r', 'Ev Gv CL')),
  x('cmpxchg', f('0F B1 /r', 'Ev Gv', { lockable: true })),
  x('cmpxchg8b', f('0F C7 /1', 'M', { sized: true, lockable: true, memoryBytes: 8 })),
  x('bswap', f('0F C8+r', 'Zy')),
  x(
    'push',
    f('50+r', 'Zv', { size64: 'd64' }),
    f('FF /6', 'Ev', { size64: 'd64' }),
    f('6A', 'Ib', { size64: 'd64', sized: true }),
  ),
  x('pop', f('58+r', 'Zv', { size64: 'd64' }), f('8F /0', 'Ev', { size64: 'd64' })),
  x('pushf', f('9C', '', { size64: 'd64', sized: true })),
  x('popf', f('9D', '', { size64: 'd64', sized: true })),
  x('leave', f('C9', '', { size64: 'd64', sized: true })),
  x('enter', f('C8', 'Iw Ib', { size64: 'd64', sized: true })),
  x('call', f('E8', 'Jz', { size64: 'f64' }), f('FF /2', 'Ev', { size64: 'f64' })),
  x(
    'jmp',
    f('EB', 'Jb', { size64: 'f64' }),
    f('E9', 'Jz', { size64: 'f64' }),
    f('FF /4', 'Ev', { size64: 'f64' }),
  ),
  x('jz', f('74', 'Jb', { size64: 'f64' }), f('0F 84', 'Jz', { size64: 'f64' })),
  x('ret', f('C3', '', { size64: 'f64' }), f('C2', 'Iw', { size64: 'f64' })),
  x('loop', f('E2', 'Jb', { size64: 'f64' })),
  x('xlat', f('D7', '')),
  x('daa', f('27', '', { modes: 'no64' })),
  x('aam', f('D4', 'Ib', { modes: 'no64' })),
  x('pusha', f('60', '', { modes: 'no64', sized: true })),
  x('bound', f('62 /r', 'Gv Ma', { modes: 'no64', memoryBytes: 8 })),
  x('movs', ...stringForms(0xa4, 'Yb Xb', 'Yv Xv')),
  x('stos', ...stringForms(0xaa, 'Yb AL', 'Yv rAX')),
  x('cmps', ...stringForms(0xa6, 'Xb Yb', 'Xv Yv', 'repe')),
  x('scas', ...stringForms(0xae, 'AL Yb', 'rAX Yv', 'repe')),
  x('addps', ...sse('58', 'ps')),
  x('mulsd', ...sse('59', 'sd')),
  x('divss', ...sse('5E', 'ss')),
  x('sqrtpd', ...sse('51', 'pd')),
  x('minps', ...sse('5D', 'ps')),
  x('rcpps', ...sse('53', 'ps')),
  x('ucomisd', f('66 0F 2E /r', 'Vsd Wsd')),
  x('cvttsd2si', f('F2 0F 2C /r', 'Gy Wsd')),
  x('cvtsi2ss', f('F3 0F 2A /r', 'Vss Ey')),
  x('paddb', f('66 0F FC /r', 'Vdq Wdq'), f('NP 0F FC /r', 'Pq Qq')),
  x('pshufb', f('66 0F 38 00 /r', 'Vdq Wdq')),
  x('pcmpestri', f('66 0F 3A 61 /r', 'Vdq Wdq Ib')),
  x('movd', f('66 0F 6E /r', 'Vdq Ey'), f('NP 0F 6E /r', 'Pq Ey')),
  x('movmskps', f('NP 0F 50 /r', 'Gd Ups')),
  x('ldmxcsr', f('NP 0F AE /2', 'Md')),
  x('fxsave', f('NP 0F AE /0', 'M', { memoryBytes: 512, sized: true })),
  x('fadd', f('D8 /0', 'Md'), f('DC /0', 'Mq'), f('D8 C0+i', 'ST0 STi')),
  x('fld', f('D9 /0', 'Md'), f('DB /5', 'Mt'), f('D9 C0+i', 'STi')),
  x('fstp', f('DD /3', 'Mq'), f('DB /7', 'Mt')),
  x('fild', f('DF /5', 'Mq')),
  x('fdiv', f('D8 /6', 'Md'), f('D8 F0+i', 'ST0 STi')),
  x('fsqrt', f('D9 FA', '')),
  x('fcom', f('D8 D0+i', 'STi')),
  x('fnstsw', f('DF E0', 'AX')),
  x('fprem', f('D9 F8', '')),
  x('fsin', f('D9 FE', '')),
  x('fnstenv', f('D9 /6', 'M', { memoryBytes: 28, sized: true })),
]
