import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Why tests against a program of qemu-utils have to be skipped; false if they need not. */
export function whyWithout(program: 'qemu-img' | 'qemu-nbd' | 'qemu-io'): string | false {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return `${program} is not installed (Debian's package qemu-utils)`
  }
}

export function qemuImg(...args: string[]): string {
  return execFileSync('qemu-img', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

export function qemuIo(...args: string[]): string {
  return execFileSync('qemu-io', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** What `qemu-img check` says against an image; undefined if it is clean, without leaks too. */
export function faultsOf(path: string): string | undefined {
  try {
    qemuImg('check', '-f', 'qcow2', path)
    return undefined
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    return `${stdout}${stderr}`
  }
}

/** A folder that is gone when the test is. */
export function temporaryFolder(): { path: (name: string) => string } & Disposable {
  const folder = mkdtempSync(join(tmpdir(), 'typevisor-disk-'))
  return {
    path: (name) => join(folder, name),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  }
}
