/**
 * Recompiled code of small programs, for people to look at: what a change does to its quality is a difference in
 * `snapshots/`. UPDATE_SNAPSHOTS=1 writes the files again.
 */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { Cpu } from '../cpu.ts'
import * as L from '../state/layout.ts'
import { CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_PAE } from '../state/registers.ts'
import { INERT_PINS } from '../testing/inert-pins.ts'
import { functionTexts } from '../testing/wasm-text.ts'
import type { Plan } from './plan.ts'
import { RegionCompiler } from './region-compiler.ts'
import type { RegionAnswer, RegionWorker } from './region-service.ts'

const RAM_BYTES = 2 << 20
const CODE = 0x100000
const DATA = 0x110000
const OTHER = 0x118000
const STACK = 0x10f000
const ROUNDS = 2000
const HOT_AFTER = 100

interface Program {
  readonly name: string
  readonly bytes: readonly (readonly [assembly: string, ...bytes: number[]])[]
  /** The 32 bits at DATA and OTHER that have this index. */
  readonly data: (index: number) => number
  readonly result: bigint
}

/** RSI and RDI are DATA and OTHER, RCX is how many rounds; the result is RAX. */
const PROGRAMS: readonly Program[] = [
  {
    name: 'sum',
    bytes: [
      ['add eax, [rsi]', 0x03, 0x06],
      ['add rsi, 4', 0x48, 0x83, 0xc6, 0x04],
      ['dec ecx', 0xff, 0xc9],
      ['jnz -10', 0x75, 0xf6],
      ['hlt', 0xf4],
    ],
    data: (index) => index,
    result: BigInt((ROUNDS * (ROUNDS - 1)) / 2),
  },
  {
    name: 'strlen',
    bytes: [
      ['cmp byte [rsi + rax], 0', 0x80, 0x3c, 0x06, 0x00],
      ['je +5', 0x74, 0x05],
      ['inc rax', 0x48, 0xff, 0xc0],
      ['jmp -11', 0xeb, 0xf5],
      ['hlt', 0xf4],
    ],
    data: (index) => (index < ROUNDS ? 0x20202020 : 0),
    result: BigInt(ROUNDS * 4),
  },
  {
    name: 'memcpy',
    bytes: [
      ['mov al, [rsi]', 0x8a, 0x06],
      ['mov [rdi], al', 0x88, 0x07],
      ['inc rsi', 0x48, 0xff, 0xc6],
      ['inc rdi', 0x48, 0xff, 0xc7],
      ['dec rcx', 0x48, 0xff, 0xc9],
      ['jnz -15', 0x75, 0xf1],
      ['movzx eax, byte [rdi - 1]', 0x0f, 0xb6, 0x47, 0xff],
      ['hlt', 0xf4],
    ],
    data: (index) => (index + 1) << 24,
    result: BigInt((ROUNDS / 4) & 255),
  },
  {
    name: 'call',
    bytes: [
      ['mov edi, ecx', 0x89, 0xcf],
      ['call +5', 0xe8, 0x05, 0x00, 0x00, 0x00],
      ['dec ecx', 0xff, 0xc9],
      ['jnz -11', 0x75, 0xf5],
      ['hlt', 0xf4],
      ['add eax, edi', 0x01, 0xf8],
      ['ret', 0xc3],
    ],
    data: () => 0,
    result: BigInt((ROUNDS * (ROUNDS + 1)) / 2),
  },
  {
    name: 'flags',
    bytes: [
      ['mov edx, [rsi]', 0x8b, 0x16],
      ['test dl, 1', 0xf6, 0xc2, 0x01],
      ['jz +5', 0x74, 0x05],
      ['cmp edx, 16', 0x83, 0xfa, 0x10],
      ['jmp +3', 0xeb, 0x03],
      ['sub edx, 4', 0x83, 0xea, 0x04],
      ['jb +2', 0x72, 0x02],
      ['inc eax', 0xff, 0xc0],
      ['add rsi, 4', 0x48, 0x83, 0xc6, 0x04],
      ['dec ecx', 0xff, 0xc9],
      ['jnz -27', 0x75, 0xe5],
      ['hlt', 0xf4],
    ],
    data: (index) => index & 31,
    // Odd numbers from 16, and even ones from 4.
    result: BigInt((ROUNDS / 32) | 0) * 22n + 6n,
  },
  {
    name: 'dot-product',
    bytes: [
      ['movupd xmm0, [rsi]', 0x66, 0x0f, 0x10, 0x06],
      ['movupd xmm1, [rdi]', 0x66, 0x0f, 0x10, 0x0f],
      ['mulpd xmm0, xmm1', 0x66, 0x0f, 0x59, 0xc1],
      ['addpd xmm2, xmm0', 0x66, 0x0f, 0x58, 0xd0],
      ['add rsi, 16', 0x48, 0x83, 0xc6, 0x10],
      ['add rdi, 16', 0x48, 0x83, 0xc7, 0x10],
      ['dec ecx', 0xff, 0xc9],
      ['jnz -28', 0x75, 0xe4],
      ['cvttsd2si rax, xmm2', 0xf2, 0x48, 0x0f, 0x2c, 0xc2],
      ['hlt', 0xf4],
    ],
    // 2.0 everywhere.
    data: (index) => (index & 1) * 0x40000000,
    result: BigInt(ROUNDS * 4),
  },
]

/** Makes regions here, and keeps the plans and modules. */
class KeepingWorker implements RegionWorker {
  readonly made: { plan: Plan; text: string }[] = []
  #compiler: RegionCompiler | undefined
  #listener: (answer: RegionAnswer) => void = () => {}

  post(request: Parameters<RegionWorker['post']>[0]): void {
    if ('linkage' in request) {
      this.#compiler = new RegionCompiler(request.linkage)
      return
    }
    const bytes = this.#compiler!.compile(request.plans)
    const texts = functionTexts(bytes)
    for (const [i, plan] of request.plans.entries()) this.made.push({ plan, text: texts[i]! })
    this.#listener({ module: new WebAssembly.Module(bytes), bytes: bytes.length })
  }
  onAnswer(listener: (answer: RegionAnswer) => void): void {
    this.#listener = listener
  }
  end(): void {}
}

/** Identity-mapped with one large page. */
function writePageTables(ram: DataView): void {
  ram.setUint32(0x1000, 0x2003, true)
  ram.setUint32(0x2000, 0x3003, true)
  ram.setUint32(0x3000, 0x83, true)
}

/** Runs a program; gives its result and the code that was made. */
function run({ bytes, data }: Program) {
  const memory = new WebAssembly.Memory({ initial: RAM_BYTES / 65536, maximum: RAM_BYTES / 65536 })
  const worker = new KeepingWorker()
  const cpu = new Cpu({
    memory: { memory, bytes: RAM_BYTES, lowBytes: RAM_BYTES },
    pins: INERT_PINS,
    recompile: { hotAfter: HOT_AFTER, worker },
  })
  const ram = new DataView(memory.buffer)
  writePageTables(ram)
  for (let i = 0; i < (OTHER - DATA) / 4; i++) {
    ram.setInt32(DATA + i * 4, data(i), true)
    ram.setInt32(OTHER + i * 4, data(i), true)
  }
  new Uint8Array(memory.buffer, CODE).set(bytes.flatMap(([, ...encoded]) => encoded))
  cpu.setState({
    mode: 'long64',
    rip: BigInt(CODE),
    cr3: 0x1000,
    cr4: CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT,
    gpr: { rsi: BigInt(DATA), rdi: BigInt(OTHER), rcx: BigInt(ROUNDS), rsp: BigInt(STACK) },
  })
  cpu.state.setInt32(L.MXCSR, 0x1fa0, true)
  while (cpu.run(1000).kind === 'slice');
  return { made: worker.made, result: cpu.state.getBigUint64(L.REGS, true) }
}

function snapshotOf({ bytes }: Program, made: KeepingWorker['made']): string {
  const lines = ['; The program:']
  let at = 0
  for (const [assembly, ...encoded] of bytes) {
    lines.push(`;   ${at.toString(16).padStart(2, '0')}  ${assembly}`)
    at += encoded.length
  }
  const { plan, text } = made.at(-1)!
  const head = plan.blocks[0]!.at & 0xfff
  lines.push(`; The last region made of it: ${plan.extent}, from ${head.toString(16).padStart(2, '0')}.`)
  return `${lines.join('\n')}\n${text}`
}

describe('recompiled code', () => {
  for (const program of PROGRAMS) {
    it(`of ${program.name} is what was reviewed`, () => {
      const { made, result } = run(program)
      assert.equal(result, program.result)
      const file = new URL(`snapshots/${program.name}.wat`, import.meta.url)
      const text = snapshotOf(program, made)
      if (process.env.UPDATE_SNAPSHOTS === '1') writeFileSync(file, text)
      assert.equal(text, readFileSync(file, 'utf8'), 'with UPDATE_SNAPSHOTS=1 the files are written again')
    })
  }
})
