/**
 * A module of `ModuleBuilder` as text, for reviews: near to WebAssembly's text format, with expressions folded, a statement
 * a line, and names for what the engine knows. Labels are named by how deep they are, and branches by them.
 */
import * as L from '../state/layout.ts'
import { GPR_NAMES } from '../state/registers.ts'
import { OPERATIONS, type Operation, TYPE_NAMES } from './wasm-operations.ts'

const WIDTH = 110
const SECTION = { type: 1, import: 2, function: 3, code: 10 } as const

interface Signature {
  readonly params: readonly string[]
  readonly results: readonly string[]
}
/** An expression or a statement: in brackets, the head and then the operands. */
interface Term {
  readonly head: string
  readonly operands: readonly Term[]
}

/** In place of an address that is 0: the offset's name says it all. */
const NO_ADDRESS: Term = { head: 'i32 0', operands: [] }

/** The functions of a module, in their order. */
export function functionTexts(module: Uint8Array): string[] {
  const reader = new Reader(module)
  reader.at = 8
  const types: Signature[] = []
  const functions: { name: string; type: Signature }[] = []
  const texts: string[] = []
  let defined = 0
  while (reader.at < module.length) {
    const section = reader.u8()
    const end = reader.u32() + reader.at
    if (section === SECTION.type) reader.list(() => types.push(reader.signature()))
    else if (section === SECTION.import)
      reader.list(() => {
        const import_ = reader.import()
        if (import_.type !== undefined) functions.push({ name: import_.name, type: types[import_.type]! })
      })
    else if (section === SECTION.function) {
      defined = functions.length
      reader.list(() => functions.push({ name: `${functions.length - defined}`, type: types[reader.u32()]! }))
    } else if (section === SECTION.code)
      reader.list(() => texts.push(new FunctionText(reader, functions, types, defined++).text()))
    reader.at = end
  }
  return texts
}

class Reader {
  at = 0
  readonly #bytes: Uint8Array
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  u8(): number {
    return this.#bytes[this.at++]!
  }
  u32(): number {
    return Number(BigInt.asUintN(32, this.#leb().value))
  }
  signed(): bigint {
    const { value, bits } = this.#leb()
    return BigInt.asIntN(bits, value)
  }
  #leb(): { value: bigint; bits: number } {
    let value = 0n
    for (let bits = 0; ; ) {
      const byte = this.u8()
      value |= BigInt(byte & 0x7f) << BigInt(bits)
      bits += 7
      if (byte < 0x80) return { value, bits }
    }
  }
  bytes(count: number): Uint8Array {
    this.at += count
    return this.#bytes.slice(this.at - count, this.at)
  }
  name(): string {
    return String.fromCharCode(...this.bytes(this.u32()))
  }
  list(item: () => void): void {
    for (let left = this.u32(); left > 0; left--) item()
  }

  signature(): Signature {
    this.u8()
    return { params: this.#types(), results: this.#types() }
  }
  #types(): string[] {
    return Array.from({ length: this.u32() }, () => TYPE_NAMES.get(this.u8())!)
  }
  /** `type` is that of a function, and undefined for memories and tables. */
  import(): { name: string; type?: number } {
    this.name()
    const name = this.name()
    const kind = this.u8()
    if (kind === 0) return { name, type: this.u32() }
    if (kind === 1) this.at += 1 // the reference's kind, before its type
    for (let values = kind === 1 ? 4 : 3; values > 0; values--) this.u32()
    return { name }
  }
}

class FunctionText {
  readonly #reader: Reader
  readonly #functions: readonly { name: string; type: Signature }[]
  readonly #types: readonly Signature[]
  readonly #stack: Term[] = []
  #lines: string[] = []
  #depth = 0

  constructor(
    reader: Reader,
    functions: readonly { name: string; type: Signature }[],
    types: readonly Signature[],
    index: number,
  ) {
    this.#reader = reader
    this.#functions = functions
    this.#types = types
    const end = reader.u32() + reader.at
    const { params, results } = functions[index]!.type
    const list = (word: string, names: readonly string[]): string =>
      names.length > 0 ? ` (${word} ${names.join(' ')})` : ''
    this.#lines.push(`(func${list('param', params)}${list('result', results)}`)
    this.#locals()
    while (reader.at < end) this.#instruction()
  }

  text(): string {
    return `${this.#lines.join('\n')}\n`
  }

  #locals(): void {
    const counts = new Map<string, number>()
    this.#reader.list(() => {
      const count = this.#reader.u32()
      const type = TYPE_NAMES.get(this.#reader.u8())!
      counts.set(type, (counts.get(type) ?? 0) + count)
    })
    const counted = [...counts].sort().map(([type, count]) => `${type}*${count}`)
    if (counted.length > 0) this.#line(`(local ${counted.join(' ')})`)
  }

  #line(text: string): void {
    this.#lines.push('  '.repeat(this.#depth + 1) + text)
  }
  #pop(count: number): Term[] {
    return this.#stack.splice(this.#stack.length - count, count)
  }
  #push(head: string, operands: number): void {
    this.#stack.push({ head, operands: this.#pop(operands) })
  }
  #say(head: string, operands: number): void {
    this.#write({ head, operands: this.#pop(operands) }, this.#depth + 1)
  }
  #write(term: Term, depth: number): void {
    const indent = '  '.repeat(depth)
    const flat = inline(term)
    if (indent.length + flat.length <= WIDTH || term.operands.length === 0) {
      this.#lines.push(indent + flat)
      return
    }
    this.#lines.push(`${indent}(${term.head}`)
    for (const operand of term.operands) this.#write(operand, depth + 1)
    this.#lines[this.#lines.length - 1] += ')'
  }

  #label(): string {
    return `@${this.#depth - this.#reader.u32()}`
  }

  #instruction(): void {
    const reader = this.#reader
    const opcode = reader.u8()
    switch (opcode) {
      case 0x00:
        return this.#say('unreachable', 0)
      case 0x02:
      case 0x03:
        reader.u8()
        this.#line(`(${opcode === 2 ? 'block' : 'loop'} @${this.#depth + 1}`)
        this.#depth++
        return
      case 0x04:
        reader.u8()
        this.#say('if', 1)
        this.#lines[this.#lines.length - 1] = this.#lines.at(-1)!.slice(0, -1)
        this.#depth++
        return
      case 0x05:
        this.#lines.push(`${'  '.repeat(this.#depth)}else`)
        return
      case 0x0b:
        // Operands that an end finds are those of a function that falls out of its body.
        while (this.#stack.length > 0) this.#write(this.#stack.shift()!, this.#depth + 1)
        this.#lines.push(`${'  '.repeat(this.#depth)})`)
        this.#depth--
        return
      case 0x0c:
        return this.#say(`br ${this.#label()}`, 0)
      case 0x0d:
        return this.#say(`br_if ${this.#label()}`, 1)
      case 0x0e: {
        const labels: string[] = []
        reader.list(() => labels.push(this.#label()))
        return this.#say(`br_table ${[...labels, this.#label()].join(' ')}`, 1)
      }
      case 0x0f:
        return this.#say('return', this.#stack.length)
      case 0x10:
        return this.#call('call', this.#functions[reader.u32()]!)
      case 0x12:
        return this.#tailCall(this.#functions[reader.u32()]!)
      case 0x13: {
        const { params } = this.#types[reader.u32()]!
        reader.u32()
        const slot = this.#stack.at(-1)!
        // A handler's number says nothing, and is another with each new instruction.
        if (slot.head.startsWith('i32'))
          this.#stack[this.#stack.length - 1] = { head: '$handler', operands: [] }
        return this.#say('return_call_indirect', params.length + 1)
      }
      case 0x1a:
        return this.#say('drop', 1)
      case 0x20:
        return this.#push(`$${reader.u32()}`, 0)
      case 0x21:
        return this.#say(`local.set $${reader.u32()}`, 1)
      case 0x22:
        return this.#push(`local.tee $${reader.u32()}`, 1)
      case 0x41:
        return this.#push(`i32 ${number(reader.signed())}`, 0)
      case 0x42:
        return this.#push(`i64 ${number(reader.signed())}`, 0)
      case 0x43:
        return this.#push(`f32 ${new Float32Array(reader.bytes(4).buffer)[0]}`, 0)
      case 0x44:
        return this.#push(`f64 ${new Float64Array(reader.bytes(8).buffer)[0]}`, 0)
      case 0xfc:
      case 0xfd:
        return this.#prefixed((opcode << 8) | reader.u32())
      default:
        return this.#operation(opcode)
    }
  }

  #call(verb: string, { name, type }: { name: string; type: Signature }): void {
    if (type.results.length > 0) this.#push(`${verb} $${name}`, type.params.length)
    else this.#say(`${verb} $${name}`, type.params.length)
  }
  #tailCall({ name, type }: { name: string; type: Signature }): void {
    this.#say(`return_call $${name}`, type.params.length)
  }

  #prefixed(opcode: number): void {
    const reader = this.#reader
    if (opcode === 0xfd0c) return this.#push(`v128 ${hexBytes(reader.bytes(16))}`, 0)
    if (opcode === 0xfc0a || opcode === 0xfc0b) {
      const memories = reader.bytes(opcode === 0xfc0a ? 2 : 1)
      return this.#say(`memory.${opcode === 0xfc0a ? 'copy' : 'fill'} ${[...memories].join(' ')}`, 3)
    }
    this.#operation(opcode)
  }

  #operation(opcode: number): void {
    const operation = OPERATIONS.get(opcode)
    if (!operation) throw new Error(`Invariant broken: an unknown opcode, ${opcode.toString(16)}h`)
    const head = operation.name + this.#immediate(operation)
    const operands = this.#pop(operation.operands).filter((operand) => operand !== NO_ADDRESS)
    if (operation.hasResult) this.#stack.push({ head, operands })
    else this.#write({ head, operands }, this.#depth + 1)
  }

  #immediate({ immediate, operands }: Operation): string {
    const reader = this.#reader
    if (immediate === 'lane') return ` ${reader.u8()}`
    if (immediate === 'bytes') return ` ${[...reader.bytes(16)].join(' ')}`
    if (immediate !== 'memory') return ''
    const memory = reader.u8() & 0x40 ? reader.u32() : 0
    const offset = reader.u32()
    if (memory !== 0) return ` $ram${offset === 0 ? '' : ` +${hex(offset)}`}`
    const at = this.#stack.length - operands
    if (this.#stack[at]!.head !== 'i32 0') return offset === 0 ? '' : ` +${engineName(offset)}`
    this.#stack[at] = NO_ADDRESS
    return ` ${engineName(offset)}`
  }
}

const inline = ({ head, operands }: Term): string =>
  operands.length === 0 && head.startsWith('$') ? head : `(${[head, ...operands.map(inline)].join(' ')})`

const hex = (value: number | bigint): string =>
  value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`
const hexBytes = (bytes: Uint8Array): string =>
  [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')

function number(value: bigint): string {
  if (value >= L.PLACES && value < L.TARGETS) return `place+${hex(Number(value) - L.PLACES)}`
  if (value >= L.ARENA && value < L.ARENA + (64 << 20)) return `uop+${hex(Number(value) - L.ARENA)}`
  return value > -1024n && value < 1024n ? `${value}` : hex(value)
}

const NAMED = new Map<number, string>()
for (const [name, at] of Object.entries(L))
  if (typeof at === 'number' && at >= L.FLAG_KIND && at < L.STATE_END && !NAMED.has(at)) NAMED.set(at, name)
for (const [i, name] of GPR_NAMES.entries()) NAMED.set(L.REGS + i * 8, name)
for (const [name, slot] of Object.entries(L.SLOT)) NAMED.set(L.REGS + slot * 8, name)
for (let i = 0; i < 16; i++) {
  NAMED.set(L.XMM + i * 16, `xmm${i}`)
  NAMED.set(L.XMM + i * 16 + 8, `xmm${i}.high`)
}
const { TLB, CODE_TLB, CODE_PAGES, CODE_MAPS, HEAT, REGION_ENTRIES, TARGETS } = L
const TABLES = { TLB, CODE_TLB, CODE_PAGES, CODE_MAPS, HEAT, REGION_ENTRIES, TARGETS }
for (const [name, at] of Object.entries(TABLES)) NAMED.set(at, name)
function engineName(offset: number): string {
  return NAMED.get(offset) ?? (NAMED.has(offset - 4) ? `${NAMED.get(offset - 4)}+4` : hex(offset))
}
