// Times the way to the shell prompt of the image tiny in two places in turn, with the same kernel, initramfs and
// engine: in Node from the start of the process, in headless Chromium from the opening of the page.

import { spawn } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { buildPage, serve, startPlainChromium, whyNoChromium } from '@typevisor/example-browser'
import { DEFAULT_ENGINE, engineNames } from '@typevisor/host'
import { buildImage, type Image, ImageStore } from '@typevisor/host/images'
import { BenchError } from './record.ts'
import { median } from './results.ts'

const HELP = `Usage: npm run bench:browser -- [OPTION]...

Boots the image tiny to its shell prompt in Node and in Chromium in turn, and prints the medians of the seconds from the
start of the process or the opening of the page, and their ratio.

Options:
  --rounds N        How often in each; 3 by default.
  --engine NAME     ${DEFAULT_ENGINE} by default.
  --timeout SECONDS A run that takes longer has failed; 300 by default.
  --json FILE       Write all measurements to FILE, an array.
  --help            Show this help.
`

const OPTIONS = {
  rounds: { type: 'string', default: '3' },
  engine: { type: 'string', default: DEFAULT_ENGINE },
  timeout: { type: 'string', default: '300' },
  json: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const

const TYPEVISOR = fileURLToPath(new URL('../../packages/cli/src/main.ts', import.meta.url))
const PROMPT = '/root #'

type Place = 'node' | 'chromium'

/** One boot, as `--json` writes it. */
interface Boot {
  place: Place
  engine: string
  seconds: number
}

interface RunOptions {
  engine: string
  timeoutMs: number
}

async function main(args: string[]): Promise<void> {
  const values = readOptions(args)
  if (values.help) return void process.stdout.write(HELP)
  const rounds = wholeNumber('--rounds', values.rounds)
  const options = { engine: values.engine, timeoutMs: 1000 * wholeNumber('--timeout', values.timeout) }
  checkSubjects(options.engine)
  const image = await findImage()
  await using page = await buildPage()
  await using server = await serve({ '/': page.directory, '/guest/': `${image.directory}/` })
  const all: Boot[] = []
  const run = { node: () => bootInNode(image, options), chromium: () => bootInChromium(server.url, options) }
  for (let round = 1; round <= rounds; round++) {
    for (const place of ['node', 'chromium'] as const) {
      const seconds = await run[place]()
      process.stderr.write(`bench: round ${round} of ${rounds}: ${place} ${seconds.toFixed(2)} s\n`)
      all.push({ place, engine: options.engine, seconds })
      if (values.json !== undefined) await writeFile(values.json, `${JSON.stringify(all, undefined, 1)}\n`)
    }
  }
  process.stdout.write(report(all))
}

function readOptions(args: string[]) {
  try {
    return parseArgs({ args, options: OPTIONS }).values
  } catch (error) {
    throw new BenchError('TV_BENCH_OPTION', (error as Error).message)
  }
}

function wholeNumber(option: string, text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new BenchError('TV_BENCH_OPTION', `${option} takes a whole number from 1.`)
}

function checkSubjects(engine: string): void {
  if (!engineNames().includes(engine)) {
    throw new BenchError('TV_BENCH_SUBJECT', `This version has no engine ${engine}.`)
  }
  const reason = whyNoChromium()
  if (reason) throw new BenchError('TV_BENCH_SUBJECT', `Nothing can be measured in Chromium: ${reason}.`)
}

async function findImage(): Promise<Image> {
  const store = new ImageStore()
  const progress = (line: string) => process.stderr.write(`bench: ${line} ...\n`)
  return (await store.find('tiny')) ?? (await buildImage('tiny', { store, progress }))
}

function bootInNode({ directory, record }: Image, { engine, timeoutMs }: RunOptions): Promise<number> {
  const [kernel, initrd] = [join(directory, record.kernel), join(directory, record.initrd)]
  const files = ['--kernel', kernel, '--initrd', initrd, '--append', record.commandLine]
  const started = performance.now()
  const child = spawn(process.execPath, [TYPEVISOR, 'run', ...files, '--engine', engine], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  let seconds: number | undefined
  let text = ''
  child.stdout.setEncoding('latin1').on('data', (chunk: string) => {
    text = (text + chunk).slice(-1000)
    if (seconds !== undefined || !text.includes(PROMPT)) return
    seconds = (performance.now() - started) / 1e3
    child.kill('SIGKILL')
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject).on('close', () => {
      clearTimeout(timer)
      if (seconds === undefined) reject(noPrompt('node'))
      else resolve(seconds)
    })
  })
}

/** The browser is running and idle, as it is for who opens a page; its caches are empty. */
async function bootInChromium(url: string, { engine, timeoutMs }: RunOptions): Promise<number> {
  await using browser = await startPlainChromium()
  const started = performance.now()
  await browser.openUntilLine(`${url}?engine=${engine}`, PROMPT, timeoutMs).catch((cause: unknown) => {
    throw noPrompt('chromium', cause)
  })
  return (performance.now() - started) / 1e3
}

function noPrompt(place: Place, cause?: unknown): BenchError {
  return new BenchError('TV_BENCH_PROMPT', `The guest does not come to its shell prompt in ${place}.`, {
    cause,
  })
}

function report(all: readonly Boot[]): string {
  const medianOf = (place: Place) =>
    median(all.filter((each) => each.place === place).map(({ seconds }) => seconds))
  const [node, chromium] = [medianOf('node'), medianOf('chromium')]
  if (node === undefined || chromium === undefined) throw new Error('Invariant broken: both were measured')
  const rows = [
    ['node', `${node.toFixed(2)} s`],
    ['chromium', `${chromium.toFixed(2)} s`],
    ['ratio', (chromium / node).toFixed(2)],
  ]
  return rows.map(([name, value]) => `${name.padEnd(8)}  ${value.padStart(8)}\n`).join('')
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  const { code, message } = error as NodeJS.ErrnoException
  process.stderr.write(`bench: ${message} (${code ?? 'TV_INTERNAL'})\n`)
  process.exitCode = 2
}
