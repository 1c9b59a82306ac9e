import { PageError } from '../errors.ts'
import type { MachineOptions } from '../messages.ts'

/**
 * The image `tiny`, as `npm run guest` copies it next to the page. Linux would count five ticks of its timer within 160 ms
 * or panic, and a worker on a busy computer may stand still for longer.
 */
const GUEST = {
  kernel: 'guest/vmlinuz',
  initrd: 'guest/initramfs.gz',
  commandLine: 'console=ttyS0 panic=-1 no_timer_check',
} as const

const DEFAULT_MEMORY = '512M'
const DEFAULT_ENGINE = 'jit'
const UNITS = { M: 2 ** 20, G: 2 ** 30 } as const

export interface GuestOptions {
  /** URLs, absolute. */
  kernel: string
  initrd: string | undefined
  machine: MachineOptions
  commandLine(terminal: TerminalSize): string
}

/** What the guest should know of the terminal. */
export interface TerminalSize {
  rows: number
  cols: number
}

/**
 * A machine from the page's address: `kernel`, `initrd` (URLs), `append`, `memory`, `engine`, `cpu`. Without `kernel` it
 * is the guest next to the page, to which `append` is added.
 */
export function guestOptions(address: URL, base: string): GuestOptions {
  const parameters = address.searchParams
  const parameter = (name: string) => parameters.get(name) || undefined
  const own = parameter('kernel')
  const initrd = parameter('initrd') ?? (own === undefined ? GUEST.initrd : undefined)
  const words = (size: TerminalSize) => (own === undefined ? [GUEST.commandLine, ...terminalWords(size)] : [])
  const memoryBytes = parseMemory(parameter('memory') ?? DEFAULT_MEMORY)
  return {
    kernel: resolve('kernel', own ?? GUEST.kernel, base),
    initrd: initrd === undefined ? undefined : resolve('initrd', initrd, base),
    machine: { memoryBytes, engine: parameter('engine') ?? DEFAULT_ENGINE, cpu: parameter('cpu') },
    commandLine: (size) =>
      [...words(size), parameter('append')].filter((word) => word !== undefined).join(' '),
  }
}

/** Linux gives words with "=" and no "." to /init's environment. */
function terminalWords({ rows, cols }: TerminalSize): string[] {
  return [`typevisor.size=${rows}x${cols}`, 'TERM=xterm-256color']
}

function resolve(name: string, text: string, base: string): string {
  const url = URL.canParse(text, base) ? new URL(text, base) : undefined
  if (url && /^https?:$/.test(url.protocol)) return url.href
  throw new PageError(
    'TV_PAGE_PARAMETER',
    `The parameter ${name} of this page's address is not a URL of a file.`,
  )
}

function parseMemory(text: string): number {
  const [, digits, unit] = /^(\d{1,6})([MG])$/i.exec(text) ?? []
  if (digits) return Number(digits) * UNITS[unit.toUpperCase() as keyof typeof UNITS]
  throw new PageError(
    'TV_PAGE_PARAMETER',
    "The parameter memory of this page's address is a size as in 512M or 1G.",
  )
}
