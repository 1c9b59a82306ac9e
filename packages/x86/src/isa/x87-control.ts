/** The x87's control: initialization, control and status words, waiting. */
import * as L from '../state/layout.ts'
import { CR0_NE, EXCEPTION } from '../state/registers.ts'
import type { Expr } from '../wasm/code.ts'
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning } from './meaning.ts'

/** Error summary: an unmasked exception is pending. */
const ES = 0x80

/** #MF where an unmasked exception is pending: what every waiting instruction does first. */
export function checkPending(u: Meaning): void {
  u.if(u.state('i32', L.FPU_STATUS).and(ES), () => {
    // Without CR0.NE the exception would leave through FERR#, which nothing here listens to.
    u.if(u.state('i32', L.CR0).and(CR0_NE), () => u.raise(EXCEPTION.MF))
  })
}

/** The status word with TOP in its place. */
export function statusWord(u: Meaning): Expr {
  return u.state('i64_32u', L.FPU_STATUS).or(u.state('i64_32u', L.FPU_TOP).shl(11))
}

/** ES and B from the exception flags and the masks. SDM Vol. 1, "x87 FPU Status Register". */
export function updateSummary(u: Meaning): void {
  const status = u.state('i32', L.FPU_STATUS)
  const unmasked = status.and(u.state('i32', L.FPU_CONTROL).not()).and(0x3f)
  const summary = u.select(unmasked, u.i32(0x8080), 0)
  u.setState('i32', L.FPU_STATUS, status.and(~0x8080).or(summary))
}

function control(
  mnemonic: string,
  bytes: string,
  operands: readonly string[],
  options: { readonly waits?: boolean; readonly access?: 'r' | 'w' },
  meaning: Instruction['meaning'],
): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2A, "${mnemonic.toUpperCase()}"`,
    forms: [{ bytes, operands, ...(options.access && { access: options.access }) }],
    meaning: (u, ...given) => {
      u.requireX87()
      if (options.waits) checkPending(u)
      meaning(u, ...given)
    },
  })
}

export const X87_CONTROL: readonly Instruction[] = [
  control('fninit', 'DB E3', [], {}, (u) => {
    u.setState('i32', L.FPU_CONTROL, 0x37f)
    for (const slot of [L.FPU_STATUS, L.FPU_TOP, L.FPU_TAGS, L.FPU_OPCODE]) u.setState('i32', slot, 0)
    for (const slot of [L.FPU_IP, L.FPU_DP]) u.setState('i64', slot, 0)
  }),
  control('fnclex', 'DB E2', [], {}, (u) => {
    u.setState('i32', L.FPU_STATUS, u.state('i32', L.FPU_STATUS).and(0x7f00))
  }),
  control('fnstcw', 'D9 /7', ['Mw'], { access: 'w' }, (u, target) => {
    u.write(target!, u.state('i64_32u', L.FPU_CONTROL))
  }),
  control('fldcw', 'D9 /5', ['Mw'], { waits: true, access: 'r' }, (u, source) => {
    const value = u.readUnsigned(source!).wrap()
    u.setState('i32', L.FPU_CONTROL, value.and(0x1f7f).or(0x40))
    updateSummary(u)
  }),
  control('fnstsw', 'DD /7', ['Mw'], { access: 'w' }, (u, target) => u.write(target!, statusWord(u))),
  control('fnstsw', 'DF E0', ['AX'], {}, (u, target) => u.write(target!, statusWord(u))),
  instruction({
    mnemonic: 'fwait',
    spec: 'SDM Vol. 2D, "WAIT/FWAIT—Wait"',
    forms: [{ bytes: '9B', operands: [] }],
    meaning: (u) => {
      u.requireWait()
      checkPending(u)
    },
  }),
]
