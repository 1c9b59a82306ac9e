import { join } from 'node:path'
import {
  cpuModelNames,
  createDomain,
  DEFAULT_ENGINE,
  type Domain,
  type DomainOptions,
  describeExit,
  engineNames,
  loadEngine,
  SerialInput,
} from '@typevisor/host'
import { ImageStore, imageRecipes, isKnownImage, requireImage } from '@typevisor/host/images'
import { OutputFileError, UsageError } from '../errors.ts'
import { type Command, type CommandInput, parseMemory } from '../options.ts'
import { parseDisk, parseNetwork } from '../run/devices.ts'
import { CONSOLE_HELP, EscapeKeys } from '../run/escape-keys.ts'
import { OutputFile } from '../run/output-file.ts'
import { Reports } from '../run/reports.ts'
import { SerialOutput } from '../run/serial-output.ts'
import { handleSignals } from '../run/signals.ts'
import { enterRawMode } from '../run/terminal.ts'
import { buildWithProgress } from './build-with-progress.ts'

const DEFAULT_MEMORY = '512M'
const CPU_MODELS = cpuModelNames()
const STATUS_BROKEN_PIPE = 141
const REPEAT_END_MS = 1000

export const RUN: Command = {
  name: 'run',
  summary: 'Run an image, or a kernel of your own, with its serial console here.',
  arguments: ['[IMAGE]'],
  completeArguments: imageRecipes().map(({ name }) => name),
  options: {
    kernel: { value: 'FILE', help: 'Kernel: bzImage, ELF or Multiboot.', complete: 'file' },
    initrd: { value: 'FILE', help: "Initramfs, or a Multiboot kernel's module.", complete: 'file' },
    append: { value: 'TEXT', help: "Added to the kernel's command line." },
    memory: { value: 'SIZE', help: `RAM, as in 512M or 1G; ${DEFAULT_MEMORY} by default.` },
    engine: {
      value: 'NAME',
      help: `What executes instructions: ${engineNames().join(', ')}.`,
      complete: engineNames(),
    },
    cpu: {
      value: 'MODEL',
      help: `CPU model: ${CPU_MODELS.names.join(', ')}; ${CPU_MODELS.standard} by default.`,
      complete: CPU_MODELS.names,
    },
    disk: {
      value: 'FILE[,SETTING]...',
      help: 'A disk; may be repeated. Settings: format=raw or qcow2, readonly, serial=TEXT.',
      repeats: true,
      complete: 'file',
    },
    net: {
      value: 'user[,SETTING]...',
      help: 'A network card behind a NAT; none by default. Settings: below.',
      complete: ['user', 'none'],
    },
    publish: {
      value: 'HOST:GUEST',
      help: 'Lead a TCP port of this host to the guest, as in 8080:80; may be repeated.',
      repeats: true,
    },
    serial: { value: 'FILE', help: "Keep a copy of the serial console's output in FILE.", complete: 'file' },
    stats: {
      value: '[FILE]',
      help: 'Say at the end what was counted: on standard error, or as JSON in FILE.',
    },
    profile: {
      value: '[FILE]',
      help: "Say at the end where the guest's time went; with folded stacks in FILE.",
    },
    symbols: { value: 'FILE', help: "System.map of the guest's kernel, for --profile.", complete: 'file' },
  },
  notes: `An image that is not here yet is built first. On a terminal:
${CONSOLE_HELP.map((line) => `  ${line}`).join('\n')}
When standard input is a file or a pipe it is typed into the guest's serial port, and then
Ctrl-D each second until the guest ends.

Settings of --net user: allow=ENTRY and deny=ENTRY, what the guest may reach, where with allow the rest is denied; an entry
is a name, an address or a network with ports, as in *.example.org:443, or host-loopback:PORT for this host at the
gateway's address; mac=ADDRESS, network=10.0.2.0/24, mtu=1500, ipv6=off, capture=FILE for pcap. A comma in a name or an
entry is written twice. --publish takes [ADDRESS:]HOST:GUEST[/udp]; 127.0.0.1 and TCP where nothing is said, and for
HOST 0 any free port.

Exit status: 0 after power off; what the guest writes to isa-debug-exit, (value << 1) | 1; 1 error; 2 wrong command
line; 4 triple fault; 6 reset; 128 + number when a signal ended the machine.`,
  run: runMachine,
}

async function runMachine({ positionals, values, lists, switches }: CommandInput): Promise<number> {
  const memoryBytes = parseMemory(values.memory ?? DEFAULT_MEMORY)
  const disks = (lists.disk ?? []).map(parseDisk)
  const network = await parseNetwork(values.net ?? 'none', lists.publish ?? [])
  const engine = await loadEngine(values.engine ?? DEFAULT_ENGINE)
  const files = await bootFiles(positionals[0], values)
  const stopped = Promise.withResolvers<number>()
  stopped.promise.catch(() => {}) // it is looked at when the machine has ended
  const log = values.serial === undefined ? [] : [(await OutputFile.open(values.serial)).stream()]
  const output = new SerialOutput(process.stdout, ...log)
  const reports = await Reports.open({ values, switches })
  let input: SerialInput | undefined
  const domain = await createDomain({
    ...files,
    memoryBytes,
    engine,
    ...(values.cpu === undefined ? {} : { cpu: values.cpu }),
    ...(reports.profile ? { profile: reports.profile } : {}),
    serial: output,
    onSerialRoom: () => input?.room(),
    disks,
    ...(network ? { network } : {}),
    tell,
  })
  domain.published.forEach(({ hostAddress = '127.0.0.1', hostPort, guestPort, protocol }, index) => {
    if (network?.publish?.[index].hostPort !== 0) return
    tell(`Port ${hostPort} of ${hostAddress} leads to the guest's ${protocol} port ${guestPort}.`)
  })
  process.stdout.on('error', () => {
    stopped.resolve(STATUS_BROKEN_PIPE)
    domain.machine.stop()
  })
  for (const stream of log) {
    stream.on('error', (error) => {
      stopped.reject(new OutputFileError(values.serial ?? '', error.message))
      domain.machine.stop()
    })
  }
  input = new SerialInput({ send: (bytes) => domain.machine.serialInput(bytes), source: process.stdin })
  const status = await runConsole(domain, input, output)
  for (const stream of log) await new Promise((resolve) => stream.end(resolve))
  await reports.write(domain.machine)
  return Promise.race([stopped.promise, Promise.resolve(status)])
}

/** Also on a terminal in raw mode, amid what the guest writes there. */
function tell(sentence: string): void {
  const end = process.stdin.isTTY ? '\r\n' : '\n'
  process.stderr.write(`${process.stdin.isTTY ? end : ''}typevisor: ${sentence}${end}`)
}

/** Runs with standard input and output as the console; gives them back however the run ends. */
async function runConsole(domain: Domain, input: SerialInput, output: SerialOutput): Promise<number> {
  const { machine } = domain
  const signals = handleSignals({ shutDown: () => machine.powerButton(), stop: () => machine.stop() })
  const disconnect = process.stdin.isTTY ? connectTerminal(domain, input) : connectStream(input)
  try {
    const exit = await domain.run()
    output.flush()
    const { status, message } = describeExit(exit)
    disconnect()
    if (message) process.stderr.write(`\ntypevisor: ${message}\n`)
    return signals.status() ?? status
  } finally {
    output.flush()
    disconnect()
    signals.release()
  }
}

function connectTerminal({ machine }: Domain, input: SerialInput): () => void {
  const keys = new EscapeKeys()
  const restore = enterRawMode(process.stdin)
  const onData = (bytes: Buffer) => {
    for (const part of keys.read(bytes)) {
      if (part === 'end') machine.stop()
      else if (part === 'help') process.stdout.write(`\r\n${CONSOLE_HELP.join('\r\n')}\r\n`)
      else input.push(part)
    }
  }
  // A terminal that goes away is a SIGHUP too; its end alone means that nobody types any more.
  const onEnd = () => machine.powerButton()
  process.stdin.on('data', onData).on('end', onEnd)
  return disconnector(() => {
    process.stdin.off('data', onData).off('end', onEnd)
    restore()
  })
}

function connectStream(input: SerialInput): () => void {
  const onData = (bytes: Buffer) => input.push(bytes)
  let timer: NodeJS.Timeout | undefined
  const onEnd = () => {
    input.end()
    timer = setInterval(() => input.repeatEnd(), REPEAT_END_MS)
  }
  process.stdin.on('data', onData).on('end', onEnd).on('error', onEnd)
  return disconnector(() => {
    clearInterval(timer)
    process.stdin.off('data', onData).off('end', onEnd).off('error', onEnd)
  })
}

function disconnector(action: () => void): () => void {
  let done = false
  return () => {
    if (done) return
    done = true
    action()
    process.stdin.pause()
    process.stdin.unref?.()
  }
}

type BootFiles = Pick<DomainOptions, 'kernel' | 'initrd' | 'commandLine'>

/** What the options say, over what the image has. */
async function bootFiles(name: string | undefined, values: CommandInput['values']): Promise<BootFiles> {
  const { kernel, initrd, append } = values
  if (name === undefined && kernel === undefined) {
    throw new UsageError('TV_ARGUMENT_MISSING', "'typevisor run' needs the name of an image, or --kernel.")
  }
  const image = name === undefined ? undefined : await imageFiles(name)
  const initramfs = initrd ?? image?.initrd
  return {
    kernel: kernel ?? image!.kernel,
    ...(initramfs === undefined ? {} : { initrd: initramfs }),
    commandLine: [...(image?.words ?? []), append].filter((word) => word).join(' '),
  }
}

async function imageFiles(name: string): Promise<{ kernel: string; initrd: string; words: string[] }> {
  const store = new ImageStore()
  const found = await store.find(name)
  const image =
    found ?? (isKnownImage(name) ? await buildWithProgress(name) : await requireImage(name, store))
  const { directory, record } = image
  return {
    kernel: join(directory, record.kernel),
    initrd: join(directory, record.initrd),
    words: [record.commandLine, ...(process.stdin.isTTY ? terminalWords() : [record.streamCommandLine])],
  }
}

/** What the guest should know of the terminal. Linux gives words with "=" and no "." to /init's environment. */
function terminalWords(): string[] {
  const { columns, rows } = process.stdout
  const term = process.env.TERM
  return [
    ...(rows && columns ? [`typevisor.size=${rows}x${columns}`] : []),
    ...(term && /^[\w.+-]+$/.test(term) ? [`TERM=${term}`] : []),
  ]
}
