/** Instruction forms read for encoding: independent of the engine's decoder on purpose, so that both are checked. */
import type { Mode } from './state-record.ts'

/** What encoding needs of a `Form` of isa/instruction.ts; see there. */
export interface EncodableForm {
  readonly bytes: string
  readonly operands: readonly string[]
  readonly lockable?: boolean
  readonly repeat?: 'rep' | 'repe'
  readonly size64?: 'd64' | 'f64'
  readonly sized?: boolean
  readonly access?: 'r' | 'w' | 'none' | 'bit'
  readonly memoryBytes?: number
  readonly modes?: 'only64' | 'no64'
}
/** What recording needs of an `Instruction` of isa/instruction.ts. */
export interface EncodableInstruction {
  readonly mnemonic: string
  readonly forms: readonly EncodableForm[]
  readonly system?: string
  readonly feature?: string
}

/** Where an operand is encoded. */
export type Place =
  | 'reg'
  | 'rm'
  | 'opcode'
  | 'immediate'
  | 'relative'
  | 'offset'
  | 'string'
  | 'implied'
  | 'far'
  | 'vvvv'
  | 'is4'
  | 'vsib'
export type RegisterKind = 'gpr' | 'xmm' | 'mmx' | 'segment' | 'none'

export interface OperandShape {
  readonly place: Place
  readonly kind: RegisterKind
  readonly memory: boolean
  readonly register: boolean
  /** Type part of the notation: b, w, v, ps, … */
  readonly type: string
}

/** What a VEX prefix says; undefined where the instruction does not look at it. */
export interface VexShape {
  readonly l: 0 | 1 | undefined
  readonly w: 0 | 1 | undefined
  readonly map: 1 | 2 | 3
}

export interface FormShape {
  readonly prefix: 'none' | 'NP' | '66' | 'F2' | 'F3'
  /** Opcode with its escape bytes. */
  readonly opcode: readonly number[]
  readonly plusRegister: boolean
  readonly hasModrm: boolean
  /** ModRM.reg, or −1. */
  readonly extension: number
  /** Whole ModRM byte, or −1; with `stackRegister` its low three bits are free. */
  readonly modrm: number
  readonly stackRegister: boolean
  readonly vex: VexShape | undefined
  readonly operands: readonly OperandShape[]
}

const LETTERS: Record<string, readonly [Place, RegisterKind, boolean, boolean]> = {
  E: ['rm', 'gpr', true, true],
  M: ['rm', 'none', true, false],
  R: ['rm', 'gpr', false, true],
  G: ['reg', 'gpr', false, true],
  Z: ['opcode', 'gpr', false, true],
  I: ['immediate', 'none', false, false],
  J: ['relative', 'none', false, false],
  O: ['offset', 'none', true, false],
  W: ['rm', 'xmm', true, true],
  U: ['rm', 'xmm', false, true],
  V: ['reg', 'xmm', false, true],
  Q: ['rm', 'mmx', true, true],
  N: ['rm', 'mmx', false, true],
  P: ['reg', 'mmx', false, true],
  S: ['reg', 'segment', false, true],
  X: ['string', 'none', true, false],
  Y: ['string', 'none', true, false],
  A: ['far', 'none', false, false],
  H: ['vvvv', 'xmm', false, true],
  B: ['vvvv', 'gpr', false, true],
  L: ['is4', 'xmm', false, true],
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
  p: 6,
  s: 10,
  a: 8,
  pi: 8,
  qq: 32,
}

/** Registers and constants that are named outright, and so are not encoded. */
const IMPLIED = /^(ST0|STi|[ABCD][LH]|[re]?(AX|CX|DX|BX|SP|BP|SI|DI)|[CDEFGS]S|XMM0|\d)$/

/** A form that this encoder does not understand: a mistake in a table, or a notation to be added here. */
export class FormNotationError extends Error {
  readonly code = 'TV_FORM_NOTATION'
}

function parseOperand(text: string): OperandShape {
  if (IMPLIED.test(text)) return { place: 'implied', kind: 'none', memory: false, register: false, type: '' }
  if (/^vm(32|64)[xy]$/.test(text))
    return { place: 'vsib', kind: 'none', memory: true, register: false, type: text.slice(2) }
  const entry = LETTERS[text[0]!]
  const type = text.slice(1)
  const known = type in TYPE_BYTES || type === 'v' || type === 'y' || type === 'z' || type === ''
  if (!entry || !known) throw new FormNotationError(`operand ${text} is in no known notation`)
  const [place, kind, memory, register] = entry
  return { place, kind, memory, register, type }
}

/** Reads a form; `text` is its `bytes`. */
export function parseForm(form: EncodableForm): FormShape {
  const tokens = form.bytes.split(' ')
  const vex = tokens[0]!.startsWith('VEX') ? tokens.shift()!.split('.') : undefined
  let prefix: FormShape['prefix'] = vex ? (PREFIXES.find((name) => vex.includes(name)) ?? 'NP') : 'none'
  const first = tokens[0]!
  const isPrefix =
    (first === '66' || first === 'F2' || first === 'F3') && /^[0-9A-F]{2}$/.test(tokens[1] ?? '')
  if (!vex && (first === 'NP' || isPrefix)) prefix = tokens.shift() as FormShape['prefix']
  const shape = {
    opcode: [] as number[],
    plusRegister: false,
    hasModrm: false,
    extension: -1,
    modrm: -1,
    stackRegister: false,
  }
  // The map stands in the prefix: one byte of opcode is left.
  if (vex) shape.opcode.push(Number.parseInt(tokens.shift()!, 16))
  for (const token of tokens) parseToken(token, shape)
  return { ...shape, prefix, vex: vex && parseVex(vex), operands: form.operands.map(parseOperand) }
}

const PREFIXES = ['66', 'F2', 'F3'] as const

function parseVex(fields: readonly string[]): VexShape {
  const bit = (zero: readonly string[], one: string): 0 | 1 | undefined =>
    zero.some((name) => fields.includes(name)) ? 0 : fields.includes(one) ? 1 : undefined
  const map = fields.includes('0F3A') ? 3 : fields.includes('0F38') ? 2 : 1
  return { l: bit(['128', 'LZ'], '256'), w: bit(['W0'], 'W1'), map }
}

function parseToken(
  token: string,
  shape: {
    opcode: number[]
    plusRegister: boolean
    hasModrm: boolean
    extension: number
    modrm: number
    stackRegister: boolean
  },
): void {
  const { opcode } = shape
  const escaped =
    opcode[0] === 0x0f &&
    (opcode.length === 1 || (opcode.length === 2 && (opcode[1] === 0x38 || opcode[1] === 0x3a)))
  if (token === '/r') shape.hasModrm = true
  else if (/^\/[0-7]$/.test(token)) {
    shape.hasModrm = true
    shape.extension = Number(token[1])
  } else if (token.endsWith('+i')) {
    shape.hasModrm = shape.stackRegister = true
    shape.modrm = Number.parseInt(token, 16)
  } else if (opcode.length === 0 || escaped) {
    opcode.push(Number.parseInt(token.slice(0, 2), 16))
    shape.plusRegister = token.endsWith('+r')
  } else {
    shape.hasModrm = true
    shape.modrm = Number.parseInt(token, 16)
  }
}

/** Bytes of an operand for an operand size. */
export function typeBytes(type: string, size: number, form: EncodableForm): number {
  if (type === 'v') return size
  if (type === 'y') return size === 8 ? 8 : 4
  if (type === 'z') return Math.min(size, 4)
  if (type === 'p' && size !== 4) return size + 2
  return TYPE_BYTES[type] ?? form.memoryBytes ?? 8
}

export type OperandSize = 2 | 4 | 8

/** Operand sizes worth trying in a mode; empty where the form does not exist. */
export function operandSizes(form: EncodableForm, shape: FormShape, mode: Mode): readonly OperandSize[] {
  if (mode === 64 ? form.modes === 'no64' : form.modes === 'only64') return []
  const types = shape.operands.map((o) => o.type)
  const wide =
    form.sized ||
    types.includes('v') ||
    types.includes('z') ||
    form.operands.some((o) => /^[re][A-D S]/.test(o))
  if (mode === 64 && form.size64 === 'f64') return [8]
  if (!wide && types.includes('y')) return mode === 64 ? [4, 8] : [4]
  if (mode === 64 && form.size64 === 'd64') return [2, 8]
  if (!wide) return [4]
  // A mandatory 66 cannot also be an operand-size prefix.
  const narrow = shape.prefix === '66' || shape.prefix === 'NP' ? [] : ([2] as const)
  return mode === 64 ? [...narrow, 4, 8] : [...narrow, 4]
}

/** A form's name in vector files and messages. */
export function formKey(instruction: EncodableInstruction, form: EncodableForm): string {
  return `${instruction.mnemonic} ${form.bytes} ${form.operands.join(',')}`
}

export type Group =
  | 'integer'
  | 'control'
  | 'string'
  | 'x87'
  | 'mmx'
  | 'sse-float'
  | 'sse-integer'
  | 'bmi'
  | 'avx-float'
  | 'avx-integer'
  | 'fma'

const BMI_FEATURES: ReadonlySet<string | undefined> = new Set(['bmi1', 'bmi2', 'lzcnt', 'movbe'])

/** The vector file that a form belongs to. */
export function groupOf(instruction: EncodableInstruction, form: EncodableForm, shape: FormShape): Group {
  if (BMI_FEATURES.has(instruction.feature)) return 'bmi'
  if (instruction.feature === 'fma') return 'fma'
  if (shape.vex) return floatKind(instruction.mnemonic) ? 'avx-float' : 'avx-integer'
  const kinds = shape.operands.map((o) => o.kind)
  const [first] = shape.opcode
  if (kinds.includes('xmm')) return floatKind(instruction.mnemonic) ? 'sse-float' : 'sse-integer'
  if (kinds.includes('mmx') || instruction.mnemonic === 'emms') return 'mmx'
  if (first! >= 0xd8 && first! <= 0xdf) return 'x87'
  if (form.repeat) return 'string'
  if (shape.operands.some((o) => o.place === 'relative') || form.size64) return 'control'
  return 'integer'
}

/** Whether an SSE instruction reads floats, and which; from the letters its mnemonic ends with or converts from. */
export function floatKind(mnemonic: string): 'float32' | 'float64' | undefined {
  const conversion = /^v?cvtt?(ps|ss|pd|sd|dq|si|pi|ph)2/.exec(mnemonic)
  const suffix = conversion?.[1] ?? /^(?!v?p|v?movs[sd]$|v?mov[ahlnu]).*(ps|pd|ss|sd)$/.exec(mnemonic)?.[1]
  if (suffix === 'ps' || suffix === 'ss') return 'float32'
  return suffix === 'pd' || suffix === 'sd' ? 'float64' : undefined
}
