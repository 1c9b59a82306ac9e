/** Decoding tables, built from the instructions' forms. */
import type { Instruction } from '../isa/instruction.ts'
import type { Variant } from '../isa/meaning.ts'
import { type Entry, type MandatoryPrefix, makeEntry, type ParsedBytes, sizeIndex } from './entry.ts'

/** By `Decoder.repeat`. */
export const REPEATS = ['none', 'rep', 'repne'] as const
const VARIANT_KEYS = 108

/** Position of a variant in `Entry.handlers`; `repeat` as an index into `REPEATS`. */
export function variantKey(
  size: number,
  memory: boolean,
  legacy: boolean,
  repeat: number,
  addressSize: number,
): number {
  return (
    sizeIndex(size) + 3 * (memory ? 1 : 0) + 6 * (legacy ? 1 : 0) + 12 * repeat + 36 * sizeIndex(addressSize)
  )
}

export const MAPS = { oneByte: 0, '0F': 1, '0F38': 2, '0F3A': 3 } as const

/** The forms of an opcode, in the order in which they are tried. */
export interface Slot {
  readonly entries: readonly Entry[]
  /** Some are told apart by ModRM. */
  readonly hasModrm: boolean
}

export interface DecodeTables {
  /** By map * 256 + opcode. */
  readonly slots: readonly Slot[]
  readonly vexSlots: readonly Slot[]
  readonly entries: readonly Entry[]
}

const HEX = /^[0-9A-F]{2}$/

/** Parses `bytes` of a form. */
export function parseBytes(text: string): ParsedBytes {
  let tokens = text.split(' ')
  const parsed: ParsedBytes = {
    map: 0,
    opcode: 0,
    covers: 1,
    prefix: undefined,
    vex: undefined,
    extension: -1,
    modrm: -1,
    hasModrm: false,
  }
  if (tokens[0]!.startsWith('VEX')) tokens = parseVex(tokens, parsed)
  else if (
    tokens[0] === 'NP' ||
    ((tokens[0] === '66' || tokens[0] === 'F2' || tokens[0] === 'F3') && tokens[1] === '0F')
  ) {
    parsed.prefix = tokens.shift() as MandatoryPrefix
  } else if (tokens[0] === 'F3' && tokens[1] === '90') parsed.prefix = tokens.shift() as MandatoryPrefix
  if (tokens[0] === '0F' && !parsed.vex) {
    const [, second] = tokens
    const longMap = second === '38' || second === '3A'
    parsed.map = second === '38' ? MAPS['0F38'] : second === '3A' ? MAPS['0F3A'] : MAPS['0F']
    tokens = tokens.slice(longMap ? 2 : 1)
  }
  const opcode = tokens.shift()!
  parsed.opcode = Number.parseInt(opcode.slice(0, 2), 16)
  if (opcode.endsWith('+r')) parsed.covers = 8
  for (const token of tokens) {
    if (token === '/r') parsed.hasModrm = true
    else if (/^\/[0-7]$/.test(token)) {
      parsed.hasModrm = true
      parsed.extension = Number(token[1])
    } else if (/^[0-9A-F]{2}\+i$/.test(token)) {
      // x87 with a stack register in ModRM.rm.
      parsed.hasModrm = true
      parsed.modrm = -2
      parsed.extension = (Number.parseInt(token.slice(0, 2), 16) >> 3) & 7
    } else if (HEX.test(token)) {
      parsed.hasModrm = true
      parsed.modrm = Number.parseInt(token, 16)
    } else throw new Error(`cannot parse ${token} in ${text}`)
  }
  return parsed
}

function parseVex(tokens: readonly string[], parsed: ParsedBytes): string[] {
  const fields = tokens[0]!.split('.').slice(1)
  let l: 0 | 1 | undefined
  let w: 0 | 1 | undefined
  for (const field of fields) {
    if (field === '128' || field === 'LZ') l = 0
    else if (field === '256') l = 1
    else if (field === 'W0') w = 0
    else if (field === 'W1') w = 1
    else if (field === '66' || field === 'F2' || field === 'F3' || field === 'NP') parsed.prefix = field
    else if (field in MAPS) parsed.map = MAPS[field as keyof typeof MAPS]
    else if (field !== 'LIG' && field !== 'WIG') throw new Error(`cannot parse VEX field ${field}`)
  }
  parsed.prefix ??= 'NP'
  parsed.vex = { l, w }
  return tokens.slice(1)
}

export function buildTables(instructions: readonly Instruction[]): DecodeTables {
  const slots: Entry[][] = Array.from({ length: 1024 }, () => [])
  const vexSlots: Entry[][] = Array.from({ length: 1024 }, () => [])
  const entries: Entry[] = []
  for (const instruction of instructions) {
    for (const form of instruction.forms) {
      const parsed = parseBytes(form.bytes)
      const entry = makeEntry(instruction, form, parsed, new Int32Array(VARIANT_KEYS).fill(-1))
      entries.push(entry)
      const target = parsed.vex ? vexSlots : slots
      for (let i = 0; i < parsed.covers; i++) target[parsed.map * 256 + parsed.opcode + i]!.push(entry)
    }
  }
  return { slots: slots.map(makeSlot), vexSlots: vexSlots.map(makeSlot), entries }
}

function makeSlot(entries: Entry[]): Slot {
  entries.sort((a, b) => b.weight - a.weight)
  return { entries, hasModrm: entries.some((e) => e.hasModrm) }
}

/** Variants of an entry, each of which needs a handler. */
export function* variantsOf(entry: Entry): Generator<Variant> {
  const { instruction, form } = entry
  const memories = entry.hasModrm
    ? [...(entry.register ? [false] : []), ...(entry.memory ? [true] : [])]
    : [entry.memoryOperand >= 0]
  const modes = instruction.modeSensitive ? (['long', 'legacy'] as const) : (['long'] as const)
  const repeats: Variant['repeat'][] =
    form.repeat === undefined ? ['none'] : form.repeat === 'rep' ? ['none', 'rep'] : ['none', 'rep', 'repne']
  for (const mode of modes) {
    if (
      instruction.modeSensitive &&
      ((form.modes === 'only64' && mode === 'legacy') || (form.modes === 'no64' && mode === 'long'))
    )
      continue
    const addressSizes: (2 | 4 | 8)[] = !instruction.addressSensitive
      ? [8]
      : mode === 'long'
        ? [4, 8]
        : [2, 4]
    for (const size of entry.sizes) {
      if (mode === 'legacy' && size === 8) continue
      if (mode === 'long' && size === 8 && form.modes === 'no64') continue
      for (const memory of memories)
        for (const repeat of repeats)
          for (const addressSize of addressSizes) yield { size, mode, memory, repeat, addressSize }
    }
  }
}
