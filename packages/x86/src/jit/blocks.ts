/** Finding what belongs to a region: from its head along the micro-ops that the interpreter has decoded, cut into blocks. */
import type { HandlerSource } from '../interpreter/build.ts'
import { INTERNAL, INTERNAL_COUNT } from '../interpreter/micro-op.ts'
import { recordedTargets } from '../interpreter/targets.ts'
import * as L from '../state/layout.ts'

/** How an instruction goes on. */
export type Flow =
  | 'next'
  /** Perhaps to its target, else on. */
  | 'conditional'
  | 'jump'
  | 'call'
  | 'return'
  /** To an address known when it runs only. */
  | 'indirect'
  | 'indirect-call'
  /** Nowhere: it faults. */
  | 'away'
  /** Left to the interpreter. */
  | 'interpret'

export interface Instruction {
  /** Offset from the start of the base page: 4096 × page + offset in the page. */
  readonly at: number
  readonly length: number
  /** Its first micro-op, and its own (behind an address micro-op). */
  readonly first: number
  readonly own: number
  /** The number of its own micro-op's handler. */
  readonly handler: number
  readonly flow: Flow
  /** Where it may jump, and has jumped where that is known when it runs only. */
  readonly targets: readonly number[]
}

export interface Block {
  readonly at: number
  readonly instructions: readonly Instruction[]
  /** Where control goes at its end, if its last instruction does not say. */
  readonly next: number | undefined
}

export interface CodeSource {
  readonly engine: DataView
  /** The micro-op at an offset from the base page, or 0 where nothing is decoded. */
  lookUp(at: number): number
  /** What a handler number stands for, also where a region has taken the micro-op over. */
  handlerAt(uop: number): number
  sourceOf(handler: number): HandlerSource | undefined
  isCompilable(handler: number): boolean
  /** Whether branches have arrived at a micro-op often enough for it to belong to a region. */
  isWarm(uop: number): boolean
  /** Whether a region ends before a micro-op other than its head. */
  isElsewhere(uop: number): boolean
}

const PAGE = 4096
/** Offsets from the base page that a branch in a region can go to: see L.FAULT_NOTE. */
const FAR = 0x7fff0000

function flowOf(source: HandlerSource): Flow {
  const { entry, operands } = source
  const { mnemonic, endsBlock } = entry.instruction
  const isRelative = operands.some(({ kind }) => kind === 'relative')
  if (!isRelative && !endsBlock) return 'next'
  if (isRelative && !endsBlock) return 'conditional'
  if (isRelative) return mnemonic === 'call' ? 'call' : 'jump'
  if (mnemonic === 'ret') return 'return'
  if (mnemonic === 'jmp') return 'indirect'
  return mnemonic === 'call' ? 'indirect-call' : 'away'
}

/** Reads the instruction whose first micro-op is at `first`. */
function readInstruction(code: CodeSource, at: number, first: number): Instruction {
  const { engine } = code
  const handler = code.handlerAt(first)
  const isAddress = handler >= INTERNAL.ea32 && handler < INTERNAL_COUNT
  const own = isAddress ? first + L.UOP_SIZE : first
  const number = isAddress ? code.handlerAt(own) : handler
  const length = engine.getUint16(own + L.UOP_PLACE, true) >> 12
  const source = code.sourceOf(number)
  if (!source || !code.isCompilable(number))
    return { at, length, first, own, handler: number, flow: 'interpret', targets: [] }
  const flow = flowOf(source)
  return { at, length, first, own, handler: number, flow, targets: targetsOf(engine, flow, own, at, length) }
}

function targetsOf(engine: DataView, flow: Flow, uop: number, at: number, length: number): number[] {
  switch (flow) {
    case 'conditional':
    case 'jump':
    case 'call':
      return [at + length + engine.getInt32(uop + L.UOP_IMM, true)].filter(isNear)
    case 'indirect':
    case 'indirect-call':
      return recordedTargets(engine, uop)
        .map((distance) => (at & ~(PAGE - 1)) + distance)
        .filter(isNear)
        .sort((a, b) => a - b)
    default:
      return []
  }
}

const isNear = (target: number): boolean => Math.abs(target) < FAR

/** All instructions that belong to the region, by place, and where blocks begin. */
class Exploration {
  readonly instructions = new Map<number, Instruction>()
  readonly leaders = new Set<number>()
  readonly #code: CodeSource
  readonly #limit: number

  constructor(code: CodeSource, limit: number) {
    this.#code = code
    this.#limit = limit
  }

  run(head: number): void {
    const waiting = [head]
    this.leaders.add(head)
    while (waiting.length > 0) {
      const leader = waiting.shift()!
      for (const next of this.#line(leader)) {
        if (this.leaders.has(next)) continue
        this.leaders.add(next)
        waiting.push(next)
      }
    }
  }

  #isWarm(at: number): boolean {
    const uop = this.#code.lookUp(at)
    return uop !== 0 && this.#code.isWarm(uop)
  }

  /** Walks a straight line; gives the leaders that its end, and branches on the way, lead to. */
  #line(leader: number): number[] {
    const found: number[] = []
    let at = leader
    let uop = this.#code.lookUp(at)
    while (uop !== 0 && this.instructions.size < this.#limit) {
      if (this.instructions.has(at)) {
        // Lines that began differently, perhaps inside an instruction of each other, go on as one.
        found.push(at)
        break
      }
      if (this.#code.isElsewhere(uop) && this.instructions.size > 0) break
      if (this.#code.handlerAt(uop) === INTERNAL.goto) {
        // The line goes on elsewhere. Another page may be mapped elsewhere too: a block ends before it.
        if (at % PAGE === 0) {
          found.push(at)
          break
        }
        uop = this.#code.lookUp(at)
        continue
      }
      const instruction = readInstruction(this.#code, at, uop)
      this.instructions.set(at, instruction)
      const after = at + instruction.length
      const { flow, targets } = instruction
      found.push(...targets.filter((target) => this.#isWarm(target)))
      if (flow === 'conditional' || flow === 'call' || flow === 'indirect-call') found.push(after)
      if (flow !== 'next') break
      at = after
      uop = instruction.own + L.UOP_SIZE
    }
    return found
  }
}

/** The region's blocks; the first begins at the head. */
export function findBlocks(code: CodeSource, head: number, limit: number): Block[] {
  const exploration = new Exploration(code, limit)
  exploration.run(head)
  const { instructions, leaders } = exploration
  const blocks: Block[] = []
  for (const leader of leaders) {
    const block: Instruction[] = []
    let at = leader
    for (let i = instructions.get(at); i; i = instructions.get(at)) {
      block.push(i)
      at += i.length
      if (i.flow !== 'next' || leaders.has(at)) break
    }
    const last = block.at(-1)
    if (!last) continue
    const goesOn = last.flow === 'next' || last.flow === 'conditional'
    blocks.push({ at: leader, instructions: block, next: goesOn ? at : undefined })
  }
  return blocks
}
