import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Code } from './code.ts'
import { ModuleBuilder } from './module.ts'

type Fn = (...args: number[]) => number

function compile(params: number, build: (code: Code) => void): Fn {
  const module = new ModuleBuilder()
  module.importMemory('memory', 1, 1)
  const f = module.func('f', new Array(params).fill('i32'), ['i32'], build)
  module.export('f', f)
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 })
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.build()), { env: { memory } })
  return instance.exports.f as Fn
}

describe('code builder', () => {
  it('adds its parameters', () => {
    const add = compile(2, (c) => c.return(c.param(0).add(c.param(1))))
    assert.equal(add(40, 2), 42)
  })
  it('evaluates a shared expression once and an unused one never', () => {
    const f = compile(1, (c) => {
      c.param(0).divS(0) // would trap
      const square = c.param(0).mul(c.param(0))
      c.return(square.add(square))
    })
    assert.equal(f(3), 18)
  })
  it('computes on demand what was asked for so, each time, from the values of then', () => {
    const f = compile(2, (c) => {
      const x = c.variable('i32', c.param(0))
      const quotient = x.get().divS(c.param(1)).onDemand() // traps where it is computed
      x.set(7)
      c.if(c.param(1).eqz(), () => c.return(x.get()))
      c.if(c.param(1).eq(1), () => c.return(quotient.add(quotient)))
      c.return(quotient)
    })
    assert.deepEqual([f(9, 0), f(9, 1), f(9, 3)], [7, 18, 3])
  })
  it('reads memory where it was written, not where it is used', () => {
    const f = compile(0, (c) => {
      c.store('i32', c.i32(0), 1)
      const before = c.load('i32', c.i32(0))
      c.store('i32', c.i32(0), 2)
      c.return(before)
    })
    assert.equal(f(), 1)
  })
  it('keeps a value made before a loop alive through all its rounds', () => {
    const sum = compile(1, (c) => {
      const step = c.param(0).add(1)
      const step2 = step.mul(step)
      const total = c.variable('i32', 0)
      const i = c.variable('i32', 0)
      c.while(
        () => i.get().ltS(10),
        () => {
          total.set(total.get().add(step2).add(step))
          const a = i.get().add(1)
          i.set(a)
          c.store('i32', a.mul(4), a)
        },
      )
      c.return(total.get())
    })
    assert.equal(sum(2), 120)
  })
  it('chooses the case of a switch, or the fallback', () => {
    const f = compile(1, (c) => {
      c.switch(c.param(0), [() => c.return(10), () => c.return(11)], () => c.return(99))
      c.unreachable()
    })
    assert.deepEqual([f(0), f(1), f(2), f(-1)], [10, 11, 99, 99])
  })
  it('takes lanes out of vectors as they were put in, through shuffles and as floats', () => {
    const f = compile(2, (c) => {
      const [a, b] = [c.param(0).extendU(), c.param(1).extendU()]
      const loaded = c.load('v128', c.i32(64))
      const pair = loaded.withLane('i64x2', 0, a).withLane('i64x2', 1, b)
      const swapped = pair.shuffle(pair, [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7])
      const float = swapped.lane('f64x2', 0).convert('i64ReinterpretF64')
      const kept = swapped.withLane('i32x4', 0, 5).lane('i64x2', 1)
      // 10 b + a, and 100 of the half that was replaced.
      const half = swapped.withLane('i32x4', 0, 5).lane('i64x2', 0)
      c.return(float.mul(10).add(kept).add(half.mul(100)).wrap())
    })
    assert.equal(f(3, 7), 573)
  })
  it('stores the bits of floats that were integers, and the low ones of lanes', () => {
    const f = compile(1, (c) => {
      const v = c.zero('v128').withLane('i32x4', 1, c.param(0)).withLane('i32x4', 2, 0x7fa00001)
      c.store('i64', c.i32(0), v.lane('i64x2', 0))
      c.store('i64_32', c.i32(4), v.lane('i32x4', 2).extendU())
      c.store('i64_32', c.i32(8), v.lane('i64x2', 1))
      c.return(
        c
          .load('i32', c.i32(4))
          .xor(c.load('i32', c.i32(8)))
          .add(c.load('i32', c.i32(0))),
      )
    })
    assert.equal(f(0x7ff00001), 0)
  })
  it('sees that what is subtracted from itself, or read twice, leaves zero', () => {
    const f = compile(1, (c) => {
      const twice = () => c.param(0).extendU().add(5).wrap()
      const [a, b] = [twice(), twice()]
      assert.equal(a.xor(a).isConstant, true)
      assert.equal(a.sub(c.param(0)).isConstant, false)
      c.return(a.xor(b).add(a.sub(c.param(0))))
    })
    assert.equal(f(7), 5)
  })
  it('encodes constants of every width', () => {
    const f = compile(0, (c) => {
      const wide = c.i64(0x8000000000000000n).shrU(32).wrap()
      c.return(
        wide.add(c.i64(-1).wrap()).add(
          c
            .i64(2 ** 40)
            .shrU(40)
            .wrap(),
        ),
      )
    })
    assert.equal(f(), -0x80000000)
  })
})
