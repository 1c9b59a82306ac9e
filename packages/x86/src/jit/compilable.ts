/** Which instructions recompiled code may hold. */

import type { HandlerSource } from '../interpreter/build.ts'
import { Handler } from '../interpreter/handler.ts'
import type { Runtime } from '../isa/meaning.ts'
import { EXIT } from '../state/exits.ts'
import type { Expr, Operandish } from '../wasm/code.ts'

/** Routines that reach registers or the mode by themselves. */
const REACHING: ReadonlySet<string> = new Set([
  'enterSystem',
  'leaveSystem',
  'returnLong',
  'updateMode',
  'packState',
  'unpackX87',
  'initX87',
  'copyIn',
  'copyOut',
])

/** Runs a meaning to see what it does; the code that it builds is thrown away. */
class Probe extends Handler {
  isCompilable = true
  constructor(runtime: Runtime, source: HandlerSource) {
    super(runtime, source.variant)
  }
  override host(): void {
    this.isCompilable = false
  }
  override exit(code: number): void {
    if (code !== EXIT.fault) this.isCompilable = false
  }
  override routine(name: string, ...args: Operandish[]): Expr {
    if (REACHING.has(name)) this.isCompilable = false
    return super.routine(name, ...args)
  }
  override copyMemory(target: Expr, source: Expr, bytes: Expr, targetMemory = 0, sourceMemory = 0): void {
    if (targetMemory === 0 || sourceMemory === 0) this.isCompilable = false
    super.copyMemory(target, source, bytes, targetMemory, sourceMemory)
  }
  override fillMemory(target: Expr, value: Operandish, bytes: Operandish, memory = 0): void {
    if (memory === 0) this.isCompilable = false
    super.fillMemory(target, value, bytes, memory)
  }
  override dispatch(): void {}
}

/**
 * An instruction that calls the host, changes the mode, halts or ends the slice is not; nor are 16-bit branches, which
 * wrap at 64 KiB.
 */
export function isCompilable(runtime: Runtime, source: HandlerSource): boolean {
  const { entry, operands, variant } = source
  const isBranch = operands.some(({ kind }) => kind === 'relative') || entry.instruction.endsBlock
  if (isBranch && variant.size === 2) return false
  if (variant.addressSize === 2) return false
  const probe = new Probe(runtime, source)
  entry.instruction.meaning(probe, ...operands)
  return probe.isCompilable
}
