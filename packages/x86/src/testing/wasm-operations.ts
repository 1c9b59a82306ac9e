/** WebAssembly's operations without control flow, by opcode: names and operands, from the tables that code is made with. */
import {
  BINARY,
  COMPARE,
  CONVERT,
  LOAD,
  SIMD,
  SIMD_LANE,
  SIMD_MIXED,
  STORE,
  UNARY,
  VALUE_TYPE_CODE,
} from '../wasm/opcodes.ts'

export type Immediate = 'none' | 'memory' | 'lane' | 'bytes'

export interface Operation {
  readonly name: string
  /** Operands, and whether there is a result. */
  readonly operands: number
  readonly hasResult: boolean
  readonly immediate: Immediate
}

export const TYPE_NAMES = new Map(Object.entries(VALUE_TYPE_CODE).map(([name, code]) => [code, name]))

function* operations(): Generator<[number, Operation]> {
  const pure = (name: string, operands: number, immediate: Immediate = 'none'): Operation => ({
    ...{ name, operands, immediate, hasResult: true },
  })
  const tables: readonly (readonly [Record<string, Record<string, number>>, number])[] = [
    [BINARY, 2],
    [COMPARE, 2],
    [UNARY, 1],
  ]
  for (const [table, operands] of tables)
    for (const [name, row] of Object.entries(table))
      for (const [type, opcode] of Object.entries(row))
        yield [opcode, pure(`${type}.${snake(name)}`, operands)]
  yield [0x45, pure('i32.eqz', 1)]
  yield [0x50, pure('i64.eqz', 1)]
  yield [0x1b, pure('select', 3)]
  for (const [name, [from, to, opcode]] of Object.entries(CONVERT))
    yield [opcode, pure(`${to}.${/^[if]\d/.test(name) ? snake(name.slice(3)) : `${snake(name)}_${from}`}`, 1)]
  for (const [kind, [, opcode]] of Object.entries(LOAD))
    yield [opcode, pure(access('load', kind), 1, 'memory')]
  for (const [kind, [, opcode]] of Object.entries(STORE))
    yield [opcode, { ...pure(access('store', kind), 2, 'memory'), hasResult: false }]
  for (const [name, opcode] of Object.entries(SIMD)) yield [0xfd00 + opcode, pure(name, simdOperands(name))]
  for (const [name, [operands, , opcode]] of Object.entries(SIMD_MIXED))
    yield [0xfd00 + opcode, pure(name, operands.length)]
  for (const [shape, [, extract, replace]] of Object.entries(SIMD_LANE)) {
    const [lanes, sign] = shape.split('_')
    yield [0xfd00 + extract, pure(`${lanes}.extract_lane${sign ? '_s' : ''}`, 1, 'lane')]
    yield [0xfd00 + replace, pure(`${lanes}.replace_lane`, 2, 'lane')]
  }
  yield [0xfd0d, pure('i8x16.shuffle', 2, 'bytes')]
}

/** "divS" -> "div_s". */
const snake = (name: string): string =>
  name.replace(/[A-Z]/g, (letter, at) => `${at === 0 ? '' : '_'}${letter.toLowerCase()}`)
/** "i32_8u" -> "i32.load8_u". */
const access = (verb: string, kind: string): string =>
  kind.replace(
    /^(\w+?)(?:_(\d+)(\w*))?$/,
    (_, type, bits = '', sign = '') => `${type}.${verb}${bits}${sign ? `_${sign}` : ''}`,
  )

const UNARY_SIMD =
  /\.(not|abs|neg|popcnt|sqrt|ceil|floor|trunc|nearest|extend_|extadd|convert|promote|demote)/
function simdOperands(name: string): number {
  if (name === 'v128.bitselect') return 3
  return UNARY_SIMD.test(name) ? 1 : 2
}

/** By opcode as in the tables: what has a prefix is the prefix, then one byte. */
export const OPERATIONS: ReadonlyMap<number, Operation> = new Map(operations())
