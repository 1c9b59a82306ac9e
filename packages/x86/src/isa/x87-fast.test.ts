import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { floatRoutines } from '../float/index.ts'
import * as L from '../state/layout.ts'
import type { Callable } from '../wasm/code.ts'
import { ModuleBuilder } from '../wasm/module.ts'
import { integerRoutines } from './integer-routines.ts'
import { x87ExactRoutines } from './x87-exact.ts'
import { x87FastRoutines } from './x87-fast.ts'
import { x87NumericRoutines } from './x87-numeric.ts'
import {
  MEMORY_FLOAT32,
  MEMORY_FLOAT64,
  MEMORY_INTEGER,
  X87_ADD,
  X87_DIV,
  X87_MUL,
  X87_SUB,
  x87Routines,
} from './x87-routines.ts'

/** Operands for each operation and kind of operand; more by the environment, for a long run. */
const COUNT = Number(process.env.X87_CASES ?? 4000)
const SEED = Number(process.env.X87_SEED ?? 1)

type Routine = (...args: (bigint | number)[]) => bigint | number | undefined
type Argument = bigint | number

/** The routines, compiled alone. */
function compile(): { run: Record<string, Routine>; state: DataView } {
  const module = new ModuleBuilder()
  module.importMemory('engine', 1, 1)
  const flag = module.func('flag', [], ['i32'], (c) => c.return(0))
  const names = ['flagCf', 'flagOf', 'flagSf', 'flagPf', 'flagAf', 'arithmeticFlags']
  const routines = new Map<string, Callable>(names.map((name) => [name, flag]))
  for (const group of [
    integerRoutines,
    floatRoutines,
    x87Routines,
    x87NumericRoutines,
    x87ExactRoutines,
    x87FastRoutines,
  ])
    group(module, routines)
  for (const [name, callable] of routines) if (name.startsWith('x87.')) module.export(name, callable)
  const engine = new WebAssembly.Memory({ initial: 1, maximum: 1 })
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.build()), { env: { engine } })
  return { run: instance.exports as Record<string, Routine>, state: new DataView(engine.buffer) }
}
const { run, state } = compile()

/** Numbers that look random and are the same every time. */
let seed = SEED
function random(below: number): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return Math.floor((((seed ^ (seed >>> 15)) >>> 0) / 2 ** 32) * below)
}
const one = <T>(list: readonly T[]): T => list[random(list.length)]!
const bits = (count: number): bigint => {
  let value = 0n
  for (let i = 0; i < 4; i++) value = (value << 16n) | BigInt(random(65536))
  return value & ((1n << BigInt(count)) - 1n)
}
const TOP = 1n << 63n
const ALL = (1n << 64n) - 1n

/** A significand whose sums, products and roots carry, tie or cancel more often than by chance. */
function significand(): bigint {
  const kinds: readonly (() => bigint)[] = [
    () => bits(63),
    () => bits(63),
    () => bits(63) & (ALL << BigInt(random(64))),
    () => bits(random(64)),
    () => ALL >> BigInt(random(64)),
    () => ALL - bits(random(12)),
    () => (1n << BigInt(random(64))) + (random(2) ? 1n : 0n),
    () => (bits(11) << 52n) | 0x400n,
    () => (bits(32) * bits(32)) & ALL,
  ]
  return (one(kinds)() | TOP) & ALL
}

interface Register {
  readonly significand: bigint
  readonly signExponent: number
}
const EDGES = [1, 2, 3, 63, 64, 65, 66, 0x3ffe, 0x3fff, 0x4000, 0x7ffb, 0x7ffc, 0x7ffd, 0x7ffe]
const SPECIAL: readonly (() => Register)[] = [
  () => ({ significand: 0n, signExponent: 0 }),
  () => ({ significand: bits(63), signExponent: 0 }),
  () => ({ significand: TOP, signExponent: 0x7fff }),
  () => ({ significand: TOP | bits(63), signExponent: 0x7fff }),
  () => ({ significand: bits(63), signExponent: random(0x8000) }),
  () => ({ significand: TOP | bits(63), signExponent: 0 }),
]
function register(near?: number): Register {
  const sign = random(2) * 0x8000
  const special = random(20) === 0 ? one(SPECIAL)() : undefined
  if (special) return { ...special, signExponent: special.signExponent | sign }
  const anywhere = one([() => 0x3fff + random(140) - 70, () => 1 + random(0x7ffe), () => one(EDGES)])()
  const close = near === undefined ? anywhere : (near & 0x7fff) + one([0, 0, 1, -1, 2, -2, random(140) - 70])
  const exponent = random(8) === 0 ? anywhere : close
  return { significand: significand(), signExponent: sign | Math.min(Math.max(exponent, 1), 0x7ffe) }
}

/** The bits of a memory operand: like the other operand, if that is given, or unlike. */
function memory(kind: number): bigint {
  if (kind === MEMORY_INTEGER)
    return BigInt.asIntN(
      64,
      one([() => bits(64), () => bits(random(64)), () => -bits(random(64)), () => 0n])(),
    )
  const [size, fraction, bias] = kind === MEMORY_FLOAT32 ? [32, 23, 127] : [64, 52, 1023]
  const last = 2 * bias + 1
  const exponent = one([
    () => bias + random(60) - 30,
    () => random(last + 1),
    () => one([0, 1, last - 1, last]),
  ])()
  const kept = random(8) === 0 ? 0n : (significand() & (TOP - 1n)) >> BigInt(63 - fraction)
  return (BigInt(random(2)) << BigInt(size - 1)) | (BigInt(exponent) << BigInt(fraction)) | kept
}

/** Nearly always the usual one, else any. */
const controlWord = (): number => (random(16) === 0 ? random(0x1000) & 0xf3f : 0x37f)
/** Marks what only soft float writes. */
const UNTOUCHED = 0x5a5a

interface Start {
  readonly registers: readonly Register[]
  readonly control: number
  readonly status: number
  readonly top: number
  readonly tags: number
}
function start(): Start {
  const first = register()
  const top = random(8)
  const both = (1 << top) | (1 << ((top + 1) & 7))
  const tags = random(20) === 0 ? random(256) : both | (random(16) === 0 ? 0xff : 0)
  const status = (random(64) << 8) & 0x4700
  return { registers: [first, register(first.signExponent)], control: controlWord(), status, top, tags }
}
function load({ registers, control, status, top, tags }: Start): void {
  for (let i = 0; i < 16; i++) state.setBigInt64(L.X87 + i * 8, 0n, true)
  for (const [i, { significand: s, signExponent }] of registers.entries()) {
    const at = L.X87 + ((top + i) & 7) * 16
    state.setBigUint64(at, s, true)
    state.setUint16(at + 8, signExponent, true)
  }
  const unmasked = status & ~control & 0x3f
  const words = [
    [L.FPU_CONTROL, control | 0x40],
    [L.FPU_STATUS, status | (unmasked ? 0x8080 : 0)],
    [L.FPU_TOP, top],
    [L.FPU_TAGS, tags],
    [L.SF_FLAGS, UNTOUCHED],
    [L.SF_ROUNDED_UP, UNTOUCHED],
  ] as const
  for (const [at, value] of words) state.setInt32(at, value, true)
}

/** What a program can see afterwards. */
function outcome(result: unknown, stored: boolean): string {
  const hex = (at: number) => state.getInt32(at, true).toString(16)
  const registers = Array.from({ length: 8 }, (_, i) => {
    const at = L.X87 + i * 16
    return `${state.getUint16(at + 8, true).toString(16)}:${state.getBigUint64(at, true).toString(16)}`
  })
  const words = [L.FPU_STATUS, L.FPU_TOP, L.FPU_TAGS, ...(stored ? [L.SF_FLAGS] : [])].map(hex)
  return [...words, ...registers, String(result)].join(' ')
}

interface Pair {
  readonly fast: readonly [name: string, ...args: Argument[]]
  readonly exact: readonly [name: string, ...args: Argument[]]
  /** It leaves a status word in SF_FLAGS. */
  readonly stored?: boolean
  /** The results are the same. */
  readonly returns?: boolean
}

function perform(
  [name, ...args]: Pair['fast'],
  from: Start,
  { stored = false, returns = false }: Pair,
): string {
  load(from)
  const result = run[`x87.${name}`]!(...args)
  // What compareToFlags adds for the pops is not of the flags.
  const value = name === 'compareToFlags' ? Number(result) & 0xff : result
  return outcome(returns ? value : '', stored)
}

/** Compares; returns how many cases soft float did not see. */
function agree(make: () => Pair): number {
  let fast = 0
  for (let i = 0; i < COUNT; i++) {
    const from = start()
    const pair = make()
    const actual = perform(pair.fast, from, pair)
    if (state.getInt32(L.SF_ROUNDED_UP, true) === UNTOUCHED) fast++
    const expected = perform(pair.exact, from, pair)
    if (actual !== expected) assert.equal(actual, expected, describeCase(from, pair))
  }
  return fast / COUNT
}
function describeCase({ registers, control, top, tags }: Start, { fast }: Pair): string {
  const shown = registers.map((r) => `${r.signExponent.toString(16)}:${r.significand.toString(16)}`)
  return `${fast.join(' ')} of ${shown.join(', ')} control ${control.toString(16)} top ${top} tags ${tags.toString(2)}`
}

const KINDS = [
  ['float32', MEMORY_FLOAT32],
  ['float64', MEMORY_FLOAT64],
  ['integer', MEMORY_INTEGER],
] as const
const ARITHMETIC = [
  ['add', X87_ADD],
  ['sub', X87_SUB],
  ['mul', X87_MUL],
  ['div', X87_DIV],
] as const

describe('the x87’s fast paths', () => {
  for (const [name, code] of ARITHMETIC) {
    it(`${name} as soft float does, registers`, () => {
      const share = agree(() => {
        const reversed = code === X87_SUB || code === X87_DIV ? random(2) : 0
        const [i, other] = one([[0, 1] as const, [1, 0] as const, [0, 0] as const])
        const how = (1 << i) | (1 << other)
        const [first, second] = reversed ? [other, i] : [i, other]
        return {
          fast: [`${name}${reversed ? 'r' : ''}`, i, other, how],
          exact: ['registers', code, first, second, i],
        }
      })
      assert.ok(share > 0.4, `only ${share} are fast`)
    })
    for (const [kindName, kind] of KINDS) {
      it(`${name} as soft float does, ${kindName} in memory`, () => {
        const share = agree(() => {
          const reversed = code === X87_SUB || code === X87_DIV ? random(2) : 0
          const operand = memory(kind)
          return {
            fast: [`${name}${reversed ? 'r' : ''}.${kindName}`, operand],
            exact: ['memory', code, reversed, kind, operand],
          }
        })
        assert.ok(share > 0.4, `only ${share} are fast`)
      })
    }
  }

  it('take square roots as soft float does', () => {
    const share = agree(() => ({ fast: ['sqrt'], exact: ['squareRootOfTop'] }))
    assert.ok(share > 0.3, `only ${share} are fast`)
  })

  for (const [kindName, kind] of KINDS) {
    it(`load ${kindName} as soft float does`, () => {
      const share = agree(() => {
        const operand = memory(kind)
        return { fast: [`load.${kindName}`, operand], exact: ['load', kind, operand] }
      })
      assert.ok(share > 0.5, `only ${share} are fast`)
    })
    it(`compare with ${kindName} as soft float does`, () => {
      const share = agree(() => {
        const operand = memory(kind)
        return { fast: [`compare.${kindName}`, operand, 0], exact: ['compareMemory', kind, operand] }
      })
      assert.ok(share > 0.5, `only ${share} are fast`)
    })
  }

  it('compare registers as soft float does', () => {
    const share = agree(() => {
      const args = [random(2), random(2)]
      return { fast: ['compare', ...args, 0], exact: ['compareRegisters', ...args] }
    })
    assert.ok(share > 0.5, `only ${share} are fast`)
  })
  it('compare registers to flags as soft float does', () => {
    agree(() => {
      const args = [random(2), random(2)]
      return { fast: ['compareFlags', ...args, 0], exact: ['compareToFlags', ...args], returns: true }
    })
  })

  for (const size of [32, 64]) {
    it(`store float${size} as soft float does`, () => {
      agree(() => ({
        fast: [`stored.float${size}`],
        exact: [`storedFloat${size}`],
        stored: true,
        returns: true,
      }))
    })
  }
  for (const size of [16, 32, 64]) {
    it(`store integers of ${size} bits as soft float does`, () => {
      agree(() => {
        const mode = one([0, 0, 1, 2, 3])
        return {
          fast: ['stored.integer', size, mode],
          exact: ['storedInteger', size, mode],
          stored: true,
          returns: true,
        }
      })
    })
  }
})
