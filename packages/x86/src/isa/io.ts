/** Ports. Permission (IOPL, the TSS's bitmap) is checked in TypeScript. */
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { advance, repeated, sourceAddress, stringStep, targetAddress } from './string.ts'

const IO = 'reaches devices'
const RDX = 2
const RDI = 7
const RSI = 6

/** Operand sizes of ports are 1, 2 and 4 bytes; REX.W changes nothing. */
const portSize = (u: Meaning, operand: Operand): number =>
  operand.size === 1 ? 1 : Math.min(u.variant.size, 4)

const IN = instruction({
  mnemonic: 'in',
  spec: 'SDM Vol. 2A, "IN—Input From Port"',
  forms: [
    { bytes: 'E4', operands: ['AL', 'Ib'] },
    { bytes: 'E5', operands: ['eAX', 'Ib'] },
    { bytes: 'EC', operands: ['AL', 'DX'] },
    { bytes: 'ED', operands: ['eAX', 'DX'] },
  ],
  system: IO,
  meaning: (u, target, port) => {
    const size = portSize(u, target!)
    u.host('portIn', u.readUnsigned(port!), size)
    u.setGpr(0, size, u.hostResult())
  },
})

const OUT = instruction({
  mnemonic: 'out',
  spec: 'SDM Vol. 2B, "OUT—Output to Port"',
  forms: [
    { bytes: 'E6', operands: ['Ib', 'AL'] },
    { bytes: 'E7', operands: ['Ib', 'eAX'] },
    { bytes: 'EE', operands: ['DX', 'AL'] },
    { bytes: 'EF', operands: ['DX', 'eAX'] },
  ],
  system: IO,
  meaning: (u, port, source) => {
    const size = portSize(u, source!)
    u.host('portOut', u.readUnsigned(port!), size, u.gpr(0, size))
    u.finishAndLookAgain()
  },
})

const STRING = { modeSensitive: true, addressSensitive: true, system: IO } as const

const INS = instruction({
  mnemonic: 'ins',
  spec: 'SDM Vol. 2A, "INS/INSB/INSW/INSD—Input from Port to String"',
  forms: [
    { bytes: '6C', operands: ['Yb', 'DX'], repeat: 'rep' },
    { bytes: '6D', operands: ['Yz', 'DX'], repeat: 'rep' },
  ],
  ...STRING,
  meaning: (u, target) => {
    const size = portSize(u, target!)
    repeated(u, () => {
      const address = targetAddress(u, size, true)
      u.probeWrite(address, size)
      u.host('portIn', u.gpr(RDX, 2), size)
      u.storeMemory(address, size, u.hostResult())
      advance(u, RDI, stringStep(u, size))
    })
  },
})

const OUTS = instruction({
  mnemonic: 'outs',
  spec: 'SDM Vol. 2B, "OUTS/OUTSB/OUTSW/OUTSD—Output String to Port"',
  forms: [
    { bytes: '6E', operands: ['DX', 'Xb'], repeat: 'rep' },
    { bytes: '6F', operands: ['DX', 'Xz'], repeat: 'rep' },
  ],
  ...STRING,
  meaning: (u, _port, source) => {
    const size = portSize(u, source!)
    repeated(u, () => {
      const value = u.loadMemory(sourceAddress(u, size), size)
      u.host('portOut', u.gpr(RDX, 2), size, value)
      advance(u, RSI, stringStep(u, size))
    })
  },
})

export const PORTS: readonly Instruction[] = [IN, OUT, INS, OUTS]
