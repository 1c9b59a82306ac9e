import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Cpu, type CpuExit } from './cpu.ts'
import type { CpuPins } from './pins.ts'
import * as L from './state/layout.ts'
import { CR4_OSFXSR, CR4_OSXSAVE, CR4_PAE } from './state/registers.ts'

const RAM_BYTES = 2 << 20

/** Numbers that look random and are the same every time. */
function generator(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return (state ^ (state >>> 15)) >>> 0
  }
}

interface Bench {
  readonly cpu: Cpu
  readonly pins: CpuPins
  readonly ram: Uint8Array
  readonly ports: [number, number, number][]
  interrupt: number
}

function createCpu(random: () => number = () => 0, model?: string): Bench {
  const memory = new WebAssembly.Memory({ initial: RAM_BYTES / 65536, maximum: RAM_BYTES / 65536 })
  const bench = { ports: [] as [number, number, number][], interrupt: -1 }
  const pins: CpuPins = {
    portRead: () => random(),
    portWrite: (port, size, value) => bench.ports.push([port, size, value]),
    mmioRead: () => random(),
    mmioWrite: () => {},
    interruptPending: () => bench.interrupt >= 0,
    acknowledgeInterrupt: () => {
      const vector = bench.interrupt
      bench.interrupt = -1
      return vector
    },
    readTaskPriority: () => 0,
    writeTaskPriority: () => {},
    readMsr: () => undefined,
    writeMsr: () => random() % 2 === 0,
    timeStampCounter: () => 0x1_2345_6789,
    random,
  }
  const cpu = new Cpu({
    memory: { memory, bytes: RAM_BYTES, lowBytes: RAM_BYTES },
    pins,
    ...(model === undefined ? {} : { model }),
  })
  return Object.assign(bench, { cpu, pins, ram: new Uint8Array(memory.buffer) })
}

/** Runs bytes at 1 MiB, in 32-bit protected mode unless said otherwise. */
function runCode(
  bench: Bench,
  code: readonly number[],
  mode: 'real' | 'protected32' = 'protected32',
): CpuExit {
  const at = mode === 'real' ? 0x7c00 : 0x100000
  bench.ram.set(code, at)
  bench.cpu.reset()
  bench.cpu.setState({ mode, rip: BigInt(at) })
  return bench.cpu.run(100_000)
}

const OUT_AL_TO_80H = [0xe6, 0x80]
const HLT = 0xf4

describe('the CPU', () => {
  it('counts instructions, exits from WebAssembly and what was decoded', () => {
    const bench = createCpu()
    // mov ecx, 5; dec ecx; jnz to dec; hlt
    assert.deepEqual(runCode(bench, [0xb9, 5, 0, 0, 0, 0x49, 0x75, 0xfd, HLT]), { kind: 'hlt' })
    const { retired, exits, codeCache, recompiler } = bench.cpu.statistics()
    assert.equal(retired, 12)
    assert.deepEqual([exits.halt, exits.fault, exits.hot], [1, 0, 0])
    assert.ok(exits.decode > 0)
    assert.equal(codeCache.decoded, 4)
    assert.equal(recompiler, undefined)
  })
  it('says where it is between two runs, in linear addresses', () => {
    const bench = createCpu()
    // jmp to itself, with CS at 100h
    bench.ram.set([0xeb, 0xfe], 0x1234)
    runCode(bench, [0xea, 0x34, 0x02, 0x00, 0x01], 'real')
    assert.deepEqual(bench.cpu.sample(), { address: 0x1234n, cpl: 0, isRecompiled: false })
    assert.equal('timeInside' in bench.cpu.statistics(), false)
  })
  it('stops at HLT, and goes on after an interrupt that it takes', () => {
    const bench = createCpu()
    // sti; hlt; mov al, 7; out 80h, al; hlt. The handler at 200h: mov al, 9; out 80h, al; iret.
    bench.ram.set([0xb0, 9, ...OUT_AL_TO_80H, 0xcf], 0x200)
    bench.ram.set([0x00, 0x02, 0, 0], 0x20 * 4)
    assert.deepEqual(runCode(bench, [0xfb, HLT, 0xb0, 7, ...OUT_AL_TO_80H, HLT], 'real'), { kind: 'hlt' })
    assert.equal(bench.ports.length, 0)
    bench.interrupt = 0x20
    assert.deepEqual(bench.cpu.run(1000), { kind: 'hlt' })
    assert.deepEqual(
      bench.ports.map(([, , value]) => value),
      [9, 7],
    )
  })

  it('ends a slice when its instructions are used up, and goes on where it was', () => {
    const bench = createCpu()
    // mov ecx, 1000; loop $; out; hlt.
    const code = [0xb9, 0xe8, 3, 0, 0, 0xe2, 0xfe, ...OUT_AL_TO_80H, HLT]
    bench.ram.set(code, 0x100000)
    bench.cpu.setState({ mode: 'protected32', rip: 0x100000n })
    let slices = 0
    while (bench.cpu.run(100).kind === 'slice') slices++
    assert.ok(slices >= 9 && slices <= 12, `${slices} slices`)
    assert.equal(bench.ports.length, 1)
  })

  it('runs an instruction that was changed just before it', () => {
    const bench = createCpu()
    // mov byte [next + 1], 42h; next: mov al, 0; out 80h, al; hlt.
    const next = 0x100007
    const code = [0xc6, 0x05, (next + 1) & 255, 0, 0x10, 0, 0x42, 0xb0, 0, ...OUT_AL_TO_80H, HLT]
    assert.deepEqual(runCode(bench, code), { kind: 'hlt' })
    assert.deepEqual(bench.ports, [[0x80, 1, 0x42]])
  })

  it('runs code that was written from outside after it ran', () => {
    const bench = createCpu()
    assert.deepEqual(runCode(bench, [0xb0, 1, ...OUT_AL_TO_80H, HLT]), { kind: 'hlt' })
    bench.ram[0x100001] = 2
    bench.cpu.memoryWritten(0x100001, 1)
    bench.cpu.reset()
    bench.cpu.setState({ mode: 'protected32', rip: 0x100000n })
    bench.cpu.run(1000)
    assert.deepEqual(
      bench.ports.map(([, , value]) => value),
      [1, 2],
    )
  })

  it('runs an instruction across two pages, also after either of them changed', () => {
    const bench = createCpu()
    // mov eax, imm32 across the end of a page, then out 80h, al and a jump back until CL is zero.
    const start = 0x100ffd
    const code = [0xb8, 0x11, 0, 0, 0, ...OUT_AL_TO_80H, HLT]
    bench.ram.set(code, start)
    const run = () => {
      bench.cpu.reset()
      bench.cpu.setState({ mode: 'protected32', rip: BigInt(start) })
      assert.deepEqual(bench.cpu.run(1000), { kind: 'hlt' })
      return bench.ports.at(-1)![2]
    }
    assert.equal(run(), 0x11)
    bench.ram[start + 1] = 0x22
    bench.cpu.memoryWritten(start + 1, 1)
    assert.equal(run(), 0x22)
    bench.ram[start + 4] = 0x55
    bench.cpu.memoryWritten(start + 4, 1)
    assert.equal(run(), 0x22)
  })

  it('reports a triple fault with the registers, the last exception and the code', () => {
    const bench = createCpu()
    // lidt of an empty table, then ud2.
    const exit = runCode(bench, [0x0f, 0x01, 0x1d, 0, 0, 0, 0, 0x0f, 0x0b])
    assert.equal(exit.kind, 'shutdown')
    const report = bench.cpu.report()
    for (const part of ['RIP=0000000000100007', '#UD', 'CR0=', 'Code at RIP: 0f 0b'])
      assert.ok(report.includes(part), `${part} in\n${report}`)
  })

  it('shows its own memory before anything is in it', () => {
    const memory = new WebAssembly.Memory({ initial: RAM_BYTES / 65536, maximum: RAM_BYTES / 65536 })
    let shown: Uint8Array | undefined
    const { pins } = createCpu()
    const prepareMemory = (bytes: Uint8Array) => {
      assert.ok(bytes.every((byte) => byte === 0))
      shown = bytes
    }
    const cpu = new Cpu({ memory: { memory, bytes: RAM_BYTES, lowBytes: RAM_BYTES }, pins, prepareMemory })
    assert.equal(shown?.buffer, cpu.state.buffer)
  })
  it('refuses a model that it does not know, and names those that it knows', () => {
    assert.throws(() => createCpu(undefined, 'pentium'), {
      code: 'TV_CPU_MODEL',
      message: /"pentium".*x86-64-v2/,
    })
  })

  it('has no instructions that its model lacks', () => {
    // popcnt eax, eax
    const code = [0xf3, 0x0f, 0xb8, 0xc0, HLT]
    const bench = createCpu(undefined, 'x86-64-v1')
    assert.equal(runCode(bench, [0x0f, 0x01, 0x1d, 0, 0, 0, 0, ...code]).kind, 'shutdown')
    assert.equal(runCode(createCpu(), code).kind, 'hlt')
  })

  it('takes the encodings of LZCNT and TZCNT for BSR and BSF where the model lacks them', () => {
    const run = (model: string, opcode: number) => {
      const bench = createCpu(undefined, model)
      // mov ecx, 10h; lzcnt or tzcnt eax, cx; out 80h, al; hlt.
      const code = [0xb9, 0x10, 0, 0, 0, 0x66, 0xf3, 0x0f, opcode, 0xc1, ...OUT_AL_TO_80H, HLT]
      assert.equal(runCode(bench, code).kind, 'hlt')
      return bench.ports[0]![2]
    }
    assert.deepEqual([run('x86-64-v2', 0xbd), run('x86-64-v3', 0xbd)], [4, 11])
    assert.deepEqual([run('x86-64-v2', 0xbc), run('x86-64-v3', 0xbc)], [4, 4])
  })
})

describe('garbage', () => {
  for (const [mode, model] of [
    ['real', undefined],
    ['protected32', undefined],
    ['long64', undefined],
    ['long64', 'x86-64-v3'],
  ] as const) {
    it(`as memory in ${mode} mode${model ? ` of ${model}` : ''} neither throws nor hangs`, {
      timeout: 300_000,
    }, () => {
      for (let seed = 1; seed <= 4; seed++) {
        const random = generator(seed * 7919)
        const bench = createCpu(random, model)
        for (let i = 0; i < RAM_BYTES; i += 4) {
          const word = random()
          bench.ram[i] = word
          bench.ram[i + 1] = word >>> 8
          bench.ram[i + 2] = word >>> 16
          bench.ram[i + 3] = word >>> 24
        }
        const pages = new DataView(bench.ram.buffer)
        // Identity-mapped, so that something runs before paging falls apart.
        pages.setUint32(0x1000, 0x2003, true)
        pages.setUint32(0x1004, 0, true)
        pages.setUint32(0x2000, 0x83, true)
        pages.setUint32(0x2004, 0, true)
        for (let start = 0; start < 20; start++) {
          bench.cpu.reset()
          bench.cpu.setState({
            mode,
            rip: BigInt(0x4000 + (random() % (mode === 'real' ? 0xb000 : 0x100000))),
            cr3: 0x1000,
            ...(model && { cr4: CR4_PAE | CR4_OSFXSR | CR4_OSXSAVE }),
            gpr: { rsp: 0x9000n, rbx: BigInt(random()), rsi: BigInt(random() & 0xfffff) },
          })
          if (model) {
            bench.cpu.state.setInt32(L.XCR0, 7, true)
            bench.cpu.stateChanged()
          }
          for (let slices = 0; slices < 8; slices++) {
            if (random() % 4 === 0) bench.interrupt = random() & 255
            const exit = bench.cpu.run(5000)
            assert.match(bench.cpu.report(), /RIP=/)
            if (exit.kind !== 'slice') break
          }
        }
      }
    })
  }
})
