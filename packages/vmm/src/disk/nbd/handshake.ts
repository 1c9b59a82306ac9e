// NBD, "Fixed newstyle negotiation", "Option haggling".

import { DiskError } from '../errors.ts'
import { encodeUtf8 } from '../utf8.ts'
import type { ByteReader, NbdStream } from './nbd-stream.ts'
import { ERROR_UNSUPPORTED, HANDSHAKE_FLAG, INFO, MAGIC, OPTION, OPTION_ERRORS, REPLY } from './protocol.ts'

export interface Export {
  size: number
  flags: number
  /** Requests must be multiples of it. */
  minBlock: number
  /** The most that a request may carry. */
  maxBlock: number
}

const DEFAULT_MAX_BLOCK = 32 << 20
const MAX_REPLY = 65536
const MAX_REPLIES = 64

export async function negotiate(stream: NbdStream, reader: ByteReader, name: string): Promise<Export> {
  const greeting = await reader.bytes(18)
  expect64(greeting, 0, MAGIC.server)
  expect64(greeting, 8, MAGIC.option)
  const flags = greeting.getUint16(16)
  if ((flags & HANDSHAKE_FLAG.fixedNewstyle) === 0)
    throw protocolError('it knows no fixed newstyle negotiation')
  const noZeroes = flags & HANDSHAKE_FLAG.noZeroes
  const answer = new DataView(new ArrayBuffer(4))
  answer.setUint32(0, HANDSHAKE_FLAG.fixedNewstyle | noZeroes)
  await stream.write([new Uint8Array(answer.buffer)])
  await stream.write([option(OPTION.go, goRequest(name))])
  const found = await readReplies(reader)
  const result = found ?? (await exportByName(stream, reader, name, noZeroes !== 0))
  if (!Number.isSafeInteger(result.size)) throw protocolError(`its export has ${result.size} bytes`)
  return result
}

export function protocolError(what: string): DiskError {
  return new DiskError('TV_NBD_PROTOCOL', `The NBD server does not keep to the protocol: ${what}.`)
}

function expect64(view: DataView, offset: number, [high, low]: readonly [number, number]): void {
  if (view.getUint32(offset) === high && view.getUint32(offset + 4) === low) return
  throw protocolError('a magic number is wrong')
}

function option(type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + data.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC.option[0])
  view.setUint32(4, MAGIC.option[1])
  view.setUint32(8, type)
  view.setUint32(12, data.length)
  bytes.set(data, 16)
  return bytes
}

/** The name, and one kind of information that is asked for. */
function goRequest(name: string): Uint8Array {
  const text = encodeUtf8(name)
  const bytes = new Uint8Array(4 + text.length + 4)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, text.length)
  bytes.set(text, 4)
  view.setUint16(4 + text.length, 1)
  view.setUint16(6 + text.length, INFO.blockSize)
  return bytes
}

/** Undefined if the server does not know the option. */
async function readReplies(reader: ByteReader): Promise<Export | undefined> {
  const found: Partial<Export> = {}
  for (let count = 0; count < MAX_REPLIES; count++) {
    const header = await reader.bytes(20)
    expect64(header, 0, MAGIC.optionReply)
    const type = header.getUint32(12)
    const length = header.getUint32(16)
    if (length > MAX_REPLY) throw protocolError(`a reply has ${length} bytes`)
    const data = await reader.bytes(length)
    if (type === ERROR_UNSUPPORTED) return undefined
    if (OPTION_ERRORS[type]) throw refused(OPTION_ERRORS[type])
    if (type === REPLY.ack) return complete(found)
    if (type === REPLY.info) takeInfo(data, found)
  }
  throw protocolError('its negotiation does not end')
}

function complete({ size, flags, minBlock = 1, maxBlock = DEFAULT_MAX_BLOCK }: Partial<Export>): Export {
  if (size === undefined || flags === undefined)
    throw protocolError('it does not say how large its export is')
  return { size, flags, minBlock, maxBlock }
}

function takeInfo(data: DataView, found: Partial<Export>): void {
  const type = data.byteLength >= 2 ? data.getUint16(0) : -1
  if (type === INFO.export && data.byteLength >= 12) {
    found.size = data.getUint32(2) * 2 ** 32 + data.getUint32(6)
    found.flags = data.getUint16(10)
  } else if (type === INFO.blockSize && data.byteLength >= 14) {
    found.minBlock = data.getUint32(2)
    found.maxBlock = Math.min(data.getUint32(10), DEFAULT_MAX_BLOCK)
    if (found.minBlock < 1 || found.minBlock > 65536 || found.maxBlock < found.minBlock) {
      throw protocolError('its block sizes make no sense')
    }
  }
}

/** As servers without NBD_OPT_GO want it: one that has no such export just ends the connection. */
async function exportByName(
  stream: NbdStream,
  reader: ByteReader,
  name: string,
  noZeroes: boolean,
): Promise<Export> {
  await stream.write([option(OPTION.exportName, encodeUtf8(name))])
  const view = await reader.bytes(10)
  if (!noZeroes) await reader.skip(124)
  const size = view.getUint32(0) * 2 ** 32 + view.getUint32(4)
  return { size, flags: view.getUint16(8), minBlock: 1, maxBlock: DEFAULT_MAX_BLOCK }
}

function refused(why: string): DiskError {
  return new DiskError('TV_NBD_REFUSED', `The NBD server refuses: ${why}.`)
}
