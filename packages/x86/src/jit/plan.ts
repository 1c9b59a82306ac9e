/**
 * What a region is made from, as plain data: found where the CPU runs, sent to where code is made.
 *
 * A plan holds copies of its micro-ops, so that what the CPU does to them meanwhile does not matter.
 */
import * as L from '../state/layout.ts'
import { type Block, type CodeSource, findBlocks } from './blocks.ts'

/**
 * A region is first made small, and ends where another begins. One that is entered often anyway, from code around it, is made
 * again large, with what surrounds it.
 */
export type Extent = 'small' | 'large'
/** Instructions, at most. */
const MAX_INSTRUCTIONS: Record<Extent, number> = { small: 120, large: 400 }

/**
 * What is unusual in floating point is left to the interpreter, or computed in place; the latter perhaps only until MXCSR is
 * ordinary.
 */
export type FloatMode = 'speculate' | 'compute' | 'await-ordinary'

export interface Plan {
  /** Index of the slot that the region will have. */
  readonly slot: number
  readonly extent: Extent
  readonly floats: FloatMode
  readonly codeSize: 4 | 8
  /** The head's micro-op, and the handler that it had. */
  readonly head: number
  readonly original: number
  readonly blocks: readonly Block[]
  /** Copies of the micro-ops, and where each of them is in the copy. */
  readonly microOps: Uint8Array
  readonly copies: ReadonlyMap<number, number>
  /** The micro-op at an offset from the base page, for places behind the region that are decoded. */
  readonly exits: ReadonlyMap<number, number>
  /** The code page's map for each page of the region and of its exits (in pages from the base). */
  readonly maps: ReadonlyMap<number, number>
}

export const pageOf = (at: number): number => at >> 12

/** Plans the region whose head is at an offset from the base page; undefined where there is nothing to recompile. */
export function planRegion(
  code: CodeSource & { readonly codeSize: 4 | 8; mapOf(page: number): number },
  at: number,
  { extent, floats }: Pick<Plan, 'extent' | 'floats'>,
): Omit<Plan, 'slot'> | undefined {
  const blocks = findBlocks(code, at, MAX_INSTRUCTIONS[extent])
  if (blocks.length === 0 || blocks[0]!.instructions[0]!.flow === 'interpret') return undefined
  const head = blocks[0]!.instructions[0]!.first
  const exits = findExits(code, blocks)
  const places = [...exits.keys(), ...blocks.flatMap(({ instructions }) => instructions.map((one) => one.at))]
  const pages = [...new Set(places.map(pageOf))]
  return {
    extent,
    floats,
    codeSize: code.codeSize,
    head,
    original: code.handlerAt(head),
    blocks,
    ...copyMicroOps(code, blocks),
    exits,
    maps: new Map(pages.map((page) => [page, code.mapOf(page)])),
  }
}

function copyMicroOps(code: CodeSource, blocks: readonly Block[]): Pick<Plan, 'microOps' | 'copies'> {
  const copies = new Map<number, number>()
  for (const { instructions } of blocks) {
    for (const { first, own } of instructions) {
      copies.set(first, copies.size * L.UOP_SIZE)
      if (own !== first) copies.set(own, copies.size * L.UOP_SIZE)
    }
  }
  const microOps = new Uint8Array(copies.size * L.UOP_SIZE)
  const view = new DataView(microOps.buffer)
  const engine = new Uint8Array(code.engine.buffer)
  for (const [uop, copy] of copies) {
    microOps.set(engine.subarray(uop, uop + L.UOP_SIZE), copy)
    view.setUint16(copy + L.UOP_HANDLER, code.handlerAt(uop), true)
  }
  return { microOps, copies }
}

function findExits(code: CodeSource, blocks: readonly Block[]): Map<number, number> {
  const inside = new Set(blocks.map((block) => block.at))
  const exits = new Map<number, number>()
  for (const { instructions, next } of blocks) {
    const last = instructions.at(-1)!
    for (const to of next === undefined ? last.targets : [...last.targets, next]) {
      const uop = inside.has(to) ? 0 : code.lookUp(to)
      if (uop !== 0) exits.set(to, uop)
    }
  }
  return exits
}
