import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { integerRoutines } from '../isa/integer-routines.ts'
import * as L from '../state/layout.ts'
import type { Callable } from '../wasm/code.ts'
import { ModuleBuilder } from '../wasm/module.ts'
import { floatRoutines } from './index.ts'
import { DE, IE, OE, PE, ROUND_DOWN, ROUND_UP, ROUND_ZERO, UE, ZE } from './unpacked.ts'

type Routine = (...args: (bigint | number)[]) => bigint

/** The routines, compiled alone; `flags` takes what was raised. */
function compile(): { run: Record<string, Routine>; flags: () => number } {
  const module = new ModuleBuilder()
  module.importMemory('engine', 1, 1)
  const flag = module.func('flag', [], ['i32'], (c) => c.return(0))
  const names = ['flagCf', 'flagOf', 'flagSf', 'flagPf', 'flagAf', 'arithmeticFlags']
  const routines = new Map<string, Callable>(names.map((name) => [name, flag]))
  integerRoutines(module, routines)
  const floats = new Map(routines)
  floatRoutines(module, floats)
  for (const [name, callable] of floats) if (!routines.has(name)) module.export(name, callable)
  const engine = new WebAssembly.Memory({ initial: 1, maximum: 1 })
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.build()), { env: { engine } })
  const state = new DataView(engine.buffer)
  const flags = (): number => {
    const raised = state.getInt32(L.SF_FLAGS, true)
    state.setInt32(L.SF_FLAGS, 0, true)
    return raised
  }
  return { run: instance.exports as Record<string, Routine>, flags }
}

const { run, flags } = compile()
const scratch = new DataView(new ArrayBuffer(8))
function bits64(value: number): bigint {
  scratch.setFloat64(0, value)
  return scratch.getBigUint64(0)
}
function bits32(value: number): bigint {
  scratch.setFloat32(0, value)
  return BigInt(scratch.getUint32(0))
}
const u64 = (value: bigint): bigint => BigInt.asUintN(64, value)

/** Every exponent now and then, both signs, few and many bits. */
function* samples(count: number): Generator<[number, number]> {
  let seed = 1
  const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32
  const value = (): number => {
    const exponent = Math.floor(random() * 40) - 20 - (random() < 0.2 ? 1040 : 0)
    const fraction = 1 + (random() < 0.5 ? Math.floor(random() * 8) / 8 : random())
    return (random() < 0.5 ? -1 : 1) * fraction * 2 ** exponent
  }
  for (let i = 0; i < count; i++) yield [value(), value()]
}

const OPERATIONS: readonly [string, (a: number, b: number) => number][] = [
  ['Add', (a, b) => a + b],
  ['Sub', (a, b) => a - b],
  ['Mul', (a, b) => a * b],
  ['Div', (a, b) => a / b],
]

describe('exact binary arithmetic', () => {
  for (const [name, expected] of OPERATIONS) {
    it(`rounds float64${name} and float32${name} to nearest as JavaScript does`, () => {
      for (const [a, b] of samples(2000)) {
        const wide = run[`float64${name}`]!(bits64(a), bits64(b), 0)
        assert.equal(u64(wide), bits64(expected(a, b)), `${a} ${name} ${b}`)
        const [x, y] = [Math.fround(a), Math.fround(b)]
        if (x === 0 || y === 0) continue
        // binary64 has more than twice the digits of binary32, so that rounding twice is rounding once.
        const narrow = run[`float32${name}`]!(bits32(x), bits32(y), 0)
        assert.equal(narrow, bits32(Math.fround(expected(x, y))), `${x} ${name} ${y}`)
      }
    })
  }

  it('takes square roots as JavaScript does', () => {
    for (const [a] of samples(2000)) {
      const x = Math.abs(a)
      assert.equal(run.float64Sqrt!(bits64(x), 0), bits64(Math.sqrt(x)), `${x}`)
    }
    assert.equal(u64(run.float64Sqrt!(bits64(-1), 0)), 0xfff8000000000000n)
  })

  it('rounds 1 / 3 down, up and toward zero', () => {
    const third = (control: number) => run.float64Div!(bits64(1), bits64(3), control)
    assert.equal(third(ROUND_UP) - third(ROUND_DOWN), 1n)
    assert.equal(third(ROUND_ZERO), third(ROUND_DOWN))
    const negative = run.float64Div!(bits64(-1), bits64(3), ROUND_ZERO)
    assert.equal(u64(negative), u64(third(ROUND_DOWN) | (1n << 63n)))
  })

  it('raises the flags of the manual', () => {
    flags()
    const cases: readonly [string, number, number, number][] = [
      ['float64Add', 1, 2, 0],
      ['float64Add', 1, 1e-30, PE],
      ['float64Div', 1, 0, ZE],
      ['float64Div', 0, 0, IE],
      ['float64Sub', Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, IE],
      ['float64Mul', 1e200, 1e200, OE | PE],
      ['float64Mul', 1e-200, 1e-200, UE | PE],
      ['float64Add', 5e-324, 1, DE | PE],
      ['float64Add', 5e-324, 5e-324, DE],
    ]
    for (const [name, a, b, expected] of cases) {
      run[name]!(bits64(a), bits64(b), 0)
      assert.equal(flags(), expected, `${name} ${a} ${b}`)
    }
  })

  it('converts integers at the ends of their range', () => {
    flags()
    assert.equal(BigInt.asIntN(32, run.float64ToInt32!(bits64(-2147483648.5), 0)), -2147483648n)
    assert.equal(flags(), PE)
    assert.equal(BigInt.asIntN(32, run.float64ToInt32!(bits64(2147483647.5), 0)), -2147483648n)
    assert.equal(flags(), IE)
    assert.equal(run.float64ToInt64!(bits64(-(2 ** 63)), 0), -(2n ** 63n))
    assert.equal(flags(), 0)
    assert.equal(u64(run.int64ToFloat64!(-(2n ** 63n), 0)), bits64(-(2 ** 63)))
    assert.equal(run.int64ToFloat32!(2n ** 24n + 1n, 0), bits32(2 ** 24))
    assert.equal(flags(), PE)
  })

  it('gives the second operand of a minimum where either is a NaN or both are zeros', () => {
    assert.equal(u64(run.float64Min!(bits64(Number.NaN), bits64(-1), 0)), bits64(-1))
    assert.equal(u64(run.float64Max!(bits64(0), bits64(-0), 0)), bits64(-0))
  })

  it('flushes tiny results and takes denormal operands as zeros where the control word says so', () => {
    flags()
    assert.equal(run.float64Mul!(bits64(1e-200), bits64(1e-120), 8), 0n)
    assert.equal(flags(), UE | PE)
    assert.equal(run.float64Add!(bits64(5e-324), bits64(1), 4), bits64(1))
    assert.equal(flags(), 0)
  })
})
