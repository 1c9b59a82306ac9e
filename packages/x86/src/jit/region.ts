/** One region: the blocks that can be reached from its head, as one WebAssembly function. */

import * as L from '../state/layout.ts'
import { type Expr, Label } from '../wasm/code.ts'
import type { Block, Instruction } from './blocks.ts'
import { noWishes, type Wishes } from './float-facts.ts'
import { type Shape, shapeOf } from './graph.ts'
import { type Edges, RegionCode, type RegionInputs } from './region-code.ts'

export interface RegionOptions {
  readonly blocks: readonly Block[]
  /** The head's micro-op, and the handler that it had. */
  readonly head: number
  readonly original: number
  /** The micro-op at an offset from the base page where it is decoded and in that page; else 0. */
  readonly lookUp: (at: number) => number
  /** The code page's map for a page of the region (in pages from the base). */
  readonly mapOf: (page: number) => number
}

const pageOf = (at: number): number => at >> 12

/** Builds a region's function. */
export function buildRegion(inputs: Omit<RegionInputs, 'edges'>, options: RegionOptions): RegionCode {
  const first = new RegionBuilder(inputs, options, new Map())
  const wishes = [...first.wishes.values()]
  if (!wishes.some(({ plain, isOrdinary }) => plain.size > 0 || isOrdinary)) return first.code
  return new RegionBuilder(inputs, options, first.wishes).code
}

class RegionBuilder implements Edges {
  readonly code: RegionCode
  readonly #options: RegionOptions
  readonly #nodes = new Map<number, number>()
  readonly #shape: Shape
  /** Heads of the loops that are open, and ends of the blocks behind which a node's code stands. */
  readonly #loops = new Map<number, Label>()
  readonly #ends = new Map<number, Label>()
  readonly #returnSites: readonly number[]
  /** The node that is being built. */
  #node = 0
  #meant: ReturnType<RegionCode['variable']> | undefined
  /** What nodes where paths meet want to be known of floats, and what is made sure of on the way to them. */
  readonly wishes = new Map<number, Wishes>()
  readonly #granted: ReadonlyMap<number, Wishes>

  constructor(
    inputs: Omit<RegionInputs, 'edges'>,
    options: RegionOptions,
    granted: ReadonlyMap<number, Wishes>,
  ) {
    this.#options = options
    this.#granted = granted
    const { blocks } = options
    for (const [i, block] of blocks.entries()) this.#nodes.set(block.at, i)
    this.#returnSites = this.#findReturnSites()
    this.#shape = shapeOf(blocks.map((block) => this.#successorsOf(block)))
    this.code = new RegionCode({ ...inputs, edges: this })
    this.code.region(options.head, options.original, () => {
      this.code.forget()
      this.#tree(0)
    })
  }

  /** Return addresses of the calls whose callee is in the region. */
  #findReturnSites(): number[] {
    const sites: number[] = []
    for (const { instructions } of this.#options.blocks) {
      const last = instructions.at(-1)!
      if (last.flow === 'call' && this.#nodes.has(last.target!) && this.#nodes.has(last.at + last.length))
        sites.push(last.at + last.length)
    }
    return sites.length <= 8 ? sites : []
  }

  #successorsOf({ instructions, next }: Block): number[] {
    const last = instructions.at(-1)!
    const targets = [
      ...(last.flow === 'return' ? this.#returnSites : []),
      ...(last.target === undefined ? [] : [last.target]),
      ...(next === undefined ? [] : [next]),
    ]
    return targets.flatMap((at) => this.#nodes.get(at) ?? [])
  }

  // ---- structure ----

  #tree(node: number): void {
    const { blocks, isLoop } = this.#shape
    const within = () => this.#within(node, blocks[node]!, 0)
    if (!isLoop[node]) return within()
    this.#makeSure(node)
    this.code.settle()
    this.code.graphLoop((again) => {
      this.#loops.set(node, again)
      this.#forget(node)
      within()
    })
  }
  /** Paths meet at a node. */
  #forget(node: number): void {
    const wished = this.wishes.get(node) ?? noWishes()
    if (node < this.#options.blocks.length) this.wishes.set(node, wished)
    this.code.forgetMost(this.#granted.get(node) ?? noWishes(), wished)
  }
  /** Control is about to come to where paths meet. */
  #makeSure(node: number): void {
    const granted = this.#granted.get(node)
    if (granted) this.code.makeSure(granted, this.#options.blocks[node]!.at)
  }

  #within(node: number, blocks: readonly number[], index: number): void {
    const merge = blocks[index]
    if (merge === undefined) return this.#own(node)
    const end = new Label()
    this.#ends.set(merge, end)
    this.code.graphBlock(end, () => this.#within(node, blocks, index + 1))
    this.#forget(merge)
    this.#tree(merge)
  }
  #own(node: number): void {
    this.#node = node
    const targets = this.#shape.dispatch.get(node)
    if (targets) return this.#dispatchTo(targets)
    const block = this.#options.blocks[node]!
    const { code } = this
    for (const instruction of block.instructions) {
      if (instruction.flow === 'interpret') {
        return code.leaveTo(instruction.first, pageOf(instruction.at), { branch: false })
      }
      this.#instruction(instruction)
      if (code.ended) return
    }
    if (block.next !== undefined) this.goTo(code, block.next, { branch: false })
  }

  #instruction(instruction: Instruction): void {
    const { source, own, first, at } = instruction
    const { code } = this
    code.openEpoch()
    code.instruction({ uop: own, page: pageOf(at) }, source!.variant, own === first ? undefined : first, () =>
      source!.entry.instruction.meaning(code, ...source!.operands),
    )
  }

  #dispatchTo(targets: readonly number[]): void {
    const { code } = this
    const node = this.#node
    const meant = this.#meant!.get()
    for (const [i, target] of targets.entries()) {
      if (i === targets.length - 1) this.#edge(node, target)
      else code.if(meant.eq(target), () => this.#edge(node, target))
    }
  }

  // ---- edges ----

  goTo(code: RegionCode, at: number, { branch } = { branch: true }): void {
    const target = this.#nodes.get(at)
    if (target === undefined) return this.#leave(code, at, branch)
    const node = this.#node
    if (pageOf(at) !== code.page) this.#checkPage(code, at)
    this.#edge(node, target, at)
    this.#node = node
  }

  #leave(code: RegionCode, at: number, branch: boolean): void {
    const page = code.page
    const uop = pageOf(at) === page ? this.#options.lookUp(at) : 0
    if (uop !== 0) code.leaveTo(uop, page, { branch })
    else code.leaveToOffset(at)
  }

  /** Leaves where another page is not mapped as it was when the region was made. */
  #checkPage(code: RegionCode, at: number): void {
    const page = pageOf(at)
    const linear = code.ripAt(page * 4096)
    const entry = code.state('i32', L.CODE_TLB_BASE).add(
      linear
        .wrap()
        .shrU(8)
        .and((L.CODE_TLB_ENTRIES - 1) << 4),
    )
    const same = code
      .load('i64', entry)
      .eq(linear)
      .and(code.load('i32', entry, 8).eq(this.#options.mapOf(page)))
    code.if(same.eqz(), () => code.leaveToOffset(at))
  }

  #edge(from: number, target: number, at?: number): void {
    const { code } = this
    const { redirect, isMerge, position } = this.#shape
    const chain = redirect.get(target) ?? []
    const to = chain[chain.indexOf(from) + 1] ?? target
    if (to !== target) {
      this.#meant ??= code.variable('i32')
      this.#meant.set(target)
    }
    const isBack = position[to]! <= position[from]!
    if (isBack || isMerge[to]) {
      this.#makeSure(to)
      code.settle()
    }
    if (isBack) {
      if (at !== undefined) code.if(code.isSpent(), () => code.leaveToOffset(at))
      return code.graphBranch(this.#loops.get(to)!)
    }
    if (isMerge[to]) return code.graphBranch(this.#ends.get(to)!)
    this.#tree(to)
  }

  /** A return goes to one of the region's return sites where it can. */
  goToRip(code: RegionCode, rip: Expr): void {
    const node = this.#node
    const block = this.#options.blocks[node]!
    if (block.instructions.at(-1)!.flow === 'return') {
      for (const site of this.#returnSites) {
        code.if(rip.eq(code.ripAt(site)), () => {
          this.goTo(code, site)
          this.#node = node
        })
      }
    }
    code.leaveToRip(rip)
  }
}
