import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CPU_MODELS, cpuid } from './model.ts'

const model = (name: string) => CPU_MODELS.find((candidate) => candidate.name === name)!
const ask = (name: string, leaf: number, subleaf = 0, xcr0 = 1) =>
  cpuid(model(name), leaf, subleaf, { osxsave: false, xcr0 })
const bit = (word: number, number: number): number => (word >>> number) & 1

describe('CPUID', () => {
  it('has what x86-64-v3 adds in that model only', () => {
    for (const [name, expected] of [
      ['x86-64-v2', 0],
      ['x86-64-v3', 1],
    ] as const) {
      const [, , leaf1] = ask(name, 1)
      const [, leaf7] = ask(name, 7)
      const [, , extended] = ask(name, 0x80000001)
      const bits = [
        ...[12, 22, 28, 29].map((number) => bit(leaf1, number)), // FMA, MOVBE, AVX, F16C
        ...[3, 5, 8].map((number) => bit(leaf7, number)), // BMI1, AVX2, BMI2
        bit(extended, 5), // LZCNT
      ]
      assert.deepEqual(bits, new Array(8).fill(expected), name)
    }
  })

  it('tells the size of XSAVE’s area for what XCR0 has and for all, and where the AVX state lies', () => {
    assert.deepEqual(ask('x86-64-v1', 0xd), [0, 0, 0, 0])
    assert.deepEqual(ask('x86-64-v2', 0xd), [3, 576, 576, 0])
    assert.deepEqual(ask('x86-64-v2', 0xd, 2), [0, 0, 0, 0])
    assert.deepEqual(ask('x86-64-v3', 0xd, 0, 3), [7, 576, 832, 0])
    assert.deepEqual(ask('x86-64-v3', 0xd, 0, 7), [7, 832, 832, 0])
    assert.deepEqual(ask('x86-64-v3', 0xd, 2), [256, 576, 0, 0])
  })
})
