/**
 * What a region is made from, as plain data: found where the CPU runs, sent to where code is made.
 *
 * A plan holds copies of its micro-ops, so that what the CPU does to them meanwhile does not matter.
 */
import * as L from '../state/layout.ts'
import { type Block, type CodeSource, findBlocks } from './blocks.ts'

export interface Plan {
  readonly codeSize: 4 | 8
  /** The head's micro-op, and the handler that it had. */
  readonly head: number
  readonly original: number
  readonly blocks: readonly Block[]
  /** Copies of the micro-ops, and where each of them is in the copy. */
  readonly microOps: Uint8Array
  readonly copies: ReadonlyMap<number, number>
  /** The micro-op at an offset from the base page, for places behind the region in its pages that are decoded. */
  readonly exits: ReadonlyMap<number, number>
  /** The code page's map for each page of the region (in pages from the base). */
  readonly maps: ReadonlyMap<number, number>
}

export const pageOf = (at: number): number => at >> 12

/** Plans the region whose head is at an offset from the base page; undefined where there is nothing to recompile. */
export function planRegion(
  code: CodeSource & { readonly codeSize: 4 | 8; mapOf(page: number): number },
  at: number,
): Plan | undefined {
  const blocks = findBlocks(code, at)
  if (blocks.length === 0 || blocks[0]!.instructions[0]!.flow === 'interpret') return undefined
  const head = blocks[0]!.instructions[0]!.first
  const maps = new Map<number, number>()
  for (const { instructions } of blocks)
    for (const instruction of instructions)
      maps.set(pageOf(instruction.at), code.mapOf(pageOf(instruction.at)))
  return {
    codeSize: code.codeSize,
    head,
    original: code.handlerAt(head),
    blocks,
    ...copyMicroOps(code, blocks),
    exits: findExits(code, blocks),
    maps,
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
      const uop = inside.has(to) || pageOf(to) !== pageOf(last.at) ? 0 : code.lookUp(to)
      if (uop !== 0) exits.set(to, uop)
    }
  }
  return exits
}
