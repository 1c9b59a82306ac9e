import type { FileKind, MachineOptions } from '../messages.ts'
import { element } from './element.ts'
import { clockTime, megabytes } from './units.ts'

export type PageState = 'loading' | 'running' | 'ended' | 'failed'

const LABELS: Record<PageState, string> = {
  loading: 'Loading',
  running: 'Running',
  ended: 'Off',
  failed: 'Failed',
}

/** The last line of the page: state, what was loaded, guest time, the machine. */
export class StatusLine {
  readonly #received = new Map<FileKind, number>()

  show(state: PageState): void {
    document.body.dataset.state = state
    element('state').textContent = LABELS[state]
  }

  reset(): void {
    this.#received.clear()
    element('loaded').textContent = `${megabytes(0)} loaded`
    this.time(0)
  }

  loaded(file: FileKind, bytes: number): void {
    this.#received.set(file, bytes)
    const sum = [...this.#received.values()].reduce((total, each) => total + each, 0)
    element('loaded').textContent = `${megabytes(sum)} loaded`
  }

  time(nanoseconds: number): void {
    const text = `guest time ${clockTime(nanoseconds)}`
    const shown = element('time')
    if (shown.textContent !== text) shown.textContent = text // else the page would be laid out again
  }

  machine({ engine, cpu, memoryBytes }: MachineOptions): void {
    const parts = [`${memoryBytes / 2 ** 20} MB of RAM`, cpu, engine]
    element('machine').textContent = parts.filter((part) => part !== undefined).join(' · ')
  }
}
