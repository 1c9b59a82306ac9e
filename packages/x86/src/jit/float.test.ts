import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Cpu } from '../cpu.ts'
import * as L from '../state/layout.ts'
import { CR4_OSFXSR, CR4_OSXMMEXCPT } from '../state/registers.ts'
import { INERT_PINS } from '../testing/inert-pins.ts'

const RAM_BYTES = 2 << 20
const CODE = 0x100000
const DATA = 0x110000
const DATA_BYTES = 32
const OUTPUT = 0x130000
const OUTPUT_BYTES = 80
const HLT = 0xf4

/** MXCSR: all masked, rounding to nearest, the precision flag set; the same without it. */
const ORDINARY = 0x1fa0
const CLEAR = 0x1f80

const LDMXCSR = [0x0f, 0xae, 0x56, 0x10] // ldmxcsr [esi + 16]

/** The bytes of a loop over the data, with `extra` at its start. */
function loopWith(extra: readonly number[]): number[] {
  const body = [
    ...extra,
    [0xf2, 0x0f, 0x58, 0xec], // addsd xmm5, xmm4: of the round before, and what never changes
    [0xf2, 0x0f, 0x10, 0x06], // movsd xmm0, [esi]
    [0xf2, 0x0f, 0x10, 0x4e, 0x08], // movsd xmm1, [esi + 8]
    [0x66, 0x0f, 0x28, 0xd0, 0xf2, 0x0f, 0x58, 0xd1, 0xf2, 0x0f, 0x11, 0x17], // [edi] = xmm0 + xmm1
    [0x66, 0x0f, 0x28, 0xd0, 0xf2, 0x0f, 0x59, 0xd1, 0xf2, 0x0f, 0x11, 0x57, 0x08], // · * ·
    [0x66, 0x0f, 0x28, 0xd0, 0xf2, 0x0f, 0x5e, 0xd1, 0xf2, 0x0f, 0x11, 0x57, 0x10], // · / ·
    [0xf2, 0x0f, 0x51, 0xd1, 0xf2, 0x0f, 0x11, 0x57, 0x18], // [edi + 24] = √xmm1
    [0x66, 0x0f, 0x10, 0x36, 0x66, 0x0f, 0x28, 0xfe, 0x66, 0x0f, 0x59, 0xfe], // movupd xmm6, [esi]; mulpd xmm7, xmm6
    [0x66, 0x0f, 0x5d, 0xf7, 0x66, 0x0f, 0x58, 0xfe, 0x66, 0x0f, 0x11, 0x7f, 0x20], // minpd, addpd, movupd [edi + 32]
    [0xf2, 0x0f, 0x5a, 0xd0, 0xf3, 0x0f, 0x11, 0x57, 0x30], // cvtsd2ss xmm2, xmm0; movss [edi + 48], xmm2
    [0xf3, 0x0f, 0x58, 0xd2, 0xf3, 0x0f, 0x5a, 0xd2, 0xf2, 0x0f, 0x11, 0x57, 0x38], // addss, cvtss2sd, movsd [edi + 56]
    [0xf2, 0x0f, 0x2c, 0xc1, 0x89, 0x47, 0x40], // cvttsd2si eax, xmm1; mov [edi + 64], eax
    [0x66, 0x0f, 0x2e, 0xc1, 0x9f, 0x88, 0x67, 0x44], // ucomisd xmm0, xmm1; lahf; mov [edi + 68], ah
    [0x77, 0x04, 0xf2, 0x0f, 0x58, 0xe8], // ja over addsd xmm5, xmm0
    [0x66, 0x0f, 0x28, 0xe8], // movapd xmm5, xmm0
    [0x0f, 0xae, 0x5f, 0x48], // stmxcsr [edi + 72]
    [0x83, 0xc6, DATA_BYTES, 0x83, 0xc7, OUTPUT_BYTES, 0x49], // add esi, 32; add edi, 80; dec ecx
  ].flat()
  const back = -(body.length + 6)
  return [...body, 0x0f, 0x85, back & 255, (back >> 8) & 255, 255, 255, HLT]
}

const SPECIAL = [0, -0, 1e-310, -1e-320, 5e-324, Infinity, -Infinity, NaN, 2 ** -1022, 1.7e308, 1e-160, 1e200]

interface Round {
  readonly x: number
  readonly y: number
  readonly mxcsr: number
}

function* random(seed: number): Generator<number, never> {
  for (let state = seed; ; ) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    yield (state >>> 8) / 2 ** 24
  }
}
/** Rounds with every `rare`-th operand or so special. */
function rounds(count: number, rare: number, mxcsr: (n: number) => number = () => ORDINARY): Round[] {
  const numbers = random(count + rare)
  const next = (): number => numbers.next().value
  const operand = (): number =>
    next() * rare < 1 ? SPECIAL[Math.floor(next() * SPECIAL.length)]! : next() * 1000 + 1
  return Array.from({ length: count }, () => ({ x: operand(), y: operand(), mxcsr: mxcsr(next()) }))
}

interface Options {
  readonly rounds: readonly Round[]
  readonly mxcsr: number
  readonly extra?: readonly number[]
  readonly hotAfter?: number
}

/** Runs the loop; all that it left behind, and what the recompiler counted. */
function run(recompiles: boolean, { rounds, mxcsr, extra = [], hotAfter = 4 }: Options) {
  const memory = new WebAssembly.Memory({ initial: RAM_BYTES / 65536, maximum: RAM_BYTES / 65536 })
  const cpu = new Cpu({
    memory: { memory, bytes: RAM_BYTES, lowBytes: RAM_BYTES },
    pins: INERT_PINS,
    ...(recompiles ? { recompile: { hotAfter } } : {}),
  })
  const ram = new DataView(memory.buffer)
  loopWith(extra).forEach((byte, i) => void ram.setUint8(CODE + i, byte))
  for (const [i, { x, y, mxcsr }] of rounds.entries()) {
    const at = DATA + i * DATA_BYTES
    ram.setFloat64(at, x, true)
    ram.setFloat64(at + 8, y, true)
    ram.setInt32(at + 16, mxcsr, true)
  }
  const gpr = { rsi: BigInt(DATA), rdi: BigInt(OUTPUT), rcx: BigInt(rounds.length) }
  cpu.setState({ mode: 'protected32', rip: BigInt(CODE), cr4: CR4_OSFXSR | CR4_OSXMMEXCPT, gpr })
  cpu.state.setInt32(L.MXCSR, mxcsr, true)
  cpu.state.setFloat64(L.XMM + 4 * 16, 0.75, true)
  while (cpu.run(1000).kind === 'slice');
  const bytes = (at: number, length: number) => Buffer.from(cpu.state.buffer, at, length).toString('hex')
  const { length } = rounds
  return {
    counters: cpu.recompiled,
    outcome: {
      registers: bytes(L.REGS, 8 * 8),
      vectors: bytes(L.XMM, 8 * 16),
      mxcsr: cpu.state.getInt32(L.MXCSR, true),
      flags: cpu.flags,
      output: Array.from({ length }, (_, i) =>
        Buffer.from(memory.buffer, OUTPUT + i * OUTPUT_BYTES, OUTPUT_BYTES).toString('hex'),
      ),
    },
  }
}
function compare(options: Options) {
  const { outcome, counters } = run(true, options)
  assert.deepEqual(outcome, run(false, options).outcome)
  assert.ok(counters!.regions > 0)
  return counters!
}

describe('recompiled floating point', () => {
  it('is the interpreter’s, with zeros, denormals, infinities, NaNs and results at the ends of the range', () => {
    for (const rare of [2, 5, 50, 1000]) compare({ rounds: rounds(1000, rare), mxcsr: ORDINARY })
  })
  it('is the interpreter’s with every rounding, DAZ, FTZ, and before a result was inexact', () => {
    for (const mxcsr of [CLEAR, ORDINARY | 0x2000, ORDINARY | 0x6000, ORDINARY | 0x8040])
      compare({ rounds: rounds(500, 20), mxcsr })
  })
  it('sees MXCSR change in the middle of a region', () => {
    const change = (n: number): number => (n < 0.9 ? ORDINARY : n < 0.95 ? CLEAR : ORDINARY | 0x4000)
    compare({ rounds: rounds(1000, 30, change), mxcsr: ORDINARY, extra: LDMXCSR })
  })
  it('leaves nothing to the interpreter where all is usual', () => {
    const counters = compare({ rounds: rounds(1000, Infinity), mxcsr: ORDINARY })
    assert.equal(counters.failures, 0)
  })
  it('goes on to speculate where little is unusual, and stops where much is', () => {
    const little = compare({ rounds: rounds(1000, 500), mxcsr: ORDINARY, hotAfter: 100 })
    assert.ok(little.failures > 0)
    assert.equal(little.careful, 0)
    const much = compare({ rounds: rounds(1000, 3), mxcsr: ORDINARY, hotAfter: 100 })
    assert.equal(much.careful, 1)
    assert.ok(much.failures < 100)
  })
  it('speculates again when a result was inexact at last', () => {
    const exact = Array.from({ length: 500 }, (_, i) => ({ x: i + 2, y: 1, mxcsr: CLEAR }))
    const all = [...exact, ...rounds(500, Infinity)]
    const { careful, returned, failures } = compare({ rounds: all, mxcsr: CLEAR, hotAfter: 100 })
    assert.ok(careful > 0 && returned > 0)
    assert.ok(failures < 200)
  })
})
