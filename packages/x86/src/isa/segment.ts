/** Segment registers, descriptor tables and far control transfers. */
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import { RETURN_CS, RETURN_FLAGS, RETURN_RIP, RETURN_RSP, RETURN_SS } from '../system/long-mode.ts'
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'

const SEGMENT = 'changes segments'

const MOV_FROM_SEGMENT = instruction({
  mnemonic: 'mov',
  spec: 'SDM Vol. 2B, "MOV—Move"',
  forms: [{ bytes: '8C /r', operands: ['Ev', 'Sw'], memoryBytes: 2 }],
  meaning: (u, target, source) => {
    const number = u.fieldNumber(source!)
    u.if(number.gtU(5), () => u.raise(EXCEPTION.UD))
    const selector = u.load('i64_16u', number.wrap().mul(L.SEG_SIZE), L.SEG)
    if (target!.kind === 'memory') u.storeMemory(u.address(target!), 2, selector)
    else u.write(target!, selector)
  },
})

const MOV_TO_SEGMENT = instruction({
  mnemonic: 'mov',
  spec: 'SDM Vol. 2B, "MOV—Move"',
  forms: [{ bytes: '8E /r', operands: ['Sw', 'Ew'] }],
  system: SEGMENT,
  meaning: (u, target, source) => {
    const number = u.fieldNumber(target!)
    u.if(number.gtU(5).or(number.eq(L.CS)), () => u.raise(EXCEPTION.UD))
    u.host('loadSegment', number, u.readUnsigned(source!))
    u.finishAndLookAgain()
  },
})

function loadFarPointer(mnemonic: string, bytes: string, segment: number, no64: boolean): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2A, "LDS/LES/LFS/LGS/LSS—Load Far Pointer"',
    forms: [{ bytes, operands: ['Gv', 'Mp'], ...(no64 && { modes: 'no64' as const }) }],
    system: SEGMENT,
    meaning: (u, target, source) => {
      const address = u.address(source!)
      const { size } = target!
      const offset = u.loadMemory(address, size)
      const selector = u.loadMemory(address.add(size), 2)
      u.host('loadSegment', segment, selector)
      u.write(target!, offset)
      u.finishAndLookAgain()
    },
  })
}

/** LGDT, LIDT, SGDT, SIDT: a limit of two bytes, then a base of 3 (16-bit operands), 4 or 8 bytes. */
function storeTable(mnemonic: string, number: number, base: number, limit: number): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2B, "${mnemonic.toUpperCase()}"`,
    forms: [
      { bytes: `0F 01 /${number}`, operands: ['M'], size64: 'f64', sized: true, access: 'w', memoryBytes: 6 },
    ],
    system: 'depends on the operating system',
    modeSensitive: true,
    meaning: (u, target) => {
      u.requireUmipPermission()
      const address = u.address(target!)
      const baseBytes = u.long ? 8 : 4
      u.probeWrite(address, 2 + baseBytes)
      u.storeMemory(address, 2, u.state('i64_32u', limit))
      u.storeMemory(address.add(2), baseBytes, u.state('i64', base))
    },
  })
}
function loadTable(mnemonic: string, number: number, base: number, limit: number): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2A, "LGDT/LIDT—Load Global/Interrupt Descriptor Table Register"',
    forms: [
      { bytes: `0F 01 /${number}`, operands: ['M'], size64: 'f64', sized: true, access: 'r', memoryBytes: 6 },
    ],
    system: 'needs CPL 0',
    modeSensitive: true,
    meaning: (u, source) => {
      u.requirePrivilege()
      const address = u.address(source!)
      const newLimit = u.loadMemory(address, 2)
      const newBase = u.loadMemory(address.add(2), u.long ? 8 : 4)
      const value = u.variant.size === 2 ? newBase.and(0xffffff) : newBase
      if (u.long) u.if(value.shl(16).shrS(16).ne(value), () => u.raise(EXCEPTION.GP, 0))
      u.setState('i64', base, value)
      u.setState('i32', limit, newLimit.wrap())
    },
  })
}

/** #UD in real and virtual-8086 mode, which have no selectors. */
function requireProtectedMode(u: Meaning): void {
  u.if(u.isProtectedMode().eqz(), () => u.raise(EXCEPTION.UD))
}

function storeSelector(mnemonic: string, number: number, segment: number): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2B, "${mnemonic.toUpperCase()}"`,
    forms: [{ bytes: `0F 00 /${number}`, operands: ['Ev'], memoryBytes: 2, access: 'w' }],
    system: 'depends on the operating system',
    meaning: (u, target) => {
      requireProtectedMode(u)
      u.requireUmipPermission()
      if (target!.kind === 'memory') u.storeMemory(u.address(target!), 2, u.selector(segment))
      else u.write(target!, u.selector(segment))
    },
  })
}
function loadSelector(mnemonic: string, number: number, operation: 'loadLdt' | 'loadTask'): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2A, "${mnemonic.toUpperCase()}"`,
    forms: [{ bytes: `0F 00 /${number}`, operands: ['Ew'], access: 'r' }],
    system: 'needs CPL 0',
    meaning: (u, source) => {
      requireProtectedMode(u)
      u.requirePrivilege()
      u.host(operation, u.readUnsigned(source!))
    },
  })
}
function verify(mnemonic: string, number: number, write: 0 | 1): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2D, "VERR/VERW—Verify a Segment for Reading or Writing"',
    forms: [{ bytes: `0F 00 /${number}`, operands: ['Ew'], access: 'r' }],
    system: 'depends on the operating system',
    meaning: (u, source) => {
      requireProtectedMode(u)
      u.host('verify', u.readUnsigned(source!), write)
      setZero(u)
    },
  })
}
/** ZF from word 0 of a host call's result; the other flags stay. */
function setZero(u: Meaning): void {
  const zero = u.hostResult(0).and(1).shl(6)
  u.flagsExplicit(u.arithmeticFlags().and(~0x40).or(zero))
}
function examine(mnemonic: string, opcode: string, operation: 'accessRights' | 'segmentLimit'): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2A, "${mnemonic.toUpperCase()}"`,
    forms: [{ bytes: `0F ${opcode} /r`, operands: ['Gv', 'Ew'], access: 'r' }],
    system: 'depends on the operating system',
    meaning: (u, target, source) => {
      requireProtectedMode(u)
      u.host(operation, u.readUnsigned(source!))
      setZero(u)
      u.if(u.hostResult(0).and(1).wrap(), () => u.write(target!, u.hostResult(1)))
    },
  })
}

const ARPL = instruction({
  mnemonic: 'arpl',
  spec: 'SDM Vol. 2A, "ARPL—Adjust RPL Field of Segment Selector"',
  forms: [{ bytes: '63 /r', operands: ['Ew', 'Gw'], modes: 'no64', access: 'bit' }],
  modeSensitive: true,
  meaning: (u, target, source) => {
    requireProtectedMode(u)
    const rpl = u.readUnsigned(source!).and(3)
    const address = (write: boolean) => u.segmentAddress(u.memorySegment(), u.address(target!), 2, write)
    const isMemory = target!.kind === 'memory'
    const old = isMemory ? u.loadMemory(address(false), 2) : u.read(target!)
    const lower = old.and(3).ltU(rpl)
    const others = u.arithmeticFlags().and(~0x40)
    // Memory is written, and the right to write it checked, only where something changes.
    u.if(lower, () => {
      const adjusted = old.and(-4).or(rpl)
      if (isMemory) u.storeMemory(address(true), 2, adjusted)
      else u.write(target!, adjusted)
    })
    u.flagsExplicit(others.or(lower.extendU().shl(6)))
  },
})

const FAR = { endsBlock: true, modeSensitive: true, system: 'goes to another segment' } as const

/** A far pointer in memory: the offset, then the selector. */
function farMemory(u: Meaning, source: Operand): [ReturnType<Meaning['gpr']>, ReturnType<Meaning['gpr']>] {
  const { size } = u.variant
  const address = u.address(source)
  return [u.loadMemory(address, size), u.loadMemory(address.add(size), 2)]
}
function farTransfer(
  mnemonic: string,
  operation: 'farJump' | 'farCall',
  opcode: string,
  number: number,
): Instruction[] {
  const spec = `SDM Vol. 2A, "${mnemonic.toUpperCase()}"`
  return [
    instruction({
      mnemonic,
      spec,
      forms: [{ bytes: opcode, operands: ['Iz', 'Iw'], modes: 'no64' }],
      ...FAR,
      meaning: (u, offset) => {
        u.host(operation, u.readUnsigned(offset!), u.secondImmediate().and(0xffff), u.variant.size)
        u.leave()
      },
    }),
    instruction({
      mnemonic,
      spec,
      forms: [{ bytes: `FF /${number}`, operands: ['Mp'], sized: true }],
      ...FAR,
      meaning: (u, source) => {
        const [offset, selector] = farMemory(u, source!)
        u.host(operation, offset, selector, u.variant.size)
        u.leave()
      },
    }),
  ]
}

const RETF = instruction({
  mnemonic: 'retf',
  spec: 'SDM Vol. 2B, "RET—Return From Procedure"',
  forms: [
    { bytes: 'CB', operands: [], sized: true },
    { bytes: 'CA', operands: ['Iw'], sized: true },
  ],
  ...FAR,
  meaning: (u, release) => {
    u.host('farReturn', release ? u.readUnsigned(release) : 0, u.variant.size)
    u.leave()
  },
})

const IRET = instruction({
  mnemonic: 'iret',
  spec: 'SDM Vol. 2A, "IRET/IRETD/IRETQ—Interrupt Return"',
  forms: [{ bytes: 'CF', operands: [], sized: true }],
  ...FAR,
  meaning: (u) => {
    const { size } = u.variant
    if (!u.long) {
      u.host('interruptReturn', size)
      return u.leave()
    }
    u.if(u.state('i32', L.RFLAGS_SYSTEM).and(1 << 14), () => u.raise(EXCEPTION.GP, 0))
    const words = [RETURN_RIP, RETURN_CS, RETURN_FLAGS, RETURN_RSP, RETURN_SS]
    const values = words.map((_, i) => u.stackLoad(i * size, size))
    for (const [i, word] of words.entries()) u.setState('i64', word, values[i]!)
    u.routine('returnLong', size)
    u.exitOnFault()
    u.leave()
  },
})

export const SEGMENTS: readonly Instruction[] = [
  MOV_FROM_SEGMENT,
  MOV_TO_SEGMENT,
  loadFarPointer('les', 'C4 /r', L.ES, true),
  loadFarPointer('lds', 'C5 /r', L.DS, true),
  loadFarPointer('lss', '0F B2 /r', L.SS, false),
  loadFarPointer('lfs', '0F B4 /r', L.FS, false),
  loadFarPointer('lgs', '0F B5 /r', L.GS, false),
  storeTable('sgdt', 0, L.GDTR_BASE, L.GDTR_LIMIT),
  storeTable('sidt', 1, L.IDTR_BASE, L.IDTR_LIMIT),
  loadTable('lgdt', 2, L.GDTR_BASE, L.GDTR_LIMIT),
  loadTable('lidt', 3, L.IDTR_BASE, L.IDTR_LIMIT),
  storeSelector('sldt', 0, L.LDTR),
  storeSelector('str', 1, L.TR),
  loadSelector('lldt', 2, 'loadLdt'),
  loadSelector('ltr', 3, 'loadTask'),
  verify('verr', 4, 0),
  verify('verw', 5, 1),
  examine('lar', '02', 'accessRights'),
  examine('lsl', '03', 'segmentLimit'),
  ARPL,
  ...farTransfer('jmp', 'farJump', 'EA', 5),
  ...farTransfer('call', 'farCall', '9A', 3),
  RETF,
  IRET,
]
