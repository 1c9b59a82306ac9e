import { createSocket, type RemoteInfo, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { DatagramSocket, Endpoint } from '@typevisor/vmm/net'

/** Bytes that a socket holds for the kernel at most; more datagrams are lost, as on any full link. */
const PENDING_LIMIT = 256 * 1024
/** What a datagram costs besides its bytes. */
const COST = 512

/** Destinations are addresses already: no names are looked up. */
function literal(
  hostname: string,
  _options: unknown,
  callback: (error: Error | null, address: string, family: number) => void,
): void {
  callback(null, hostname, isIPv6(hostname) ? 6 : 4)
}

export class NodeDatagrams implements DatagramSocket {
  readonly #socket: Socket
  #pending = 0
  #closed = false

  constructor(
    family: 4 | 6,
    received: (bytes: Uint8Array, from: Endpoint) => void,
    failed: (error: Error) => void,
  ) {
    this.#socket = createSocket({
      type: family === 4 ? 'udp4' : 'udp6',
      ipv6Only: family === 6,
      lookup: literal,
    })
    this.#socket.on('message', (bytes, { address, port }: RemoteInfo) => received(bytes, { address, port }))
    this.#socket.on('error', (error) => {
      this.close()
      failed(error)
    })
  }

  /** Gives the address and port that it is bound to. */
  bind({ address, port }: Endpoint): Promise<Endpoint> {
    const { promise, resolve, reject } = Promise.withResolvers<Endpoint>()
    this.#socket.once('error', reject)
    this.#socket.bind({ address, port, exclusive: true }, () => {
      this.#socket.off('error', reject)
      resolve(this.#socket.address())
    })
    return promise
  }

  send(bytes: Uint8Array, to: Endpoint): void {
    const cost = bytes.length + COST
    if (this.#closed || this.#pending + cost > PENDING_LIMIT) return
    this.#pending += cost
    // An error of one datagram (no route, too large) is that datagram's loss.
    this.#socket.send(bytes, to.port, to.address, () => {
      this.#pending -= cost
    })
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#socket.close()
  }
}
