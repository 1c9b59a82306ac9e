import { chmodSync, rmSync } from 'node:fs'
import { connect as connectSocket, createServer, type Socket } from 'node:net'
import {
  connect,
  NetworkError,
  StreamPort,
  type SwitchPortOptions,
  type VirtualSwitch,
} from '@typevisor/vmm/net'
import { NodeStream } from './streams.ts'

export interface SwitchServer {
  readonly path: string
  close(): void
}

function plug(socket: Socket, onClosed: () => void): StreamPort {
  const port = new StreamPort(onClosed)
  const stream = new NodeStream(socket, port)
  port.use(stream)
  stream.begin()
  return port
}

function socketError(path: string, error: NodeJS.ErrnoException): NetworkError {
  return new NetworkError('TV_NETWORK_ADDRESS', `The switch at ${path} cannot be used: ${error.message}.`, {
    cause: error,
  })
}

/** Opens a switch to other processes of this user: each connection to the Unix socket at `path` is a port with `options`. */
export async function serveSwitch(
  network: VirtualSwitch,
  path: string,
  options: SwitchPortOptions,
): Promise<SwitchServer> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    const member = network.port(options)
    const port = plug(socket, () => {
      sockets.delete(socket)
      member.close()
    })
    connect(member, port)
  })
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', (error) => reject(socketError(path, error)))
  server.listen(path, resolve)
  await promise
  chmodSync(path, 0o600)
  const close = () => {
    server.close()
    for (const socket of sockets) socket.destroy()
    rmSync(path, { force: true })
  }
  return { path, close }
}

/** A port of a switch in another process. */
export async function connectSwitch(path: string, onClosed: () => void = () => {}): Promise<StreamPort> {
  const socket = connectSocket(path)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const failed = (error: Error) => reject(socketError(path, error))
  socket.once('error', failed)
  socket.once('connect', resolve)
  await promise
  socket.off('error', failed)
  return plug(socket, onClosed)
}
