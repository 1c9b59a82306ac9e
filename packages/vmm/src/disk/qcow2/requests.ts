import type { Completion } from '../block-backend.ts'

interface Generation {
  inFlight: number
  /** To be called when this generation and those before it are done. */
  readonly after: (() => void)[]
}

/** The requests in flight, so that somebody can wait for all that began before a moment. */
export class Requests {
  #current: Generation = { inFlight: 0, after: [] }
  readonly #older: Generation[] = []

  track(completion: Completion): Completion {
    if (!completion) return undefined
    const generation = this.#current
    generation.inFlight++
    const done = () => {
      generation.inFlight--
      this.#advance()
    }
    completion.then(done, done)
    return completion
  }

  /** Calls `callback` when every request has ended that is in flight now. */
  whenDone(callback: () => void): void {
    this.#current.after.push(callback)
    this.#older.push(this.#current)
    this.#current = { inFlight: 0, after: [] }
    this.#advance()
  }

  drained(): Promise<void> {
    return new Promise((resolve) => this.whenDone(resolve))
  }

  #advance(): void {
    while (this.#older.length > 0 && this.#older[0].inFlight === 0) {
      for (const callback of this.#older.shift()!.after) callback()
    }
  }
}
