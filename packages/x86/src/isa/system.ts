/** Instructions of operating systems: control registers, MSRs, system calls, TLB. */
import { TF } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import { CR0_TS, CR4_FSGSBASE, CR4_TSD, EFER_SCE, EXCEPTION } from '../state/registers.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning } from './meaning.ts'

const PRIVILEGED = 'needs CPL 0'

function privileged(
  mnemonic: string,
  title: string,
  form: Form,
  meaning: Instruction['meaning'],
): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2, "${title}"`,
    forms: [form],
    system: PRIVILEGED,
    meaning: (u, ...operands) => {
      u.requirePrivilege()
      meaning(u, ...operands)
    },
  })
}

const MOV_CONTROL = [
  privileged(
    'mov',
    'MOV—Move to/from Control Registers',
    { bytes: '0F 20 /r', operands: ['Ry', 'Cd'], size64: 'f64' },
    (u, target, source) => {
      u.host('readControl', u.fieldNumber(source!))
      u.write(target!, u.hostResult())
    },
  ),
  privileged(
    'mov',
    'MOV—Move to/from Control Registers',
    { bytes: '0F 22 /r', operands: ['Cd', 'Ry'], size64: 'f64' },
    (u, target, source) => {
      u.host('writeControl', u.fieldNumber(target!), u.readUnsigned(source!))
      u.finishAndLookAgain()
    },
  ),
]
const MOV_DEBUG = [
  privileged(
    'mov',
    'MOV—Move to/from Debug Registers',
    { bytes: '0F 21 /r', operands: ['Ry', 'Dd'], size64: 'f64' },
    (u, target, source) => {
      u.host('readDebug', u.fieldNumber(source!))
      u.write(target!, u.hostResult())
    },
  ),
  privileged(
    'mov',
    'MOV—Move to/from Debug Registers',
    { bytes: '0F 23 /r', operands: ['Dd', 'Ry'], size64: 'f64' },
    (u, target, source) => {
      u.host('writeDebug', u.fieldNumber(target!), u.readUnsigned(source!))
      u.finishAndLookAgain()
    },
  ),
]

const SMSW = instruction({
  mnemonic: 'smsw',
  spec: 'SDM Vol. 2B, "SMSW—Store Machine Status Word"',
  forms: [{ bytes: '0F 01 /4', operands: ['Ev'], memoryBytes: 2, access: 'w' }],
  system: 'depends on the operating system',
  meaning: (u, target) => {
    u.requireUmipPermission()
    const value = u.state('i64', L.CR0)
    if (target!.kind === 'memory') u.storeMemory(u.address(target!), 2, value)
    else u.write(target!, value)
  },
})
/** Only PE, MP, EM and TS; PE can be set but not cleared. */
const LMSW = privileged(
  'lmsw',
  'LMSW—Load Machine Status Word',
  { bytes: '0F 01 /6', operands: ['Ew'], access: 'r' },
  (u, source) => {
    const old = u.state('i64_32u', L.CR0)
    const value = u.readUnsigned(source!).and(15)
    u.host('writeControl', 0, old.and(~14).or(value))
    u.finishAndLookAgain()
  },
)
const CLTS = privileged(
  'clts',
  'CLTS—Clear Task-Switched Flag in CR0',
  { bytes: '0F 06', operands: [] },
  (u) => {
    u.host('writeControl', 0, u.state('i64_32u', L.CR0).and(~CR0_TS))
  },
)

const INVLPG = instruction({
  mnemonic: 'invlpg',
  spec: 'SDM Vol. 2A, "INVLPG—Invalidate TLB Entries"',
  forms: [{ bytes: '0F 01 /7', operands: ['M'], access: 'bit' }],
  system: PRIVILEGED,
  modeSensitive: true,
  meaning: (u, page) => {
    u.requirePrivilege()
    const offset = u.address(page!)
    const base = u.long ? u.i64(0) : u.segmentBase(u.memorySegment())
    u.host('invalidatePage', offset.add(base))
    u.finishAndLookAgain()
  },
})
const INVPCID = privileged(
  'invpcid',
  'INVPCID—Invalidate Process-Context Identifier',
  { bytes: '66 0F 38 82 /r', operands: ['Gy', 'Mdq'], size64: 'f64', access: 'r' },
  (u, type, descriptor) => {
    const address = u.address(descriptor!)
    const low = u.loadMemory(address, 8)
    const high = u.loadMemory(address.add(8), 8)
    u.host('invalidateProcessContext', u.readUnsigned(type!), low, high)
    u.finishAndLookAgain()
  },
)

const cache = (mnemonic: string, opcode: string): Instruction =>
  privileged(mnemonic, mnemonic.toUpperCase(), { bytes: opcode, operands: [] }, () => {})

const RDMSR = privileged(
  'rdmsr',
  'RDMSR—Read From Model Specific Register',
  { bytes: '0F 32', operands: [] },
  (u) => {
    u.host('readMsr', u.gpr(1, 4))
    u.setGpr(0, 4, u.hostResult(0))
    u.setGpr(2, 4, u.hostResult(1))
  },
)
const WRMSR = privileged(
  'wrmsr',
  'WRMSR—Write to Model Specific Register',
  { bytes: '0F 30', operands: [] },
  (u) => {
    u.host('writeMsr', u.gpr(1, 4), u.gpr(0, 4), u.gpr(2, 4))
    u.finishAndLookAgain()
  },
)

const CPUID = instruction({
  mnemonic: 'cpuid',
  spec: 'SDM Vol. 2A, "CPUID—CPU Identification"',
  forms: [{ bytes: '0F A2', operands: [] }],
  system: 'depends on the CPU model',
  meaning: (u) => {
    u.host('cpuid', u.gpr(0, 4), u.gpr(1, 4))
    for (const [i, register] of [0, 3, 1, 2].entries()) u.setGpr(register, 4, u.hostResult(i))
  },
})

/** #GP(0) in user mode where CR4.TSD keeps the counter to the kernel. */
function readTimeStamp(u: Meaning): void {
  const denied = u.state('i32', L.CPL).ne(0).and(u.state('i32', L.CR4).and(CR4_TSD).ne(0))
  u.if(denied, () => u.raise(EXCEPTION.GP, 0))
  u.host('timeStamp')
  u.setGpr(0, 4, u.hostResult(0))
  u.setGpr(2, 4, u.hostResult(1))
}
const RDTSC = instruction({
  mnemonic: 'rdtsc',
  spec: 'SDM Vol. 2B, "RDTSC—Read Time-Stamp Counter"',
  forms: [{ bytes: '0F 31', operands: [] }],
  system: 'tells the time',
  meaning: readTimeStamp,
})
const RDTSCP = instruction({
  mnemonic: 'rdtscp',
  spec: 'SDM Vol. 2B, "RDTSCP—Read Time-Stamp Counter and Processor ID"',
  forms: [{ bytes: 'NP 0F 01 F9', operands: [] }],
  system: 'tells the time',
  meaning: (u) => {
    readTimeStamp(u)
    u.setGpr(1, 4, u.state('i64', L.MSR_TSC_AUX))
  },
})
const RDPMC = instruction({
  mnemonic: 'rdpmc',
  spec: 'SDM Vol. 2B, "RDPMC—Read Performance-Monitoring Counters"',
  forms: [{ bytes: '0F 33', operands: [] }],
  system: 'there are no counters',
  meaning: (u) => u.raise(EXCEPTION.GP, 0),
})

const SYSCALL = instruction({
  mnemonic: 'syscall',
  spec: 'SDM Vol. 2B, "SYSCALL—Fast System Call"',
  forms: [{ bytes: '0F 05', operands: [], modes: 'only64' }],
  endsBlock: true,
  system: 'enters the kernel',
  meaning: (u) => {
    u.if(u.state('i32', L.EFER).and(EFER_SCE).eqz(), () => u.raise(EXCEPTION.UD))
    u.setState('i64', L.RIP, u.nextRip())
    u.routine('enterSystem')
    u.if(u.state('i32', L.RFLAGS_SYSTEM).and(TF), () => u.leave())
    u.dispatch()
  },
})
const SYSRET = instruction({
  mnemonic: 'sysret',
  spec: 'SDM Vol. 2B, "SYSRET—Return From Fast System Call"',
  forms: [{ bytes: '0F 07', operands: [], sized: true, modes: 'only64' }],
  endsBlock: true,
  system: PRIVILEGED,
  meaning: (u) => {
    u.if(u.state('i32', L.EFER).and(EFER_SCE).eqz(), () => u.raise(EXCEPTION.UD))
    u.requirePrivilege()
    if (u.variant.size === 8) u.checkTarget(u.gpr(1))
    u.routine('leaveSystem', u.variant.size)
    u.leave()
  },
})
const SYSENTER = instruction({
  mnemonic: 'sysenter',
  spec: 'SDM Vol. 2B, "SYSENTER—Fast System Call"',
  forms: [{ bytes: '0F 34', operands: [] }],
  endsBlock: true,
  system: 'enters the kernel',
  meaning: (u) => {
    u.host('sysenter')
    u.leave()
  },
})
const SYSEXIT = instruction({
  mnemonic: 'sysexit',
  spec: 'SDM Vol. 2B, "SYSEXIT—Fast Return From Fast System Call"',
  forms: [{ bytes: '0F 35', operands: [], sized: true }],
  endsBlock: true,
  system: PRIVILEGED,
  meaning: (u) => {
    u.requirePrivilege()
    u.host('sysexit', u.variant.size)
    u.leave()
  },
})

const SWAPGS = instruction({
  mnemonic: 'swapgs',
  spec: 'SDM Vol. 2B, "SWAPGS—Swap GS Base Register"',
  forms: [{ bytes: 'NP 0F 01 F8', operands: [], modes: 'only64' }],
  system: PRIVILEGED,
  meaning: (u) => {
    u.requirePrivilege()
    const base = u.gpr(L.SLOT.gsBase)
    u.setState('i64', L.REGS + L.SLOT.gsBase * 8, u.state('i64', L.MSR_KERNEL_GS_BASE))
    u.setState('i64', L.MSR_KERNEL_GS_BASE, base)
  },
})

function baseAccess(mnemonic: string, number: number, slot: number, write: boolean): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2, "RDFSBASE/RDGSBASE", "WRFSBASE/WRGSBASE"',
    forms: [{ bytes: `F3 0F AE /${number}`, operands: ['Ry'], modes: 'only64' }],
    feature: 'fsgsbase',
    meaning: (u, operand) => {
      u.if(u.state('i32', L.CR4).and(CR4_FSGSBASE).eqz(), () => u.raise(EXCEPTION.UD))
      if (!write) return u.write(operand!, u.gpr(slot))
      const value = u.readUnsigned(operand!)
      u.if(value.shl(16).shrS(16).ne(value), () => u.raise(EXCEPTION.GP, 0))
      u.setState('i64', L.REGS + slot * 8, value)
    },
  })
}

const XSETBV = privileged(
  'xsetbv',
  'XSETBV—Set Extended Control Register',
  { bytes: 'NP 0F 01 D1', operands: [] },
  (u) => {
    u.host('xsetbv', u.gpr(1, 4), u.gpr(0, 4), u.gpr(2, 4))
  },
)

function randomNumber(mnemonic: string, number: number): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2B, "${mnemonic.toUpperCase()}"`,
    forms: [{ bytes: `0F C7 /${number}`, operands: ['Rv'] }],
    system: 'is random',
    meaning: (u, target) => {
      u.host('random')
      u.flagsExplicit(u.i64(1))
      u.write(target!, u.hostResult())
    },
  })
}

/** Decoded for every hypervisor; without one they are undefined. */
const hypercall = (mnemonic: string, modrm: string): Instruction =>
  instruction({
    mnemonic,
    spec: 'SDM Vol. 3C, "VMCALL—Call to VM Monitor"; AMD APM Vol. 3, "VMMCALL"',
    forms: [{ bytes: `NP 0F 01 ${modrm}`, operands: [] }],
    system: 'calls the hypervisor',
    meaning: (u) => {
      u.host('hypercall')
      u.finishAndLookAgain()
    },
  })

export const SYSTEM: readonly Instruction[] = [
  ...MOV_CONTROL,
  ...MOV_DEBUG,
  SMSW,
  LMSW,
  CLTS,
  INVLPG,
  INVPCID,
  cache('invd', '0F 08'),
  cache('wbinvd', '0F 09'),
  RDMSR,
  WRMSR,
  CPUID,
  RDTSC,
  RDTSCP,
  RDPMC,
  SYSCALL,
  SYSRET,
  SYSENTER,
  SYSEXIT,
  SWAPGS,
  baseAccess('rdfsbase', 0, L.SLOT.fsBase, false),
  baseAccess('rdgsbase', 1, L.SLOT.gsBase, false),
  baseAccess('wrfsbase', 2, L.SLOT.fsBase, true),
  baseAccess('wrgsbase', 3, L.SLOT.gsBase, true),
  XSETBV,
  randomNumber('rdrand', 6),
  randomNumber('rdseed', 7),
  hypercall('vmcall', 'C1'),
  hypercall('vmmcall', 'D9'),
]
