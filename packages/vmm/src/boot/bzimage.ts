// Linux documentation, "The Linux/x86 Boot Protocol": "The Real-Mode Kernel Header", "64-bit Boot Protocol".

import { KernelError, TypevisorError } from '../errors.ts'
import { Binary } from './binary.ts'
import { isElf } from './elf.ts'

export type Compression = 'gzip' | 'xz' | 'lz4' | 'zstd'

/**
 * Unpacks a whole stream in pieces of any size, in order; `take` must not keep them. A stream that is corrupt, or that gives more
 * than `maxBytes`, is rejected with an error, whichever, perhaps after some pieces.
 */
export type Decompressor = (
  data: Uint8Array,
  maxBytes: number,
  take: (piece: Uint8Array) => void,
) => Promise<void>

/** One for each kind; `lz4` is the legacy frame. */
export type Decompressors = Record<Compression, Decompressor>

export interface BzImage {
  file: Binary
  version: number
  setupBytes: number
  payload: { offset: number; length: number }
  has64BitEntry: boolean
  prefAddress: number
  initSize: number
  initrdMax: number
  commandLineMax: number
}

const HDRS = 0x5372_6448
const BOOT_FLAG = 0xaa55
const XLF_KERNEL_64 = 1
const MAX_VMLINUX = 0x4000_0000
/** The oldest protocol with `init_size`: 2.10 (Linux 2.6.31). */
const OLDEST = 0x020a

export function isBzImage(bytes: Uint8Array): boolean {
  const file = new Binary(bytes)
  return file.has(0, 0x206) && file.u16(0x1fe) === BOOT_FLAG && file.u32(0x202) === HDRS
}

export function parseBzImage(bytes: Uint8Array): BzImage {
  const file = new Binary(bytes)
  if (file.u16(0x1fe) !== BOOT_FLAG || file.u32(0x202) !== HDRS) {
    throw new KernelError('TV_KERNEL_FORMAT', 'The kernel is not a Linux bzImage.')
  }
  const version = file.u16(0x206)
  if (version < OLDEST) {
    throw new KernelError('TV_KERNEL_UNSUPPORTED', 'The Linux kernel is older than boot protocol 2.10.')
  }
  const setupBytes = ((file.u8(0x1f1) || 4) + 1) * 512
  const payload = { offset: setupBytes + file.u32(0x248), length: file.u32(0x24c) }
  return {
    file,
    version,
    setupBytes,
    payload,
    has64BitEntry: version >= 0x020c && (file.u16(0x236) & XLF_KERNEL_64) !== 0,
    prefAddress: file.u64(0x258),
    initSize: file.u32(0x260),
    initrdMax: file.u32(0x22c),
    commandLineMax: file.u32(0x238),
  }
}

const MAGICS: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['lz4', [0x02, 0x21, 0x4c, 0x18]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
]

/** Takes a file that arrives in pieces. */
export interface FileSink {
  /** Called once, before the first piece: the file's size in bytes. */
  begin(size: number): void
  take(piece: Uint8Array): void
}

/** Unpacks the ELF file inside a bzImage to `sink`. Its notes, and so the PVH entry, are only there. */
export async function unpackVmlinux(
  bzImage: Uint8Array,
  decompressors: Decompressors,
  sink: FileSink,
): Promise<void> {
  const { file, payload } = parseBzImage(bzImage)
  const data = file.slice(payload.offset, payload.length)
  if (isElf(data)) {
    sink.begin(data.length)
    return sink.take(data)
  }
  const compression = MAGICS.find(([, magic]) => magic.every((byte, i) => data[i] === byte))?.[0]
  if (!compression) {
    throw new KernelError(
      'TV_KERNEL_UNSUPPORTED',
      'The bzImage is compressed in a way other than gzip, xz, lz4 or zstd.',
    )
  }
  // The build appends the unpacked size; in gzip it is the trailer itself.
  const size = new Binary(data).u32(data.length - 4)
  if (size > MAX_VMLINUX)
    throw new KernelError('TV_KERNEL_FORMAT', 'The bzImage claims to unpack to more than 1 GiB.')
  const stream = compression === 'gzip' ? data : data.subarray(0, -4)
  const message = `The bzImage's ${compression} payload does not unpack to its kernel.`
  const corrupt = (cause?: unknown) => new KernelError('TV_KERNEL_COMPRESSION', message, { cause })
  let length = 0
  sink.begin(size)
  try {
    await decompressors[compression](stream, size, (piece) => {
      if (length + piece.length > size || (length === 0 && piece.length >= 4 && !isElf(piece)))
        throw corrupt()
      length += piece.length
      sink.take(piece)
    })
  } catch (cause) {
    throw cause instanceof TypevisorError ? cause : corrupt(cause)
  }
  if (length !== size) throw corrupt()
}
