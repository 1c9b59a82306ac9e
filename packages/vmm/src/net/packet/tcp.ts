// RFC 9293, "Header Format"; RFC 7323, "Window Scale Option".

export const FIN = 1
export const SYN = 2
export const RST = 4
export const PSH = 8
export const ACK = 16

export const TCP_HEADER = 20
const OPTION_END = 0
const OPTION_NOP = 1
const OPTION_MSS = 2
const OPTION_WINDOW_SCALE = 3
/** RFC 7323: larger shifts are taken as this. */
const SHIFT_LIMIT = 14

export interface TcpOptions {
  maximumSegmentSize: number | undefined
  windowScale: number | undefined
}

/** A received segment; its payload stays in the frame. */
export interface TcpHeader {
  readonly sourcePort: number
  readonly destinationPort: number
  readonly sequence: number
  readonly acknowledgment: number
  readonly flags: number
  /** As in the header, not scaled. */
  readonly window: number
  readonly headerLength: number
}

const unit = (bytes: Uint8Array, offset: number) => (bytes[offset] << 8) | bytes[offset + 1]
const word = (bytes: Uint8Array, offset: number) =>
  ((unit(bytes, offset) << 16) | unit(bytes, offset + 2)) >>> 0

export function parseTcp(bytes: Uint8Array, length: number): TcpHeader | undefined {
  if (bytes.length < TCP_HEADER || length < TCP_HEADER) return undefined
  const headerLength = (bytes[12] >> 4) * 4
  if (headerLength < TCP_HEADER || headerLength > length || headerLength > bytes.length) return undefined
  return {
    sourcePort: unit(bytes, 0),
    destinationPort: unit(bytes, 2),
    sequence: word(bytes, 4),
    acknowledgment: word(bytes, 8),
    flags: bytes[13],
    window: unit(bytes, 14),
    headerLength,
  }
}

/** The options of a SYN; malformed ones end the list. */
export function parseTcpOptions(bytes: Uint8Array, headerLength: number): TcpOptions {
  const options: TcpOptions = { maximumSegmentSize: undefined, windowScale: undefined }
  let at = TCP_HEADER
  while (at < headerLength && bytes[at] !== OPTION_END) {
    if (bytes[at] === OPTION_NOP) {
      at++
      continue
    }
    const length = bytes[at + 1]
    if (at + 1 >= headerLength || length < 2 || at + length > headerLength) break
    if (bytes[at] === OPTION_MSS && length === 4) options.maximumSegmentSize = unit(bytes, at + 2)
    if (bytes[at] === OPTION_WINDOW_SCALE && length === 3) {
      options.windowScale = Math.min(bytes[at + 2], SHIFT_LIMIT)
    }
    at += length
  }
  return options
}

export interface TcpFields {
  readonly sourcePort: number
  readonly destinationPort: number
  readonly sequence: number
  readonly acknowledgment: number
  readonly flags: number
  readonly window: number
  readonly options?: TcpOptions
}

export const tcpHeaderLength = (options: TcpOptions | undefined): number =>
  TCP_HEADER + (options ? 4 + (options.windowScale === undefined ? 0 : 4) : 0)

/** Writes a header whose checksum field is zero. */
export function writeTcpHeader(bytes: Uint8Array, at: number, fields: TcpFields): number {
  const length = tcpHeaderLength(fields.options)
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, length)
  view.setUint16(0, fields.sourcePort)
  view.setUint16(2, fields.destinationPort)
  view.setUint32(4, fields.sequence)
  view.setUint32(8, fields.acknowledgment)
  view.setUint16(12, ((length / 4) << 12) | fields.flags)
  view.setUint16(14, fields.window)
  view.setUint32(16, 0)
  if (fields.options) writeOptions(view, fields.options)
  return length
}

function writeOptions(view: DataView, options: TcpOptions): void {
  view.setUint32(20, (OPTION_MSS << 24) | (4 << 16) | (options.maximumSegmentSize ?? 0))
  if (options.windowScale === undefined) return
  view.setUint32(24, (OPTION_NOP << 24) | (OPTION_WINDOW_SCALE << 16) | (3 << 8) | options.windowScale)
}
