// RFC 826, for Ethernet and IPv4.

import { type Ip, type Mac, readIpv4, readMac, writeAddress } from '../addresses.ts'

export const ARP_REQUEST = 1
export const ARP_REPLY = 2
const ARP_LENGTH = 28
/** Hardware type Ethernet, protocol type IPv4, lengths 6 and 4. */
const PREFIX = [0, 1, 8, 0, 6, 4] as const

export interface Arp {
  readonly operation: number
  readonly senderMac: Mac
  readonly sender: Ip
  readonly targetMac: Mac
  readonly target: Ip
}

export function parseArp(bytes: Uint8Array): Arp | undefined {
  if (bytes.length < ARP_LENGTH || PREFIX.some((byte, index) => bytes[index] !== byte)) return undefined
  return {
    operation: (bytes[6] << 8) | bytes[7],
    senderMac: readMac(bytes, 8),
    sender: readIpv4(bytes, 14),
    targetMac: readMac(bytes, 18),
    target: readIpv4(bytes, 24),
  }
}

export function buildArp(arp: Arp): Uint8Array {
  const bytes = new Uint8Array(ARP_LENGTH)
  bytes.set(PREFIX)
  bytes[7] = arp.operation
  writeAddress(bytes, 8, arp.senderMac)
  writeAddress(bytes, 14, arp.sender)
  writeAddress(bytes, 18, arp.targetMac)
  writeAddress(bytes, 24, arp.target)
  return bytes
}
