/**
 * What the NAT asks of the host: sockets, names, and echo. Addresses are text here, as every host has them.
 *
 * Streams push: the host's side calls a `StreamHandler`, which says when to stop. Bytes that are handed over belong to
 * the receiver; those that are written come back by `released`, so that buffers can be used again.
 */

/** What one side of a byte stream tells the other. */
export interface StreamHandler {
  /** The stream is there. Comes first, and once. */
  connected(): void
  data(bytes: Uint8Array): void
  /** No more data will come; writing goes on. */
  ended(): void
  /** The stream is gone: it could not be made, was reset, or broke. Comes last. */
  failed(reason: StreamFailure): void
  /** The stream has ended in both directions. Comes last. */
  closed(): void
}

export type StreamFailure = 'refused' | 'unreachable' | 'timeout' | 'reset'

export interface ByteStream {
  /** `released` is called when the bytes are no longer looked at; never, if the stream fails. */
  write(bytes: Uint8Array, released: () => void): void
  /** No more will be written. */
  end(): void
  pause(): void
  resume(): void
  /** Ends it at once, in both directions; the handler hears no more. */
  reset(): void
}

export interface Endpoint {
  readonly address: string
  readonly port: number
}

export interface DatagramSocket {
  send(bytes: Uint8Array, to: Endpoint): void
  close(): void
}

export interface Listener {
  readonly address: string
  readonly port: number
  close(): void
}

/** A stream that someone opened to a listener; it is paused until it gets a handler. */
export type AcceptStream = (from: Endpoint, open: (handler: StreamHandler) => ByteStream) => void

export interface HostNetwork {
  connectStream(to: Endpoint, handler: StreamHandler): ByteStream
  /** A socket with any port of its own. `received` gets bytes that it may keep. */
  openDatagrams(
    family: 4 | 6,
    received: (bytes: Uint8Array, from: Endpoint) => void,
    failed: () => void,
  ): DatagramSocket
  listenStreams(at: Endpoint, accept: AcceptStream): Promise<Listener>
  listenDatagrams(
    at: Endpoint,
    received: (bytes: Uint8Array, from: Endpoint) => void,
  ): Promise<Listener & DatagramSocket>
  /** A DNS message for the host's resolver, and its answer; rejects when there is none. */
  resolve(query: Uint8Array): Promise<Uint8Array>
  /** Whether the address answered an echo; absent where the host cannot say. */
  echo?(address: string): Promise<boolean>
}
