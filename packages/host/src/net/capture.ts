import { closeSync, openSync, writeSync } from 'node:fs'
import { Capture, NetworkError } from '@typevisor/vmm/net'

export interface FileCapture {
  readonly capture: Capture
  close(): void
}

/** Gathered, so that a frame does not cost a system call. */
const BUFFER = 256 * 1024

/** A capture into a new file at `path`. When the disk is full, the file ends; the machine goes on. */
export function createCapture(path: string, options: { snaplen?: number; limit?: number } = {}): FileCapture {
  let file: number | undefined
  try {
    file = openSync(path, 'w', 0o600)
  } catch (error) {
    const { message } = error as Error
    throw new NetworkError('TV_NETWORK_CAPTURE', `The capture cannot be written: ${message}.`, {
      cause: error,
    })
  }
  let pieces: Uint8Array[] = []
  let size = 0
  const close = () => {
    if (file !== undefined) closeSync(file)
    file = undefined
  }
  const flush = () => {
    const bytes = Buffer.concat(pieces)
    pieces = []
    size = 0
    try {
      for (let at = 0; file !== undefined && at < bytes.length; ) at += writeSync(file, bytes, at)
    } catch {
      close()
    }
  }
  const write = (bytes: Uint8Array) => {
    if (file === undefined) return
    pieces.push(bytes)
    size += bytes.length
    if (size >= BUFFER) flush()
  }
  const capture = new Capture({
    wall: { now: () => performance.timeOrigin + performance.now() },
    write,
    ...options,
  })
  return {
    capture,
    close: () => {
      flush()
      close()
    },
  }
}
