/** Instructions that are not recorded in user mode, and why. Keys are mnemonics in lower case. */
import type { EncodableForm, EncodableInstruction } from './form.ts'

const PRIVILEGED = 'needs CPL 0'
const PLATFORM = 'reads the platform, not only the state record'
const SELECTORS = "reads the operating system's descriptor tables"
const TIME = 'a different answer each time'
const KERNEL = 'enters the kernel'
const XSTATE = 'its image depends on XCR0 and on the processor'

export const EXCLUDED: Readonly<Record<string, string>> = {
  ...group(
    PRIVILEGED,
    'hlt clts invd wbinvd invlpg invpcid lgdt lidt lldt ltr lmsw rdmsr wrmsr rdpmc cli sti swapgs sysret sysretq sysexit in out ins outs insb insw insd outsb outsw outsd rsm vmcall vmmcall monitor mwait xsetbv',
  ),
  ...group(
    SELECTORS,
    'sgdt sidt sldt smsw str lar lsl verr verw retf iret iretw iretd iretq lds les lss lfs lgs callf jmpf',
  ),
  ...group(TIME, 'rdtsc rdtscp rdrand rdseed'),
  ...group(PLATFORM, 'cpuid xgetbv rdpid'),
  ...group(KERNEL, 'syscall sysenter int int1 icebp'),
  ...group(XSTATE, 'xsave xsaveopt xsavec xsaves xrstor xrstors'),
  xbegin: 'transactions abort at the hardware’s will',
  xabort: 'transactions abort at the hardware’s will',
  xtest: 'transactions abort at the hardware’s will',
}

function group(reason: string, mnemonics: string): Record<string, string> {
  return Object.fromEntries(mnemonics.split(' ').map((m) => [m, reason]))
}

/** Why a form is not recorded, or undefined. */
export function whyExcluded(instruction: EncodableInstruction, form: EncodableForm): string | undefined {
  if (form.operands.some((o) => o[0] === 'C' && o !== 'CL' && o !== 'CX' && o !== 'CS')) return PRIVILEGED
  if (form.operands.some((o) => /^D[dqry]$/.test(o))) return PRIVILEGED
  if (form.operands.some((o) => o === 'Ap' || o === 'Mp')) return SELECTORS
  return instruction.system ?? EXCLUDED[instruction.mnemonic.toLowerCase()]
}

/** Results that the manual gives only within a bound; replays compare them within it, the fuzzer leaves them out. */
export const APPROXIMATE: ReadonlySet<string> = new Set(
  'rcpps rcpss rsqrtps rsqrtss vrcpps vrcpss vrsqrtps vrsqrtss fsin fcos fsincos fptan fpatan f2xm1 fyl2x fyl2xp1'.split(
    ' ',
  ),
)
