import { describeError } from '../errors.ts'
import type { Report } from '../messages.ts'
import { element } from './element.ts'
import { MachineWorker } from './machine-worker.ts'
import { guestOptions } from './options.ts'
import { Panel } from './panel.ts'
import { type PageState, StatusLine } from './status-line.ts'
import { Console } from './terminal.ts'

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
const console = new Console(element('terminal'), (bytes) => machine?.input(bytes))
let machine: MachineWorker | undefined

restart.addEventListener('click', start)
power.addEventListener('click', () => {
  machine?.powerButton()
  console.focus()
})
element('keys').append(...KEYS.map(([label, text]) => keyButton(label, text)))
start()

/** Begins with a new machine, whatever became of the last one. */
function start(): void {
  machine?.end()
  machine = undefined
  console.clear()
  status.reset()
  panel.showDownloads()
  enter('loading')
  try {
    const guest = guestOptions(new URL(location.href), document.baseURI, console.size)
    status.machine(guest)
    machine = new MachineWorker(guest, onReport)
  } catch (error) {
    onReport({ kind: 'failed', ...describeError(error) })
  }
}

function onReport(report: Report): void {
  switch (report.kind) {
    case 'download':
      panel.download(report.file, report.received, report.total)
      return status.loaded(report.file, report.received)
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
      enter('failed')
      return panel.showError(report.message, report.code)
  }
}

function show(bytes: Uint8Array): void {
  const shownTo = machine
  console.write(bytes, () => shownTo?.shown(bytes.length))
}

function enter(state: PageState): void {
  status.show(state)
  power.disabled = state !== 'running'
  if (state === 'running') console.focus()
  else console.blur()
}

function keyButton(label: string, text: string): HTMLButtonElement {
  const button = document.createElement('button')
  button.type = 'button'
  button.textContent = label
  button.addEventListener('click', () => console.type(text))
  return button
}
