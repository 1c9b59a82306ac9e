import { promisify } from 'node:util'
import zlib from 'node:zlib'
import { type CompressionCodecs, zstdFrameLength } from '@typevisor/vmm/disk'

const inflate = promisify(zlib.inflateRaw)
const deflate = promisify<Uint8Array, zlib.ZlibOptions, Buffer>(zlib.deflateRaw)
const unzstd = promisify(zlib.zstdDecompress)
const zstd = promisify<Uint8Array, Buffer>(zlib.zstdCompress)

/** QEMU reads with a window of 4096 bytes. */
const WINDOW_BITS = 12

/** What qcow2's compressed clusters need, by Node's zlib. */
export const diskCodecs: CompressionCodecs = {
  zlib: {
    decompress: (data, size) => inflate(data, { maxOutputLength: size }),
    compress: (data) => deflate(data, { windowBits: WINDOW_BITS, level: 9 }),
  },
  zstd: {
    decompress: async (data, size) =>
      unzstd(data.subarray(0, zstdFrameLength(data)), { maxOutputLength: size }),
    compress: (data) => zstd(data),
  },
}
