import { lengthOf, sliceBuffers } from '../../../disk/buffers.ts'
import type { Chain } from '../queue/chain.ts'
import type { Segment } from '../queue/segments.ts'
import { HEADER_SIZE, RANGE_SIZE } from './registers.ts'

/** struct virtio_blk_req, as a driver put it into a chain. */
export interface Request {
  readonly chain: Chain
  readonly type: number
  readonly sector: number
  /** What the driver sends: the readable part behind the header. */
  readonly output: readonly Uint8Array[]
  readonly outputBytes: number
  /** Where the answer goes: the writable part but its last byte, which is the status. */
  readonly input: readonly Uint8Array[]
  readonly inputBytes: number
}

/** A range to be discarded or zeroed, in sectors. */
export interface Range {
  readonly sector: number
  readonly count: number
  readonly flags: number
}

/** 64-bit numbers as doubles: what is no exact one is beyond the end of any disk. */
function sectorAt(view: DataView, offset: number): number {
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 2 ** 32
}

/** Undefined for a chain without a whole header, or without a byte for the status. */
export function readRequest(chain: Chain): Request | undefined {
  const header = new Uint8Array(HEADER_SIZE)
  if (chain.read(header) < HEADER_SIZE || chain.writableBytes < 1) return undefined
  const view = new DataView(header.buffer)
  const outputBytes = chain.readableBytes - HEADER_SIZE
  const inputBytes = chain.writableBytes - 1
  return {
    chain,
    type: view.getUint32(0, true),
    sector: sectorAt(view, 8),
    output: sliceBuffers(chain.readable.map(bytesOf), HEADER_SIZE, outputBytes),
    outputBytes,
    input: sliceBuffers(chain.writable.map(bytesOf), 0, inputBytes),
    inputBytes,
  }
}

const bytesOf = ({ bytes }: Segment) => bytes

/** The ranges of a discard or write-zeroes request; undefined when they are none, too many, or cut off. */
export function readRanges({ chain, outputBytes }: Request, limit: number): Range[] | undefined {
  if (outputBytes === 0 || outputBytes % RANGE_SIZE !== 0 || outputBytes > limit * RANGE_SIZE)
    return undefined
  const bytes = new Uint8Array(outputBytes)
  chain.read(bytes, HEADER_SIZE)
  const view = new DataView(bytes.buffer)
  return Array.from({ length: outputBytes / RANGE_SIZE }, (_, i) => ({
    sector: sectorAt(view, i * RANGE_SIZE),
    count: view.getUint32(i * RANGE_SIZE + 8, true),
    flags: view.getUint32(i * RANGE_SIZE + 12, true),
  }))
}

/** Pieces of at most `step` bytes: offset of each, and its buffers. */
export function* pieces(
  buffers: readonly Uint8Array[],
  step: number,
): Generator<[number, readonly Uint8Array[]]> {
  const length = lengthOf(buffers)
  if (length <= step) yield [0, buffers]
  else
    for (let at = 0; at < length; at += step)
      yield [at, sliceBuffers(buffers, at, Math.min(step, length - at))]
}
