/**
 * Flags where paths meet that are wanted only if something faults there.
 *
 * Behind most places where paths meet, heads of loops above all, an instruction soon sets all flags anew. Until then only a fault
 * can observe them: in `add eax, [rsi] … jnz` it is the load. So what comes there does not bring the flags' sources into their
 * locals, but a number into one local, which names a *recipe*: how to make them of what is in the registers' locals anyway. The way
 * to a fault follows it.
 *
 *     cmp ecx, 16           kind: sub, b: 16, a: ECX, result: a − b
 *     sub rdx, 4            kind: sub, b: 4, result: RDX, a: result + b
 */
import { FLAGS_ADD, FLAGS_SUB } from '../state/flags.ts'
import { type Expr, isSignExtended, signBits } from '../wasm/code.ts'

/** What a place where paths meet wants of the flags. */
export interface FlagNeed {
  /** An instruction reads them. */
  readonly live: boolean
  /** Else: a fault can observe them. */
  readonly faults: boolean
  /** Registers that are written before the last such fault. */
  readonly clobbered: ReadonlySet<number>
}
export const LIVE: FlagNeed = { live: true, faults: true, clobbered: new Set() }

type Bits = 8 | 16 | 32 | 64
export type Source =
  /** In the flag's own local, where the way here has put it. */
  | { readonly from: 'local' }
  | { readonly from: 'constant'; readonly value: bigint }
  | { readonly from: 'register'; readonly register: number; readonly bits: Bits }
  /** Of the two others. */
  | { readonly from: 'sum' | 'difference'; readonly bits: Bits }

/** In the order in which they are made. */
export interface Recipe {
  readonly kind: number
  readonly sources: readonly (readonly ['a' | 'b' | 'result', Source])[]
}

interface Flags {
  readonly kind: number
  readonly a: Expr | undefined
  readonly b: Expr | undefined
  readonly result: Expr | undefined
}

const LOCAL: Source = { from: 'local' }

/** How flags can be made again while the `registers` hold what they hold now; undefined is not known. */
export function recipeOf({ kind, a, b, result }: Flags, registers: readonly (Expr | undefined)[]): Recipe {
  const find = (value: Expr | undefined) => (value ? findSource(value, registers) : LOCAL)
  const [fromA, fromB, fromResult] = [find(a), find(b), find(result)]
  const both = (kind === FLAGS_ADD || kind === FLAGS_SUB) && a && result && fromB !== LOCAL
  const bits = both ? commonBits(a, result) : undefined
  if (bits && fromResult === LOCAL && fromA !== LOCAL) {
    const made: Source = { from: kind === FLAGS_ADD ? 'sum' : 'difference', bits }
    return { kind, sources: named(['a', fromA], ['b', fromB], ['result', made]) }
  }
  if (bits && fromA === LOCAL && fromResult !== LOCAL) {
    const made: Source = { from: kind === FLAGS_ADD ? 'difference' : 'sum', bits }
    return { kind, sources: named(['result', fromResult], ['b', fromB], ['a', made]) }
  }
  return { kind, sources: named(['a', fromA], ['b', fromB], ['result', fromResult]) }
}
const named = (...sources: Recipe['sources']): Recipe['sources'] => sources

/** Of how many bits the operands are, as far as both show it. */
function commonBits(a: Expr, result: Expr): Bits | undefined {
  if (a.isConstant) return result.isConstant ? undefined : signBits(result)
  if (result.isConstant || signBits(a) === signBits(result)) return signBits(a)
  return undefined
}

function findSource(value: Expr, registers: readonly (Expr | undefined)[]): Source {
  if (value.isConstant) return { from: 'constant', value: BigInt(value.immediate) }
  for (const [register, held] of registers.entries()) {
    if (!held) continue
    for (const bits of [64, 32, 16, 8] as const)
      if (isSignExtended(value, held, bits)) return { from: 'register', register, bits }
  }
  return LOCAL
}
