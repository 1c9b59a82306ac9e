/** How an initramfs may begin. Linux documentation, "initramfs buffer format"; lib/decompress of Linux. */
const MAGICS: readonly (readonly [string, readonly number[]])[] = [
  ['cpio', [0x30, 0x37, 0x30, 0x37, 0x30, 0x31]],
  ['cpio', [0x30, 0x37, 0x30, 0x37, 0x30, 0x32]],
  ['gzip', [0x1f, 0x8b]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lzma', [0x5d, 0x00, 0x00]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['lzo', [0x89, 0x4c, 0x5a, 0x4f]],
  ['lz4', [0x02, 0x21, 0x4c, 0x18]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
]

/** What the file is packed with, `cpio` when with nothing; undefined when Linux would not take it. */
export function initramfsFormat(data: Uint8Array): string | undefined {
  return MAGICS.find(([, magic]) => magic.every((byte, i) => data[i] === byte))?.[0]
}
