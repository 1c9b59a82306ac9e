import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Guest } from './guest.ts'
import type { Width } from './record.ts'
import { QEMU } from './subjects.ts'

/** What the figures depend on beside the subjects themselves. */
export interface HostDescription {
  /** ISO 8601, the day. */
  date: string
  cpu: string
  cores: number
  memoryGib: number
  node: string
  qemu: string | null
  v86: string | null
  kernels: Partial<Record<Width, string>>
}

export function describeHost(guests: readonly Guest[]): HostDescription {
  const processors = cpus()
  return {
    date: new Date().toISOString().slice(0, 10),
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGib: Math.round(totalmem() / 2 ** 30),
    node: process.version.slice(1),
    qemu: qemuVersion(),
    v86: v86Version(),
    kernels: Object.fromEntries(guests.map(({ width, kernelVersion }) => [width, kernelVersion])),
  }
}

function qemuVersion(): string | null {
  const { stdout } = spawnSync(QEMU[64], ['--version'], { encoding: 'utf8' })
  return /version (\S+)/.exec(stdout ?? '')?.[1] ?? null
}

function v86Version(): string | null {
  try {
    const manifest = fileURLToPath(import.meta.resolve('v86').replace(/build\/[^/]*$/, 'package.json'))
    const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }
    return version.split('+', 1)[0]
  } catch {
    return null
  }
}
