import { corrupt, DiskError } from '../errors.ts'
import type { CompressionType } from './header.ts'

/** One of the ways in which clusters are compressed. */
export interface CompressionCodec {
  /** Unpacks to at most `size` bytes; bytes behind the stream are ignored. Damage is an error of any kind. */
  decompress(data: Uint8Array, size: number): Promise<Uint8Array>
  compress(data: Uint8Array): Promise<Uint8Array>
}

/** What the host can do. `zlib` is a deflate stream without header and with a window of at most 4096 bytes. */
export type CompressionCodecs = Partial<Record<CompressionType, CompressionCodec>>

const CACHED = 8

/** Unpacks clusters, and remembers the last few: reads are mostly smaller than clusters. */
export class CompressedClusters {
  readonly #codec: CompressionCodec | undefined
  readonly #type: CompressionType
  readonly #clusterSize: number
  readonly #cache = new Map<number, Promise<Uint8Array>>()

  constructor(codecs: CompressionCodecs, type: CompressionType, clusterSize: number) {
    this.#codec = codecs[type]
    this.#type = type
    this.#clusterSize = clusterSize
  }

  get codec(): CompressionCodec {
    if (this.#codec) return this.#codec
    throw new DiskError('TV_DISK_UNSUPPORTED', `Clusters compressed by ${this.#type} are not supported here.`)
  }

  /** The cluster that is stored at `offset`; `read` gets its compressed bytes. */
  get(offset: number, read: () => Promise<Uint8Array>): Promise<Uint8Array> {
    let cluster = this.#cache.get(offset)
    if (!cluster) {
      cluster = this.#unpack(read)
      this.#cache.set(offset, cluster)
      cluster.catch(() => this.#cache.delete(offset))
      if (this.#cache.size > CACHED) this.#cache.delete(this.#cache.keys().next().value!)
    }
    return cluster
  }

  /** Other data may come to be at the offsets of before. */
  forget(): void {
    this.#cache.clear()
  }

  async #unpack(read: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const codec = this.codec
    const data = await read()
    let cluster: Uint8Array
    try {
      cluster = await codec.decompress(data, this.#clusterSize)
    } catch (cause) {
      throw new DiskError('TV_DISK_CORRUPT', 'The disk image is damaged: a cluster cannot be unpacked.', {
        cause,
      })
    }
    if (cluster.length !== this.#clusterSize) throw corrupt('a compressed cluster is too short')
    return cluster
  }
}

const ZSTD_MAGIC = 0xfd2f_b528
const RLE_BLOCK = 1
const FIELD_BYTES = [0, 2, 4, 8]
const DICTIONARY_BYTES = [0, 1, 2, 4]

/**
 * How long the zstd frame is that `data` begins with; decoders that take all they get need to know.
 * RFC 8878, "Zstandard Frames".
 */
export function zstdFrameLength(data: Uint8Array): number {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (data.length < 6 || view.getUint32(0, true) !== ZSTD_MAGIC) throw corrupt('a cluster has no zstd frame')
  const descriptor = data[4]
  const single = (descriptor & 0x20) !== 0
  const sizeField = FIELD_BYTES[descriptor >> 6] || (single ? 1 : 0)
  let at = 5 + (single ? 0 : 1) + DICTIONARY_BYTES[descriptor & 3] + sizeField
  for (let last = false; !last; ) {
    if (at + 3 > data.length) throw corrupt('a zstd frame is cut off')
    const header = data[at] | (data[at + 1] << 8) | (data[at + 2] << 16)
    last = (header & 1) !== 0
    at += 3 + (((header >> 1) & 3) === RLE_BLOCK ? 1 : header >> 3)
  }
  if ((descriptor & 4) !== 0) at += 4
  if (at > data.length) throw corrupt('a zstd frame is cut off')
  return at
}
