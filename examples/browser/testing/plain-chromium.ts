// Chromium as a user has it, but without a window. Playwright has a browser keep what it downloads and tell of all that happens,
// which takes a seventh of the time of a start; here it is asked for nothing but what is measured.

import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { CHROMIUM, CHROMIUM_OPTIONS } from './chromium.ts'

const POLL_MS = 50
const START_MS = 30_000
/** A browser that is not idle after so long never is. */
const IDLE_MS = 20_000
const IDLE_INTERVAL_MS = 500

export interface PlainChromium extends AsyncDisposable {
  /** Opens a page, and resolves when some line of its terminal is all that `pattern` says. */
  openUntilLine(url: string, pattern: string, timeoutMs: number): Promise<void>
}

/** Starts Chromium, with a profile of its own, and waits until it is idle. */
export async function startPlainChromium(): Promise<PlainChromium> {
  const profile = await mkdtemp(join(tmpdir(), 'typevisor-chromium-'))
  const options = ['--headless', '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank']
  const child = spawn(CHROMIUM, [...CHROMIUM_OPTIONS, ...options], { stdio: 'ignore' })
  const closed = new Promise((resolve) => child.once('close', resolve).once('error', resolve))
  const end = async () => {
    child.kill()
    await closed
    await rm(profile, { recursive: true, force: true, maxRetries: 10 })
  }
  try {
    const [port, path] = await findPort(profile)
    using browser = await connect(`ws://127.0.0.1:${port}${path}`)
    await untilIdle(browser)
    return {
      openUntilLine: (url, pattern, timeoutMs) => openUntilLine({ port, url, pattern, timeoutMs }),
      [Symbol.asyncDispose]: end,
    }
  } catch (error) {
    await end()
    throw error
  }
}

/** Port and path of the browser's own target, which it writes to its profile. */
async function findPort(profile: string): Promise<string[]> {
  for (const end = performance.now() + START_MS; performance.now() < end; await setTimeout(POLL_MS)) {
    const text = await readFile(join(profile, 'DevToolsActivePort'), 'utf8').catch(() => '')
    const lines = text.split('\n')
    if (lines.length === 2) return lines
  }
  throw new Error('Chromium does not start.')
}

interface Evaluated {
  readonly result: { readonly value?: unknown }
  readonly exceptionDetails?: { readonly text: string }
}

async function openUntilLine(options: {
  port: string
  url: string
  pattern: string
  timeoutMs: number
}): Promise<void> {
  const { port, url, pattern, timeoutMs } = options
  const end = performance.now() + timeoutMs
  const answer = await fetch(`http://127.0.0.1:${port}/json/new?${encodeURIComponent(url)}`, {
    method: 'PUT',
  })
  const { webSocketDebuggerUrl } = (await answer.json()) as { webSocketDebuggerUrl: string }
  using page = await connect(webSocketDebuggerUrl)
  const rows =
    "Array.from(document.querySelectorAll('.xterm-rows > div'), (row) => row.textContent.trimEnd())"
  const line = JSON.stringify(`^(?:${pattern})$`)
  const expression = `${rows}.some((row) => new RegExp(${line}).test(row))`
  for (;;) {
    const answer = (await page.send('Runtime.evaluate', { expression })) as Evaluated
    if (answer.exceptionDetails) throw new Error(`The page throws ${answer.exceptionDetails.text}`)
    if (answer.result.value === true) return
    if (performance.now() > end) throw new Error(`The terminal shows no line ${pattern}.`)
    await setTimeout(POLL_MS)
  }
}

/** Waits until all processes of the browser together take less than a tenth of a processor. */
async function untilIdle(browser: Connection): Promise<void> {
  const cpuSeconds = async () => {
    const answer = await browser.send('SystemInfo.getProcessInfo')
    const { processInfo } = answer as { processInfo: { cpuTime: number }[] }
    return processInfo.reduce((sum, { cpuTime }) => sum + cpuTime, 0)
  }
  let before = await cpuSeconds()
  for (const end = performance.now() + IDLE_MS; performance.now() < end; ) {
    await setTimeout(IDLE_INTERVAL_MS)
    const now = await cpuSeconds()
    if (now - before < IDLE_INTERVAL_MS / 1e4) return
    before = now
  }
}

/** The Chrome DevTools Protocol, as far as questions and answers. */
interface Connection extends Disposable {
  send(method: string, params?: object): Promise<unknown>
}

async function connect(url: string): Promise<Connection> {
  const socket = new WebSocket(url)
  const asked = new Map<number, PromiseWithResolvers<unknown>>()
  const fail = () => {
    for (const { reject } of asked.values()) reject(new Error('Chromium has ended.'))
  }
  socket.onmessage = ({ data }) => {
    const { id, result, error } = JSON.parse(data as string) as {
      id: number
      result?: unknown
      error?: { message: string }
    }
    if (error) asked.get(id)?.reject(new Error(error.message))
    else asked.get(id)?.resolve(result)
    asked.delete(id)
  }
  await new Promise((resolve, reject) => {
    socket.onopen = resolve
    socket.onerror = () => reject(new Error('Chromium cannot be reached.'))
  })
  socket.onerror = socket.onclose = fail
  let last = 0
  return {
    send(method, params = {}) {
      const answer = Promise.withResolvers<unknown>()
      asked.set(++last, answer)
      socket.send(JSON.stringify({ id: last, method, params }))
      return answer.promise
    },
    [Symbol.dispose]: () => socket.close(),
  }
}
