import { initramfsFormat, MemorySizeError } from '@typevisor/vmm'
import { PageError } from '../errors.ts'
import { forEachChunk, gunzip } from './decompress.ts'

/** Refuses what Linux would find out after a long boot, or never say: a foreign, cut off or damaged initramfs. */
export async function checkInitramfs(data: Uint8Array, memoryBytes: number): Promise<void> {
  const format = initramfsFormat(data)
  if (!format) {
    throw new PageError('TV_INITRD_FORMAT', 'The initramfs is none: it is neither cpio nor compressed.')
  }
  if (format !== 'gzip') return
  let bytes = 0
  const count = ({ length }: Uint8Array) => {
    bytes += length
    if (bytes > memoryBytes) {
      throw new MemorySizeError(
        'TV_MEMORY_TOO_SMALL',
        "The initramfs unpacks to more than the machine's RAM.",
      )
    }
  }
  await forEachChunk(gunzip(data), count).catch((cause: unknown) => {
    if (cause instanceof MemorySizeError) throw cause
    throw new PageError('TV_INITRD_CORRUPT', 'The initramfs is damaged or cut off (gzip).', { cause })
  })
}
