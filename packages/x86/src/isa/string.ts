/**
 * String instructions with REP, restartable after any element.
 *
 * MOVS and STOS move a whole stretch at once where it lies in one page each, going up; everything else, and every stretch
 * that cannot be translated yet, goes element by element. Registers are exact after every step.
 */
import { DF } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import type { Expr, Label } from '../wasm/code.ts'
import { type Form, type Instruction, instruction } from './instruction.ts'
import type { Meaning } from './meaning.ts'

const RCX = 1
const RSI = 6
const RDI = 7
const PAGE = 4096

function stringForms(
  opcode: number,
  bytes: readonly string[],
  words: readonly string[],
  repeat: Form['repeat'],
): Form[] {
  const hex = (n: number) => n.toString(16).toUpperCase().padStart(2, '0')
  return [
    { bytes: hex(opcode), operands: bytes, repeat: repeat! },
    { bytes: hex(opcode + 1), operands: words, repeat: repeat! },
  ]
}

/** Signed step of the index registers. */
export function stringStep(u: Meaning, size: number): Expr {
  const down = u.state('i32', L.RFLAGS_SYSTEM).and(DF)
  return u.select(down, u.i64(-size), size)
}
export function sourceAddress(u: Meaning, size: number): Expr {
  return u.segmentAddress(u.stringSegment(), u.gpr(RSI, u.variant.addressSize), size, false)
}
export function targetAddress(u: Meaning, size: number, write: boolean): Expr {
  return u.segmentAddress(L.ES, u.gpr(RDI, u.variant.addressSize), size, write)
}
export function advance(u: Meaning, register: number, by: Expr): void {
  const { addressSize } = u.variant
  u.setGpr(register, addressSize, u.gpr(register).add(by))
}

interface Repetition {
  /** Goes on only while this holds, after an element. */
  readonly again?: () => Expr
  /** May do several elements at once: returns how many it did, 0 for none. */
  readonly stretch?: (count: Expr) => Expr
  /** What is left to do when the slice ends in the middle. */
  readonly finish?: () => void
}

/** Repeats `element` while the count is not zero. */
export function repeated(u: Meaning, element: () => void, { again, stretch, finish }: Repetition = {}): void {
  const { repeat, addressSize } = u.variant
  if (repeat === 'none') return element()
  const spent = u.variable('i32', 0)
  u.block((leave: Label) => {
    u.loop((more: Label) => {
      const count = u.gpr(RCX, addressSize)
      u.branchIf(leave, count.eqz())
      const done = u.variable('i64', 0)
      if (stretch) done.set(stretch(count))
      u.if(done.get().eqz(), () => {
        element()
        done.set(1)
      })
      u.setGpr(RCX, addressSize, u.gpr(RCX).sub(done.get()))
      if (again) u.branchIf(leave, again().eqz())
      spent.set(spent.get().add(done.get().shrU(3).wrap()).add(1))
      u.branchIf(leave, u.gpr(RCX, addressSize).eqz())
      u.chargeAndCheck(spent.get(), finish ?? (() => {}))
      u.branch(more)
    })
  })
}

/** Elements of `size` from `address` to the end of its page, at most `count`. */
function elementsInPage(u: Meaning, address: Expr, count: Expr, size: number): Expr {
  const room = u
    .i64(PAGE)
    .sub(address.and(PAGE - 1))
    .shrU(Math.log2(size))
  return u.select(room.ltU(count), room, count)
}

const goingUp = (u: Meaning): Expr => u.state('i32', L.RFLAGS_SYSTEM).and(DF).eqz()

/** Nonzero where a page's worth of bytes at the offset needs no check of the segment: flat segments, no wrap. */
function isOpen(u: Meaning, segment: Expr | number, register: number): Expr {
  if (u.long) return u.i32(1)
  if (u.variant.addressSize === 2) return u.i32(0)
  const limit = u.load('i32', u.coerce(segment, 'i32').mul(L.SEG_SIZE), L.SEG + L.SEG_LIMIT)
  return limit.eq(-1).and(u.gpr(register, 4).leU(0xffffffff - PAGE))
}

function moveStretch(u: Meaning, count: Expr, size: number): Expr {
  const done = u.variable('i64', 0)
  const open = isOpen(u, u.stringSegment(), RSI).and(isOpen(u, L.ES, RDI))
  u.if(goingUp(u).and(count.gtU(1)).and(open), () => {
    const source = sourceAddress(u, size)
    const target = targetAddress(u, size, true)
    const n = elementsInPage(u, source, elementsInPage(u, target, count, size), size)
    const from = u.hostAddress(source, size, 'read')
    const to = u.hostAddress(target, size, 'write')
    const length = n.mul(size).wrap()
    const overlaps = to.gtU(from).and(to.ltU(from.add(length)))
    u.if(from.ne(-1).and(to.ne(-1)).and(overlaps.eqz()), () => {
      u.copyMemory(to, from, length, 1, 1)
      done.set(n)
      advance(u, RSI, n.mul(size))
      advance(u, RDI, n.mul(size))
    })
  })
  return done.get()
}

/** A value whose bytes are all equal fills memory; others are stored one by one, without looking again at the page. */
function storeStretch(u: Meaning, count: Expr, size: number): Expr {
  const done = u.variable('i64', 0)
  u.if(
    goingUp(u)
      .and(count.gtU(1))
      .and(isOpen(u, L.ES, RDI)),
    () => {
      const target = targetAddress(u, size, true)
      const n = elementsInPage(u, target, count, size)
      const to = u.hostAddress(target, size, 'write')
      u.if(to.ne(-1), () => {
        const value = u.gpr(0, size)
        const byte = value.and(0xff)
        const uniform = size === 1 ? u.i32(1) : u.zeroExtend(byte.mul(0x0101010101010101n), size).eq(value)
        const length = n.mul(size).wrap()
        u.if(
          uniform,
          () => u.fillMemory(to, byte.wrap(), length, 1),
          () => {
            const at = u.variable('i32', to)
            const end = to.add(length)
            u.while(
              () => at.get().ltU(end),
              () => {
                u.store(size === 2 ? 'i64_16' : size === 4 ? 'i64_32' : 'i64', at.get(), value, 0, 1)
                at.set(at.get().add(size))
              },
            )
          },
        )
        done.set(n)
        advance(u, RDI, n.mul(size))
      })
    },
  )
  return done.get()
}

const COMMON = { modeSensitive: true, addressSensitive: true } as const
const elementSize = (u: Meaning, operand: { size: number } | undefined): number =>
  operand?.size ?? u.variant.size

const MOVS = instruction({
  mnemonic: 'movs',
  spec: 'SDM Vol. 2B, "MOVS/MOVSB/MOVSW/MOVSD/MOVSQ—Move Data From String to String"',
  forms: stringForms(0xa4, ['Yb', 'Xb'], ['Yv', 'Xv'], 'rep'),
  ...COMMON,
  meaning: (u, operand) => {
    const size = elementSize(u, operand)
    const element = () => {
      const value = u.loadMemory(sourceAddress(u, size), size)
      u.storeMemory(targetAddress(u, size, true), size, value)
      const step = stringStep(u, size)
      advance(u, RSI, step)
      advance(u, RDI, step)
    }
    repeated(u, element, { stretch: (count) => moveStretch(u, count, size) })
  },
})

const STOS = instruction({
  mnemonic: 'stos',
  spec: 'SDM Vol. 2B, "STOS/STOSB/STOSW/STOSD/STOSQ—Store String"',
  forms: stringForms(0xaa, ['Yb', 'AL'], ['Yv', 'rAX'], 'rep'),
  ...COMMON,
  meaning: (u, operand) => {
    const size = elementSize(u, operand)
    const element = () => {
      u.storeMemory(targetAddress(u, size, true), size, u.gpr(0, size))
      advance(u, RDI, stringStep(u, size))
    }
    repeated(u, element, { stretch: (count) => storeStretch(u, count, size) })
  },
})

const LODS = instruction({
  mnemonic: 'lods',
  spec: 'SDM Vol. 2A, "LODS/LODSB/LODSW/LODSD/LODSQ—Load String"',
  forms: stringForms(0xac, ['AL', 'Xb'], ['rAX', 'Xv'], 'rep'),
  ...COMMON,
  meaning: (u, operand) => {
    const size = elementSize(u, operand)
    repeated(u, () => {
      u.setGpr(0, size, u.loadMemory(sourceAddress(u, size), size))
      advance(u, RSI, stringStep(u, size))
    })
  },
})

/**
 * Compares elements while they are equal (REPE) or differ (REPNE). Flags are set when it ends: a fault on the way leaves them
 * as they were before the instruction. The target is read before the source, as on Intel's CPUs.
 */
function compareElements(u: Meaning, size: number, read: () => { a: Expr; b: Expr }): void {
  const a = u.variable('i64')
  const b = u.variable('i64')
  const setFlags = () => u.flagsSub(a.get(), b.get(), u.signExtend(a.get().sub(b.get()), size))
  const element = () => {
    const values = read()
    a.set(values.a)
    b.set(values.b)
  }
  if (u.variant.repeat === 'none') {
    element()
    return setFlags()
  }
  const equal = () => a.get().eq(b.get())
  const again = () => (u.variant.repeat === 'rep' ? equal() : equal().eqz())
  u.if(u.gpr(RCX, u.variant.addressSize).ne(0), () => {
    repeated(u, element, { again, finish: setFlags })
    setFlags()
  })
}

const CMPS = instruction({
  mnemonic: 'cmps',
  spec: 'SDM Vol. 2A, "CMPS/CMPSB/CMPSW/CMPSD/CMPSQ—Compare String Operands"',
  forms: stringForms(0xa6, ['Xb', 'Yb'], ['Xv', 'Yv'], 'repe'),
  ...COMMON,
  meaning: (u, operand) => {
    const size = elementSize(u, operand)
    compareElements(u, size, () => {
      const b = u.loadMemory(targetAddress(u, size, false), size, { signed: true })
      const a = u.loadMemory(sourceAddress(u, size), size, { signed: true })
      const step = stringStep(u, size)
      advance(u, RSI, step)
      advance(u, RDI, step)
      return { a, b }
    })
  },
})

const SCAS = instruction({
  mnemonic: 'scas',
  spec: 'SDM Vol. 2B, "SCAS/SCASB/SCASW/SCASD—Scan String"',
  forms: stringForms(0xae, ['AL', 'Yb'], ['rAX', 'Yv'], 'repe'),
  ...COMMON,
  meaning: (u, operand) => {
    const size = elementSize(u, operand)
    compareElements(u, size, () => {
      const b = u.loadMemory(targetAddress(u, size, false), size, { signed: true })
      advance(u, RDI, stringStep(u, size))
      return { a: u.gprSigned(0, size), b }
    })
  },
})

export const STRING: readonly Instruction[] = [MOVS, STOS, LODS, CMPS, SCAS]
