/** What the guest tests share: building with gcc, and running a kernel. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createDomain, type DomainDisk, type DomainNetwork, describeExit, SerialInput } from '@typevisor/host'
import { emulated, type Hypervisor, type PciPart } from '@typevisor/vmm'
import { Cpu } from '@typevisor/x86'

export const SOURCES: string = fileURLToPath(new URL('.', import.meta.url))

/** Why a program is missing, or false: for the `skip` of a test. */
export function missing(program: string): string | false {
  return spawnSync(program, ['--version']).error ? `${program} is not installed` : false
}

/** A directory that is removed after `use`. */
export async function withDirectory<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'typevisor-guest-'))
  try {
    return await use(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Runs a tool in the sources' directory; its complaint is the error. */
export function tool(command: string, args: readonly string[], cwd: string = SOURCES): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' })
  if (error || status !== 0) throw new Error(`${command} ${args.join(' ')}: ${error?.message ?? stderr}`)
  return stdout
}

export interface Outcome {
  readonly status: number
  readonly output: string
}

/** An engine that recompiles all code when control first arrives there. */
export const EAGER_RECOMPILER: Hypervisor = emulated(
  'jit',
  (options) => new Cpu({ ...options, recompile: { hotAfter: 1 } }),
)

/** Runs a kernel on an engine; `output` is what it wrote to the debug console and the serial port. */
export async function runKernel(options: {
  readonly kernel: string
  readonly initrd?: string
  readonly commandLine?: string
  readonly memoryMib?: number
  readonly engine?: string | Hypervisor
  readonly seconds?: number
  readonly pci?: readonly PciPart[]
  readonly disks?: readonly DomainDisk[]
  readonly network?: DomainNetwork
  /** Typed into the serial port. */
  readonly input?: string
}): Promise<Outcome & { readonly serial: string }> {
  let output = ''
  let serial = ''
  let input: SerialInput | undefined
  const domain = await createDomain({
    kernel: options.kernel,
    ...(options.initrd === undefined ? {} : { initrd: options.initrd }),
    commandLine: options.commandLine ?? '',
    memoryBytes: (options.memoryMib ?? 64) << 20,
    engine: options.engine ?? 'interpreter',
    ...(options.pci ? { pci: options.pci } : {}),
    ...(options.disks ? { disks: options.disks } : {}),
    ...(options.network ? { network: options.network } : {}),
    tell: (sentence) => (output += `${sentence}\n`),
    onSerialRoom: () => input?.room(),
    serial: { write: (byte: number) => (serial += String.fromCharCode(byte)) },
    debugConsole: { write: (byte: number) => (output += String.fromCharCode(byte)) },
  })
  input = new SerialInput({
    send: (bytes) => domain.machine.serialInput(bytes),
    source: { pause: () => {}, resume: () => {} },
  })
  input.push(Buffer.from(options.input ?? ''))
  const timer = setTimeout(
    () => {
      output += `\nstopped: it took too long\n${domain.machine.report()}`
      domain.machine.stop()
    },
    (options.seconds ?? 120) * 1000,
  )
  const { status, message } = describeExit(await domain.run())
  clearTimeout(timer)
  return { status, output: message === undefined ? output : `${output}\n${message}`, serial }
}
