/** The stack. */
import { AC, DF, ID, IF, IOPL, NT, RF, TF, VM } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning } from './meaning.ts'

const D64 = { size64: 'd64' } as const

const PUSH = instruction({
  mnemonic: 'push',
  spec: 'SDM Vol. 2B, "PUSH—Push Word, Doubleword, or Quadword Onto the Stack"',
  forms: [
    { bytes: '50+r', operands: ['Zv'], ...D64 },
    { bytes: 'FF /6', operands: ['Ev'], access: 'r', ...D64 },
    { bytes: '68', operands: ['Iz'], sized: true, ...D64 },
    { bytes: '6A', operands: ['Ib'], sized: true, ...D64 },
  ],
  modeSensitive: true,
  meaning: (u, source) => u.push(u.variant.size, u.read(source!)),
})

const POP = instruction({
  mnemonic: 'pop',
  spec: 'SDM Vol. 2B, "POP—Pop a Value From the Stack"',
  forms: [
    { bytes: '58+r', operands: ['Zv'], ...D64 },
    { bytes: '8F /0', operands: ['Ev'], access: 'bit', addressAfterPop: true, ...D64 },
  ],
  modeSensitive: true,
  meaning: (u, target) => {
    const { size } = u.variant
    const value = u.stackLoad(0, size)
    if (target!.kind === 'memory') {
      const offset = u.address(target!)
      const address = u.long ? offset : u.segmentAddress(u.memorySegment(), offset, size, true)
      u.storeMemory(address, size, value)
      u.stackAdjust(size)
    } else {
      u.stackAdjust(size)
      u.write(target!, value)
    }
  },
})

/** PUSHA stores from the top down and POPA loads from the bottom up; the stack pointer moves last. */
const PUSHA = instruction({
  mnemonic: 'pusha',
  spec: 'SDM Vol. 2B, "PUSHA/PUSHAD—Push All General-Purpose Registers"',
  forms: [{ bytes: '60', operands: [], sized: true, modes: 'no64' }],
  modeSensitive: true,
  meaning: (u) => {
    const { size } = u.variant
    for (let i = 0; i < 8; i++) u.stackStore(-size * (i + 1), size, u.gpr(i, size))
    u.stackAdjust(-size * 8)
  },
})
const POPA = instruction({
  mnemonic: 'popa',
  spec: 'SDM Vol. 2B, "POPA/POPAD—Pop All General-Purpose Registers"',
  forms: [{ bytes: '61', operands: [], sized: true, modes: 'no64' }],
  modeSensitive: true,
  meaning: (u) => {
    const { size } = u.variant
    for (const register of [7, 6, 5, 3, 2, 1, 0])
      u.setGpr(register, size, u.stackLoad((7 - register) * size, size))
    u.stackAdjust(size * 8)
  },
})

const FLAGS_FORM = (bytes: string): Form => ({ bytes, operands: [], sized: true, ...D64 })

/** In virtual-8086 mode IOPL must be 3. */
function requireVirtual8086Iopl(u: Meaning): void {
  if (u.long) return
  const flags = u.state('i32', L.RFLAGS_SYSTEM)
  u.if(flags.and(VM).ne(0).and(flags.and(IOPL).ne(IOPL)), () => u.raise(EXCEPTION.GP, 0))
}

const PUSHF = instruction({
  mnemonic: 'pushf',
  spec: 'SDM Vol. 2B, "PUSHF/PUSHFD/PUSHFQ—Push EFLAGS Register Onto the Stack"',
  forms: [FLAGS_FORM('9C')],
  modeSensitive: true,
  meaning: (u) => {
    requireVirtual8086Iopl(u)
    const system = u.state('i64_32u', L.RFLAGS_SYSTEM).and(~(RF | VM))
    u.push(u.variant.size, u.arithmeticFlags().or(system).or(2))
  },
})

/** What POPF may change grows with privilege; interrupts and single steps need a new look. */
const POPF = instruction({
  mnemonic: 'popf',
  spec: 'SDM Vol. 2B, "POPF/POPFD/POPFQ—Pop Stack Into EFLAGS Register"',
  forms: [FLAGS_FORM('9D')],
  modeSensitive: true,
  meaning: (u) => {
    requireVirtual8086Iopl(u)
    const { size } = u.variant
    const value = u.stackLoad(0, size)
    const old = u.state('i32', L.RFLAGS_SYSTEM)
    const cpl = u.state('i32', L.CPL)
    const always = size === 2 ? TF | DF | NT : TF | DF | NT | AC | ID
    const mayIf = cpl.leU(old.shrU(12).and(3))
    const mask = u.select(mayIf, u.i32(always | IF), always).or(u.select(cpl.eqz(), u.i32(IOPL), 0))
    const system = old.and(mask.not()).and(~RF).or(value.wrap().and(mask))
    u.stackAdjust(size)
    u.flagsExplicit(value.and(0x8d5))
    u.setState('i32', L.RFLAGS_SYSTEM, system)
    u.if(system.xor(old).and(AC), () => u.routine('updateMode'))
    const opens = system.and(old.not()).and(IF).ne(0).and(u.state('i32', L.INTERRUPT_PENDING))
    u.if(opens.or(system.and(TF)), () => u.finishAndLookAgain())
  },
})

const ENTER = instruction({
  mnemonic: 'enter',
  spec: 'SDM Vol. 2A, "ENTER—Make Stack Frame for Procedure Parameters"',
  forms: [{ bytes: 'C8', operands: ['Iw', 'Ib'], sized: true, ...D64 }],
  modeSensitive: true,
  meaning: (u, frame) => {
    const { size } = u.variant
    const level = u.secondImmediate().and(31).wrap()
    const pointer = u.gpr(5)
    u.stackStore(-size, size, pointer)
    const framePointer = u.gpr(4).sub(size)
    const depth = u.variable('i64', size)
    const i = u.variable('i32', 1)
    u.while(
      () => i.get().ltU(level),
      () => {
        const back = i.get().extendU().mul(-size)
        const outer = u.framePointerLoad(back, size)
        depth.set(depth.get().add(size))
        u.stackStore(depth.get().neg(), size, outer)
        i.set(i.get().add(1))
      },
    )
    u.if(level, () => {
      depth.set(depth.get().add(size))
      u.stackStore(depth.get().neg(), size, framePointer)
    })
    const bytes = depth.get().add(u.readUnsigned(frame!))
    // The final stack pointer must be usable: a write there is probed.
    u.stackProbe(bytes.neg(), size)
    u.stackAdjust(bytes.neg())
    u.setGpr(5, size, framePointer)
  },
})

const LEAVE = instruction({
  mnemonic: 'leave',
  spec: 'SDM Vol. 2A, "LEAVE—High Level Procedure Exit"',
  forms: [{ bytes: 'C9', operands: [], sized: true, ...D64 }],
  modeSensitive: true,
  meaning: (u) => {
    const { size } = u.variant
    const value = u.framePointerLoad(u.i64(0), size)
    u.setStackPointer(u.gpr(5).add(size))
    u.setGpr(5, size, value)
  },
})

const SEGMENT_OPCODES: readonly [number, string, string, 'no64' | undefined][] = [
  [L.ES, '06', '07', 'no64'],
  [L.CS, '0E', '', 'no64'],
  [L.SS, '16', '17', 'no64'],
  [L.DS, '1E', '1F', 'no64'],
  [L.FS, '0F A0', '0F A1', undefined],
  [L.GS, '0F A8', '0F A9', undefined],
]

/** With a 32-bit operand size only 16 bits are written; what was above them in the stack's slot stays, as on Intel's CPUs. */
const PUSH_SEGMENT = SEGMENT_OPCODES.map(([segment, push, , modes]) =>
  instruction({
    mnemonic: 'push',
    spec: PUSH.spec,
    forms: [{ bytes: push, operands: [], sized: true, ...D64, ...(modes && { modes }) }],
    modeSensitive: true,
    meaning: (u) => {
      const { size } = u.variant
      u.stackStore(-size, size === 4 ? 2 : size, u.selector(segment))
      u.stackAdjust(-size)
    },
  }),
)
const POP_SEGMENT = SEGMENT_OPCODES.filter(([, , pop]) => pop !== '').map(([segment, , pop, modes]) =>
  instruction({
    mnemonic: 'pop',
    spec: POP.spec,
    forms: [{ bytes: pop, operands: [], sized: true, ...D64, ...(modes && { modes }) }],
    modeSensitive: true,
    system: 'loads a segment register',
    meaning: (u) => {
      const { size } = u.variant
      const selector = u.stackLoad(0, size).and(0xffff)
      u.host('loadSegment', segment, selector)
      u.stackAdjust(size)
      u.finishAndLookAgain()
    },
  }),
)

export const STACK: readonly Instruction[] = [
  PUSH,
  POP,
  PUSHA,
  POPA,
  PUSHF,
  POPF,
  ENTER,
  LEAVE,
  ...PUSH_SEGMENT,
  ...POP_SEGMENT,
]
