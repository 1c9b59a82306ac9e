import { describeError } from '../errors.ts'
import type { FileKind, Report } from '../messages.ts'
import { downloadFiles } from './download.ts'
import { element } from './element.ts'
import { MachineWorker } from './machine-worker.ts'
import { guestOptions } from './options.ts'
import { Panel } from './panel.ts'
import { type PageState, StatusLine } from './status-line.ts'
import type { Console } from './terminal.ts'

/** Keys that a phone's keyboard does not have, and what a terminal sends for them. */
const KEYS = [
  ['Esc', '\x1b'],
  ['Tab', '\t'],
  ['Ctrl-C', '\x03'],
  ['Ctrl-D', '\x04'],
  ['↑', '\x1b[A'],
  ['↓', '\x1b[B'],
] as const

const power = element<HTMLButtonElement>('power')
const restart = element<HTMLButtonElement>('restart')
const status = new StatusLine()
const panel = new Panel(start)
let machine: MachineWorker | undefined
let downloads: AbortController | undefined
/** Loaded when all that takes longer has begun. */
let terminal: Promise<Console> | undefined

restart.addEventListener('click', start)
power.addEventListener('click', () => {
  machine?.powerButton()
  withTerminal((shown) => shown.focus())
})
element('keys').append(...KEYS.map(([label, text]) => keyButton(label, text)))

start()

/** Begins with a new machine, whatever became of the last one. */
async function start(): Promise<void> {
  end()
  withTerminal((shown) => shown.clear())
  status.reset()
  panel.showDownloads()
  enter('loading')
  const { signal } = (downloads = new AbortController())
  try {
    const guest = guestOptions(new URL(location.href), document.baseURI)
    status.machine(guest.machine)
    machine = new MachineWorker(guest.machine, onReport)
    const downloading = downloadFiles(guest, { onProgress, signal })
    terminal ??= loadTerminal()
    const [files, { size }] = await Promise.all([downloading, terminal])
    if (!signal.aborted) await machine.boot({ files, commandLine: guest.commandLine(size) })
  } catch (error) {
    if (!signal.aborted) onReport({ kind: 'failed', ...describeError(error) })
  }
}

function end(): void {
  downloads?.abort()
  machine?.end()
  machine = undefined
}

function onProgress(file: FileKind, received: number, total: number | undefined): void {
  panel.download(file, received, total)
  status.loaded(file, received)
}

function onReport(report: Report): void {
  switch (report.kind) {
    case 'running':
      panel.hide()
      return enter('running')
    case 'output':
      return show(report.bytes)
    case 'time':
      return status.time(report.nanoseconds)
    case 'ended':
      enter('ended')
      return panel.showEnd(report.message, report.report)
    case 'failed':
      end()
      enter('failed')
      return panel.showError(report.message, report.code)
  }
}

async function loadTerminal(): Promise<Console> {
  const { Console } = await import('./terminal.ts')
  return new Console(element('terminal'), (bytes) => machine?.input(bytes))
}

function withTerminal(action: (shown: Console) => void): void {
  void terminal?.then(action)
}

function show(bytes: Uint8Array): void {
  const shownTo = machine
  withTerminal((shown) => shown.write(bytes, () => shownTo?.shown(bytes.length)))
}

function enter(state: PageState): void {
  status.show(state)
  power.disabled = state !== 'running'
  withTerminal((shown) => (state === 'running' ? shown.focus() : shown.blur()))
}

function keyButton(label: string, text: string): HTMLButtonElement {
  const button = document.createElement('button')
  button.type = 'button'
  button.textContent = label
  button.addEventListener('click', () => withTerminal((shown) => shown.type(text)))
  return button
}
