import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Cpu } from '../cpu.ts'
import * as L from '../state/layout.ts'
import { CR0_ET, CR0_PE, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE, EXCEPTION } from '../state/registers.ts'
import { INERT_PINS } from '../testing/inert-pins.ts'

const RAM_BYTES = 1 << 20
const CODE = 0x7000
const DATA = 0x10000
const AREA = 0x20000
const HLT = 0xf4
const AVX_ON = CR4_OSFXSR | CR4_OSXSAVE

interface Machine {
  readonly state: DataView
  readonly ram: DataView
  /** Runs bytes to HLT, or to the exception whose vector this gives. */
  run(code: readonly number[]): number | undefined
}

function create({
  mode = 'protected32',
  cr0 = CR0_PE,
  cr4 = AVX_ON,
  xcr0 = 7,
}: {
  mode?: 'real' | 'protected32'
  cr0?: number
  cr4?: number
  xcr0?: number
} = {}): Machine {
  const memory = new WebAssembly.Memory({ initial: RAM_BYTES / 65536, maximum: RAM_BYTES / 65536 })
  let vector: number | undefined
  const cpu = new Cpu({
    memory: { memory, bytes: RAM_BYTES, lowBytes: RAM_BYTES },
    pins: INERT_PINS,
    model: 'x86-64-v3',
    intercept: (number) => {
      vector = number
      return true
    },
  })
  const ram = new DataView(memory.buffer)
  return {
    state: cpu.state,
    ram,
    run(code) {
      vector = undefined
      new Uint8Array(memory.buffer).set([...code, HLT], CODE)
      cpu.memoryWritten(CODE, code.length + 1)
      cpu.setState({ mode, rip: BigInt(CODE), cr0: cr0 | CR0_ET, cr4 })
      cpu.state.setInt32(L.XCR0, xcr0, true)
      cpu.stateChanged()
      cpu.run(1000)
      return vector
    },
  }
}

const VPXOR_YMM0 = [0xc5, 0xfd, 0xef, 0xc0]
/** andn eax, eax, eax */
const ANDN = [0xc4, 0xe2, 0x78, 0xf2, 0xc0]

describe('VEX', () => {
  it('needs CR4.OSXSAVE and XCR0[2:1] for vectors, and raises #NM with CR0.TS', () => {
    assert.equal(create().run(VPXOR_YMM0), undefined)
    assert.equal(create({ cr4: CR4_OSFXSR }).run(VPXOR_YMM0), EXCEPTION.UD)
    assert.equal(create({ xcr0: 3 }).run(VPXOR_YMM0), EXCEPTION.UD)
    assert.equal(create({ cr0: CR0_PE | CR0_TS }).run(VPXOR_YMM0), EXCEPTION.NM)
    assert.equal(create({ cr0: CR0_PE | CR0_TS, xcr0: 1 }).run(VPXOR_YMM0), EXCEPTION.UD)
  })

  it('needs neither for general registers', () => {
    assert.equal(create({ cr0: CR0_PE | CR0_TS, cr4: 0, xcr0: 1 }).run(ANDN), undefined)
  })

  it('is undefined in real-address mode', () => {
    for (const code of [VPXOR_YMM0, ANDN])
      assert.equal(create({ mode: 'real', cr0: 0 }).run(code), EXCEPTION.UD)
  })

  it('is undefined behind 66, F2, F3 and LOCK, and with a register in an idle vvvv', () => {
    for (const prefix of [0x66, 0xf2, 0xf3, 0xf0])
      assert.equal(create().run([prefix, ...VPXOR_YMM0]), EXCEPTION.UD, prefix.toString(16))
    const vmovaps = (rest: number): number[] => [0xc5, rest, 0x28, 0xc1]
    assert.equal(create().run(vmovaps(0xf8)), undefined)
    assert.equal(create().run(vmovaps(0xf0)), EXCEPTION.UD)
  })

  it('looks at L and W where the instruction does', () => {
    // vpermq has 256 bits and W1; vpermilps W0.
    const vpermq = (rest: number): number[] => [0xc4, 0xe3, rest, 0x00, 0xc1, 0x1b]
    assert.deepEqual(
      [0xfd, 0xf9, 0x7d].map((rest) => create().run(vpermq(rest))),
      [undefined, EXCEPTION.UD, EXCEPTION.UD],
    )
    const vpermilps = (rest: number): number[] => [0xc4, 0xe3, rest, 0x04, 0xc1, 0x1b]
    assert.deepEqual(
      [0x7d, 0x79, 0xf9].map((rest) => create().run(vpermilps(rest))),
      [undefined, undefined, EXCEPTION.UD],
    )
  })
})

const high = (register: number): number => L.YMM_HIGH + register * 16

describe('upper halves of YMM registers', () => {
  it('become zero by VEX.128 and stay by legacy encodings', () => {
    const machine = create()
    const set = (): void => {
      for (let i = 0; i < 16; i++) machine.state.setInt32(high(i), 0x1000 + i, true)
    }
    set()
    assert.equal(machine.run([0x66, 0x0f, 0xef, 0xc0]), undefined)
    assert.equal(machine.state.getInt32(high(0), true), 0x1000)
    assert.equal(machine.run([0xc5, 0xf9, 0xef, 0xc0]), undefined)
    assert.equal(machine.state.getInt32(high(0), true), 0)
  })

  it('become zero by VZEROUPPER in the registers that the mode has', () => {
    const machine = create()
    for (let i = 0; i < 16; i++) machine.state.setInt32(high(i), 1, true)
    assert.equal(machine.run([0xc5, 0xf8, 0x77]), undefined)
    const values = Array.from({ length: 16 }, (_, i) => machine.state.getInt32(high(i), true))
    assert.deepEqual(values, [...new Array(8).fill(0), ...new Array(8).fill(1)])
  })

  it('are saved by XSAVE at offset 576 and come back by XRSTOR, or become zero where the header says so', () => {
    const machine = create()
    const { state, ram } = machine
    state.setInt32(high(3) + 12, 0x1234567, true)
    // mov eax, 7; xor edx, edx; mov ecx, AREA; xsave or xrstor [ecx].
    const area = [0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0xb9, 0, 0, AREA >> 16, 0]
    const [xsave, xrstor] = [4, 5].map((number) => [...area, 0x0f, 0xae, (number << 3) | 1])
    assert.equal(machine.run(xsave!), undefined)
    assert.equal(ram.getInt32(AREA + 576 + 3 * 16 + 12, true), 0x1234567)
    assert.equal(ram.getInt32(AREA + 512, true), 7)
    state.setInt32(high(3) + 12, 1, true)
    assert.equal(machine.run(xrstor!), undefined)
    assert.equal(state.getInt32(high(3) + 12, true), 0x1234567)
    ram.setInt32(AREA + 512, 3, true)
    assert.equal(machine.run(xrstor!), undefined)
    assert.equal(state.getInt32(high(3) + 12, true), 0)
    ram.setInt32(AREA + 512, 0x80, true)
    assert.equal(machine.run(xrstor!), EXCEPTION.GP)
  })

  it('cannot be enabled without SSE', () => {
    // mov eax, n; xor edx, edx; xor ecx, ecx; xsetbv.
    const xsetbv = (value: number): number[] => [0xb8, value, 0, 0, 0, 0x31, 0xd2, 0x31, 0xc9, 0x0f, 1, 0xd1]
    assert.deepEqual(
      [7, 3, 1, 5, 4, 15].map((value) => create().run(xsetbv(value))),
      [undefined, undefined, undefined, EXCEPTION.GP, EXCEPTION.GP, EXCEPTION.GP],
    )
  })
})

describe('gathers', () => {
  // vpgatherdd xmm1, [ebx + xmm2 * 4], xmm3, with an address-size or a segment prefix in front.
  const gather = [0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x93]
  const ready = (): Machine => {
    const machine = create()
    const { state, ram } = machine
    state.setInt32(L.REGS + 3 * 8, DATA + 8, true)
    for (const [i, index] of [-2, 1, 0, 7].entries()) {
      state.setInt32(L.XMM + 2 * 16 + i * 4, index, true)
      state.setInt32(L.XMM + 3 * 16 + i * 4, i === 2 ? 1 : -1, true)
      state.setInt32(L.XMM + 1 * 16 + i * 4, 0x55, true)
      ram.setInt32(DATA + 8 + index * 4, 0x100 + i, true)
    }
    return machine
  }
  const lanes = ({ state }: Machine, register: number): number[] =>
    [0, 1, 2, 3].map((i) => state.getInt32(L.XMM + register * 16 + i * 4, true))

  it('load the lanes whose mask has its top bit, and clear the mask', () => {
    const machine = ready()
    assert.equal(machine.run(gather), undefined)
    assert.deepEqual(lanes(machine, 1), [0x100, 0x101, 0x55, 0x103])
    assert.deepEqual(lanes(machine, 3), [0, 0, 0, 0])
  })

  it('are undefined with 16-bit addresses, without SIB, and with a register twice', () => {
    assert.equal(ready().run([0x67, ...gather]), EXCEPTION.UD)
    assert.equal(ready().run([0xc4, 0xe2, 0x61, 0x90, 0x0b]), EXCEPTION.UD)
    assert.equal(ready().run([0xc4, 0xe2, 0x71, 0x90, 0x0c, 0x93]), EXCEPTION.UD)
    assert.equal(ready().run([0xc4, 0xe2, 0x61, 0x90, 0x0c, 0x8b]), EXCEPTION.UD)
  })
})
