import { once } from 'node:events'
import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { DiskError, type NbdStream } from '@typevisor/vmm/disk'

/** Connects to a TCP port or, by `path`, to a Unix socket. */
export async function connectStream(
  address: { host?: string; port: number } | { path: string },
): Promise<NbdStream> {
  const socket = connect({ ...address, noDelay: true } as NetConnectOpts)
  try {
    await once(socket, 'connect')
  } catch (cause) {
    const where = 'path' in address ? address.path : `${address.host ?? 'localhost'}:${address.port}`
    const { code, message } = cause as NodeJS.ErrnoException
    throw new DiskError('TV_NBD_DISCONNECTED', `There is no connection to ${where} (${code ?? message}).`, {
      cause,
    })
  }
  socket.on('error', () => {}) // whoever reads or writes is told
  return {
    incoming: socket,
    write: (pieces) => write(socket, pieces),
    close: () => socket.destroy(),
  }
}

/** Done when the kernel has taken it all: until then the pieces are lent. */
async function write(socket: Socket, pieces: readonly Uint8Array[]): Promise<void> {
  const written: Promise<void>[] = []
  socket.cork()
  for (const piece of pieces) {
    written.push(
      new Promise((resolve, reject) => {
        socket.write(piece, (error) => (error ? reject(error) : resolve()))
      }),
    )
  }
  socket.uncork()
  await Promise.all(written)
}
