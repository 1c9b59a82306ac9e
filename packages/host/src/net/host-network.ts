import { createServer } from 'node:net'
import {
  type AcceptStream,
  type DatagramSocket,
  type Endpoint,
  type HostNetwork,
  type Listener,
  NetworkError,
} from '@typevisor/vmm/net'
import { NodeDatagrams } from './datagrams.ts'
import { echo } from './echo.ts'
import { resolve } from './resolver.ts'
import { NodeStream } from './streams.ts'

function listenError({ address, port }: Endpoint, error: NodeJS.ErrnoException): NetworkError {
  return error.code === 'EADDRINUSE'
    ? new NetworkError('TV_NETWORK_PORT_IN_USE', `Port ${port} of ${address} is in use.`, { cause: error })
    : new NetworkError(
        'TV_NETWORK_ADDRESS',
        `Port ${port} of ${address} cannot be opened: ${error.message}.`,
        {
          cause: error,
        },
      )
}

async function listenStreams(at: Endpoint, accept: AcceptStream): Promise<Listener> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) => {
    // Someone who is gone again before there is a handler is nobody's concern.
    socket.on('error', () => {})
    const from = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 }
    accept(from, (handler) => {
      const stream = new NodeStream(socket, handler)
      stream.pause()
      stream.begin()
      return stream
    })
  })
  server.once('error', (error) => reject(listenError(at, error)))
  server.listen({ host: at.address, port: at.port }, resolve)
  await promise
  const bound = server.address()
  const port = typeof bound === 'object' && bound ? bound.port : at.port
  return { address: at.address, port, close: () => server.close() }
}

async function listenDatagrams(
  at: Endpoint,
  received: (bytes: Uint8Array, from: Endpoint) => void,
): Promise<Listener & DatagramSocket> {
  const socket = new NodeDatagrams(at.address.includes(':') ? 6 : 4, received, () => {})
  const { address, port } = await socket.bind(at).catch((error: NodeJS.ErrnoException) => {
    throw listenError(at, error)
  })
  return { address, port, close: () => socket.close(), send: (bytes, to) => socket.send(bytes, to) }
}

/** The NAT's way to the network of the host, by the sockets that any program may have. */
export function createHostNetwork(): HostNetwork {
  return {
    connectStream: (to, handler) => NodeStream.connect(to, handler),
    openDatagrams: (family, received, failed) => new NodeDatagrams(family, received, failed),
    listenStreams,
    listenDatagrams,
    resolve: (query) => resolve(query),
    echo,
  }
}
