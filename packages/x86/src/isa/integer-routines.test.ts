import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Callable } from '../wasm/code.ts'
import { ModuleBuilder } from '../wasm/module.ts'
import { integerRoutines } from './integer-routines.ts'

type Product = (a: bigint, b: bigint) => bigint

function routine(name: string): Product {
  const module = new ModuleBuilder()
  module.importMemory('engine', 1, 1)
  const flag = module.func('flag', [], ['i32'], (c) => c.return(0))
  const flags = module.func('flags', [], ['i64'], (c) => c.return(0))
  const names = ['flagOf', 'flagCf', 'flagAf', 'flagSf', 'flagPf'] as const
  const routines = new Map<string, Callable>(names.map((name) => [name, flag]))
  routines.set('arithmeticFlags', flags)
  integerRoutines(module, routines)
  module.export(name, routines.get(name)!)
  const engine = new WebAssembly.Memory({ initial: 1, maximum: 1 })
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.build()), { env: { engine } })
  return instance.exports[name] as Product
}

describe('the high half of a product', () => {
  // Powers of two and their neighbours, of both signs: where a product begins to need more than 64 bits.
  const values = Array.from({ length: 64 }, (_, n) => 1n << BigInt(n)).flatMap((power) =>
    [power, power - 1n, power + 1n, -power, -power - 1n, power * 3n].map((x) => BigInt.asIntN(64, x)),
  )
  it('is right for signed operands', () => {
    const high = routine('mulHighS')
    for (const a of values)
      for (const b of values) assert.equal(high(a, b), BigInt.asIntN(64, (a * b) >> 64n))
  })
  it('is right for unsigned operands', () => {
    const high = routine('mulHighU')
    const unsigned = (x: bigint) => BigInt.asUintN(64, x)
    for (const a of values)
      for (const b of values)
        assert.equal(high(a, b), BigInt.asIntN(64, (unsigned(a) * unsigned(b)) >> 64n), `${a} ${b}`)
  })
})
