/** One region: the blocks that can be reached from its head, as one WebAssembly function. */

import type { HandlerSource } from '../interpreter/build.ts'
import * as L from '../state/layout.ts'
import { type Expr, Label } from '../wasm/code.ts'
import type { Instruction } from './blocks.ts'
import type { FlagNeed } from './flag-recipes.ts'
import { noWishes, type Wishes } from './float-facts.ts'
import { type Shape, shapeOf } from './graph.ts'
import { type Plan, pageOf } from './plan.ts'
import { type Edges, RegionCode, type RegionInputs } from './region-code.ts'

/** Return addresses that a return is compared with, at most. */
const MAX_RETURN_SITES = 64

/** For code that is thrown away. */
const NOWHERE: Edges = { goTo: () => {}, goToRip: () => {} }

/** Builds a region's function; `sources` by the handlers' numbers. */
export function buildRegion(
  inputs: Omit<RegionInputs, 'edges'>,
  plan: Plan,
  sources: readonly (HandlerSource | undefined)[],
): RegionCode {
  const first = new RegionBuilder(inputs, plan, sources, new Map())
  const wishes = [...first.wishes.values()]
  if (!wishes.some(({ plain, isOrdinary }) => plain.size > 0 || isOrdinary)) return first.code
  return new RegionBuilder(inputs, plan, sources, first.wishes).code
}

class RegionBuilder implements Edges {
  readonly code: RegionCode
  readonly #plan: Plan
  readonly #sources: readonly (HandlerSource | undefined)[]
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
  /** What nodes where paths meet want of the flags. */
  readonly #flagNeeds = new Map<number, FlagNeed>()
  readonly #inputs: Omit<RegionInputs, 'edges'>

  constructor(
    inputs: Omit<RegionInputs, 'edges'>,
    plan: Plan,
    sources: readonly (HandlerSource | undefined)[],
    granted: ReadonlyMap<number, Wishes>,
  ) {
    this.#plan = plan
    this.#sources = sources
    this.#granted = granted
    this.#inputs = inputs
    const { blocks } = plan
    for (const [i, block] of blocks.entries()) this.#nodes.set(block.at, i)
    this.#returnSites = this.#findReturnSites()
    this.#shape = shapeOf(blocks.map((block) => this.#successorsOf(block)))
    this.code = new RegionCode({ ...inputs, edges: this })
    this.code.region(plan, () => {
      this.code.forget()
      this.#tree(0)
    })
  }

  /** Return addresses of the calls whose callee is in the region. */
  #findReturnSites(): number[] {
    const sites: number[] = []
    for (const { instructions } of this.#plan.blocks) {
      const last = instructions.at(-1)!
      const isCall = last.flow === 'call' || last.flow === 'indirect-call'
      const after = last.at + last.length
      if (isCall && this.#nodes.has(after) && last.targets.some((target) => this.#nodes.has(target)))
        sites.push(after)
    }
    return sites.sort((a, b) => a - b).slice(0, MAX_RETURN_SITES)
  }

  #successorsOf({ instructions, next }: Plan['blocks'][number]): number[] {
    const last = instructions.at(-1)!
    const targets = [
      ...(last.flow === 'return' ? this.#returnSites : []),
      ...last.targets,
      ...(next === undefined ? [] : [next]),
    ]
    return targets.flatMap((at) => this.#nodes.get(at) ?? [])
  }

  // ---- structure ----

  #tree(node: number): void {
    const { blocks, isLoop, isMerge } = this.#shape
    const within = () => this.#within(node, blocks[node]!, 0)
    if (!isLoop[node]) return within()
    if (!isMerge[node]) {
      this.#makeSure(node)
      this.code.settleFor(this.#flagNeed(node))
    }
    this.code.graphLoop((again) => {
      this.#loops.set(node, again)
      this.#forget(node)
      within()
    })
  }
  /** Paths meet at a node. */
  #forget(node: number): void {
    const wished = this.wishes.get(node) ?? noWishes()
    if (node < this.#plan.blocks.length) this.wishes.set(node, wished)
    this.code.forgetMost(this.#granted.get(node) ?? noWishes(), wished, this.#flagNeed(node))
  }
  #flagNeed(node: number): FlagNeed {
    const known = this.#flagNeeds.get(node) ?? this.#findFlagNeed(node)
    this.#flagNeeds.set(node, known)
    return known
  }
  #findFlagNeed(node: number): FlagNeed {
    const { instructions } = this.#plan.blocks[node] ?? { instructions: [] }
    const code = new RegionCode({ ...this.#inputs, used: new Set(), edges: NOWHERE })
    return code.flagNeed((isKnown) => {
      for (const instruction of instructions) {
        if (isKnown() || instruction.flow !== 'next') return
        this.#instruction(instruction, code)
      }
    })
  }
  /** Control is about to come to where paths meet. */
  #makeSure(node: number): void {
    const granted = this.#granted.get(node)
    if (granted) this.code.makeSure(granted, this.#plan.blocks[node]!.at)
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
    const block = this.#plan.blocks[node]!
    const { code } = this
    for (const instruction of block.instructions) {
      if (instruction.flow === 'interpret') {
        return code.leaveTo(instruction.first, pageOf(instruction.at), { branch: false })
      }
      this.#instruction(instruction, code)
      if (code.ended) return
    }
    if (block.next !== undefined) this.goTo(code, block.next, { branch: false })
  }

  #instruction(instruction: Instruction, code: RegionCode): void {
    const { handler, own, first, at } = instruction
    const { copies } = this.#plan
    const { entry, variant, operands } = this.#sources[handler]!
    code.openEpoch()
    const place = { uop: copies.get(own)!, page: pageOf(at) }
    code.instruction(place, variant, own === first ? undefined : copies.get(first)!, () =>
      entry.instruction.meaning(code, ...operands),
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
    const uop = this.#plan.exits.get(at)
    if (uop === undefined) return code.leaveToOffset(at)
    if (pageOf(at) !== code.page) this.#checkPage(code, at)
    code.leaveTo(uop, pageOf(at), { branch })
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
    // Not by comparisons: a load that a comparison takes in is made twice, because it may trap.
    const isOther = code.load('i64', entry).xor(linear)
    const isMoved = code.load('i64_32u', entry, 8).xor(this.#plan.maps.get(page)!)
    code.if(isOther.or(isMoved).ne(0).unlikely(), () => code.leaveToOffset(at))
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
      code.charge()
      if (isBack && at !== undefined) code.if(code.isSpent().unlikely(), () => code.leaveToOffset(at))
      code.settleFor(this.#flagNeed(to))
    }
    if (isBack) {
      return code.graphBranch(this.#loops.get(to)!)
    }
    if (isMerge[to]) return code.graphBranch(this.#ends.get(to)!)
    this.#tree(to)
  }

  /** A return goes to one of the region's return sites where it can, another branch to where it went before. */
  goToRip(code: RegionCode, rip: Expr): void {
    const { flow, targets } = this.#plan.blocks[this.#node]!.instructions.at(-1)!
    const places = flow === 'return' ? this.#returnSites : targets.filter((at) => this.#nodes.has(at))
    if (places.length > 0) {
      code.settle()
      this.#goToPlace(code, rip.sub(code.ripAt(0)), places)
    }
    code.leaveToRip(rip)
  }

  /** Goes to the one of the places, which are in order, that is `distance` from the base; on where it is none of them. */
  #goToPlace(code: RegionCode, distance: Expr, places: readonly number[]): void {
    if (places.length > 2) {
      const half = places.length >> 1
      const rest = (part: readonly number[]) => () => this.#goToPlace(code, distance, part)
      return code.if(distance.ltS(places[half]!), rest(places.slice(0, half)), rest(places.slice(half)))
    }
    const node = this.#node
    for (const at of places) {
      code.if(distance.eq(at), () => {
        this.goTo(code, at)
        this.#node = node
      })
    }
  }
}
