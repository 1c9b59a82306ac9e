import type { FileKind } from '../messages.ts'
import { element } from './element.ts'
import { megabytes } from './units.ts'

const NAMES: Record<FileKind, string> = { kernel: 'Kernel', initramfs: 'Initial file system' }

/** What stands over the terminal while there is no machine: downloads, the end, an error. */
export class Panel {
  readonly #panel = element('panel')
  readonly #downloads = element('downloads')
  readonly #again = element<HTMLButtonElement>('again')
  readonly #details = element<HTMLDetailsElement>('details')
  #rows = new Map<FileKind, DownloadRow>()

  constructor(onRestart: () => void) {
    this.#again.addEventListener('click', onRestart)
  }

  hide(): void {
    this.#panel.hidden = true
  }

  showDownloads(): void {
    this.#show('Getting the machine ready', '')
  }

  download(file: FileKind, received: number, total: number | undefined): void {
    let row = this.#rows.get(file)
    if (!row) {
      row = new DownloadRow(NAMES[file])
      this.#rows.set(file, row)
      this.#downloads.append(row.element)
    }
    row.update(received, total)
  }

  showEnd(message: string, report: string | undefined): void {
    this.#show('The machine is off', message)
    element('report').textContent = report ?? ''
    this.#details.hidden = report === undefined
    this.#offerRestart()
  }

  showError(message: string, code: string): void {
    this.#show('This did not work', message)
    element('code').textContent = code
    this.#offerRestart()
  }

  #show(headline: string, message: string): void {
    element('headline').textContent = headline
    element('message').textContent = message
    element('code').textContent = ''
    this.#downloads.replaceChildren()
    this.#rows = new Map()
    this.#details.hidden = true
    this.#again.hidden = true
    this.#panel.hidden = false
  }

  #offerRestart(): void {
    this.#again.hidden = false
    this.#again.focus()
  }
}

/** One file: its name, how much of it is here, a bar. */
class DownloadRow {
  readonly element = document.createElement('div')
  readonly #amount = document.createElement('span')
  readonly #bar = document.createElement('progress')

  constructor(name: string) {
    const line = document.createElement('div')
    const label = document.createElement('span')
    label.textContent = name
    line.append(label, this.#amount)
    this.element.className = 'download'
    this.element.append(line, this.#bar)
    this.#bar.setAttribute('aria-label', name)
  }

  update(received: number, total: number | undefined): void {
    if (total === undefined) {
      this.#amount.textContent = megabytes(received)
      return
    }
    const percent = total === 0 ? 100 : Math.floor((100 * received) / total)
    this.#amount.textContent = `${megabytes(received)} of ${megabytes(total)} · ${percent} %`
    this.#bar.max = total || 1
    this.#bar.value = received
  }
}
