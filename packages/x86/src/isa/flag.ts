/** Instructions on the flags themselves. */
import { AC, DF, IF } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import type { Expr } from '../wasm/code.ts'
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning } from './meaning.ts'

function flagInstruction(mnemonic: string, opcode: string, meaning: (u: Meaning) => void): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2, "${mnemonic.toUpperCase()}"`,
    forms: [{ bytes: opcode, operands: [] }],
    meaning,
  })
}

const systemFlags = (u: Meaning): Expr => u.state('i32', L.RFLAGS_SYSTEM)
const setSystemFlags = (u: Meaning, value: Expr): void => u.setState('i32', L.RFLAGS_SYSTEM, value)

/** SF, ZF, AF, PF and CF, with bit 1 set. */
const LAHF = flagInstruction('lahf', '9F', (u) => u.setHighByte(0, u.arithmeticFlags().and(0xd5).or(2)))
const SAHF = flagInstruction('sahf', '9E', (u) => {
  const overflow = u.flag('O').extendU().shl(11)
  u.flagsExplicit(u.highByte(0).and(0xd5).or(overflow))
})
const CLC = flagInstruction('clc', 'F8', (u) => u.routine('replaceCf', 0))
const STC = flagInstruction('stc', 'F9', (u) => u.routine('replaceCf', 1))
const CMC = flagInstruction('cmc', 'F5', (u) => u.routine('replaceCf', u.flag('C').xor(1)))
const CLD = flagInstruction('cld', 'FC', (u) => setSystemFlags(u, systemFlags(u).and(~DF)))
const STD = flagInstruction('std', 'FD', (u) => setSystemFlags(u, systemFlags(u).or(DF)))

/** #GP(0) where CPL > IOPL; in virtual-8086 mode CPL is 3. */
function requireIopl(u: Meaning): void {
  const iopl = systemFlags(u).shrU(12).and(3)
  u.if(u.state('i32', L.CPL).gtU(iopl), () => u.raise(EXCEPTION.GP, 0))
}

const CLI = instruction({
  mnemonic: 'cli',
  spec: 'SDM Vol. 2A, "CLI—Clear Interrupt Flag"',
  forms: [{ bytes: 'FA', operands: [] }],
  system: 'needs IOPL',
  meaning: (u) => {
    requireIopl(u)
    setSystemFlags(u, systemFlags(u).and(~IF))
  },
})

/**
 * Interrupts stay off for one more instruction. That is only to be seen where one is pending, or where something could be
 * looked at before that instruction.
 */
const STI = instruction({
  mnemonic: 'sti',
  spec: 'SDM Vol. 2B, "STI—Set Interrupt Flag"',
  forms: [{ bytes: 'FB', operands: [] }],
  system: 'needs IOPL',
  meaning: (u) => {
    requireIopl(u)
    const old = systemFlags(u)
    u.if(old.and(IF).eqz(), () => {
      setSystemFlags(u, old.or(IF))
      u.if(u.state('i32', L.INTERRUPT_PENDING).or(u.nextIsSure().eqz()), () => {
        u.setState('i32', L.SHADOW, 1)
        u.finishAndLookAgain()
      })
    })
  },
})

function accessCheckFlag(mnemonic: string, modrm: string, set: boolean): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2, "CLAC", "STAC"',
    forms: [{ bytes: `NP 0F 01 ${modrm}`, operands: [] }],
    system: 'needs CPL 0',
    meaning: (u) => {
      u.if(u.state('i32', L.CPL), () => u.raise(EXCEPTION.UD))
      setSystemFlags(u, set ? systemFlags(u).or(AC) : systemFlags(u).and(~AC))
      u.routine('updateMode')
    },
  })
}

/** AL = CF ? FFh : 0; not in the manual, but in every CPU. */
const SALC = instruction({
  mnemonic: 'salc',
  spec: 'AMD APM Vol. 3, opcode map (D6h)',
  forms: [{ bytes: 'D6', operands: [], modes: 'no64' }],
  meaning: (u) => u.setGpr(0, 1, u.flag('C').neg().extendS()),
})

export const FLAG: readonly Instruction[] = [
  LAHF,
  SAHF,
  CLC,
  STC,
  CMC,
  CLD,
  STD,
  CLI,
  STI,
  accessCheckFlag('clac', 'CA', false),
  accessCheckFlag('stac', 'CB', true),
  SALC,
]
