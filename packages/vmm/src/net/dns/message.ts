// RFC 1035, "Messages"; RFC 6891 for OPT. Only what a forwarder must see: the question,
// the addresses and TTLs of an answer. Everything else goes through as it is.

import { type Ip, readIpv4, readIpv6 } from '../addresses.ts'

export const HEADER = 12
export const TYPE_A = 1
export const TYPE_AAAA = 28
const TYPE_OPT = 41
const CLASS_IN = 1

const FLAG_RESPONSE = 0x80
const FLAG_TRUNCATED = 0x02
const FLAG_RECURSION_AVAILABLE = 0x80
const OPCODE = 0x78

export const RCODE_FORMAT = 1
export const RCODE_FAILURE = 2
export const RCODE_NO_NAME = 3
export const RCODE_NOT_IMPLEMENTED = 4

/** RFC 1035, "Size limits". */
const NAME_LIMIT = 253
/** What a UDP answer may have without OPT. */
export const PLAIN_UDP_LIMIT = 512

export interface Question {
  /** In lower case, without the dot at the end; bytes that no host name has are escaped. */
  readonly name: string
  readonly type: number
  readonly class: number
  /** Offset behind the question. */
  readonly end: number
}

export interface AddressRecord {
  readonly address: Ip
  readonly ttl: number
}

const unit = (bytes: Uint8Array, offset: number) => (bytes[offset] << 8) | bytes[offset + 1]

export const messageId = (message: Uint8Array): number => unit(message, 0)
export const isResponse = (message: Uint8Array): boolean => (message[2] & FLAG_RESPONSE) !== 0
export const opcodeOf = (message: Uint8Array): number => (message[2] & OPCODE) >> 3
export const responseCode = (message: Uint8Array): number => message[3] & 15
export const isTruncated = (message: Uint8Array): boolean => (message[2] & FLAG_TRUNCATED) !== 0

/** The name at `offset`, which a question does not compress, and where it ends. */
function readName(message: Uint8Array, offset: number): { name: string; end: number } | undefined {
  const labels: string[] = []
  let at = offset
  let length = 0
  while (at < message.length) {
    const size = message[at++]
    if (size === 0) return { name: labels.join('.'), end: at }
    length += size + 1
    if (size > 63 || at + size > message.length || length > NAME_LIMIT + 1) return undefined
    labels.push(readLabel(message.subarray(at, at + size)))
    at += size
  }
  return undefined
}

/** Dots and what is not printable within a label are escaped, so that no label can pass for two. */
function readLabel(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => {
    const character = String.fromCharCode(byte).toLowerCase()
    return byte > 0x20 && byte < 0x7f && !'.\\'.includes(character)
      ? character
      : `\\${byte.toString().padStart(3, '0')}`
  }).join('')
}

/** Where a name, compressed or not, ends in the message. */
function skipName(message: Uint8Array, offset: number): number | undefined {
  let at = offset
  while (at < message.length) {
    const size = message[at]
    if (size === 0) return at + 1
    if (size >= 0xc0) return at + 2
    if (size > 63) return undefined
    at += size + 1
  }
  return undefined
}

/** The one question of a message. */
export function readQuestion(message: Uint8Array): Question | undefined {
  if (message.length < HEADER || unit(message, 4) !== 1) return undefined
  const name = readName(message, HEADER)
  if (!name || name.end + 4 > message.length) return undefined
  return {
    name: name.name,
    type: unit(message, name.end),
    class: unit(message, name.end + 2),
    end: name.end + 4,
  }
}

interface ResourceRecord {
  readonly type: number
  readonly class: number
  /** Offset of the TTL; the data is 6 bytes further. */
  readonly at: number
  readonly dataLength: number
  readonly end: number
}

/** The records behind the question, as far as they are well-formed. */
function* records(message: Uint8Array, start: number): Generator<ResourceRecord> {
  const count = unit(message, 6) + unit(message, 8) + unit(message, 10)
  let offset: number | undefined = start
  for (let index = 0; index < count && offset !== undefined; index++) {
    const name: number | undefined = skipName(message, offset)
    if (name === undefined || name + 10 > message.length) return
    const dataLength = unit(message, name + 8)
    const end: number = name + 10 + dataLength
    if (end > message.length) return
    yield { type: unit(message, name), class: unit(message, name + 2), at: name + 4, dataLength, end }
    offset = end
  }
}

/** The addresses that an answer has, whatever names it gives them: aliases are followed by the resolver. */
export function readAddresses(message: Uint8Array, question: Question): AddressRecord[] {
  const found: AddressRecord[] = []
  for (const record of records(message, question.end)) {
    const ttl = new DataView(message.buffer, message.byteOffset).getUint32(record.at)
    if (record.class !== CLASS_IN) continue
    if (record.type === TYPE_A && record.dataLength === 4) {
      found.push({ address: readIpv4(message, record.at + 6), ttl })
    } else if (record.type === TYPE_AAAA && record.dataLength === 16) {
      found.push({ address: readIpv6(message, record.at + 6), ttl })
    }
  }
  return found
}

/** Lets no TTL be longer than `seconds`; changes the message. */
export function capTtls(message: Uint8Array, question: Question, seconds: number): void {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  for (const { type, at } of records(message, question.end)) {
    if (type !== TYPE_OPT && view.getUint32(at) > seconds) view.setUint32(at, seconds)
  }
}

/** The size of UDP answers that the asker takes. */
export function udpLimit(message: Uint8Array, question: Question): number {
  for (const record of records(message, question.end)) {
    if (record.type === TYPE_OPT) return Math.max(record.class, PLAIN_UDP_LIMIT)
  }
  return PLAIN_UDP_LIMIT
}

/** An answer without records: the question, and a code. */
export function answerWithCode(query: Uint8Array, question: Question | undefined, code: number): Uint8Array {
  const answer = query.slice(0, question?.end ?? HEADER)
  answer[2] = FLAG_RESPONSE | (query[2] & (OPCODE | 1))
  answer[3] = FLAG_RECURSION_AVAILABLE | code
  answer.fill(0, 4, HEADER)
  if (question) answer[5] = 1
  return answer
}

/** The answer cut to its question, with the flag that asks the guest to come again by TCP. */
export function truncate(answer: Uint8Array, question: Question): Uint8Array {
  const short = answer.slice(0, question.end)
  short[2] |= FLAG_TRUNCATED
  short.fill(0, 6, HEADER)
  return short
}

/** Whether `answer` is one to `query`. */
export function answers(answer: Uint8Array, query: Uint8Array, question: Question): boolean {
  if (answer.length < HEADER || !isResponse(answer) || messageId(answer) !== messageId(query)) return false
  const asked = readQuestion(answer)
  return (
    asked !== undefined &&
    asked.name === question.name &&
    asked.type === question.type &&
    asked.class === question.class
  )
}

/** An answer made of addresses: for hosts that know names in other ways than DNS. */
export function answerWithAddresses(
  query: Uint8Array,
  question: Question,
  addresses: readonly Uint8Array[],
  ttl: number,
): Uint8Array {
  const head = answerWithCode(query, question, 0)
  const size = addresses.reduce((sum, address) => sum + 12 + address.length, 0)
  const answer = new Uint8Array(head.length + size)
  answer.set(head)
  answer[7] = addresses.length
  const view = new DataView(answer.buffer)
  let at = head.length
  for (const address of addresses) {
    view.setUint16(at, 0xc000 | HEADER)
    view.setUint16(at + 2, question.type)
    view.setUint16(at + 4, CLASS_IN)
    view.setUint32(at + 6, ttl)
    view.setUint16(at + 10, address.length)
    answer.set(address, at + 12)
    at += 12 + address.length
  }
  return answer
}

/** A query, for tests and for those who ask on their own. */
export function buildQuery(id: number, name: string, type: number): Uint8Array {
  const labels = name.split('.').filter((label) => label !== '')
  const bytes = new Uint8Array(HEADER + labels.reduce((sum, label) => sum + label.length + 1, 1) + 4)
  bytes.set([id >> 8, id, 1, 0, 0, 1])
  let at = HEADER
  for (const label of labels) {
    bytes[at++] = label.length
    for (const character of label) bytes[at++] = character.charCodeAt(0)
  }
  bytes.set([0, type >> 8, type, 0, CLASS_IN], at)
  return bytes
}
