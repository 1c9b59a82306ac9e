import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as L from '../state/layout.ts'
import { ModuleBuilder } from '../wasm/module.ts'
import { SIMD } from '../wasm/opcodes.ts'
import { OPERATIONS } from './wasm-operations.ts'
import { functionTexts } from './wasm-text.ts'

describe('the text of WebAssembly', () => {
  it('has expressions folded, and names for places and for what is imported', () => {
    const module = new ModuleBuilder()
    module.importMemory('engine', 1, 1)
    module.importMemory('ram', 1, 1)
    const help = module.importFunction('help', ['i64'], [])
    const first = module.func('first', ['i32'], ['i32'], (c) => {
      const rax = c.load('i64', c.i32(0), L.REGS)
      c.if(rax.eqz(), () => c.call(help, c.i64(0x12345)))
      c.block((out) => {
        c.branchIf(out, c.param(0))
        c.store('i32_8', c.param(0).add(8), c.i32(7), 4, 1)
      })
      c.return(c.param(0).ltU(-5))
    })
    module.export('first', first)
    assert.deepEqual(functionTexts(module.build()), [
      `(func (param i32) (result i32)
  (local i64*1)
  (if (i64.eqz (i64.load rax))
    (call $help (i64 0x12345))
  )
  (block @1
    (br_if @1 $0)
    (i32.store8 $ram +0x4 (i32.add $0 (i32 8)) (i32 7))
  )
  (return (i32.lt_u $0 (i32 -5)))
)
`,
    ])
  })
  it('names operations as WebAssembly does', () => {
    const name = (opcode: number) => OPERATIONS.get(opcode)!.name
    assert.deepEqual([0x48, 0x6a, 0x2d, 0x3a, 0xa7, 0xac, 0xbd, 0xc4].map(name), [
      'i32.lt_s',
      'i32.add',
      'i32.load8_u',
      'i32.store8',
      'i32.wrap_i64',
      'i64.extend_s_i32',
      'i64.reinterpret_f64',
      'i64.extend32_s',
    ])
    for (const opcode of Object.values(SIMD)) assert.ok(OPERATIONS.has(0xfd00 + opcode))
  })
})
