import { createServer } from 'node:net'
import { DiskError } from '@typevisor/vmm/disk'

/**
 * Keeps other writers off a file while this process lives. Linux alone has names for sockets that belong to no file
 * and that end with their process, however it ends; elsewhere nothing is locked.
 */
export async function lockFile(
  path: string,
  { dev, ino }: { dev: number; ino: number },
): Promise<() => void> {
  if (process.platform !== 'linux') return () => {}
  const server = createServer((socket) => socket.destroy())
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(`\0typevisor-disk-${dev}-${ino}`, resolve)
    })
  } catch (cause) {
    throw new DiskError('TV_DISK_LOCKED', `Another machine or program is writing to ${path}.`, { cause })
  }
  server.unref()
  return () => server.close()
}
