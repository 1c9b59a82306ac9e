/** Operand notation (SDM Vol. 2D, "Key to Abbreviations") to operands of a meaning. */
import type { Form } from '../isa/instruction.ts'
import type { Operand, RegisterFile } from '../isa/meaning.ts'

export type OperandClass =
  | 'rm' // general register or memory
  | 'reg' // general register in ModRM.reg
  | 'opcode' // general register in the opcode
  | 'immediate'
  | 'relative'
  | 'offset' // moffs
  | 'xmmRm'
  | 'xmmReg'
  | 'mmxRm'
  | 'mmxReg'
  | 'segment'
  | 'control'
  | 'debug'
  | 'x87'
  | 'xmmVvvv' // VEX.vvvv
  | 'gprVvvv'
  | 'xmmIs4' // bits 7 to 4 of an immediate byte
  | 'vsib' // memory at a vector of indices
  | 'fixed'
  | 'string'

export interface OperandSpec {
  readonly text: string
  readonly class: OperandClass
  /** May name memory, may name a register. */
  readonly memory: boolean
  readonly register: boolean
  /** Bytes for an operand size. */
  readonly size: (operandSize: number) => number
  /** Depends on the operand size: `v` on 2, 4 and 8, `y` on 4 and 8, `z` on 2 and 4. */
  readonly sized: 'v' | 'y' | 'z' | undefined
  readonly fixedRegister: number | undefined
  readonly constant: number | undefined
}

const TYPE_BYTES: Record<string, number> = {
  b: 1,
  w: 2,
  d: 4,
  q: 8,
  dq: 16,
  ps: 16,
  pd: 16,
  x: 16,
  ss: 4,
  sd: 8,
  t: 10,
  s: 10,
  qq: 32,
  pi: 8,
}
const GPR = ['AX', 'CX', 'DX', 'BX', 'SP', 'BP', 'SI', 'DI']
const LOW_BYTE = ['AL', 'CL', 'DL', 'BL']
const SEGMENTS = ['ES', 'CS', 'SS', 'DS', 'FS', 'GS']

function fixed(text: string): OperandSpec | undefined {
  const spec = (
    bytes: (n: number) => number,
    register: number | undefined,
    sized: OperandSpec['sized'],
    constant?: number,
  ) =>
    ({
      text,
      class: 'fixed',
      memory: false,
      register: false,
      size: bytes,
      sized,
      fixedRegister: register,
      constant,
    }) as const
  const low = LOW_BYTE.indexOf(text)
  if (low >= 0) return spec(() => 1, low, undefined)
  const word = GPR.indexOf(text)
  if (word >= 0) return spec(() => 2, word, undefined)
  if (text.startsWith('r') && GPR.includes(text.slice(1)))
    return spec((n) => n, GPR.indexOf(text.slice(1)), 'v')
  if (text.startsWith('e') && GPR.includes(text.slice(1)))
    return spec((n) => Math.min(n, 4), GPR.indexOf(text.slice(1)), 'z')
  if (SEGMENTS.includes(text))
    return { ...spec(() => 2, SEGMENTS.indexOf(text), undefined), class: 'segment' }
  if (text === '1' || text === '3') return spec(() => 1, undefined, undefined, Number(text))
  return undefined
}

/** `vm32x`, `vm64y` and the like: memory at 32- or 64-bit indices in an XMM or YMM register. */
function vectorIndexed(text: string): OperandSpec | undefined {
  if (!/^vm(32|64)[xy]$/.test(text)) return undefined
  return {
    text,
    class: 'vsib',
    memory: true,
    register: false,
    size: () => (text.endsWith('x') ? 16 : 32),
    sized: undefined,
    fixedRegister: undefined,
    constant: undefined,
  }
}

const CLASSES: Record<string, [OperandClass, boolean, boolean]> = {
  E: ['rm', true, true],
  M: ['rm', true, false],
  R: ['rm', false, true],
  G: ['reg', false, false],
  Z: ['opcode', false, false],
  I: ['immediate', false, false],
  J: ['relative', false, false],
  O: ['offset', true, false],
  W: ['xmmRm', true, true],
  U: ['xmmRm', false, true],
  V: ['xmmReg', false, false],
  Q: ['mmxRm', true, true],
  N: ['mmxRm', false, true],
  H: ['xmmVvvv', false, false],
  L: ['xmmIs4', false, false],
  B: ['gprVvvv', false, false],
  P: ['mmxReg', false, false],
  S: ['segment', false, false],
  C: ['control', false, false],
  D: ['debug', false, false],
  X: ['string', false, false],
  Y: ['string', false, false],
}

/** Parses one operand; `ST0` and `STi` are x87 registers, which their meanings find themselves. */
export function parseOperand(text: string): OperandSpec {
  if (text.startsWith('ST')) {
    return {
      text,
      class: 'x87',
      memory: false,
      register: false,
      size: () => 10,
      sized: undefined,
      fixedRegister: undefined,
      constant: undefined,
    }
  }
  const known = fixed(text) ?? vectorIndexed(text)
  if (known) return known
  const entry = CLASSES[text[0]!]
  if (!entry) throw new Error(`unknown operand ${text}`)
  const [cls, memory, register] = entry
  const type = text.slice(1)
  const sized = type === 'v' || type === 'y' || type === 'z' ? type : undefined
  const bytes = TYPE_BYTES[type]
  if (!sized && bytes === undefined && type !== '' && type !== 'p' && type !== 'a')
    throw new Error(`unknown operand type in ${text}`)
  const size = (n: number): number => {
    if (sized === 'v') return n
    if (sized === 'y') return n === 8 ? 8 : 4
    if (sized === 'z') return Math.min(n, 4)
    if (type === 'p') return n + 2
    if (type === 'a') return n * 2
    if (type === '') return 0
    return bytes!
  }
  return { text, class: cls, memory, register, size, sized, fixedRegister: undefined, constant: undefined }
}

const FILES: Partial<Record<OperandClass, RegisterFile>> = {
  xmmRm: 'xmm',
  xmmReg: 'xmm',
  xmmVvvv: 'xmm',
  xmmIs4: 'xmm',
  mmxRm: 'mmx',
  mmxReg: 'mmx',
  segment: 'segment',
  control: 'control',
  debug: 'debug',
  x87: 'x87',
}

/** The operand that a meaning gets for a variant. */
export function operandFor(spec: OperandSpec, operandSize: number, memory: boolean): Operand {
  const size = spec.size(operandSize)
  switch (spec.class) {
    case 'immediate':
      return { kind: 'immediate', size }
    case 'relative':
      return { kind: 'relative', size }
    case 'offset':
    case 'vsib':
      return { kind: 'memory', size }
    case 'xmmVvvv':
    case 'gprVvvv':
      return { kind: 'register', file: FILES[spec.class] ?? 'gpr', size, field: 'vvvv' }
    case 'xmmIs4':
      return { kind: 'register', file: 'xmm', size, field: 'is4' }
    case 'rm':
    case 'xmmRm':
    case 'mmxRm':
      if (memory) return { kind: 'memory', size }
      return { kind: 'register', file: FILES[spec.class] ?? 'gpr', size, field: 'rm' }
    case 'opcode':
      return { kind: 'register', file: 'gpr', size, field: 'rm' }
    case 'fixed':
      if (spec.constant !== undefined) return { kind: 'constant', size, value: spec.constant }
      return { kind: 'register', file: 'gpr', size, field: spec.fixedRegister! * 8 }
    case 'segment':
      return { kind: 'register', file: 'segment', size, field: spec.fixedRegister ?? 'reg' }
    default:
      return { kind: 'register', file: FILES[spec.class] ?? 'gpr', size, field: 'reg' }
  }
}

/** Operand sizes for which a form has variants. */
export function formSizes(form: Form, specs: readonly OperandSpec[]): readonly (2 | 4 | 8)[] {
  if (form.sized || specs.some((s) => s.sized === 'v')) return [2, 4, 8]
  if (specs.some((s) => s.sized === 'z')) return [2, 4, 8]
  if (specs.some((s) => s.sized === 'y')) return [4, 8]
  return [4]
}
