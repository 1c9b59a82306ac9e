// RFC 7766, "DNS Transport over TCP".

import type { ByteStream, StreamHandler } from '../host-network.ts'

const LENGTH_PREFIX = 2
/** Queries of one connection on their way at once; more are refused by ending it. */
const PIPELINE_LIMIT = 16
const QUERY_LIMIT = 4096

/** A stream that answers the queries that are written to it: the far end of a guest's TCP connection to port 53. */
export class DnsStream implements ByteStream {
  readonly #handler: StreamHandler
  readonly #answer: (query: Uint8Array) => Promise<Uint8Array | undefined>
  #received = new Uint8Array(0)
  readonly #held: (() => void)[] = []
  #paused = false
  #waiting = 0
  #ended = false
  #closed = false

  constructor(handler: StreamHandler, answer: (query: Uint8Array) => Promise<Uint8Array | undefined>) {
    this.#handler = handler
    this.#answer = answer
    void Promise.resolve().then(() => {
      if (!this.#closed) handler.connected()
    })
  }

  write(bytes: Uint8Array, released: () => void): void {
    const joined = new Uint8Array(this.#received.length + bytes.length)
    joined.set(this.#received)
    joined.set(bytes, this.#received.length)
    this.#received = joined
    this.#held.push(released)
    this.#takeQueries()
  }

  end(): void {
    this.#ended = true
    this.#endIfDone()
  }

  /** While the guest does not take its answers, its questions wait, and its window closes. */
  pause(): void {
    this.#paused = true
  }

  resume(): void {
    this.#paused = false
    this.#takeQueries()
  }

  reset(): void {
    this.#closed = true
  }

  #takeQueries(): void {
    while (!this.#closed && !this.#paused && this.#received.length >= LENGTH_PREFIX) {
      const length = (this.#received[0] << 8) | this.#received[1]
      if (length > QUERY_LIMIT) return this.#fail()
      if (this.#received.length < LENGTH_PREFIX + length) break
      const query = this.#received.slice(LENGTH_PREFIX, LENGTH_PREFIX + length)
      this.#received = this.#received.slice(LENGTH_PREFIX + length)
      if (++this.#waiting > PIPELINE_LIMIT) return this.#fail()
      void this.#answer(query).then((answer) => this.#send(answer))
    }
    if (!this.#paused) for (const released of this.#held.splice(0)) released()
  }

  #send(answer: Uint8Array | undefined): void {
    this.#waiting--
    if (this.#closed) return
    if (answer) {
      const framed = new Uint8Array(LENGTH_PREFIX + answer.length)
      framed.set([answer.length >> 8, answer.length])
      framed.set(answer, LENGTH_PREFIX)
      this.#handler.data(framed)
    }
    this.#endIfDone()
  }

  #endIfDone(): void {
    if (this.#closed || !this.#ended || this.#waiting > 0) return
    this.#closed = true
    this.#handler.closed()
  }

  #fail(): void {
    this.#closed = true
    this.#handler.failed('reset')
  }
}
