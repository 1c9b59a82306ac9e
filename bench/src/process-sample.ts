// proc(5), "/proc/pid/stat" and "/proc/pid/status". USER_HZ is 100 on all of Linux's architectures here.

import { readFileSync } from 'node:fs'
import type { Sample } from './marks.ts'

/** What the host knows of a process now. */
export function sampleProcess(pid: number | undefined): Sample {
  return { wall: performance.now() / 1e3, cpu: cpuSeconds(pid), peakRssBytes: memoryBytes(pid, 'VmHWM') }
}

/** User and system time. */
function cpuSeconds(pid: number | undefined): number | null {
  const stat = read(pid, 'stat')
  if (stat === undefined) return null
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

/** Resident memory now, or at its most. */
export function memoryBytes(pid: number | undefined, field: 'VmRSS' | 'VmHWM'): number | null {
  const kilobytes = new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(read(pid, 'status') ?? '')?.[1]
  return kilobytes === undefined ? null : Number(kilobytes) * 1024
}

function read(pid: number | undefined, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return undefined
  }
}
