// NBD, "Transmission".

import {
  type BlockBackend,
  type Buffers,
  type Completion,
  checkRange,
  checkWritable,
} from '../block-backend.ts'
import { lengthOf, sliceBuffers, writeZeros } from '../buffers.ts'
import { DiskError } from '../errors.ts'
import { type Export, negotiate, protocolError } from './handshake.ts'
import { ByteReader, type NbdStream } from './nbd-stream.ts'
import { COMMAND, COMMAND_FLAG, ERROR_NO_SPACE, ERROR_NOT_PERMITTED, EXPORT_FLAG, MAGIC } from './protocol.ts'

interface Pending {
  /** To be filled by the reply's data. */
  into: Buffers
  resolve: () => void
  reject: (error: unknown) => void
}

const SECTOR = 512
/** Commands that carry no data may be as long as a length field of 32 bits lets them. */
const MAX_LENGTH = 0xffff_ffff - 65535

/** A disk that an NBD server exports. When the connection ends, all that is in flight fails, and all later. */
export class NbdDisk implements BlockBackend {
  readonly readOnly: boolean
  readonly size: number
  readonly #stream: NbdStream
  readonly #export: Export
  readonly #pending = new Map<number, Pending>()
  #cookie = 0
  #ended: unknown
  #sending: Promise<void> | undefined

  private constructor(stream: NbdStream, reader: ByteReader, found: Export) {
    this.#stream = stream
    this.#export = found
    this.size = found.size
    this.readOnly = (found.flags & EXPORT_FLAG.readOnly) !== 0
    void this.#receive(reader)
  }

  /** Asks for an export; the empty name is the server's default. */
  static async connect(stream: NbdStream, name = ''): Promise<NbdDisk> {
    try {
      const reader = new ByteReader(stream.incoming)
      const found = await negotiate(stream, reader, name)
      if (found.minBlock > SECTOR) {
        throw new DiskError(
          'TV_NBD_REFUSED',
          `The NBD server wants blocks of ${found.minBlock} bytes at least.`,
        )
      }
      return new NbdDisk(stream, reader, found)
    } catch (error) {
      stream.close()
      throw asDiskError(error)
    }
  }

  read(offset: number, buffers: Buffers): Completion {
    const length = lengthOf(buffers)
    checkRange(offset, length, this.size)
    return this.#split(length, this.#export.maxBlock, (from, step) => {
      return this.#request(COMMAND.read, offset + from, step, { into: sliceBuffers(buffers, from, step) })
    })
  }

  write(offset: number, buffers: Buffers): Completion {
    checkWritable(this)
    const length = lengthOf(buffers)
    checkRange(offset, length, this.size)
    return this.#split(length, this.#export.maxBlock, (from, step) => {
      return this.#request(COMMAND.write, offset + from, step, { data: sliceBuffers(buffers, from, step) })
    })
  }

  flush(): Completion {
    if (this.readOnly || (this.#export.flags & EXPORT_FLAG.flush) === 0) return undefined
    return this.#request(COMMAND.flush, 0, 0)
  }

  discard(offset: number, length: number): Completion {
    checkWritable(this)
    checkRange(offset, length, this.size)
    if ((this.#export.flags & EXPORT_FLAG.trim) === 0) return undefined
    return this.#split(length, MAX_LENGTH, (from, step) => this.#request(COMMAND.trim, offset + from, step))
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): Completion {
    checkWritable(this)
    checkRange(offset, length, this.size)
    if ((this.#export.flags & EXPORT_FLAG.writeZeroes) === 0) {
      return writeZeros((at, buffers) => this.write(at, buffers), offset, length)
    }
    const flags = mayUnmap ? 0 : COMMAND_FLAG.noHole
    return this.#split(length, MAX_LENGTH, (from, step) => {
      return this.#request(COMMAND.writeZeroes, offset + from, step, { flags })
    })
  }

  async resize(): Promise<void> {
    throw new DiskError('TV_DISK_UNSUPPORTED', 'A disk of an NBD server cannot be resized from here.')
  }

  async close(): Promise<void> {
    if (this.#ended !== undefined) return
    await this.flush()
    this.#ended = new DiskError('TV_DISK_CLOSED', 'The disk is closed.')
    await this.#send([requestHeader(COMMAND.disconnect, 0, 0, 0, 0)]).catch(() => undefined)
    this.#stream.close()
  }

  /** As many requests as it takes, at the same time. */
  async #split(
    length: number,
    most: number,
    request: (from: number, step: number) => Promise<void>,
  ): Promise<void> {
    const requests: Promise<void>[] = []
    for (let from = 0; from < length; from += most)
      requests.push(request(from, Math.min(most, length - from)))
    await Promise.allSettled(requests)
    await Promise.all(requests)
  }

  async #request(
    command: number,
    offset: number,
    length: number,
    { flags = 0, into = [], data = [] }: { flags?: number; into?: Buffers; data?: Buffers } = {},
  ): Promise<void> {
    if (this.#ended !== undefined) throw this.#ended
    do this.#cookie = (this.#cookie + 1) >>> 0
    while (this.#pending.has(this.#cookie))
    const cookie = this.#cookie
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#pending.set(cookie, { into, resolve, reject })
    this.#send([requestHeader(command, flags, cookie, offset, length), ...data]).catch((error) =>
      this.#end(error),
    )
    await promise
  }

  /** One after the other, since a request must not be torn apart by another. */
  #send(pieces: Buffers): Promise<void> {
    const before = this.#sending
    const sent = (async () => {
      await before
      await this.#stream.write(pieces)
    })()
    this.#sending = sent
    return sent
  }

  async #receive(reader: ByteReader): Promise<void> {
    try {
      for (;;) await this.#receiveReply(reader)
    } catch (error) {
      this.#end(error)
    }
  }

  async #receiveReply(reader: ByteReader): Promise<void> {
    const header = await reader.bytes(16)
    if (header.getUint32(0) !== MAGIC.simpleReply) throw protocolError('a reply has a wrong magic number')
    const cookie = header.getUint32(12)
    const pending = this.#pending.get(cookie)
    if (!pending || header.getUint32(8) !== 0) throw protocolError('it answers what nobody asked')
    const error = header.getUint32(4)
    if (error === 0) await reader.into(pending.into)
    this.#pending.delete(cookie)
    if (error === 0) pending.resolve()
    else pending.reject(requestError(error))
  }

  #end(error: unknown): void {
    this.#ended ??= asDiskError(error)
    this.#stream.close()
    for (const { reject } of this.#pending.values()) reject(this.#ended)
    this.#pending.clear()
  }
}

function requestHeader(
  command: number,
  flags: number,
  cookie: number,
  offset: number,
  length: number,
): Uint8Array {
  const view = new DataView(new ArrayBuffer(28))
  view.setUint32(0, MAGIC.request)
  view.setUint16(4, flags)
  view.setUint16(6, command)
  view.setUint32(12, cookie)
  view.setUint32(16, Math.floor(offset / 2 ** 32))
  view.setUint32(20, offset % 2 ** 32)
  view.setUint32(24, length)
  return new Uint8Array(view.buffer)
}

function requestError(error: number): DiskError {
  if (error === ERROR_NO_SPACE) return new DiskError('TV_DISK_NO_SPACE', 'The NBD server has no room left.')
  if (error === ERROR_NOT_PERMITTED)
    return new DiskError('TV_DISK_READ_ONLY', 'The NBD server allows reading only.')
  return new DiskError('TV_DISK_IO', `The NBD server failed to read or write (error ${error}).`)
}

function asDiskError(error: unknown): DiskError {
  if (error instanceof DiskError) return error
  return new DiskError('TV_NBD_DISCONNECTED', 'The connection to the NBD server has ended.', { cause: error })
}
