/**
 * Addresses are strings of their 16-bit units (two for IPv4, eight for IPv6, three for Ethernet): they compare with
 * `===`, are keys of maps, cannot change, and cost no more to read from a packet than to compare there.
 */

declare const ip: unique symbol
declare const mac: unique symbol
export type Ip = string & { readonly [ip]: true }
export type Mac = string & { readonly [mac]: true }

const unit = (bytes: Uint8Array, offset: number) => (bytes[offset] << 8) | bytes[offset + 1]

export const isIpv4 = (address: Ip): boolean => address.length === 2

/** Bytes of an address: 4 or 16. */
export const ipLength = (address: Ip): number => address.length * 2

export function readMac(bytes: Uint8Array, offset: number): Mac {
  return String.fromCharCode(unit(bytes, offset), unit(bytes, offset + 2), unit(bytes, offset + 4)) as Mac
}

export function readIpv4(bytes: Uint8Array, offset: number): Ip {
  return String.fromCharCode(unit(bytes, offset), unit(bytes, offset + 2)) as Ip
}

export function readIpv6(bytes: Uint8Array, offset: number): Ip {
  return String.fromCharCode(
    unit(bytes, offset),
    unit(bytes, offset + 2),
    unit(bytes, offset + 4),
    unit(bytes, offset + 6),
    unit(bytes, offset + 8),
    unit(bytes, offset + 10),
    unit(bytes, offset + 12),
    unit(bytes, offset + 14),
  ) as Ip
}

export function writeAddress(bytes: Uint8Array, offset: number, address: Ip | Mac): void {
  for (let index = 0; index < address.length; index++) {
    const value = address.charCodeAt(index)
    bytes[offset + 2 * index] = value >> 8
    bytes[offset + 2 * index + 1] = value
  }
}

export function addressBytes(address: Ip | Mac): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(address.length * 2)
  writeAddress(bytes, 0, address)
  return bytes
}

export function ipFromBytes(bytes: Uint8Array): Ip {
  return bytes.length === 4 ? readIpv4(bytes, 0) : readIpv6(bytes, 0)
}

export const BROADCAST_MAC = '\uffff\uffff\uffff' as Mac
export const isMulticastMac = (address: Mac): boolean => (address.charCodeAt(0) & 0x100) !== 0

export function formatMac(address: Mac): string {
  return [...addressBytes(address)].map((byte) => byte.toString(16).padStart(2, '0')).join(':')
}

export function parseMac(text: string): Mac | undefined {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) return undefined
  return readMac(
    Uint8Array.from(text.split(':'), (byte) => Number.parseInt(byte, 16)),
    0,
  )
}

export function formatIp(address: Ip): string {
  return isIpv4(address) ? addressBytes(address).join('.') : formatIpv6(address)
}

/** RFC 5952, "A Recommendation for IPv6 Text Representation". */
function formatIpv6(address: Ip): string {
  const units = Array.from({ length: 8 }, (_, index) => address.charCodeAt(index).toString(16))
  const text = units.join(':')
  const runs = text.match(/(?<![0-9a-f])0(:0)+(?![0-9a-f])/g) ?? []
  const longest = runs.reduce((best, run) => (run.length > best.length ? run : best), '')
  if (longest === '') return text
  const at = text.search(new RegExp(`(?<![0-9a-f])${longest}(?![0-9a-f])`))
  return `${text.slice(0, at).replace(/:$/, '')}::${text.slice(at + longest.length).replace(/^:/, '')}`
}

export function parseIp(text: string): Ip | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text)
}

function parseIpv4(text: string): Ip | undefined {
  if (!/^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/.test(text)) return undefined
  const bytes = text.split('.').map(Number)
  return bytes.some((byte) => byte > 255) ? undefined : readIpv4(Uint8Array.from(bytes), 0)
}

function parseUnits(text: string): number[] | undefined {
  if (text === '') return []
  const units: number[] = []
  const pieces = text.split(':')
  for (const [index, piece] of pieces.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(piece)) units.push(Number.parseInt(piece, 16))
    else {
      const embedded = index === pieces.length - 1 && piece.includes('.') ? parseIpv4(piece) : undefined
      if (embedded === undefined) return undefined
      units.push(embedded.charCodeAt(0), embedded.charCodeAt(1))
    }
  }
  return units
}

/** RFC 4291, "Text Representation of Addresses", without zones. */
function parseIpv6(text: string): Ip | undefined {
  const halves = text.split('::')
  if (halves.length > 2 || text.length > 45) return undefined
  const [head, tail] = halves.map(parseUnits)
  if (head === undefined || (halves.length === 2 && tail === undefined)) return undefined
  const missing = 8 - head.length - (tail?.length ?? 0)
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined
  const units = tail === undefined ? head : [...head, ...new Array<number>(missing).fill(0), ...tail]
  return String.fromCharCode(...units) as Ip
}

/** For constants: throws where `parseIp` says `undefined`. */
export function ipOf(text: string): Ip {
  const address = parseIp(text)
  if (address === undefined) throw new Error(`Invariant broken: ${text} is an address`)
  return address
}

export interface Prefix {
  readonly address: Ip
  readonly length: number
}

/** An address, or `address/length`. */
export function parsePrefix(text: string): Prefix | undefined {
  const [, host, bits] = /^([^/]+?)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const address = host === undefined ? undefined : parseIp(host)
  if (address === undefined) return undefined
  const width = ipLength(address) * 8
  const length = bits === undefined ? width : Number(bits)
  return length <= width ? { address, length } : undefined
}

export function inPrefix(address: Ip, prefix: Prefix): boolean {
  if (address.length !== prefix.address.length) return false
  for (let index = 0, left = prefix.length; left > 0; index++, left -= 16) {
    const differing = address.charCodeAt(index) ^ prefix.address.charCodeAt(index)
    if (differing >> Math.max(0, 16 - left)) return false
  }
  return true
}

/** Whether no bits are set behind the prefix. */
export function endsWithZeros({ address, length }: Prefix): boolean {
  for (let index = 0; index < address.length; index++) {
    const keep = Math.min(16, Math.max(0, length - 16 * index))
    if (address.charCodeAt(index) & (0xffff >> keep)) return false
  }
  return true
}

/** RFC 4291, "Solicited-Node Address". */
export function solicitedNode(address: Ip): Ip {
  const low = 0xff00 | (address.charCodeAt(6) & 0xff)
  return String.fromCharCode(0xff02, 0, 0, 0, 0, 1, low, address.charCodeAt(7)) as Ip
}

/** RFC 2464, "Address Mapping -- Multicast". */
export function multicastMac(address: Ip): Mac {
  return `\u3333${address.slice(6)}` as Mac
}
