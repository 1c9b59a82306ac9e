/** Near branches, calls and returns; software exceptions. */
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import type { Expr } from '../wasm/code.ts'
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { CONDITION_NAMES } from './move.ts'

const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')
const BRANCH = { size64: 'f64', sized: true } as const

/** With a 16-bit operand size, IP is what remains of RIP. */
const truncate = (u: Meaning, rip: Expr): Expr => (u.variant.size === 2 ? rip.and(0xffff) : rip)

const JMP = instruction({
  mnemonic: 'jmp',
  spec: 'SDM Vol. 2A, "JMP—Jump"',
  forms: [
    { bytes: 'EB', operands: ['Jb'], ...BRANCH },
    { bytes: 'E9', operands: ['Jz'], ...BRANCH },
  ],
  endsBlock: true,
  meaning: (u, target) => u.jumpRelative(target!),
})

const JMP_INDIRECT = instruction({
  mnemonic: 'jmp',
  spec: 'SDM Vol. 2A, "JMP—Jump"',
  forms: [{ bytes: 'FF /4', operands: ['Ev'], size64: 'f64' }],
  endsBlock: true,
  modeSensitive: true,
  meaning: (u, source) => {
    const target = u.readUnsigned(source!)
    u.checkTarget(target)
    u.jumpIndirect(target)
  },
})

const JCC = [...Array(16).keys()].map((code) =>
  instruction({
    mnemonic: `j${CONDITION_NAMES[code]}`,
    spec: 'SDM Vol. 2A, "Jcc—Jump if Condition Is Met"',
    forms: [
      { bytes: hex(0x70 + code), operands: ['Jb'], ...BRANCH },
      { bytes: `0F ${hex(0x80 + code)}`, operands: ['Jz'], ...BRANCH },
    ],
    meaning: (u, target) => u.if(u.condition(code), () => u.jumpRelative(target!)),
  }),
)

const JCXZ = instruction({
  mnemonic: 'jcxz',
  spec: 'SDM Vol. 2A, "Jcc—Jump if Condition Is Met"',
  forms: [{ bytes: 'E3', operands: ['Jb'], ...BRANCH }],
  addressSensitive: true,
  modeSensitive: true,
  meaning: (u, target) => {
    u.if(u.gpr(1, u.variant.addressSize).eqz(), () => u.jumpRelative(target!))
  },
})

function loop(mnemonic: string, opcode: string, test: ((u: Meaning) => Expr) | undefined): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2A, "LOOP/LOOPcc—Loop According to ECX Counter"',
    forms: [{ bytes: opcode, operands: ['Jb'], ...BRANCH }],
    addressSensitive: true,
    modeSensitive: true,
    meaning: (u, target) => {
      const { addressSize } = u.variant
      const count = u.zeroExtend(u.gpr(1).sub(1), addressSize)
      u.setGpr(1, addressSize, count)
      const again = test ? count.ne(0).and(test(u)) : count.ne(0)
      u.if(again, () => u.jumpRelative(target!))
    },
  })
}

/** The return address is stored before the target is checked, as on Intel's CPUs; the stack pointer moves after. */
function call(u: Meaning, target: Expr): void {
  const { size } = u.variant
  u.stackStore(-size, size, u.nextRip())
  u.checkTarget(target)
  u.stackAdjust(-size)
}

const CALL = instruction({
  mnemonic: 'call',
  spec: 'SDM Vol. 2A, "CALL—Call Procedure"',
  forms: [{ bytes: 'E8', operands: ['Jz'], ...BRANCH }],
  endsBlock: true,
  modeSensitive: true,
  meaning: (u, target) => {
    const wide = u.nextRip().add(u.relative(target!))
    call(u, u.long ? wide : truncate(u, wide.and(0xffffffff)))
    u.jumpRelative(target!)
  },
})

const CALL_INDIRECT = instruction({
  mnemonic: 'call',
  spec: 'SDM Vol. 2A, "CALL—Call Procedure"',
  forms: [{ bytes: 'FF /2', operands: ['Ev'], size64: 'f64' }],
  endsBlock: true,
  modeSensitive: true,
  meaning: (u, source) => {
    const target = u.readUnsigned(source!)
    call(u, target)
    u.jumpIndirect(target)
  },
})

const RET = instruction({
  mnemonic: 'ret',
  spec: 'SDM Vol. 2B, "RET—Return From Procedure"',
  forms: [
    { bytes: 'C3', operands: [], ...BRANCH },
    { bytes: 'C2', operands: ['Iw'], ...BRANCH },
  ],
  endsBlock: true,
  modeSensitive: true,
  meaning: (u, release) => {
    const { size } = u.variant
    const target = u.stackLoad(0, size)
    u.checkTarget(target)
    u.stackAdjust(release ? u.readUnsigned(release).add(size) : size)
    u.jump(target)
  },
})

/** An exception that says "undefined" on purpose. */
const UD = instruction({
  mnemonic: 'ud',
  spec: 'SDM Vol. 2D, "UD—Undefined Instruction"',
  forms: [
    { bytes: '0F 0B', operands: [] },
    { bytes: '0F B9 /r', operands: ['Gv', 'Ev'], access: 'none' },
    { bytes: '0F FF /r', operands: ['Gv', 'Ev'], access: 'none' },
  ],
  endsBlock: true,
  meaning: (u) => u.raise(EXCEPTION.UD),
})

const BOUND = instruction({
  mnemonic: 'bound',
  spec: 'SDM Vol. 2A, "BOUND—Check Array Index Against Bounds"',
  forms: [{ bytes: '62 /r', operands: ['Gv', 'Ma'], modes: 'no64' }],
  meaning: (u, index, bounds) => {
    const { size } = index!
    const address = u.address(bounds!)
    const value = u.read(index!)
    const low = u.loadMemory(address, size, { signed: true })
    u.if(value.ltS(low), () => u.raise(EXCEPTION.BR))
    const high = u.loadMemory(address.add(size), size, { signed: true })
    u.if(value.gtS(high), () => u.raise(EXCEPTION.BR))
  },
})

/** How a vector was asked for, for `softwareInterrupt`. */
export const INTERRUPT_N = 0
export const INTERRUPT_INT1 = 1

function softwareInterrupt(u: Meaning, vector: Expr | number, kind: number): void {
  u.host('softwareInterrupt', u.coerce(vector, 'i64'), kind)
  u.leave()
}

const INT = instruction({
  mnemonic: 'int',
  spec: 'SDM Vol. 2A, "INT n/INTO/INT3/INT1—Call to Interrupt Procedure"',
  forms: [{ bytes: 'CD', operands: ['Ib'] }],
  endsBlock: true,
  system: 'goes through the IDT',
  meaning: (u, vector) => softwareInterrupt(u, u.readUnsigned(vector as Operand), INTERRUPT_N),
})
const INT3 = instruction({
  mnemonic: 'int3',
  spec: INT.spec,
  forms: [{ bytes: 'CC', operands: [] }],
  endsBlock: true,
  meaning: (u) => softwareInterrupt(u, EXCEPTION.BP, INTERRUPT_N),
})
const INT1 = instruction({
  mnemonic: 'int1',
  spec: INT.spec,
  forms: [{ bytes: 'F1', operands: [] }],
  endsBlock: true,
  system: 'goes through the IDT',
  meaning: (u) => softwareInterrupt(u, EXCEPTION.DB, INTERRUPT_INT1),
})
const INTO = instruction({
  mnemonic: 'into',
  spec: INT.spec,
  forms: [{ bytes: 'CE', operands: [], modes: 'no64' }],
  meaning: (u) => u.if(u.flag('O'), () => softwareInterrupt(u, EXCEPTION.OF, INTERRUPT_N)),
})

const HLT = instruction({
  mnemonic: 'hlt',
  spec: 'SDM Vol. 2A, "HLT—Halt"',
  forms: [{ bytes: 'F4', operands: [] }],
  endsBlock: true,
  system: 'needs CPL 0',
  meaning: (u) => {
    u.requirePrivilege()
    u.setState('i64', L.RIP, u.nextRip())
    u.halt()
  },
})

export const CONTROL: readonly Instruction[] = [
  JMP,
  JMP_INDIRECT,
  ...JCC,
  JCXZ,
  loop('loopne', 'E0', (u) => u.flag('Z').eqz()),
  loop('loope', 'E1', (u) => u.flag('Z')),
  loop('loop', 'E2', undefined),
  CALL,
  CALL_INDIRECT,
  RET,
  UD,
  BOUND,
  INT,
  INT3,
  INT1,
  INTO,
  HLT,
]
