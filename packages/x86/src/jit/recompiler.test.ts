/** What a guest may do to its code: recompiled code leaves behind what interpreted code does. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { CpuRegisters } from '../cpu.ts'
import * as L from '../state/layout.ts'
import { Engines, type Program, RECOMPILERS, type TestMachine } from '../testing/engines-agree.ts'
import { ALU, CC, EAX, EBP, EBX, ECX, EDI, EDX, ESI, MachineCode } from '../testing/machine-code.ts'
import { Random } from '../testing/random.ts'

const CODE = 0x100000
const DATA = 0x200000
const STACK = 0x2ff000
const DIRECTORY = 0x3f0000
const OTHER_DIRECTORY = 0x3e0000
const PORT = 0x80

const engines = new Engines()
type Outcome = ReturnType<typeof engines.agree>

const register = ({ registers }: Outcome, name: string): number =>
  Number.parseInt(new RegExp(`${name}=(\\w+)`).exec(registers)![1]!, 16)

const FLAT: CpuRegisters = { mode: 'protected32', rip: BigInt(CODE), gpr: { rsp: BigInt(STACK) } }
const PAGED: CpuRegisters = { ...FLAT, cr0: 0x80010011 | 0, cr3: DIRECTORY }

const program = (code: MachineCode, more: Partial<Program> = {}): Program => ({
  state: FLAT,
  ...more,
  ram: [code.made, ...(more.ram ?? [])],
})

/** Page tables for 32 bits: RAM where it is, then pages of the linear address space at pages of RAM, or at none. */
function pageTables(
  directory: number,
  pages: readonly (readonly [linear: number, physical: number | undefined])[],
): [number, number[]][] {
  const tables = new Map<number, Uint32Array>([
    [0, Uint32Array.from({ length: 1024 }, (_, i) => (i << 12) | 7)],
  ])
  for (const [linear, physical] of pages) {
    const table = tables.get(linear >>> 22) ?? new Uint32Array(1024)
    table[(linear >>> 12) & 1023] = physical === undefined ? 0 : physical | 7
    tables.set(linear >>> 22, table)
  }
  const root = new Uint32Array(1024)
  const made: [number, number[]][] = [[directory, []]]
  for (const [index, table] of tables) {
    const at = directory + made.length * 4096
    root[index] = at | 7
    made.push([at, [...new Uint8Array(table.buffer)]])
  }
  made[0] = [directory, [...new Uint8Array(root.buffer)]]
  return made
}

const rounds = (count: number): MachineCode => new MachineCode(CODE).mov(ECX, count).mov(EBX, 0).label('loop')

/** The bytes run once in each 64 rounds: in between the code may become hot. */
function nowAndThen(code: MachineCode, build: () => void): MachineCode {
  const over = `over ${code.here}`
  code.raw(0xf6, 0xc1, 63).jumpIf(CC.nz, over)
  build()
  return code.label(over)
}
const ROUNDS = 900

describe('recompiled code that changes itself', () => {
  const patched = (code: MachineCode) => code.label('patched').mov(EAX, 0).alu(ALU.add, EBX, EAX)
  const patch = (code: MachineCode) => nowAndThen(code, () => code.raw(0xfe, 0x05).address('patched+1'))

  it('sees a change ahead of it in the same loop', () => {
    const code = patched(patch(rounds(ROUNDS)).alu(ALU.xor, EDX, ECX))
      .loop(ECX, 'loop')
      .hlt()
    const outcome = engines.agree(program(code))
    assert.equal(register(outcome, 'rax'), Math.floor(ROUNDS / 64))
  })
  it('sees a change behind it in the same loop', () => {
    const code = patch(patched(rounds(ROUNDS)))
      .loop(ECX, 'loop')
      .hlt()
    engines.agree(program(code))
  })
  it('sees a change in each round of the same block, ahead, behind and of the very next instruction', () => {
    const code = rounds(50).mov(EDX, 0).label('inner').aluWith(ALU.add, EDX, 1)
    code.aluWith(ALU.cmp, EDX, 60).jumpIf(CC.nz, 'inner')
    code.storeByteOf('patched+2', ECX).storeByteOf('patched+1', ECX)
    const after = patched(code).storeByteOf('patched+3', EDX).loop(ECX, 'loop').hlt()
    engines.agree(program(after))
  })
  it('sees a change of the very next instruction', () => {
    const code = rounds(ROUNDS)
    nowAndThen(code, () => code.storeByteOf('next+2', ECX).label('next').raw(0x83, 0xc3, 1))
    code.loop(ECX, 'loop').hlt()
    engines.agree(program(code))
  })
  it('sees a change of an instruction of its loop, now and then', () => {
    const code = rounds(ROUNDS).label('operation').alu(ALU.add, EBX, ECX)
    nowAndThen(code, () => code.raw(0x80, 0x35).address('operation').raw(0x28))
      .loop(ECX, 'loop')
      .hlt()
    engines.agree(program(code))
  })
  it('sees an instruction change its own loop’s branch', () => {
    const code = rounds(ROUNDS).aluWith(ALU.cmp, ECX, 37).label('branch').jumpIf(CC.z, 'out')
    nowAndThen(code.aluWith(ALU.add, EBX, 3), () => code.raw(0x80, 0x35).address('branch+1').raw(1))
    code.loop(ECX, 'loop').hlt()
    code.label('out').aluWith(ALU.add, EBX, 1000).loop(ECX, 'loop').hlt()
    engines.agree(program(code))
  })

  it('sees a store that begins in data and ends in code on the next page', () => {
    const code = rounds(ROUNDS)
    nowAndThen(code, () => {
      code.move(EAX, ECX).raw(0xc1, 0xe8, 6).raw(0xc1, 0xe0, 24).aluWith(ALU.or, EAX, 0xb80000)
      code.store(0x100ffe, EAX)
    })
    code.call(0x101000).alu(ALU.add, EBX, EAX).loop(ECX, 'loop').hlt()
    const callee = new MachineCode(0x101000).mov(EAX, 0).ret()
    engines.agree(program(code, { ram: [callee.made] }))
  })
  for (const half of ['first', 'second'] as const) {
    it(`sees a change of the ${half} part of an instruction that spans two pages`, () => {
      // mov eax, imm32 with its opcode and two bytes on the first page.
      const code = rounds(ROUNDS)
      nowAndThen(code, () => code.raw(0xfe, 0x05).address(half === 'first' ? 0x100ffe : 0x101001))
      code.jump(0x100ff8).padTo(0x100ffd).mov(EAX, 0).alu(ALU.add, EBX, EAX).loop(ECX, 'loop').hlt()
      const outcome = engines.agree(program(code))
      assert.equal(register(outcome, 'rax'), Math.floor(ROUNDS / 64) * (half === 'first' ? 1 : 2 ** 24))
    })
  }

  it('sees REP STOS and REP MOVS over its code, from before it to behind it', () => {
    const code = rounds(ROUNDS)
    nowAndThen(code, () => {
      code.raw(0x51).move(EAX, ECX).raw(0xc1, 0xe8, 6).raw(0xfc).mov(EDI, 'function+1').mov(ECX, 4)
      code.raw(0xf3, 0xaa).call('function').alu(ALU.add, EBX, EAX)
      code.mov(ESI, 'pattern').mov(EDI, 'function').mov(ECX, 6).raw(0xf3, 0xa4, 0x59)
    })
    code.call('function').alu(ALU.add, EBX, EAX).loop(ECX, 'loop').hlt()
    code
      .padTo(CODE + 0x200)
      .label('function')
      .mov(EAX, 0)
      .ret()
    code
      .padTo(CODE + 0x240)
      .label('pattern')
      .mov(EAX, 7)
      .ret()
    engines.agree(program(code))
  })
  it('sees REP STOSD run from a page of data into code of the next page', () => {
    const code = rounds(ROUNDS)
    nowAndThen(code, () => {
      code
        .raw(0x51)
        .mov(EDI, 0x101f00)
        .mov(ECX, (0x100 + 0x40) / 4)
        .raw(0xfc)
      // Each dword is `mov al, n; ret; nop`.
      code.raw(0x8b, 0x04, 0x24, 0xc1, 0xe0, 2).aluWith(ALU.and, EAX, 0xff00)
      code.aluWith(ALU.or, EAX, 0x90c300b0 | 0).raw(0xf3, 0xab, 0x59)
    })
    code.mov(EAX, 0).call(0x102000).alu(ALU.add, EBX, EAX).call(0x10203c).alu(ALU.xor, EBX, EAX)
    code.loop(ECX, 'loop').hlt()
    const callee = new MachineCode(0x102000).raw(0xc3).padTo(0x10203c).raw(0xc3)
    engines.agree(program(code, { ram: [callee.made] }))
  })
  it('sees wide vector stores over code on two pages', () => {
    const code = rounds(ROUNDS)
    nowAndThen(code, () => {
      code
        .store('image+1', ECX)
        .raw(0x0f, 0x10, 0x05)
        .address('image')
        .raw(0x0f, 0x11, 0x05)
        .address('function')
    })
    code.call('function').alu(ALU.add, EBX, EAX).loop(ECX, 'loop').hlt()
    code.padTo(0x100ffd).label('function').mov(EAX, 0).ret()
    code.padTo(0x101100).label('image').mov(EAX, 0).ret().padTo(0x101110)
    engines.agree(program(code, { state: { ...FLAT, cr4: 0x600 } }))
  })
  it('sees a store through another linear address of the same page', () => {
    const code = rounds(ROUNDS)
    const alias = 0x80000000
    const at = code.here + 15
    nowAndThen(code, () => code.raw(0xfe, 0x05).word(alias + at + 1))
    assert.equal(code.here, at)
    code.mov(EAX, 0).alu(ALU.add, EBX, EAX).loop(ECX, 'loop').hlt()
    const ram = pageTables(DIRECTORY, [[alias + CODE, CODE]])
    const outcome = engines.agree(program(code, { state: PAGED, ram }))
    assert.equal(register(outcome, 'rax'), Math.floor(ROUNDS / 64))
  })
})

describe('recompiled code that is written from outside', () => {
  const PATCHED = 0x101000
  const function_ = (value: number) => new MachineCode(PATCHED).mov(EAX, value).ret().made[1]
  /** Calls a function 100 times, asks the device to change it, and so on. */
  const device = (tell: (code: MachineCode) => void) => {
    const code = rounds(20)
      .mov(EDX, 100)
      .label('inner')
      .call(PATCHED)
      .alu(ALU.add, EBX, EAX)
      .loop(EDX, 'inner')
    tell(code.move(EAX, ECX))
    return code.loop(ECX, 'loop').hlt()
  }

  it('runs what a device wrote by DMA when it was told to by a port', () => {
    const code = device((code) => code.out(PORT))
    const portWrite = (machine: TestMachine, _: number, value: number) =>
      machine.write(PATCHED, function_(value))
    const ram = [[PATCHED, function_(1000)] as const]
    const outcome = engines.agree(program(code, { ram, portWrite }))
    assert.equal(register(outcome, 'rbx'), 100 * (1000 + (20 * 21) / 2 - 1))
  })
  it('runs what a device wrote by DMA when it was told to by memory-mapped I/O, in the same loop', () => {
    const code = rounds(500)
      .call(PATCHED)
      .alu(ALU.add, EBX, EAX)
      .store(0xd0000000 | 0, ECX)
      .loop(ECX, 'loop')
      .hlt()
    const portWrite = (machine: TestMachine, _: number, value: number) => {
      if (value % 50 === 0) machine.write(PATCHED, function_(value))
    }
    engines.agree(program(code, { ram: [[PATCHED, function_(7)]], portWrite }))
  })
  it('runs what was written between slices, while the guest waits for it', () => {
    const code = device((code) =>
      code
        .storeByte(DATA, 1)
        .out(PORT)
        .label('wait')
        .raw(0x80, 0x3d)
        .address(DATA)
        .raw(0)
        .jumpIf(CC.nz, 'wait'),
    )
    const make = () => {
      let asked = -1
      let slices = 0
      return program(code, {
        ram: [[PATCHED, function_(1000)]],
        timeless: true,
        slice: () => 40,
        portWrite(_, __, value) {
          asked = value
          slices = 0
        },
        between(machine) {
          if (asked < 0 || ++slices < 4) return
          machine.write(PATCHED, function_(asked))
          machine.write(DATA, [0])
          asked = -1
        },
      })
    }
    engines.agree(make)
  })
  it('never enters a region whose code changed while it was made', () => {
    for (const when of [1, 2, 3, 4, 5]) {
      const code = rounds(200).call(PATCHED).alu(ALU.add, EBX, EAX).loop(ECX, 'loop').out(PORT)
      code.mov(ECX, 200).label('again').call(PATCHED).alu(ALU.add, EBX, EAX).loop(ECX, 'again').hlt()
      const late = RECOMPILERS.filter(({ answersAfter }) => answersAfter !== undefined)
      const variants = late.map((variant) => ({
        ...variant,
        name: 'made when it is told to',
        answersAfter: 1e9,
      }))
      const make = () =>
        program(code, {
          ram: [[PATCHED, function_(3)]],
          timeless: true,
          portWrite(machine) {
            if (when === 1) machine.worker?.answer()
            machine.write(PATCHED, function_(5))
            if (when === 2) machine.worker?.answer()
          },
          between(machine) {
            if (when === 4 || (when === 5 && machine.ports.length > 0)) machine.worker?.answer()
          },
        })
      engines.agree(make, when < 4 ? [] : variants)
      if (when < 4) for (const variant of variants) engines.agree(make, [variant], { mayInterpret: true })
    }
  })
})

describe('recompiled code that is mapped elsewhere', () => {
  const HERE = 0x80001000
  const [ONE, OTHER] = [0x180000, 0x181000]
  const value = (n: number) => new MachineCode(HERE).mov(EAX, n).ret().made[1]
  const PAGES = [
    [ONE, value(3)],
    [OTHER, value(5)],
  ] as const
  const calls = (code: MachineCode, name: string) =>
    code
      .mov(EDX, 70)
      .label(name)
      .call(HERE | 0)
      .alu(ALU.add, EBX, EAX)
      .loop(EDX, name)

  /** XOR [entry], ONE ^ OTHER; INVLPG [HERE]. */
  const remap = (code: MachineCode) =>
    code
      .raw(0x81, 0x35)
      .address(DIRECTORY + 0x2000 + 4)
      .word(ONE ^ OTHER)
      .raw(0x0f, 0x01, 0x3d)
      .word(HERE | 0)
  it('is another after CR3 was loaded', () => {
    const code = calls(rounds(20), 'first').mov(EAX, OTHER_DIRECTORY).raw(0x0f, 0x22, 0xd8)
    calls(code, 'second').mov(EAX, DIRECTORY).raw(0x0f, 0x22, 0xd8).loop(ECX, 'loop').hlt()
    const ram = [
      ...PAGES,
      ...pageTables(DIRECTORY, [[HERE, ONE]]),
      ...pageTables(OTHER_DIRECTORY, [[HERE, OTHER]]),
    ]
    const outcome = engines.agree(program(code, { state: PAGED, ram }))
    assert.equal(register(outcome, 'rbx'), 20 * 70 * 8)
  })
  it('is another after its page’s entry was changed and INVLPG', () => {
    const code = calls(rounds(40), 'first')
    remap(code).loop(ECX, 'loop').hlt()
    const ram = [...PAGES, ...pageTables(DIRECTORY, [[HERE, ONE]])]
    const outcome = engines.agree(program(code, { state: PAGED, ram }))
    assert.equal(register(outcome, 'rbx'), 20 * 70 * 8)
  })
  for (const how of [
    'straight on',
    'by an instruction on both',
    'by a conditional jump',
    'by a call',
  ] as const) {
    it(`is another where a region goes on to it ${how}, and its page is mapped elsewhere`, () => {
      // The function begins on the page before.
      const start = HERE - 16
      const head = new MachineCode(start - HERE + 0x182000 + 0x1000)
      const tail = (n: number) => new MachineCode(HERE).mov(EAX, n).alu(ALU.add, EBX, EAX)
      let bodies: number[][]
      if (how === 'straight on') {
        head.aluWith(ALU.add, EBX, 1).padTo(0x183000)
        bodies = [tail(3).ret().made[1], tail(5).ret().made[1]]
      } else if (how === 'by an instruction on both') {
        head.aluWith(ALU.add, EBX, 1).padTo(0x182ffe).raw(0xb8, 0)
        bodies = [3, 5].map((n) => [n, 0, 0, ...new MachineCode(0).alu(ALU.add, EBX, EAX).ret().made[1]])
      } else {
        head.aluWith(ALU.add, EBX, 1)
        if (how === 'by a call') head.call(0x183000).ret()
        else head.jumpIf(CC.nz, 0x183000).ret()
        bodies = [tail(3).ret().made[1], tail(5).ret().made[1]]
      }
      const code = rounds(40)
        .mov(EDX, 70)
        .label('first')
        .call(start | 0)
        .loop(EDX, 'first')
      remap(code).loop(ECX, 'loop').hlt()
      const tables = pageTables(DIRECTORY, [
        [HERE - 4096, 0x182000],
        [HERE, ONE],
      ])
      const ram = [head.made, [ONE, bodies[0]!] as const, [OTHER, bodies[1]!] as const, ...tables]
      const outcome = engines.agree(program(code, { state: PAGED, ram }))
      assert.equal(register(outcome, 'rbx'), 20 * 70 * (how === 'by an instruction on both' ? 2 + 0x800 : 10))
    })
  }
  it('faults where the second page of a region is not mapped any more', () => {
    const head = new MachineCode(0x182ff0).padTo(0x183000)
    const tail = new MachineCode(ONE).aluWith(ALU.add, EBX, 3).ret()
    const code = rounds(1)
      .mov(EDX, 70)
      .label('first')
      .call((HERE - 16) | 0)
      .loop(EDX, 'first')
    code
      .raw(0xc7, 0x05)
      .address(DIRECTORY + 0x2000 + 4)
      .word(0)
      .raw(0x0f, 0x01, 0x3d)
      .word(HERE | 0)
    code.call((HERE - 16) | 0).hlt()
    const tables = pageTables(DIRECTORY, [
      [HERE - 4096, 0x182000],
      [HERE, ONE],
    ])
    const outcome = engines.agree(
      program(code, { state: PAGED, ram: [head.made, tail.made, ...tables], fault: () => false }),
    )
    assert.deepEqual(
      outcome.faults.map(({ vector, rip, address }) => ({ vector, rip, address })),
      [{ vector: 14, rip: HERE.toString(16), address: HERE.toString(16) }],
    )
  })
})

describe('recompiled code that is far away', () => {
  it('faults with the right RIP 256 MiB, and nearly 2 GiB, from where its region begins', () => {
    for (const far of [0x10000000, 0x7fe00000]) {
      const physical = 0x180000
      const code = rounds(300)
        .mov(ESI, DATA)
        .call(far)
        .loop(ECX, 'loop')
        .mov(ESI, 0x90000000 | 0)
        .call(far)
        .hlt()
      // mov eax, [esi]; add ebx, eax; mov [esi], ebx; ret
      const body = new MachineCode(physical).raw(0x8b, 0x06).alu(ALU.add, EBX, EAX).raw(0x89, 0x1e).ret()
      const ram = [body.made, ...pageTables(DIRECTORY, [[far, physical]])]
      const outcome = engines.agree(program(code, { state: PAGED, ram, fault: () => false }))
      assert.equal(outcome.faults[0]!.rip, far.toString(16))
    }
  })
  it('goes where two far jumps lead, though they lead farther than 2 GiB', () => {
    const [one, two] = [0x7ff00000, 0xe0000000]
    // It jumps as it lies at `one`.
    const hop = new MachineCode(0x180000)
      .aluWith(ALU.add, EBX, 1)
      .raw(0xe9)
      .word((two - (one + 11)) | 0)
    const end = new MachineCode(0x181000).aluWith(ALU.add, EBX, 2).ret()
    const wrong = new MachineCode(0x182000).aluWith(ALU.add, EBX, 5).ret()
    const code = rounds(300).call(one).loop(ECX, 'loop').hlt()
    const tables = pageTables(DIRECTORY, [
      [one, 0x180000],
      [two, 0x181000],
      [0x60000000, 0x182000],
    ])
    const ram = [hop.made, end.made, wrong.made, ...tables]
    const outcome = engines.agree(program(code, { state: PAGED, ram }))
    assert.equal(register(outcome, 'rbx'), 900)
  })
})

describe('faults in recompiled code', () => {
  const HOLE = 0x40000000
  const tables = pageTables(DIRECTORY, [
    [HOLE - 0x1000, DATA],
    [HOLE, undefined],
  ])
  const NAMES: Record<string, readonly number[]> = {
    'mov eax, [esi]': [0x8b, 0x06],
    'mov [esi], eax': [0x89, 0x06],
    'add [esi], eax': [0x01, 0x06],
    'add eax, [esi]': [0x03, 0x06],
    'adc word [esi], 7': [0x66, 0x83, 0x16, 7],
    'xchg [esi], edx': [0x87, 0x16],
    'inc dword [esi]': [0xff, 0x06],
    'cmpxchg [esi], edx': [0x0f, 0xb1, 0x16],
    'xadd [esi], edx': [0x0f, 0xc1, 0x16],
    'cmpxchg8b [esi]': [0x0f, 0xc7, 0x0e],
    'shld [esi], eax, 3': [0x0f, 0xa4, 0x06, 3],
    'bts [esi], 30': [0x0f, 0xba, 0x2e, 30],
    'push [esi]': [0xff, 0x36, 0x5a],
    'pop [esi]': [0x50, 0x8f, 0x06],
    'movups [esi], xmm1': [0x0f, 0x11, 0x0e],
    'movups xmm1, [esi]': [0x0f, 0x10, 0x0e],
    'movq [esi], xmm1': [0x66, 0x0f, 0xd6, 0x0e],
    'fstp tbyte [esi]': [0xd9, 0xe8, 0xdb, 0x3e],
    'fst qword [esi]': [0xd9, 0xe8, 0xdd, 0x16, 0xdd, 0xd8],
    movsd: [0x57, 0x56, 0x87, 0xf7, 0xa5, 0x5e, 0x5f],
    stosd: [0x57, 0x89, 0xf7, 0xab, 0x5f],
    lodsd: [0x56, 0xad, 0x5e],
    'rep stosb': [0x57, 0x51, 0x89, 0xf7, 0xb9, 9, 0, 0, 0, 0xf3, 0xaa, 0x59, 0x5f],
  }
  const state: CpuRegisters = { ...PAGED, cr4: 0x600, gpr: { rsp: BigInt(STACK), rdi: BigInt(DATA + 0x800) } }
  for (const [name, bytes] of Object.entries(NAMES)) {
    it(`${name} leaves flags, registers and memory as they were, also at the end of a page`, () => {
      for (const into of [HOLE - 3, HOLE - 1, HOLE]) {
        const code = rounds(120)
          .mov(ESI, 0x40000000 - 64)
          .label('inner')
          .aluWith(ALU.add, EDX, 0x7fffff1)
        code
          .alu(ALU.adc, EBX, EDX)
          .aluWith(ALU.sub, EAX, 0x1234)
          .raw(...bytes)
          .alu(ALU.xor, EBX, EAX)
        code.raw(0x83, 0xf9, 0).jumpIf(CC.z, 'end').loop(ECX, 'inner')
        code.mov(ESI, into).jump('inner').label('end').hlt()
        const ram = [[DATA + 0xf00, Array.from({ length: 256 }, (_, i) => i ^ 0x5a)] as const, ...tables]
        const outcome = engines.agree(program(code, { state, ram, fault: () => false }), RECOMPILERS.slice(1))
        if (into === HOLE - 1 && name !== 'rep stosb')
          assert.deepEqual([...outcome.ram.slice(DATA + 0xff0, DATA + 0x1000)], ram[0]![1].slice(240))
      }
    })
  }
  it('go on where a handler sends them, again and again in the middle of a hot loop', () => {
    const code = rounds(400).mov(ESI, DATA).raw(0xf6, 0xc1, 7).jumpIf(CC.nz, 'good').mov(ESI, HOLE)
    code.label('good').aluWith(ALU.add, EDX, 0x7fffff1).alu(ALU.adc, EBX, EDX).raw(0x11, 0x0e).label('after')
    code.alu(ALU.sbb, EBX, ESI).loop(ECX, 'loop').hlt()
    const after = code.addressOf('after')
    const fault = (machine: TestMachine) => {
      machine.setRip(after)
      return true
    }
    const outcome = engines.agree(program(code, { state: PAGED, ram: tables, fault }))
    assert.equal(outcome.faults.length, 50)
  })
})

describe('recompiled code of unusual shapes', () => {
  it('is entered in the middle of an instruction that is also run from its start', () => {
    // mov eax, 9005c383h holds add ebx, 5; nop.
    const code = rounds(300).call('whole').call('whole+1').loop(ECX, 'loop').hlt()
    code
      .label('whole')
      .mov(EAX, 0x9005c383 | 0)
      .alu(ALU.add, EDX, EAX)
      .ret()
    const outcome = engines.agree(program(code))
    assert.equal(register(outcome, 'rbx'), 1500)
  })

  const many = (code: MachineCode): MachineCode => {
    const random = new Random(11)
    for (let i = 0; i < 10_000; i++) {
      const [to, from] = [[EAX, EDX, EBX][random.below(3)]!, [EAX, EDX, EBX, ESI][random.below(4)]!]
      if (random.below(8) === 0) code.store(DATA + random.below(64) * 4, from)
      else code.alu(random.below(7), to, from)
    }
    return code
  }
  it('is a function of 10,000 instructions in one line', () => {
    const code = rounds(60).call('function').loop(ECX, 'loop').hlt().label('function')
    engines.agree(program(many(code).ret()))
  })
  it('is a loop of 10,000 instructions', () => {
    engines.agree(program(many(rounds(60)).loop(ECX, 'loop').hlt()))
  })

  for (const [name, opcode] of [
    ['jump', 0x24],
    ['call', 0x14],
  ] as const) {
    it(`has an indirect ${name} with 200 targets`, () => {
      const code = rounds(2000).raw(0x69, 0xc1).word(0x61c88647).raw(0xc1, 0xe8, 24)
      code.aluWith(ALU.cmp, EAX, 200).jumpIf(CC.ae, 'on').raw(0xff, opcode, 0x85).address('table')
      code.label('on').loop(ECX, 'loop').hlt()
      for (let i = 0; i < 200; i++) {
        code.label(`target${i}`).aluWith(ALU.add, EBX, i * i)
        if (name === 'jump') code.jump('on')
        else code.ret()
      }
      code.label('table')
      for (let i = 0; i < 200; i++) code.address(`target${i}`)
      engines.agree(program(code))
    })
  }
  it('returns to places that no call precedes, and to others than it was called from', () => {
    const code = rounds(900).call('function').alu(ALU.xor, EBX, ECX).aluWith(ALU.add, EBX, 1)
    // push on; ret
    code.raw(0x68).address('on').ret().aluWith(ALU.add, EBX, 77).label('on').loop(ECX, 'loop').hlt()
    // Each fourth time it skips the XOR.
    code.label('function').raw(0xf6, 0xc1, 3).jumpIf(CC.nz, 'end').raw(0x83, 0x04, 0x24, 2).label('end').ret()
    engines.agree(program(code))
  })
  it('calls itself 800 times deep', () => {
    const code = rounds(12).mov(EAX, 800).call('function').loop(ECX, 'loop').hlt()
    code.label('function').aluWith(ALU.add, EBX, 3).raw(0x48).jumpIf(CC.z, 'end').raw(0x50).call('function')
    code.raw(0x5a).alu(ALU.add, EBX, EDX).label('end').ret()
    engines.agree(program(code))
  })
  it('calls along a chain over ten pages, each of which has a loop of its own', () => {
    const code = rounds(60).call('function0').loop(ECX, 'loop').hlt()
    for (let i = 0; i < 10; i++) {
      code
        .padTo(CODE + 0x1000 * (i + 1) - 9)
        .label(`function${i}`)
        .aluWith(ALU.add, EBX, i)
        .mov(EDX, 7)
      code.label(`inner${i}`).alu(ALU.adc, EBX, EDX).loop(EDX, `inner${i}`)
      if (i < 9) code.call(`function${i + 1}`).alu(ALU.xor, EBX, ECX)
      code.ret()
    }
    engines.agree(program(code))
  })
})

describe('code that is made for ever', () => {
  /** Writes a function, runs it, and makes the next one `step` bytes on, in an area of so many bytes. */
  const maker = (count: number, step: number, area: number) => {
    const code = rounds(count).mov(EBP, 0x180000).label('next')
    code.raw(0x51).mov(ESI, 'template').move(EDI, EBP).mov(ECX, 'end')
    code.raw(0x81, 0xe9).address('template').raw(0xf3, 0xa4, 0x59)
    code
      .raw(0x89, 0x4d, 1)
      .mov(EDX, 12)
      .label('inner')
      .raw(0xff, 0xd5)
      .alu(ALU.add, EBX, EAX)
      .loop(EDX, 'inner')
    code
      .aluWith(ALU.add, EBP, step)
      .aluWith(ALU.and, EBP, (0x180000 + area - 1) | 0)
      .aluWith(ALU.or, EBP, 0x180000)
    code.loop(ECX, 'next').hlt()
    return code.label('template').mov(EAX, 0).alu(ALU.add, EBX, ECX).alu(ALU.xor, EBX, EDX).ret().label('end')
  }
  const LITTLE = { name: 'little room', hotAfter: 4, maxBytes: 1 << 17 }
  for (const [where, step, area] of [
    ['in one place', 0, 0x1000],
    ['at addresses that march on', 64, 0x80000],
    ['at addresses that march on over ends of pages, and come again', 4092, 0x10000],
  ] as const) {
    it(`gives what it should ${where}, and holds no more than it may`, () => {
      engines.agree(program(maker(200, step, area)), [RECOMPILERS[1]!, RECOMPILERS[3]!, LITTLE])
      const { regions, dropped } = engines.of(LITTLE).cpu.recompiled!
      assert.ok(regions > 50, `${regions} regions`)
      assert.ok(regions - dropped < 200, `${regions - dropped} regions are held`)
    })
  }
  it('drops the oldest regions where there is no room', () => {
    const { reclaimed } = engines.of(LITTLE).cpu.recompiled!
    assert.ok(reclaimed > 0)
  })
})

describe('recompiled code and the slice', () => {
  const work = () => {
    const code = rounds(150)
      .mov(EDX, 5)
      .label('inner')
      .alu(ALU.add, EBX, EDX)
      .call('function')
      .loop(EDX, 'inner')
    code
      .store(DATA, EBX)
      .aluTo(ALU.adc, DATA + 8, EDX)
      .loop(ECX, 'loop')
      .hlt()
    return code
      .label('function')
      .raw(0xd1, 0xc3)
      .jumpIf(CC.b, 'end')
      .alu(ALU.xor, EBX, ECX)
      .label('end')
      .ret()
  }
  it('does the same in slices of 1, 2, 3 and 1000 instructions', () => {
    const outcomes = [1, 2, 3, 1000].map((slice) => engines.agree(program(work(), { slice: () => slice })))
    assert.equal(new Set(outcomes.map(({ registers, retired }) => `${registers} ${retired}`)).size, 1)
  })
  it('grows from small to large regions while it runs', () => {
    const code = rounds(30)
      .mov(EDX, 300)
      .label('inner')
      .alu(ALU.add, EBX, EDX)
      .call('function')
      .loop(EDX, 'inner')
    code.loop(ECX, 'loop').hlt().label('function').raw(0xd1, 0xc3).raw(0xf6, 0xc2, 1).jumpIf(CC.nz, 'odd')
    code.mov(EAX, 5).label('deep').alu(ALU.xor, EBX, EAX).loop(EAX, 'deep').ret()
    code.label('odd').mov(EAX, 3).label('shallow').alu(ALU.adc, EBX, EAX).loop(EAX, 'shallow').ret()
    engines.agree(program(code))
  })

  const HANDLER = 0x150000
  const GDT = 0x1000
  const IDT = 0x2000
  const events = (handler: MachineCode): [number, number[]][] => [
    handler.made,
    [GDT + 16, [0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]],
    [IDT + 0x20 * 8, [HANDLER & 255, (HANDLER >> 8) & 255, 0x10, 0, 0, 0x8e, HANDLER >> 16, 0]],
  ]
  const tables = ({ cpu }: TestMachine) => {
    cpu.state.setInt32(L.GDTR_BASE, GDT, true)
    cpu.state.setInt32(L.IDTR_BASE, IDT, true)
  }
  const state = { ...FLAT, rflags: 0x202 }
  it('takes an interrupt that memory-mapped I/O raised before the loop’s next round', () => {
    const code = rounds(200)
      .store(0xd0000000 | 0, ECX)
      .alu(ALU.add, EBX, ECX)
      .loop(ECX, 'loop')
    // Long enough for the last one.
    code.mov(EDX, 3).label('wait').loop(EDX, 'wait').raw(0xfa).hlt()
    const handler = new MachineCode(HANDLER)
      .raw(0x50)
      .load(EAX, DATA)
      .aluWith(ALU.add, EAX, 1)
      .store(DATA, EAX)
    // The counter, as the handler sees it, goes into a sum.
    handler.aluTo(ALU.add, DATA + 4, ECX).raw(0x58, 0xcf)
    const portWrite = (machine: TestMachine) => {
      machine.interrupt = 0x20
    }
    const outcome = engines.agree(program(code, { state, ram: events(handler), prepare: tables, portWrite }))
    assert.equal(outcome.ram[DATA], 200)
  })
  it('loses nothing where interrupts come between slices', () => {
    const code = new MachineCode(CODE).label('loop').mov(EBX, 0).mov(EDX, 40)
    code.label('inner').alu(ALU.add, EBX, EDX).alu(ALU.adc, EBX, EBX).loop(EDX, 'inner')
    code
      .load(EAX, DATA + 8)
      .aluWith(ALU.cmp, EAX, 0)
      .jumpIf(CC.nz, 'known')
      .store(DATA + 8, EBX)
    code
      .label('known')
      .alu(ALU.xor, EBX, EAX)
      .aluTo(ALU.or, DATA + 12, EBX)
    code
      .raw(0x80, 0x3d)
      .address(DATA + 16)
      .raw(0)
      .jumpIf(CC.z, 'loop')
      .raw(0xfa)
    for (const gpr of [EAX, EBX, EDX]) code.mov(gpr, 0)
    code.alu(ALU.xor, EAX, EAX).hlt()
    const handler = new MachineCode(HANDLER).raw(0xff, 0x05).address(DATA).raw(0xcf)
    const make = () => {
      let count = 0
      return program(code, {
        ...{ state, ram: events(handler), prepare: tables, timeless: true, slice: () => 37 + (count % 3) },
        between(machine) {
          if (machine.interrupt >= 0) return
          if (count === 200) return machine.write(DATA + 16, [1])
          machine.interrupt = 0x20
          count++
        },
      })
    }
    const outcome = engines.agree(make)
    assert.equal(outcome.ram[DATA], 200)
  })
})

describe('recompiled code in 64-bit mode', () => {
  /** Page tables for 64 bits: the first 2 MiB where they are, then pages at pages of RAM. */
  function longTables(
    pages: readonly (readonly [linear: number, physical: number])[],
    directory = DIRECTORY,
  ): [number, number[]][] {
    const tables: DataView[] = [new DataView(new ArrayBuffer(4096))]
    const next = (table: DataView, index: number): DataView => {
      const known = Number(table.getBigUint64(index * 8, true))
      if (known) return tables[((known & ~4095) - directory) / 4096]!
      table.setBigUint64(index * 8, BigInt((directory + tables.length * 4096) | 7), true)
      tables.push(new DataView(new ArrayBuffer(4096)))
      return tables.at(-1)!
    }
    const index = (linear: number, level: number) => Math.floor(linear / 2 ** (12 + 9 * level)) & 511
    const map = (linear: number, physical: number) => {
      const table = [3, 2, 1].reduce<DataView>((at, level) => next(at, index(linear, level)), tables[0]!)
      table.setBigUint64(index(linear, 0) * 8, BigInt(physical | 7), true)
    }
    for (let at = 0; at < 0x400000; at += 4096) map(at, at)
    for (const [linear, physical] of pages) map(linear, physical)
    return tables.map((table, i) => [directory + i * 4096, [...new Uint8Array(table.buffer)]])
  }
  const LONG: CpuRegisters = {
    mode: 'long64',
    rip: BigInt(CODE),
    cr3: DIRECTORY,
    gpr: { rsp: BigInt(STACK) },
  }
  const callAt = (code: MachineCode, at: number) =>
    code
      .raw(0x48, 0xb8)
      .word(at)
      .word(Math.floor(at / 2 ** 32))
      .raw(0xff, 0xd0)

  it('goes where two far jumps lead, though they lead farther than 2 GiB', () => {
    const one = 0x7ff00000
    const two = one + 0x7fff0000
    // Where the offset from the first page would be without its upper bits.
    const wrong = two - 2 ** 32 + 2 ** 48
    const hop = new MachineCode(0x180000)
      .aluWith(ALU.add, EBX, 1)
      .raw(0xe9)
      .word(two - (one + 11))
    const end = new MachineCode(0x181000).aluWith(ALU.add, EBX, 2).ret()
    const other = new MachineCode(0x182000).aluWith(ALU.add, EBX, 500).ret()
    const code = rounds(300).call(one)
    callAt(code, two).loop(ECX, 'loop').hlt()
    const tables = longTables([
      [one, 0x180000],
      [two, 0x181000],
      [wrong, 0x182000],
    ])
    const outcome = engines.agree(
      program(code, { state: LONG, ram: [hop.made, end.made, other.made, ...tables] }),
    )
    assert.equal(register(outcome, 'rbx'), 300 * 5)
  })
  it('is another where only the upper half of its address differs', () => {
    const [one, two] = [0x1_8000_0000, 0x2_8000_0000]
    const value = (at: number, n: number) => new MachineCode(at).aluWith(ALU.add, EBX, n).ret().made
    const code = callAt(callAt(rounds(300), one), two)
      .loop(ECX, 'loop')
      .hlt()
    const tables = longTables([
      [one, 0x180000],
      [two, 0x181000],
    ])
    const ram = [value(0x180000, 3), value(0x181000, 5), ...tables]
    assert.equal(register(engines.agree(program(code, { state: LONG, ram })), 'rbx'), 300 * 8)
  })
  it('is another in the upper half of the address space too, after CR3 was loaded', () => {
    const at = 0xffff_8000_8000_1000
    const value = (place: number, n: number) => new MachineCode(place).aluWith(ALU.add, EBX, n).ret().made
    const loadCr3 = (code: MachineCode, directory: number) => code.mov(EAX, directory).raw(0x0f, 0x22, 0xd8)
    const code = callAt(loadCr3(callAt(rounds(300), at), OTHER_DIRECTORY), at)
    loadCr3(code, DIRECTORY).loop(ECX, 'loop').hlt()
    const ram = [
      value(0x180000, 3),
      value(0x181000, 5),
      ...longTables([[at, 0x180000]]),
      ...longTables([[at, 0x181000]], OTHER_DIRECTORY),
    ]
    assert.equal(register(engines.agree(program(code, { state: LONG, ram })), 'rbx'), 300 * 8)
  })
  it('faults in the middle of a block with RIP, flags and registers exact', () => {
    const code = rounds(200).raw(0x48, 0xbe).word(DATA).word(0)
    code.label('again').raw(0x48, 0x01, 0xca, 0x48, 0x11, 0x16, 0x48, 0x19, 0xd3).loop(ECX, 'again')
    code.mov(ECX, 9).raw(0x48, 0xbe).word(0x3ffffc).word(0).jump('again')
    const outcome = engines.agree(program(code, { state: LONG, ram: longTables([]), fault: () => false }))
    const [{ vector, errorCode, address, rip }] = outcome.faults as [(typeof outcome.faults)[0]]
    const where = code.addressOf('again') + 3
    assert.deepEqual([vector, errorCode, address, rip], [14, 2, '400000', where.toString(16)])
  })
  it('faults in the second of two accesses with one base, at a page’s end and start', () => {
    const bodies: Record<string, readonly number[]> = {
      'add ebx, [rsi]; add rbx, [rsi + 8]': [0x03, 0x1e, 0x48, 0x03, 0x5e, 8],
      'add ebx, [rsi]; add bl, [rsi + 4]': [0x03, 0x1e, 0x02, 0x5e, 4],
      'add ebx, [rsi]; xor [rsi + 4], ebx': [0x03, 0x1e, 0x31, 0x5e, 4],
      'mov [rsi], ebx; add ebx, [rsi + 3]': [0x89, 0x1e, 0x03, 0x5e, 3],
      'mov [rsi], bl; mov [rsi + 1], bx; adc ebx, [rsi - 3]': [
        0x88, 0x1e, 0x66, 0x89, 0x5e, 1, 0x13, 0x5e, 0xfd,
      ],
      'add [rsi + rcx * 4], ebx; mov [rsi + rcx * 4 + 12], rsi': [
        0x01, 0x1c, 0x8e, 0x48, 0x89, 0x74, 0x8e, 12,
      ],
      'xchg rsp, rsi; push rbx; push rbx; pop rbx; xchg rsp, rsi': [
        0x48, 0x87, 0xe6, 0x53, 0x53, 0x5b, 0x48, 0x87, 0xe6,
      ],
    }
    for (const [name, bytes] of Object.entries(bodies))
      for (const [start, step] of [
        [0x3fe800, 4],
        [0x3fe801, 3],
      ] as const) {
        const code = new MachineCode(CODE).raw(0x48, 0xbe).word(start).word(0).mov(EBX, 0x1234)
        code
          .label('again')
          .raw(...bytes, 0x48, 0x83, 0xc6, step & 255)
          .jump('again')
        const ram = longTables([])
        const { faults } = engines.agree(program(code, { state: LONG, ram, fault: () => false }))
        assert.equal(faults[0]!.vector, 14, name)
      }
  })
  it('faults at the head of a loop to which two ways lead', () => {
    const code = rounds(40).raw(0x48, 0xbe).word(DATA).word(0).label('start').mov(EDX, 30)
    // test cl, 1; jz; add edx, 5
    code.raw(0xf6, 0xc1, 1).jumpIf(CC.z, 'head').aluWith(ALU.add, EDX, 5)
    // mov eax, [rsi]; add ebx, eax; sub edx, 1
    code.label('head').raw(0x8b, 0x06, 0x01, 0xc3, 0x83, 0xea, 1).jumpIf(CC.nz, 'head')
    code.loop(ECX, 'start').raw(0x48, 0xbe).word(0x400000).word(0).mov(ECX, 3).jump('start')
    engines.agree(program(code, { state: LONG, ram: longTables([]), fault: () => false }))
  })
  it('faults at a loop’s head with the flags that the round before left', () => {
    const setters: Record<string, readonly number[]> = {
      'add rsi, 0': [0x48, 0x83, 0xc6, 0],
      'cmp esi, 0x3ffff8': [0x81, 0xfe, 0xf8, 0xff, 0x3f, 0],
      'sub edx, esi': [0x29, 0xf2],
      'sub rdx, rsi': [0x48, 0x29, 0xf2],
      'add edx, esi': [0x01, 0xf2],
      'add rdx, rsi': [0x48, 0x01, 0xf2],
      'add rdx, -1': [0x48, 0x83, 0xc2, 0xff],
      'add edx, edx': [0x01, 0xd2],
      'sub edx, 7': [0x83, 0xea, 7],
      'cmp eax, edx': [0x39, 0xd0],
      'cmp rdx, 0': [0x48, 0x83, 0xfa, 0],
      'cmp dl, 7': [0x80, 0xfa, 7],
      'cmp dx, si': [0x66, 0x39, 0xf2],
      'sub dl, 7': [0x80, 0xea, 7],
      'test edx, esi': [0x85, 0xf2],
      'and edx, esi': [0x21, 0xf2],
      'xor edx, edx': [0x31, 0xd2],
      'neg edx': [0xf7, 0xda],
      'inc edx': [0xff, 0xc2],
      'adc edx, esi': [0x11, 0xf2],
      'shl edx, 3': [0xc1, 0xe2, 3],
      'cmp ebx, [rsi - 4]': [0x3b, 0x5e, 0xfc],
      'sub [rsi - 4], edx': [0x29, 0x56, 0xfc],
      'imul edx, esi': [0x0f, 0xaf, 0xd6],
    }
    const heads = {
      'mov eax, [rsi]': [0x8b, 0x06],
      'mov edx, 0x89abcdef; mov eax, [rsi]': [0xba, 0xef, 0xcd, 0xab, 0x89, 0x8b, 0x06],
      'mov eax, [rsi]; mov edx, [rsi + 4]': [0x8b, 0x06, 0x8b, 0x56, 0x04],
    }
    for (const [head, bytes] of Object.entries(heads))
      for (const [setter, set] of Object.entries(setters)) {
        const code = new MachineCode(CODE).raw(0x48, 0xbe).word(0x3ff800).word(0).mov(EDX, 0x7ffff123)
        code.label('again').raw(...bytes)
        // add ebx, eax; add rsi, 4
        code.raw(0x01, 0xc3, 0x48, 0x83, 0xc6, 4, ...set).jump('again')
        const ram = longTables([])
        const { faults } = engines.agree(program(code, { state: LONG, ram, fault: () => false }))
        assert.equal(faults[0]!.address, '400000', `${head} ... ${setter}`)
      }
  })
})

/** Programs that do at random all that the tests above do, one by one. */
describe('random programs that change themselves', () => {
  const ALIAS = 0x40000000
  const REGISTERS = [EAX, EDX, EBX, EBP]
  const CONDITIONS = Object.values(CC)

  class RandomProgram {
    readonly #random: Random
    readonly code: MachineCode
    /** Immediate operands, and operations, that may be changed. */
    readonly #immediates: string[] = []
    readonly #operations: string[] = []
    readonly #functions: number
    #labels = 0

    constructor(seed: number) {
      this.#random = new Random(seed)
      this.#functions = 1 + this.#random.below(4)
      this.code = new MachineCode(CODE + 0x1000 - this.#random.below(250))
    }
    #pick<T>(from: readonly T[]): T {
      return from[this.#random.below(from.length)]!
    }
    #label(): string {
      return `label${this.#labels++}`
    }

    make(): Program {
      const { code } = this
      const start = code.here
      code.mov(ECX, 250).label('loop')
      this.#items(10 + this.#random.below(15), 0)
      code.loop(ECX, 'loop').hlt()
      for (let i = 1; i <= this.#functions; i++) {
        code.padTo(CODE + 0x1000 * (i + 1) + 0xf80 + this.#random.below(128)).label(`function${i}`)
        this.#items(2 + this.#random.below(12), i)
        code.ret()
      }
      const aliases = Array.from({ length: 8 }, (_, i) => [ALIAS + CODE + i * 4096, CODE + i * 4096] as const)
      const state = {
        ...PAGED,
        rip: BigInt(start),
        gpr: { ...PAGED.gpr, rsi: BigInt(DATA), rbx: 0x12345678n },
      }
      return program(code, { state, ram: pageTables(DIRECTORY, aliases) })
    }

    #items(count: number, level: number): void {
      for (let i = 0; i < count; i++) this.#item(level)
    }
    #item(level: number): void {
      const { code } = this
      const random = this.#random
      const [to, from] = [this.#pick(REGISTERS), this.#pick(REGISTERS)]
      const data = DATA + 4090 + random.below(64)
      switch (random.below(14)) {
        case 0:
        case 1: {
          const label = this.#label()
          this.#operations.push(label)
          return void code.label(label).alu(random.below(8), to, from)
        }
        case 2:
        case 3: {
          const label = this.#label()
          this.#immediates.push(`${label}+1`)
          return void code.label(label).mov(to, random.u32() | 0)
        }
        case 4: {
          const label = this.#label()
          this.#immediates.push(`${label}+2`)
          return void code.label(label).aluWith(random.below(8), to, random.u32() | 0)
        }
        case 5:
          return void code.load(to, data)
        case 6:
          return void code.store(data, from)
        case 7:
          return void code.aluTo(random.below(7), data, from)
        case 8:
          return void code.raw(0xc1, this.#pick([0xc0, 0xe0, 0xe8, 0xf8, 0xd0]) | to, random.below(32))
        case 9: {
          const over = this.#label()
          code.jumpIf(this.#pick(CONDITIONS), over)
          this.#items(1 + random.below(2), level)
          return void code.label(over)
        }
        case 10: {
          if (level >= this.#functions) return
          return void code.call(`function${level + 1 + random.below(this.#functions - level)}`)
        }
        case 11: {
          if (level !== 0) return
          const again = this.#label()
          code.mov(EDI, 2 + random.below(12)).label(again)
          this.#items(1 + random.below(4), this.#functions)
          return void code.loop(EDI, again)
        }
        default:
          return this.#change(from)
      }
    }
    /** Changes something that is there already, or the next immediate. */
    #change(from: number): void {
      const { code } = this
      const random = this.#random
      const over = this.#label()
      code.raw(0xf6, 0xc1, this.#pick([31, 63, 127])).jumpIf(CC.nz, over)
      const alias = random.below(3) === 0 ? ALIAS : 0
      const within = (label: string, plus: number): string => {
        const [name, at] = label.split('+') as [string, string]
        return `${name}+${Number(at ?? 0) + plus + alias}`
      }
      const kind = random.below(5)
      if (kind === 0 && this.#operations.length > 0) {
        code
          .raw(0x80, 0x35)
          .address(within(this.#pick(this.#operations), 0))
          .raw(0x28)
      } else if (kind === 1 && this.#immediates.length > 0) {
        code
          .raw(0x51, 0x57, 0xfc)
          .mov(EDI, within(this.#pick(this.#immediates), 0))
          .mov(ECX, 4)
        code.raw(0xf3, 0xaa, 0x5f, 0x59)
      } else if (kind === 2) {
        const label = this.#label()
        code.store(within(label, 1), from).label(label).mov(this.#pick(REGISTERS), 5)
      } else if (this.#immediates.length > 0) {
        const label = this.#pick(this.#immediates)
        if (random.below(2) === 0) code.store(within(label, 0), from)
        else code.storeByteOf(within(label, random.below(4)), random.below(4))
      }
      code.label(over)
    }
  }

  for (let seed = 1; seed <= 6; seed++) {
    it(`do what interpreted ones do: ${seed}`, () => {
      const made = new RandomProgram(seed).make()
      const make = () => {
        const random = new Random(seed * 77)
        return {
          ...made,
          slice: () => (random.below(4) === 0 ? 1 + random.below(3) : 20 + random.below(2000)),
        }
      }
      engines.agree(make, RECOMPILERS, { mayInterpret: true })
    })
  }
})

describe('instructions that run alone', () => {
  it('are decoded for the code size that runs them', () => {
    const machine = engines.of({ name: 'interpreter' })
    const { cpu } = machine
    // mov ecx, 4030201h, or mov cx, 201h.
    machine.run(program(new MachineCode(CODE).hlt().mov(ECX, 0x04030201)))
    const step = (attributes: number) => {
      cpu.state.setInt32(L.SEG + L.CS * L.SEG_SIZE + L.SEG_ATTRIBUTES, attributes, true)
      cpu.state.setInt32(L.RIP, CODE + 1, true)
      cpu.stateChanged()
      cpu.step()
      return machine.gpr(ECX)
    }
    assert.deepEqual([step(0x8f9b), step(0xcf9b)], [0x0201n, 0x04030201n])
  })
})
