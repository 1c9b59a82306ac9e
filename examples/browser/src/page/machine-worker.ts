import type { GuestFiles, GuestOptions, Report, Request } from '../messages.ts'

const startWorker = () => new Worker(new URL('../worker/worker.ts', import.meta.url), { type: 'module' })
/** For the first machine: it is loaded while the page makes its terminal. */
let first: Worker | undefined = startWorker()

/** A machine in a worker of its own. What it reports after `end` is not heard. */
export class MachineWorker {
  readonly #worker: Worker

  constructor(guest: GuestOptions, onReport: (report: Report) => void) {
    this.#worker = first ?? startWorker()
    first = undefined
    this.#worker.onmessage = ({ data }: MessageEvent<Report>) => onReport(data)
    this.#worker.onerror = (event) => {
      event.preventDefault()
      const message = `A bug in Typevisor, or in this browser: ${event.message || 'the worker does not start'}.`
      onReport({ kind: 'failed', code: 'TV_INTERNAL', message })
    }
    this.#send({ kind: 'make', guest })
  }

  /** Boots it; the files are given away. */
  boot(files: GuestFiles): void {
    const { kernel, initrd } = files
    this.#send({ kind: 'boot', files }, initrd ? [kernel.buffer, initrd.buffer] : [kernel.buffer])
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
