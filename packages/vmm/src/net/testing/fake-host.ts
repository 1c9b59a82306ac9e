import type {
  AcceptStream,
  ByteStream,
  DatagramSocket,
  Endpoint,
  HostNetwork,
  Listener,
  StreamHandler,
} from '../host-network.ts'

/** The far end of a stream, in the hands of a test. */
export class FakeStream implements ByteStream {
  readonly to: Endpoint
  readonly handler: StreamHandler
  /** Bytes that came, copied. */
  readonly written: Uint8Array[] = []
  readonly #held: (() => void)[] = []
  /** Whether what is written stays with the stream, as when the far end does not read. */
  holds = false
  ended = false
  paused = false
  wasReset = false

  constructor(to: Endpoint, handler: StreamHandler) {
    this.to = to
    this.handler = handler
  }

  get text(): string {
    return this.written.map((bytes) => String.fromCharCode(...bytes)).join('')
  }

  get bytes(): number {
    return this.written.reduce((sum, { length }) => sum + length, 0)
  }

  write(bytes: Uint8Array, released: () => void): void {
    this.written.push(bytes.slice())
    if (this.holds) this.#held.push(released)
    else released()
  }

  /** The far end reads. */
  release(): void {
    this.holds = false
    for (const released of this.#held.splice(0)) released()
  }

  end(): void {
    this.ended = true
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  reset(): void {
    this.wasReset = true
  }

  send(text: string): void {
    this.handler.data(Uint8Array.from(text, (character) => character.charCodeAt(0)))
  }
}

export class FakeDatagrams implements DatagramSocket {
  readonly sent: { bytes: Uint8Array; to: Endpoint }[] = []
  readonly received: (bytes: Uint8Array, from: Endpoint) => void
  closed = false
  constructor(received: (bytes: Uint8Array, from: Endpoint) => void) {
    this.received = received
  }
  send(bytes: Uint8Array, to: Endpoint): void {
    this.sent.push({ bytes, to })
  }
  close(): void {
    this.closed = true
  }
}

/** A host whose network is lists. */
export class FakeHost implements HostNetwork {
  readonly streams: FakeStream[] = []
  readonly datagrams: FakeDatagrams[] = []
  readonly queries: Uint8Array[] = []
  /** How a connection turns out: at once, or as the test says later. */
  connects = true
  accept: AcceptStream | undefined
  answers: (query: Uint8Array) => Promise<Uint8Array> = () => Promise.reject(new Error('no resolver'))
  echo?: (address: string) => Promise<boolean>

  connectStream(to: Endpoint, handler: StreamHandler): ByteStream {
    const stream = new FakeStream(to, handler)
    this.streams.push(stream)
    if (this.connects) void Promise.resolve().then(() => handler.connected())
    return stream
  }

  openDatagrams(_family: 4 | 6, received: (bytes: Uint8Array, from: Endpoint) => void): DatagramSocket {
    const socket = new FakeDatagrams(received)
    this.datagrams.push(socket)
    return socket
  }

  listenStreams(at: Endpoint, accept: AcceptStream): Promise<Listener> {
    this.accept = accept
    return Promise.resolve({ ...at, close: () => {} })
  }

  listenDatagrams(
    at: Endpoint,
    received: (bytes: Uint8Array, from: Endpoint) => void,
  ): Promise<Listener & DatagramSocket> {
    const socket = new FakeDatagrams(received)
    this.datagrams.push(socket)
    const send = (bytes: Uint8Array, to: Endpoint) => socket.send(bytes, to)
    return Promise.resolve({ ...at, close: () => socket.close(), send })
  }

  resolve(query: Uint8Array): Promise<Uint8Array> {
    this.queries.push(query)
    return this.answers(query)
  }

  /** Someone connects to a forwarded port. */
  visit(): FakeStream {
    let visitor: FakeStream | undefined
    this.accept?.({ address: '127.0.0.1', port: 9 }, (handler) => {
      visitor = new FakeStream({ address: '', port: 0 }, handler)
      return visitor
    })
    return visitor!
  }
}
