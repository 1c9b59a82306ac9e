import { ByteWriter } from './bytes.ts'
import { type BranchHint, type Callable, Code, type FunctionBody } from './code.ts'
import { VALUE_TYPE_CODE, type ValueType } from './opcodes.ts'

const HEADER = Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00)
const SECTION = {
  custom: 0,
  type: 1,
  import: 2,
  function: 3,
  table: 4,
  export: 7,
  element: 9,
  code: 10,
} as const

/** A WebAssembly module under construction: imports first, then functions, which may call each other in any order. */
export class ModuleBuilder {
  readonly #types: string[] = []
  readonly #typeBodies: Uint8Array[] = []
  readonly #imports: ByteWriter[] = []
  #importedFunctions = 0
  readonly #functions: { callable: Callable; body: FunctionBody | undefined; name: string }[] = []
  readonly #exports: { name: string; kind: number; index: number }[] = []
  #table: { size: number; typeIndex: number; elements: Map<number, Callable> } | undefined

  /** The index of a function type; the same for equal signatures. */
  typeIndex(params: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${params.join()}>${results.join()}`
    const known = this.#types.indexOf(key)
    if (known >= 0) return known
    const body = new ByteWriter()
    body.u8(0x60)
    for (const list of [params, results]) {
      body.u32(list.length)
      for (const type of list) body.u8(VALUE_TYPE_CODE[type])
    }
    this.#types.push(key)
    this.#typeBodies.push(body.view())
    return this.#types.length - 1
  }

  importFunction(name: string, params: readonly ValueType[], results: readonly ValueType[] = []): Callable {
    if (this.#functions.length > 0) throw new Error('imports come before functions')
    const entry = this.#importEntry(name)
    entry.u8(0x00)
    entry.u32(this.typeIndex(params, results))
    return { index: this.#importedFunctions++, params, results }
  }

  /** Imports a memory; its index is the order of the calls. */
  importMemory(name: string, initialPages: number, maximumPages: number): void {
    const entry = this.#importEntry(name)
    entry.u8(0x02)
    entry.u8(0x01)
    entry.u32(initialPages)
    entry.u32(maximumPages)
  }

  /** Imports the one table instead of having one. */
  importTable(name: string, size: number, typeIndex: number): void {
    const entry = this.#importEntry(name)
    entry.u8(0x01)
    this.#tableType(entry, size, typeIndex)
  }

  #importEntry(name: string): ByteWriter {
    const entry = new ByteWriter()
    entry.name('env')
    entry.name(name)
    this.#imports.push(entry)
    return entry
  }

  /** Declares a function, so that others can call it, and defines it later. */
  declare(name: string, params: readonly ValueType[], results: readonly ValueType[] = []): Callable {
    this.typeIndex(params, results)
    const callable = { index: this.#importedFunctions + this.#functions.length, params, results }
    this.#functions.push({ callable, body: undefined, name })
    return callable
  }

  define(callable: Callable, build: (code: Code) => void): void {
    const code = new Code(callable.params, callable.results)
    build(code)
    this.defineWith(callable, code)
  }

  defineWith(callable: Callable, code: Code): void {
    this.#functions[callable.index - this.#importedFunctions]!.body = code.emit()
  }

  func(
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
    build: (code: Code) => void,
  ): Callable {
    const callable = this.declare(name, params, results)
    this.define(callable, build)
    return callable
  }

  export(name: string, callable: Callable): void {
    this.#exports.push({ name, kind: 0x00, index: callable.index })
  }

  exportTable(name: string): void {
    this.#exports.push({ name, kind: 0x01, index: 0 })
  }

  /** The one table, of functions of one type, so that an indirect call needs no check of the signature. */
  table(size: number, typeIndex: number, elements: Map<number, Callable>): void {
    this.#table = { size, typeIndex, elements }
  }

  /** `compiled`: asks that the functions are compiled at once, and how well; else each is when it is called first. */
  build({ compiled }: { compiled?: 'quickly' | 'well' } = {}): Uint8Array {
    const out = new ByteWriter()
    out.bytes(HEADER)
    this.#section(out, SECTION.type, (s) => {
      s.u32(this.#typeBodies.length)
      for (const body of this.#typeBodies) s.bytes(body)
    })
    this.#section(out, SECTION.import, (s) => {
      s.u32(this.#imports.length)
      for (const entry of this.#imports) s.bytes(entry.view())
    })
    this.#section(out, SECTION.function, (s) => {
      s.u32(this.#functions.length)
      for (const { callable } of this.#functions) s.u32(this.typeIndex(callable.params, callable.results))
    })
    const table = this.#table
    if (table) this.#section(out, SECTION.table, (s) => this.#tableSection(s, table.size, table.typeIndex))
    this.#section(out, SECTION.export, (s) => {
      s.u32(this.#exports.length)
      for (const { name, kind, index } of this.#exports) {
        s.name(name)
        s.u8(kind)
        s.u32(index)
      }
    })
    if (table) this.#section(out, SECTION.element, (s) => elementSection(s, table.elements, table.typeIndex))
    if (compiled) this.#compilationHints(out, compiled)
    this.#branchHints(out)
    this.#section(out, SECTION.code, (s) => {
      s.u32(this.#functions.length)
      for (const { body, name } of this.#functions) {
        if (!body) throw new Error(`function ${name} is declared but not defined`)
        s.u32(body.bytes.length)
        s.bytes(body.bytes)
      }
    })
    return out.view()
  }

  #section(out: ByteWriter, id: number, write: (section: ByteWriter) => void): void {
    const section = new ByteWriter()
    write(section)
    out.u8(id)
    out.u32(section.length)
    out.bytes(section.view())
  }

  /** V8's section "compilationHints": a byte for each function, here eager, and its first and its last tier. */
  #compilationHints(out: ByteWriter, how: 'quickly' | 'well'): void {
    const [eager, asUsual, baseline, optimizing] = [2, 0, 1, 2]
    const [first, last] = how === 'well' ? [optimizing, optimizing] : [baseline, asUsual]
    this.#section(out, SECTION.custom, (s) => {
      s.name('compilationHints')
      s.u32(this.#functions.length)
      for (const _ of this.#functions) s.u8(eager | (first << 2) | (last << 4))
    })
  }

  /** WebAssembly's "Branch Hinting" proposal, section "metadata.code.branch_hint". */
  #branchHints(out: ByteWriter): void {
    const hinted = this.#functions.filter(({ body }) => body && body.hints.length > 0)
    if (hinted.length === 0) return
    this.#section(out, SECTION.custom, (s) => {
      s.name('metadata.code.branch_hint')
      s.u32(hinted.length)
      for (const { callable, body } of hinted) {
        s.u32(callable.index)
        writeHints(s, body!.hints)
      }
    })
  }

  #tableSection(s: ByteWriter, size: number, typeIndex: number): void {
    s.u32(1)
    this.#tableType(s, size, typeIndex)
  }

  #tableType(s: ByteWriter, size: number, typeIndex: number): void {
    s.u8(0x63) // (ref null $type)
    s.u32(typeIndex)
    s.u8(0x01)
    s.u32(size)
    s.u32(size)
  }
}

function writeHints(s: ByteWriter, hints: readonly BranchHint[]): void {
  s.u32(hints.length)
  for (const { offset, taken } of hints) {
    s.u32(offset)
    s.u32(1)
    s.u8(taken ? 1 : 0)
  }
}

function elementSection(s: ByteWriter, elements: Map<number, Callable>, typeIndex: number): void {
  s.u32(elements.size)
  for (const [slot, callable] of elements) {
    s.u32(6) // active, explicit table, reference type, expressions
    s.u32(0)
    s.u8(0x41)
    s.s53(slot)
    s.u8(0x0b)
    s.u8(0x63)
    s.u32(typeIndex)
    s.u32(1)
    s.u8(0xd2)
    s.u32(callable.index)
    s.u8(0x0b)
  }
}
