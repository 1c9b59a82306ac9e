/**
 * From any control-flow graph to WebAssembly's nested blocks and loops.
 *
 * A reducible graph becomes structured code without duplication by its dominator tree (N. Ramsey, "Beyond Relooper",
 * ICFP 2022): a node's code stands within its dominator's; a node that several forward edges reach gets a block that
 * ends where its code begins; the target of a back edge gets a loop. Cycles with several entries are given one: a
 * *dispatch* node, to which all their edges go, and which goes on by the number of the node that was meant.
 */

/** A graph: successors by node; node 0 is the entry. Dispatch nodes come after the nodes that were given. */
export interface Shape {
  readonly successors: readonly (readonly number[])[]
  /** The dispatch nodes before a node, the outermost first: its edges go to the first one, that one's to the next. */
  readonly redirect: ReadonlyMap<number, readonly number[]>
  /** Targets of a dispatch node. */
  readonly dispatch: ReadonlyMap<number, readonly number[]>
  /** Position in reverse postorder; −1 for nodes that nothing reaches. */
  readonly position: readonly number[]
  /** Nodes that a node dominates directly and that need a block, the last in reverse postorder first. */
  readonly blocks: readonly (readonly number[])[]
  readonly isLoop: readonly boolean[]
  readonly isMerge: readonly boolean[]
}

export function shapeOf(given: readonly (readonly number[])[]): Shape {
  const graph = new Reducible(given)
  const count = graph.successors.length
  const order = reversePostorder(graph.successors)
  const position = new Array<number>(count).fill(-1)
  order.forEach((node, i) => {
    position[node] = i
  })
  const dominator = dominators(graph.successors, order, position)
  const forwardEdges = new Array<number>(count).fill(0)
  const isLoop = new Array<boolean>(count).fill(false)
  for (const node of order) {
    for (const next of graph.successors[node]!) {
      if (position[next]! <= position[node]!) isLoop[next] = true
      else forwardEdges[next]!++
    }
  }
  const isMerge = forwardEdges.map((edges) => edges > 1)
  const blocks = Array.from({ length: count }, (): number[] => [])
  for (const node of [...order].reverse()) if (isMerge[node]) blocks[dominator[node]!]!.push(node)
  const { successors, redirect, dispatch } = graph
  return { successors, redirect, dispatch, position, blocks, isLoop, isMerge }
}

/** Gives every cycle one entry. */
class Reducible {
  readonly successors: number[][]
  readonly redirect = new Map<number, number[]>()
  readonly dispatch = new Map<number, number[]>()

  constructor(given: readonly (readonly number[])[]) {
    const reachable = new Set(reversePostorder(given))
    this.successors = given.map((list, node) => (reachable.has(node) ? [...list] : []))
    this.#inspect(reachable)
  }

  #inspect(nodes: ReadonlySet<number>): void {
    for (const component of components(this.successors, nodes)) {
      const inside = new Set(component)
      const entries = component.filter((node) => node === 0 || this.#isEntered(node, inside))
      let header = entries[0]!
      if (entries.length > 1) {
        header = this.#addDispatch(entries)
        inside.add(header)
      }
      inside.delete(header)
      if (inside.size > 0) this.#inspect(inside)
    }
  }

  #isEntered(node: number, inside: ReadonlySet<number>): boolean {
    return this.successors.some((list, from) => !inside.has(from) && list.includes(node))
  }

  #addDispatch(entries: readonly number[]): number {
    const added = this.successors.length
    for (const list of this.successors)
      for (const [i, next] of list.entries()) if (entries.includes(next)) list[i] = added
    this.successors.push([...entries])
    this.dispatch.set(added, [...entries])
    for (const entry of entries) this.redirect.set(entry, [...(this.redirect.get(entry) ?? []), added])
    return added
  }
}

/** Strongly connected components with a cycle, of the graph's part on `nodes`. R. Tarjan, 1972. */
function components(successors: readonly (readonly number[])[], nodes: ReadonlySet<number>): number[][] {
  const found: number[][] = []
  const index = new Map<number, number>()
  const low = new Map<number, number>()
  const stack: number[] = []
  const onStack = new Set<number>()
  const visit = (root: number): void => {
    const work: { node: number; next: number }[] = [{ node: root, next: 0 }]
    while (work.length > 0) {
      const frame = work.at(-1)!
      const { node } = frame
      if (frame.next === 0) {
        index.set(node, index.size)
        low.set(node, index.get(node)!)
        stack.push(node)
        onStack.add(node)
      }
      const list = successors[node]!
      let descended = false
      while (frame.next < list.length) {
        const next = list[frame.next++]!
        if (!nodes.has(next)) continue
        if (!index.has(next)) {
          work.push({ node: next, next: 0 })
          descended = true
          break
        }
        if (onStack.has(next)) low.set(node, Math.min(low.get(node)!, index.get(next)!))
      }
      if (descended) continue
      work.pop()
      const parent = work.at(-1)
      if (parent) low.set(parent.node, Math.min(low.get(parent.node)!, low.get(node)!))
      if (low.get(node) !== index.get(node)) continue
      const component: number[] = []
      let member: number
      do {
        member = stack.pop()!
        onStack.delete(member)
        component.push(member)
      } while (member !== node)
      if (component.length > 1 || list.includes(node)) found.push(component)
    }
  }
  for (const node of nodes) if (!index.has(node)) visit(node)
  return found
}

function reversePostorder(successors: readonly (readonly number[])[]): number[] {
  const order: number[] = []
  const seen = new Set([0])
  const work: { node: number; next: number }[] = [{ node: 0, next: 0 }]
  while (work.length > 0) {
    const frame = work.at(-1)!
    const list = successors[frame.node]!
    // The last successor first, so that the first comes first in the result.
    const next = list[list.length - 1 - frame.next]
    frame.next++
    if (next === undefined) {
      order.push(frame.node)
      work.pop()
    } else if (!seen.has(next)) {
      seen.add(next)
      work.push({ node: next, next: 0 })
    }
  }
  return order.reverse()
}

/** K. Cooper, T. Harvey, K. Kennedy, "A Simple, Fast Dominance Algorithm". */
function dominators(
  successors: readonly (readonly number[])[],
  order: readonly number[],
  position: readonly number[],
): number[] {
  const predecessors = successors.map((): number[] => [])
  for (const node of order) for (const next of successors[node]!) predecessors[next]!.push(node)
  const dominator = new Array<number>(successors.length).fill(-1)
  dominator[0] = 0
  const common = (a: number, b: number): number => {
    let [x, y] = [a, b]
    while (x !== y) {
      while (position[x]! > position[y]!) x = dominator[x]!
      while (position[y]! > position[x]!) y = dominator[y]!
    }
    return x
  }
  for (let changed = true; changed; ) {
    changed = false
    for (const node of order) {
      if (node === 0) continue
      let best = -1
      for (const from of predecessors[node]!)
        if (dominator[from] !== -1) best = best === -1 ? from : common(best, from)
      if (dominator[node] !== best) {
        dominator[node] = best
        changed = true
      }
    }
  }
  return dominator
}
