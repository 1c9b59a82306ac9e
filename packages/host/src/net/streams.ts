import { Socket } from 'node:net'
import type { ByteStream, Endpoint, StreamFailure, StreamHandler } from '@typevisor/vmm/net'

/** Why Node says that there is no connection, in the words of the NAT. */
const FAILURES: Record<string, StreamFailure> = {
  ECONNREFUSED: 'refused',
  EHOSTUNREACH: 'unreachable',
  ENETUNREACH: 'unreachable',
  EADDRNOTAVAIL: 'unreachable',
  EACCES: 'unreachable',
  EPERM: 'unreachable',
  ETIMEDOUT: 'timeout',
}

/** A socket of Node's as the NAT knows streams. */
export class NodeStream implements ByteStream {
  readonly #socket: Socket
  #handler: StreamHandler | undefined
  #connected = false

  constructor(socket: Socket, handler: StreamHandler) {
    this.#socket = socket
    this.#handler = handler
    socket.setNoDelay(true)
    socket.on('data', (bytes) => this.#handler?.data(bytes))
    socket.on('end', () => this.#handler?.ended())
    socket.on('error', (error: NodeJS.ErrnoException) => this.#fail(FAILURES[error.code ?? ''] ?? 'reset'))
    socket.on('close', () => this.#finish())
  }

  static connect({ address, port }: Endpoint, handler: StreamHandler): NodeStream {
    const socket = new Socket({ allowHalfOpen: true })
    const stream = new NodeStream(socket, handler)
    socket.once('connect', () => stream.begin())
    socket.connect({ host: address, port, autoSelectFamily: false })
    return stream
  }

  begin(): void {
    this.#connected = true
    this.#handler?.connected()
  }

  write(bytes: Uint8Array, released: () => void): void {
    this.#socket.write(bytes, (error) => {
      if (!error) released()
    })
  }

  end(): void {
    this.#socket.end()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  reset(): void {
    this.#handler = undefined
    // Unix sockets have no addresses, and no resets.
    if (this.#connected && this.#socket.remoteAddress !== undefined) this.#socket.resetAndDestroy()
    else this.#socket.destroy()
  }

  #fail(reason: StreamFailure): void {
    const handler = this.#handler
    this.#handler = undefined
    handler?.failed(reason)
  }

  #finish(): void {
    const handler = this.#handler
    this.#handler = undefined
    handler?.closed()
  }
}
