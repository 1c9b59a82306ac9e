import type { Guest, MachineOptions, Report, Request } from '../messages.ts'
import { keptCode } from './kept-code.ts'

const startWorker = () => new Worker(new URL('../worker/worker.ts', import.meta.url), { type: 'module' })
/** For the first machine: it is loaded while the page loads its terminal. */
let first: Worker | undefined = startWorker()

/** A machine in a worker of its own. What it reports after `end` is not heard. */
export class MachineWorker {
  readonly #worker: Worker
  readonly #isAsked: Promise<void>

  constructor(machine: MachineOptions, onReport: (report: Report) => void) {
    this.#worker = first ?? startWorker()
    first = undefined
    this.#worker.onmessage = ({ data }: MessageEvent<Report>) => onReport(data)
    this.#worker.onerror = (event) => {
      event.preventDefault()
      const message = `A bug in Typevisor, or in this browser: ${event.message || 'the worker does not start'}.`
      onReport({ kind: 'failed', code: 'TV_INTERNAL', message })
    }
    this.#isAsked = keptCode.then((code) => this.#send({ kind: 'make', machine, code }))
  }

  /** Boots it; the files are given away. */
  async boot(guest: Guest): Promise<void> {
    const { kernel, initrd } = guest.files
    await this.#isAsked
    this.#send({ kind: 'boot', guest }, initrd ? [kernel.buffer, initrd.buffer] : [kernel.buffer])
  }

  input(bytes: Uint8Array): void {
    this.#send({ kind: 'input', bytes })
  }

  shown(bytes: number): void {
    this.#send({ kind: 'shown', bytes })
  }

  powerButton(): void {
    this.#send({ kind: 'power-button' })
  }

  end(): void {
    this.#worker.onmessage = null
    this.#worker.onerror = null
    this.#worker.terminate()
  }

  #send(request: Request, transfer: Transferable[] = []): void {
    this.#worker.postMessage(request, transfer)
  }
}
