import { type FileHandle, open } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { initramfsFormat, MemorySizeError } from '@typevisor/vmm'
import { allocateHuge } from '../memory/huge-pages.ts'
import { DomainError } from './errors.ts'

const LARGEST_FILE = 2 ** 31 - 1

/** A regular file's contents. `what` says what it is for, as in "kernel". */
export async function readInput(path: string, what: string): Promise<Uint8Array> {
  try {
    await using file = await open(path)
    const stat = await file.stat()
    if (!stat.isFile()) throw unreadable(path, what, 'it is not a regular file')
    if (stat.size > LARGEST_FILE) throw unreadable(path, what, 'it is larger than 2 GiB')
    return await readWhole(file, stat.size)
  } catch (cause) {
    if (cause instanceof DomainError) throw cause
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') {
      throw new DomainError('TV_FILE_NOT_FOUND', `There is no ${what} file ${path}.`, { cause })
    }
    throw unreadable(path, what, code ?? message)
  }
}

/** What is there of so many bytes. Kernels are large: in huge pages they take a third of the time. */
async function readWhole(file: FileHandle, size: number): Promise<Uint8Array> {
  const bytes = allocateHuge(size)
  let length = 0
  while (length < size) {
    const { bytesRead } = await file.read(bytes, length, size - length, length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return bytes.subarray(0, length)
}

function unreadable(path: string, what: string, why: string): DomainError {
  return new DomainError('TV_FILE_UNREADABLE', `The ${what} file ${path} cannot be read: ${why}.`)
}

/** Refuses what Linux would find out after a long boot, or never say: a foreign, cut off or damaged initramfs. */
export async function checkInitramfs(path: string, data: Uint8Array, memoryBytes: number): Promise<void> {
  const format = initramfsFormat(data)
  if (!format) {
    throw new DomainError('TV_INITRD_FORMAT', `${path} is no initramfs: it is neither cpio nor compressed.`)
  }
  const decoder = format === 'gzip' ? createGunzip() : format === 'zstd' ? createZstdDecompress() : undefined
  if (!decoder) return
  let bytes = 0
  const count = async (chunks: AsyncIterable<Buffer>) => {
    for await (const chunk of chunks) {
      bytes += chunk.length
      if (bytes > memoryBytes) throw tooLarge(path)
    }
  }
  try {
    await pipeline(
      async function* () {
        yield data
      },
      decoder,
      count,
    )
  } catch (cause) {
    if (cause instanceof MemorySizeError) throw cause
    throw new DomainError('TV_INITRD_CORRUPT', `The initramfs ${path} is damaged or cut off (${format}).`, {
      cause,
    })
  }
}

function tooLarge(path: string): MemorySizeError {
  return new MemorySizeError(
    'TV_MEMORY_TOO_SMALL',
    `The initramfs ${path} unpacks to more than the machine's RAM.`,
  )
}
