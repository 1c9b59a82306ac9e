/** What a guest may do to its code: recompiled code leaves behind what interpreted code does. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { CpuRegisters } from '../cpu.ts'
import { Engines, type Program, RECOMPILERS, type TestMachine } from '../testing/engines-agree.ts'
import { ALU, CC, EAX, EBX, ECX, EDI, EDX, ESI, MachineCode } from '../testing/machine-code.ts'

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
const ROUNDS = 1500

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
    const code = rounds(120).mov(EDX, 0).label('inner').aluWith(ALU.add, EDX, 1)
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
      const variants = late.map((variant) => ({ ...variant, name: `later ${when}`, answersAfter: 1e9 }))
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
      .raw(0x81, 0x35)
      .address(DIRECTORY + 0x2000 + 4)
      .word(ONE ^ OTHER)
    code
      .raw(0x0f, 0x01, 0x3d)
      .word(HERE | 0)
      .loop(ECX, 'loop')
      .hlt()
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
      code
        .raw(0x81, 0x35)
        .address(DIRECTORY + 0x2000 + 4)
        .word(ONE ^ OTHER)
      code
        .raw(0x0f, 0x01, 0x3d)
        .word(HERE | 0)
        .loop(ECX, 'loop')
        .hlt()
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
      for (const into of [HOLE - 16, HOLE - 3, HOLE - 1, HOLE]) {
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
