/**
 * A form of an instruction, ready to be matched, and ready to be written as a micro-op.
 *
 * Instructions, forms and operands say little about most of their properties, so each has another shape, and asking them is
 * slow. What decoding asks is therefore worked out once and lies flat in the entry.
 */
import type { Form, Instruction } from '../isa/instruction.ts'
import { formSizes, type OperandClass, type OperandSpec, parseOperand } from './operands.ts'

export type MandatoryPrefix = 'NP' | '66' | 'F2' | 'F3'

/** What `bytes` of a form say. */
export interface ParsedBytes {
  map: number
  opcode: number
  /** Opcodes with a register in the low bits cover eight slots. */
  covers: number
  prefix: MandatoryPrefix | undefined
  /** VEX.L and VEX.W where the form is VEX-encoded. */
  vex: { readonly l: 0 | 1 | undefined; readonly w: 0 | 1 | undefined } | undefined
  /** ModRM.reg that the form needs, or −1. */
  extension: number
  /** The whole ModRM byte that the form needs; −2 where it needs a register in ModRM.rm; or −1. */
  modrm: number
  hasModrm: boolean
}

/** How a micro-op names a register: by its offset among those of its kind (of bytes, AH to BH too), or by its number. */
export type RegisterField = 'none' | 'gpr' | 'byte' | 'xmm' | 'mmx' | 'number' | 'stack'

/** By operand size: of 2, 4 and 8 bytes. See `sizeIndex`. */
type BySize = readonly number[]

export interface Entry {
  readonly instruction: Instruction
  readonly form: Form
  readonly operands: readonly OperandSpec[]
  readonly sizes: readonly (2 | 4 | 8)[]
  /** Operand that may be memory, or −1. */
  readonly memoryOperand: number
  /** Handler number by variant; see `variantKey`. */
  readonly handlers: Int32Array

  /** The more it needs to match, the earlier it is tried. */
  readonly weight: number
  /** Set of the selectors with which it matches; see `selector`. */
  readonly selectors: number
  readonly hasModrm: boolean
  /** ModRM may name memory, may name a register. */
  readonly memory: boolean
  readonly register: boolean
  /** Bits that ModRM must have among those of the mask. */
  readonly modrmMask: number
  readonly modrmBits: number

  readonly isVex: boolean
  /** VEX.vvvv names a register; else its bits must be ones. */
  readonly vvvv: boolean
  /** The memory operand has a vector of indices. */
  readonly vsib: boolean
  readonly lockable: boolean
  readonly size64: Form['size64']
  /** A prefix 66 says the operand size, rather than which form it is. */
  readonly sizedByPrefix: boolean
  readonly immediateBytes: BySize
  /** Bytes of another immediate behind the first, or 0. */
  readonly secondImmediate: number
  /** Its memory operand is an address without ModRM. */
  readonly hasOffset: boolean
  readonly endsBlock: boolean

  readonly modeSensitive: boolean
  readonly addressSensitive: boolean
  /** The highest of `Decoder.repeat` that matters. */
  readonly repeats: number
  readonly rmField: RegisterField
  readonly regField: RegisterField
  /** Bytes from one register in VEX.vvvv to the next. */
  readonly vvvvScale: number
  /** Bytes of memory that it reaches, all from its address on; 0 where nothing is to be checked of them. */
  readonly accessBytes: BySize
  readonly writesMemory: boolean
  /** Only the offset of its memory operand is computed. */
  readonly offsetOnly: boolean
  readonly addressAfterPop: boolean
}

export function sizeIndex(operandSize: number): number {
  return operandSize >> 2
}

/**
 * What apart from opcode and ModRM tells forms from each other, as a number below 32: the mandatory prefix (0 none, 1 F3,
 * 2 F2, 3 66), VEX.L, VEX.W, and 64-bit mode.
 */
export function selector(prefix: number, vexL: number, vexW: number, isLong: boolean): number {
  return prefix | (vexL << 2) | (vexW << 3) | (isLong ? 16 : 0)
}

/** The selectors with each property. */
const PREFIX = { NP: 0x1111_1111, F3: 0x2222_2222, F2: 0x4444_4444, 66: 0x8888_8888 }
const VEX_L = [0x0f0f_0f0f, 0xf0f0_f0f0] as const
const VEX_W = [0x00ff_00ff, 0xff00_ff00] as const
const MODES = { only64: 0xffff_0000, no64: 0x0000_ffff }
const ALL = 0xffff_ffff

function selectorsOf({ modes }: Form, { map, prefix, vex }: ParsedBytes): number {
  // In the three-byte maps F2 and F3 always select another instruction.
  const unprefixed = map < 2 ? ALL : PREFIX.NP | PREFIX[66]
  return (
    (prefix ? PREFIX[prefix] : unprefixed) &
    (modes ? MODES[modes] : ALL) &
    (vex?.l === undefined ? ALL : VEX_L[vex.l]) &
    (vex?.w === undefined ? ALL : VEX_W[vex.w])
  )
}

function modrmOf({ modrm, extension }: ParsedBytes): { modrmMask: number; modrmBits: number } {
  if (modrm >= 0) return { modrmMask: 0xff, modrmBits: modrm }
  if (modrm === -2) return { modrmMask: 0xf8, modrmBits: 0xc0 | (extension << 3) }
  return extension < 0 ? { modrmMask: 0, modrmBits: 0 } : { modrmMask: 0x38, modrmBits: extension << 3 }
}

function weightOf({ modrm, prefix, extension }: ParsedBytes): number {
  return (
    (modrm >= 0 ? 4 : 0) +
    (modrm === -2 ? 3 : 0) +
    (prefix && prefix !== 'NP' ? 2 : 0) +
    (extension >= 0 ? 1 : 0)
  )
}

const none = () => 0
const bySize = (bytes: OperandSpec['size']): BySize => [bytes(2), bytes(4), bytes(8)]

const IMMEDIATES: readonly OperandClass[] = ['immediate', 'relative', 'xmmIs4']

function immediateSize(operand: OperandSpec): OperandSpec['size'] {
  return operand.class === 'xmmIs4' ? () => 1 : operand.size
}

function rmFieldOf(operands: readonly OperandSpec[]): RegisterField {
  for (const operand of operands) {
    if (operand.class === 'rm' || operand.class === 'opcode') return operand.size(4) === 1 ? 'byte' : 'gpr'
    if (operand.class === 'xmmRm') return 'xmm'
    if (operand.class === 'mmxRm') return 'mmx'
  }
  return 'none'
}

function regFieldOf(operands: readonly OperandSpec[]): RegisterField {
  for (const operand of operands) {
    if (operand.class === 'reg') return operand.size(4) === 1 ? 'byte' : 'gpr'
    if (operand.class === 'xmmReg') return 'xmm'
    if (operand.class === 'mmxReg') return 'mmx'
    if (operand.class === 'segment' && operand.fixedRegister === undefined) return 'number'
    if (operand.class === 'control' || operand.class === 'debug') return 'number'
  }
  return 'stack'
}

export function makeEntry(
  instruction: Instruction,
  form: Form,
  parsed: ParsedBytes,
  handlers: Int32Array,
): Entry {
  const operands = form.operands.map(parseOperand)
  const find = (...classes: OperandClass[]) => operands.findIndex((o) => classes.includes(o.class))
  const has = (...classes: OperandClass[]) => find(...classes) >= 0
  const rm = operands[find('rm', 'xmmRm', 'mmxRm', 'vsib')]
  const fixedRegister = parsed.modrm === -2 || parsed.modrm >= 0xc0
  const inModrm = operands.findIndex((o) => o.memory && o.class !== 'offset')
  const memoryOperand = inModrm >= 0 ? inModrm : find('offset')
  const { modrmMask, modrmBits } = modrmOf(parsed)
  const [first, second] = operands.filter((o) => IMMEDIATES.includes(o.class)).map(immediateSize)
  const { access, memoryBytes } = form
  const isAddressOnly = access === 'none' || access === 'bit'
  return {
    instruction,
    form,
    operands,
    sizes: formSizes(form, operands),
    memoryOperand,
    handlers,

    weight: weightOf(parsed),
    selectors: selectorsOf(form, parsed),
    hasModrm: parsed.hasModrm,
    memory: rm ? rm.memory : !fixedRegister && parsed.hasModrm,
    register: rm ? rm.register : fixedRegister || parsed.hasModrm,
    modrmMask,
    modrmBits,

    isVex: parsed.vex !== undefined,
    vvvv: has('xmmVvvv', 'gprVvvv'),
    vsib: has('vsib'),
    lockable: form.lockable === true,
    size64: form.size64,
    sizedByPrefix: parsed.prefix !== '66',
    immediateBytes: bySize(first ?? none),
    secondImmediate: second?.(4) ?? 0,
    hasOffset: has('offset'),
    endsBlock: instruction.endsBlock === true,

    modeSensitive: instruction.modeSensitive === true,
    addressSensitive: instruction.addressSensitive === true,
    repeats: form.repeat === undefined ? 0 : form.repeat === 'rep' ? 1 : 2,
    rmField: rmFieldOf(operands),
    regField: regFieldOf(operands),
    vvvvScale: has('gprVvvv') ? 8 : 16,
    accessBytes: bySize((n) => (isAddressOnly ? 0 : (memoryBytes ?? operands[memoryOperand]?.size(n) ?? 0))),
    writesMemory: access ? access === 'w' : memoryOperand === 0,
    offsetOnly: access === 'none',
    addressAfterPop: form.addressAfterPop === true,
  }
}
