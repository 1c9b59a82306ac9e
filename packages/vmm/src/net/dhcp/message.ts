// RFC 2131, "Protocol Summary"; RFC 2132 for the options.

import { type Ip, type Mac, readIpv4, readMac, writeAddress } from '../addresses.ts'

export const DHCP_SERVER_PORT = 67
export const DHCP_CLIENT_PORT = 68

const FIXED = 236
const COOKIE = [99, 130, 83, 99] as const
/** RFC 1542: relays and old clients want no less. */
const SHORTEST = 300
const OPTION_PAD = 0
const OPTION_END = 255

export const OPTION = {
  mask: 1,
  router: 3,
  dns: 6,
  mtu: 26,
  broadcast: 28,
  requestedAddress: 50,
  leaseTime: 51,
  messageType: 53,
  server: 54,
  message: 56,
  renewal: 58,
  rebinding: 59,
} as const

export const MESSAGE = {
  discover: 1,
  offer: 2,
  request: 3,
  decline: 4,
  ack: 5,
  nak: 6,
  release: 7,
  inform: 8,
} as const

export interface DhcpMessage {
  readonly operation: 1 | 2
  readonly transaction: number
  readonly broadcast: boolean
  /** The address that the client has and uses. */
  readonly client: Ip
  /** The address that the client gets. */
  readonly yours: Ip
  readonly server: Ip
  readonly mac: Mac
  readonly options: ReadonlyMap<number, Uint8Array>
}

export function parseDhcp(bytes: Uint8Array): DhcpMessage | undefined {
  if (bytes.length < FIXED + 4 || COOKIE.some((byte, index) => bytes[FIXED + index] !== byte))
    return undefined
  const [operation, hardware, hardwareLength] = bytes
  if ((operation !== 1 && operation !== 2) || hardware !== 1 || hardwareLength !== 6) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return {
    operation,
    transaction: view.getUint32(4),
    broadcast: (bytes[10] & 0x80) !== 0,
    client: readIpv4(bytes, 12),
    yours: readIpv4(bytes, 16),
    server: readIpv4(bytes, 20),
    mac: readMac(bytes, 28),
    options: parseOptions(bytes.subarray(FIXED + 4)),
  }
}

/** Malformed options end the list. */
function parseOptions(bytes: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>()
  let at = 0
  while (at < bytes.length && bytes[at] !== OPTION_END) {
    const code = bytes[at++]
    if (code === OPTION_PAD) continue
    const length = bytes[at++]
    if (length === undefined || at + length > bytes.length) break
    options.set(code, bytes.subarray(at, at + length))
    at += length
  }
  return options
}

export function buildDhcp(message: DhcpMessage): Uint8Array {
  const options = [...message.options]
  const size = options.reduce((sum, [, value]) => sum + 2 + value.length, FIXED + 4 + 1)
  const bytes = new Uint8Array(Math.max(size, SHORTEST))
  bytes.set([message.operation, 1, 6, 0])
  new DataView(bytes.buffer).setUint32(4, message.transaction)
  bytes[10] = message.broadcast ? 0x80 : 0
  writeAddress(bytes, 12, message.client)
  writeAddress(bytes, 16, message.yours)
  writeAddress(bytes, 20, message.server)
  writeAddress(bytes, 28, message.mac)
  bytes.set(COOKIE, FIXED)
  let at = FIXED + 4
  for (const [code, value] of options) {
    bytes.set([code, value.length], at)
    bytes.set(value, at + 2)
    at += 2 + value.length
  }
  bytes[at] = OPTION_END
  return bytes
}
