// VIRTIO 1.2, "Network Device", "Device Operation": struct virtio_net_hdr, which stands before each packet.

import type { Frame, Offloads, Segmentation } from '../../../net/frame.ts'

export const HEADER_SIZE = 12

const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1
const VIRTIO_NET_HDR_F_DATA_VALID = 2
const VIRTIO_NET_HDR_GSO_NONE = 0
const GSO_TYPES = { tcp4: 1, tcp6: 4 } as const

const OFFSET = {
  FLAGS: 0,
  GSO_TYPE: 1,
  HDR_LEN: 2,
  GSO_SIZE: 4,
  CSUM_START: 6,
  CSUM_OFFSET: 8,
  NUM_BUFFERS: 10,
} as const

/** What a received frame leaves undone, and how many buffers it takes. The frame complies with what was negotiated. */
export function writeHeader(
  { checksum, segmentation, verified }: Frame,
  buffers: number,
  guestChecksum: boolean,
) {
  const header = new Uint8Array(HEADER_SIZE)
  const view = new DataView(header.buffer)
  if (checksum) {
    view.setUint8(OFFSET.FLAGS, VIRTIO_NET_HDR_F_NEEDS_CSUM)
    view.setUint16(OFFSET.CSUM_START, checksum.start, true)
    view.setUint16(OFFSET.CSUM_OFFSET, checksum.offset, true)
  } else if (verified && guestChecksum) view.setUint8(OFFSET.FLAGS, VIRTIO_NET_HDR_F_DATA_VALID)
  if (segmentation) {
    view.setUint8(OFFSET.GSO_TYPE, GSO_TYPES[segmentation.kind])
    view.setUint16(OFFSET.GSO_SIZE, segmentation.size, true)
    view.setUint16(OFFSET.HDR_LEN, segmentation.headerLength, true)
  }
  view.setUint16(OFFSET.NUM_BUFFERS, buffers, true)
  return header
}

/** A frame that a driver sends; undefined if its header asks for what was not negotiated, or contradicts itself. */
export function readFrame(
  header: Uint8Array,
  parts: readonly Uint8Array[],
  length: number,
  offered: Offloads,
): Frame | undefined {
  const view = new DataView(header.buffer, header.byteOffset, HEADER_SIZE)
  const isPartial = offered.checksum && (view.getUint8(OFFSET.FLAGS) & VIRTIO_NET_HDR_F_NEEDS_CSUM) !== 0
  const segmentation = readSegmentation(view, offered)
  if (segmentation === null || (segmentation && !isPartial)) return undefined
  const start = view.getUint16(OFFSET.CSUM_START, true)
  const offset = view.getUint16(OFFSET.CSUM_OFFSET, true)
  if (isPartial && start + offset + 2 > length) return undefined
  return { parts, length, checksum: isPartial ? { start, offset } : undefined, segmentation }
}

/** Null for one that is not to be. */
function readSegmentation(view: DataView, offered: Offloads): Segmentation | undefined | null {
  const type = view.getUint8(OFFSET.GSO_TYPE)
  if (type === VIRTIO_NET_HDR_GSO_NONE) return undefined
  const kind = type === GSO_TYPES.tcp4 ? 'tcp4' : type === GSO_TYPES.tcp6 ? 'tcp6' : undefined
  const size = view.getUint16(OFFSET.GSO_SIZE, true)
  if (!kind || !offered[kind] || size === 0) return null
  return { kind, size, headerLength: view.getUint16(OFFSET.HDR_LEN, true) }
}
