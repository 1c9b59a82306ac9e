import type { GuestOptions, Report, Request } from '../messages.ts'

/** A machine in a worker of its own. What it reports after `end` is not heard. */
export class MachineWorker {
  readonly #worker = new Worker(new URL('../worker/worker.ts', import.meta.url), { type: 'module' })

  constructor(guest: GuestOptions, onReport: (report: Report) => void) {
    this.#worker.onmessage = ({ data }: MessageEvent<Report>) => onReport(data)
    this.#worker.onerror = (event) => {
      event.preventDefault()
      const message = `A bug in Typevisor, or in this browser: ${event.message || 'the worker does not start'}.`
      onReport({ kind: 'failed', code: 'TV_INTERNAL', message })
    }
    this.#send({ kind: 'start', guest })
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

  #send(request: Request): void {
    this.#worker.postMessage(request)
  }
}
