/** Routines of the integer instructions: wide multiplication and division, flags that change one at a time, CRC-32C. */
import { FLAGS_EXPLICIT, FLAGS_PARTIAL } from '../state/flags.ts'
import * as L from '../state/layout.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'

export function integerRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const mulHighU = module.func('mulHighU', ['i64', 'i64'], ['i64'], (c) =>
    c.return(highProduct(c.param(0), c.param(1))),
  )
  routines.set('mulHighU', mulHighU)
  routines.set(
    'mulHighS',
    module.func('mulHighS', ['i64', 'i64'], ['i64'], (c) => {
      const [a, b] = [c.param(0), c.param(1)]
      const signBits = (x: Expr) => x.xor(x.shrS(63)).clz()
      // Mostly the product has 64 bits, and only that is wanted to be known: IMUL's OF.
      c.if(signBits(a).add(signBits(b)).geU(66), () => c.return(a.mul(b).shrS(63)))
      c.return(highProductSigned(a, b))
    }),
  )
  routines.set('divide128', module.func('divide128', ['i64', 'i64', 'i64'], ['i64'], buildDivide128))
  routines.set(
    'replaceCfOf',
    module.func('replaceCfOf', ['i32', 'i32'], [], (c) => replaceFlags(c, routines)),
  )
  routines.set(
    'replaceCf',
    module.func('replaceCf', ['i32'], [], (c) => {
      c.call(routines.get('replaceCfOf')!, c.param(0), c.call(routines.get('flagOf')!))
    }),
  )
  routines.set('crc32c', module.func('crc32c', ['i64', 'i64', 'i32'], ['i64'], buildCrc))
}

/** High half of an unsigned 128-bit product, from 32-bit halves. */
export function highProduct(a: Expr, b: Expr): Expr {
  const [al, ah, bl, bh] = [a.and(0xffffffff), a.shrU(32), b.and(0xffffffff), b.shrU(32)]
  const low = al.mul(bl).shrU(32)
  const middle1 = ah.mul(bl).add(low)
  const middle2 = al.mul(bh).add(middle1.and(0xffffffff))
  return ah.mul(bh).add(middle1.shrU(32)).add(middle2.shrU(32))
}

/** High half of a signed product. */
export const highProductSigned = (a: Expr, b: Expr): Expr => signedHigh(a, b, highProduct(a, b))
const signedHigh = (a: Expr, b: Expr, unsigned: Expr): Expr =>
  unsigned.sub(a.shrS(63).and(b)).sub(b.shrS(63).and(a))

/** Quotient of high:low by divisor, where high < divisor: long division with 32-bit digits. TAOCP Vol. 2, Algorithm D. */
function buildDivide128(c: Code): void {
  const [high, low, divisor] = [c.param(0), c.param(1), c.param(2)]
  c.if(high.eqz(), () => c.return(low.divU(divisor)))
  const shift = divisor.clz()
  const d = divisor.shl(shift)
  const spill = c.select(shift.eqz(), c.i64(0), low.shrU(c.i64(64).sub(shift)))
  const top = high.shl(shift).or(spill)
  const rest = low.shl(shift)
  const first = quotientDigit(c, top, rest.shrU(32), d)
  const next = top.shl(32).or(rest.shrU(32)).sub(first.mul(d))
  const second = quotientDigit(c, next, rest.and(0xffffffff), d)
  c.return(first.shl(32).or(second))
}

/** One 32-bit digit of (top · 2^32 + digit) / d, with d normalized. */
function quotientDigit(c: Code, top: Expr, digit: Expr, d: Expr): Expr {
  const [dh, dl] = [d.shrU(32), d.and(0xffffffff)]
  const q = c.variable('i64', top.divU(dh))
  const r = c.variable('i64', top.remU(dh))
  c.while(
    () => {
      const tooLarge = q
        .get()
        .shrU(32)
        .ne(0)
        .or(q.get().mul(dl).gtU(r.get().shl(32).or(digit)))
      return tooLarge.and(r.get().shrU(32).eqz())
    },
    () => {
      q.set(q.get().sub(1))
      r.set(r.get().add(dh))
    },
  )
  return q.get()
}

/** replaceCfOf(cf, of): the other flags stay. */
function replaceFlags(c: Code, routines: Map<string, Callable>): void {
  const at = (offset: number, kind: 'i32' | 'i64' = 'i32') => c.load(kind, c.i32(0), offset)
  const bits = c.param(0).or(c.param(1).shl(11)).extendU()
  c.if(
    at(L.FLAG_KIND).eq(FLAGS_EXPLICIT),
    () => {
      c.store('i64', c.i32(0), at(L.FLAG_A, 'i64').and(~0x801).or(bits), L.FLAG_A)
    },
    () => {
      const aux = c.call(routines.get('flagAf')!).shl(4).extendU()
      c.store('i64', c.i32(0), bits.or(aux), L.FLAG_A)
      c.store('i32', c.i32(0), FLAGS_PARTIAL, L.FLAG_KIND)
    },
  )
}

/** crc32c(crc, data, bits): bit by bit, polynomial 11EDC6F41 reflected. */
function buildCrc(c: Code): void {
  const crc = c.variable('i64', c.param(0).and(0xffffffff).xor(c.param(1)))
  const left = c.variable('i32', c.param(2))
  c.while(
    () => left.get(),
    () => {
      const one = crc.get().and(1)
      crc.set(crc.get().shrU(1).xor(one.neg().and(0x82f63b78)))
      left.set(left.get().sub(1))
    },
  )
  c.return(crc.get())
}
