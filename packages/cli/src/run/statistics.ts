// What --stats prints.

import type { MachineStatistics } from '@typevisor/host'

/** What was counted, with what follows from it; in JSON it is as it is here. */
export interface RunStatistics extends MachineStatistics {
  /** Millions of instructions per second that the processor was at work. */
  readonly mips?: number
  /** Of the whole process. */
  readonly peakMemoryBytes: number
}

export function runStatistics(machine: MachineStatistics, peakMemoryBytes: number): RunStatistics {
  const { cpu, runningSeconds } = machine
  const mips = cpu && runningSeconds > 0 ? { mips: cpu.retired / runningSeconds / 1e6 } : {}
  return { ...machine, ...mips, peakMemoryBytes }
}

type Row = readonly [name: string, value: string]

/** A table for a person. */
export function statisticsTable(statistics: RunStatistics): string {
  const rows = [...machineRows(statistics), ...cpuRows(statistics)]
  const width = Math.max(...rows.map(([name]) => name.length))
  const digits = Math.max(...rows.map(([, value]) => value.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value.padStart(digits)}\n`).join('')
}

function machineRows({ seconds, runningSeconds, slices, mips, peakMemoryBytes, cpu }: RunStatistics): Row[] {
  return [
    ...(cpu ? [['instructions', count(cpu.retired)] as const] : []),
    ...(mips === undefined ? [] : [['MIPS', mips.toFixed(1)] as const]),
    ['seconds', seconds.toFixed(3)],
    ['seconds, not halted', runningSeconds.toFixed(3)],
    ['slices', count(slices)],
    ['peak memory, MiB', (peakMemoryBytes / 2 ** 20).toFixed(1)],
  ]
}

function cpuRows({ cpu }: RunStatistics): Row[] {
  if (!cpu) return []
  const { codeCache, exits, leftToInterpreter, recompiler } = cpu
  return [
    ...Object.entries(exits).map(([reason, times]): Row => [`exits: ${reason}`, count(times)]),
    ['code: instructions decoded', count(codeCache.decoded)],
    ['code: flushes', count(codeCache.flushes)],
    ['code: pages invalidated', count(codeCache.invalidations)],
    ...(recompiler ? recompilerRows(recompiler, leftToInterpreter) : []),
  ]
}

function recompilerRows(
  recompiler: NonNullable<NonNullable<RunStatistics['cpu']>['recompiler']>,
  leftToInterpreter: number,
): Row[] {
  const { small, large, smallMade, largeMade, instructions, bytes, bytesNow } = recompiler
  const { dropped, reclaimed, failures, careful, returned } = recompiler
  return [
    ['regions: small', count(small)],
    ['regions: large', count(large)],
    ['regions: small, made', count(smallMade)],
    ['regions: large, made', count(largeMade)],
    ['regions: instructions, made', count(instructions)],
    ['regions: bytes', count(bytesNow)],
    ['regions: bytes, made', count(bytes)],
    ['regions: dropped', count(dropped)],
    ['regions: dropped for room', count(reclaimed)],
    ['left to the interpreter', count(leftToInterpreter)],
    ['speculation: failures', count(failures)],
    ['speculation: given up', count(careful)],
    ['speculation: taken up again', count(returned)],
  ]
}

const count = (value: number): string => value.toLocaleString('en-US')
