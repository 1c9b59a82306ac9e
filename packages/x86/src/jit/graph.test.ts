import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Shape, shapeOf } from './graph.ts'

/** Walks the structure as code is made from it, and gives the edges that it takes; throws where a target is out of reach. */
function edgesOf(shape: Shape): string[] {
  const edges: string[] = []
  const loops = new Set<number>()
  const ends = new Set<number>()
  const tree = (node: number): void => {
    if (shape.isLoop[node]) loops.add(node)
    within(node, shape.blocks[node]!, 0)
    loops.delete(node)
  }
  const within = (node: number, blocks: readonly number[], i: number): void => {
    const merge = blocks[i]
    if (merge === undefined) return own(node)
    ends.add(merge)
    within(node, blocks, i + 1)
    ends.delete(merge)
    tree(merge)
  }
  const own = (node: number): void => {
    for (const next of shape.successors[node]!) {
      edges.push(`${node}-${next}`)
      const isBack = shape.position[next]! <= shape.position[node]!
      if (isBack) assert.ok(loops.has(next), `${node} branches to the loop ${next}, which is not open`)
      else if (shape.isMerge[next])
        assert.ok(ends.has(next), `${node} leaves a block of ${next} that is not open`)
      else tree(next)
    }
  }
  tree(0)
  return edges
}

function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) / 2 ** 24
  }
}

describe('control flow', () => {
  it('becomes nested blocks and loops, each edge once, whatever the graph', () => {
    for (let seed = 1; seed <= 3000; seed++) {
      const next = random(seed)
      const count = 1 + Math.floor(next() * 14)
      const given = Array.from({ length: count }, () =>
        Array.from({ length: Math.floor(next() * 4) }, () => Math.floor(next() * count)),
      )
      const shape = shapeOf(given)
      const edges = edgesOf(shape)
      const reachable = shape.successors.flatMap((list, node) =>
        shape.position[node]! < 0 ? [] : list.map((to) => `${node}-${to}`),
      )
      assert.deepEqual(edges.sort(), reachable.sort(), `seed ${seed}`)
    }
  })
  it('gives a cycle with two entries one, and keeps loops with one as they are', () => {
    const loop = shapeOf([[1], [2], [1, 3], []])
    assert.equal(loop.dispatch.size, 0)
    assert.deepEqual(loop.isLoop, [false, true, false, false])
    const crossed = shapeOf([[1, 2], [2, 3], [1], []])
    assert.deepEqual(
      [...crossed.dispatch.values()].map((list) => [...list].sort()),
      [[1, 2]],
    )
    assert.deepEqual(crossed.redirect.get(1), crossed.redirect.get(2))
  })
})
