/** FNSTENV, FLDENV, FNSAVE and FRSTOR. SDM Vol. 1, "Saving the x87 FPU's State with FSTENV/FNSTENV and FSAVE/FNSAVE". */
import * as L from '../state/layout.ts'
import { CR0_PE } from '../state/registers.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { checkPending, statusWord, updateSummary } from './x87-control.ts'

const TOP = -(2n ** 63n)
const TAG_VALID = 0
const TAG_ZERO = 1
const TAG_SPECIAL = 2
const TAG_EMPTY = 3

/** x87.fullTags(): two bits for each physical register. */
function defineFullTags(module: ModuleBuilder): Callable {
  return module.func('x87.fullTags', [], ['i32'], (c: Code) => {
    const tags = c.load('i32', c.i32(0), L.FPU_TAGS)
    let word = c.i32(0)
    for (let i = 0; i < 8; i++) {
      const significand = c.load('i64', c.i32(0), L.X87 + i * 16)
      const field = c.load('i32_16u', c.i32(0), L.X87 + i * 16 + 8).and(0x7fff)
      const isZero = field.eqz().and(significand.eqz())
      const isNormal = field.ne(0).and(field.ne(0x7fff)).and(significand.and(TOP).ne(0))
      const inUse = c.select(isZero, c.i32(TAG_ZERO), c.select(isNormal, c.i32(TAG_VALID), TAG_SPECIAL))
      word = word.or(c.select(tags.and(1 << i), inUse, TAG_EMPTY).shl(i * 2))
    }
    c.return(word)
  })
}
export function x87EnvironmentRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  routines.set('x87.fullTags', defineFullTags(module))
}

/** Bytes of a word of the environment: 4, or 2 with a 16-bit operand size. */
const wordBytes = (u: Meaning): 2 | 4 => (u.variant.size === 2 ? 2 : 4)
const environmentBytes = (u: Meaning): number => wordBytes(u) * 7

/** Real and virtual-8086 mode keep 20-bit linear pointers, the others offsets and selectors. */
function isRealFormat(u: Meaning): Expr {
  if (u.long) return u.i32(0)
  const virtual = u.state('i32', L.RFLAGS_SYSTEM).and(1 << 17)
  return u.state('i32', L.CR0).and(CR0_PE).eqz().or(virtual.ne(0))
}

function storeEnvironment(u: Meaning, address: Expr): void {
  const bytes = wordBytes(u)
  const high = bytes === 4 ? 0xffff0000 : 0
  const [ip, dp] = [u.state('i64_32u', L.FPU_IP), u.state('i64_32u', L.FPU_DP)]
  const opcode = u.state('i64_32u', L.FPU_OPCODE).and(0x7ff)
  const real = isRealFormat(u)
  const choose = (realValue: Expr, value: Expr) => u.select(real, realValue, value)
  const upper = (pointer: Expr) => pointer.shrU(16).shl(12)
  const selectors =
    bytes === 4
      ? [choose(upper(ip).or(opcode), opcode.shl(16)), choose(upper(dp), u.i64(0xffff0000))]
      : [choose(upper(ip).or(opcode), u.i64(0)), choose(upper(dp), u.i64(0))]
  const low = (pointer: Expr) => (bytes === 4 ? choose(pointer.and(0xffff), pointer) : pointer)
  const words = [
    u.state('i64_32u', L.FPU_CONTROL).or(high),
    statusWord(u).or(high),
    u.routine('x87.fullTags').extendU().or(high),
    low(ip),
    selectors[0]!,
    low(dp),
    selectors[1]!,
  ]
  for (const [i, word] of words.entries()) u.storeMemory(address.add(i * bytes), bytes, word)
}

function loadEnvironment(u: Meaning, address: Expr): void {
  const bytes = wordBytes(u)
  const words = [0, 1, 2, 3, 4, 5, 6].map((i) => u.loadMemory(address.add(i * bytes), bytes))
  const [control, status, tags, ip, , dp] = words as [Expr, Expr, Expr, Expr, Expr, Expr, Expr]
  u.setState('i32', L.FPU_CONTROL, control.wrap().and(0x1f7f).or(0x40))
  u.setState('i32', L.FPU_STATUS, status.wrap().and(0x477f))
  u.setState('i32', L.FPU_TOP, status.wrap().shrU(11).and(7))
  let inUse = u.i32(0)
  for (let i = 0; i < 8; i++)
    inUse = inUse.or(
      tags
        .wrap()
        .shrU(i * 2)
        .and(3)
        .ne(TAG_EMPTY)
        .shl(i),
    )
  u.setState('i32', L.FPU_TAGS, inUse)
  u.setState('i64', L.FPU_IP, ip)
  u.setState('i64', L.FPU_DP, dp)
  updateSummary(u)
}

const register = (u: Meaning, i: number): Expr => u.state('i32', L.FPU_TOP).add(i).and(7).shl(4)

/** The area's size depends on the operand size; its first word and last byte are accessed before the rest, as on Intel's CPUs. */
function area(u: Meaning, operand: Operand, registers: boolean, write: boolean): Expr {
  const offset = u.address(operand)
  const bytes = environmentBytes(u) + (registers ? 80 : 0)
  const address = u.long ? offset : u.segmentAddress(u.memorySegment(), offset, bytes, write)
  const last = address.add(bytes - 1)
  if (write) {
    u.probeWrite(address, wordBytes(u))
    u.probeWrite(last, 1)
  } else {
    u.loadMemory(address, wordBytes(u))
    u.loadMemory(last, 1)
  }
  return address
}

function environment(
  mnemonic: string,
  bytes: string,
  waits: boolean,
  meaning: (u: Meaning, operand: Operand) => void,
): Instruction {
  return instruction({
    mnemonic,
    spec: `SDM Vol. 2A, "${mnemonic.toUpperCase()}"`,
    forms: [{ bytes, operands: ['M'], sized: true, access: 'bit' }],
    modeSensitive: true,
    meaning: (u, operand) => {
      u.requireX87()
      if (waits) checkPending(u)
      meaning(u, operand!)
    },
  })
}

export const X87_ENVIRONMENT: readonly Instruction[] = [
  environment('fnstenv', 'D9 /6', false, (u, operand) => {
    storeEnvironment(u, area(u, operand, false, true))
    u.setState('i32', L.FPU_CONTROL, u.state('i32', L.FPU_CONTROL).or(0x3f))
    updateSummary(u)
  }),
  environment('fldenv', 'D9 /4', true, (u, operand) => loadEnvironment(u, area(u, operand, false, false))),
  environment('fnsave', 'DD /6', false, (u, operand) => {
    const address = area(u, operand, true, true)
    storeEnvironment(u, address)
    const registers = address.add(environmentBytes(u))
    for (let i = 0; i < 8; i++) {
      u.storeMemory(registers.add(i * 10), 8, u.load('i64', register(u, i), L.X87))
      u.storeMemory(registers.add(i * 10 + 8), 2, u.load('i64_16u', register(u, i), L.X87 + 8))
    }
    u.setState('i32', L.FPU_CONTROL, 0x37f)
    for (const slot of [L.FPU_STATUS, L.FPU_TOP, L.FPU_TAGS, L.FPU_OPCODE]) u.setState('i32', slot, 0)
    for (const slot of [L.FPU_IP, L.FPU_DP]) u.setState('i64', slot, 0)
  }),
  environment('frstor', 'DD /4', true, (u, operand) => {
    const address = area(u, operand, true, false)
    const registers = address.add(environmentBytes(u))
    const values = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => ({
      low: u.loadMemory(registers.add(i * 10), 8),
      high: u.loadMemory(registers.add(i * 10 + 8), 2),
    }))
    loadEnvironment(u, address)
    for (const [i, { low, high }] of values.entries()) {
      u.store('i64', register(u, i), low, L.X87)
      u.store('i64_16', register(u, i), high, L.X87 + 8)
    }
  }),
]
