/**
 * Vector files: what a real CPU did with the cases of a group of forms, as differences from inputs that the
 * generator makes again from their seeds.
 *
 * A file is brotli over: length of the header (4), the header as JSON, length of the control stream (4), the control
 * stream, the data stream. Two streams compress better than one: control is alike from case to case, data is not.
 * Per case, control holds: how it ended (0 at the INT3 behind the code, 1 otherwise, 2 not recorded), RFLAGS and the
 * x87 status word as differences, then runs of changed bytes (gap, length; ends with length 0). Data holds the runs'
 * bytes and, for an ending of 1, exception, error code, CR2 and RIP. The x87 stack is compared by physical register,
 * since a push moves all eight of ST(i).
 */
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib'
import type { Encoded } from './instruction-encoder.ts'
import { CaseFactory, type Variant, variantName } from './plan.ts'
import {
  CODE_ADDRESS,
  FX,
  newRecord,
  normalizeOutcome,
  OFFSET,
  RECORD_BYTES,
  STOP_BREAKPOINT,
  STOP_SYSTEM_CALL,
  STOP_TIMEOUT,
  type StateRecord,
  set64,
  stOffset,
} from './state-record.ts'

const FORMAT = 'typevisor-vectors-1'
const ENDED = 0
const STOPPED = 1
const SKIPPED = 2
/** Runs closer than this become one. */
const MERGE = 3

export interface VectorHeader {
  readonly format: string
  /** Model name of the CPU that was recorded. */
  readonly cpu: string
  readonly variants: readonly { readonly name: string; readonly hash: number; readonly count: number }[]
}

/** A vector file that cannot be used. */
export class VectorFileError extends Error {
  readonly code = 'TV_VECTORS'
}

class Bytes {
  #bytes = new Uint8Array(1 << 16)
  length = 0
  push(byte: number): void {
    if (this.length === this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2)
      larger.set(this.#bytes)
      this.#bytes = larger
    }
    this.#bytes[this.length++] = byte
  }
  varint(value: number): void {
    let rest = value >>> 0
    for (; rest > 0x7f; rest >>>= 7) this.push((rest & 0x7f) | 0x80)
    this.push(rest)
  }
  from(source: Uint8Array, offset: number, length: number): void {
    for (let i = 0; i < length; i++) this.push(source[offset + i]!)
  }
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.length)
  }
}

/** Fields that are stored on their own, in offsets of the record. */
const APART: readonly (readonly [number, number])[] = [
  [OFFSET.rflags, OFFSET.rip + 8],
  [FX.status, FX.status + 2],
  [OFFSET.mode, OFFSET.selectors],
  [OFFSET.code, OFFSET.data],
]

/** The outcome that an instruction which does nothing would have: what differences refer to. */
function fillBaseline(baseline: StateRecord, input: StateRecord): void {
  baseline.bytes.set(input.bytes)
  normalizeOutcome(baseline)
}

function rotateStack(record: StateRecord, by: number): void {
  if (by === 0) return
  const copy = record.bytes.slice(stOffset(0), stOffset(8))
  for (let i = 0; i < 8; i++)
    record.bytes.set(copy.subarray(((i + by) & 7) * 16, (((i + by) & 7) + 1) * 16), stOffset(i))
}
function topOf({ view }: StateRecord): number {
  return (view.getUint16(FX.status, true) >> 11) & 7
}

/** Writes a vector file. */
export class VectorWriter {
  readonly #control = new Bytes()
  readonly #data = new Bytes()
  readonly #baseline = newRecord()
  readonly #variants: { name: string; hash: number; count: number }[] = []
  readonly #factory = new CaseFactory()
  /** Cases that did not end by themselves. */
  skipped = 0

  beginVariant(variant: Variant): void {
    this.#variants.push({
      name: variantName(variant),
      hash: this.#factory.hash(variant),
      count: variant.count,
    })
  }

  /** Adds the normalized outcome of the next case. */
  add(input: StateRecord, outcome: StateRecord): void {
    const stop = outcome.view.getUint32(OFFSET.stop, true)
    if (stop === STOP_TIMEOUT || stop === STOP_SYSTEM_CALL) {
      this.skipped++
      this.#control.push(SKIPPED)
      return
    }
    fillBaseline(this.#baseline, input)
    this.#ending(outcome, endOf(input))
    const before = this.#baseline.view
    this.#control.varint(before.getUint32(OFFSET.rflags, true) ^ outcome.view.getUint32(OFFSET.rflags, true))
    this.#control.varint(before.getUint16(FX.status, true) ^ outcome.view.getUint16(FX.status, true))
    rotateStack(this.#baseline, topOf(outcome) - topOf(this.#baseline))
    this.#runs(outcome)
  }

  #ending(outcome: StateRecord, end: number): void {
    const { view, bytes } = outcome
    const regular =
      view.getUint32(OFFSET.stop, true) === STOP_BREAKPOINT &&
      view.getUint32(OFFSET.rip, true) === end &&
      view.getUint32(OFFSET.rip + 4, true) === 0
    this.#control.push(regular ? ENDED : STOPPED)
    if (regular) return
    this.#data.push(bytes[OFFSET.stop]!)
    this.#data.from(bytes, OFFSET.errorCode, 4)
    this.#data.from(bytes, OFFSET.cr2, 8)
    this.#data.from(bytes, OFFSET.rip, 8)
  }

  #runs(outcome: StateRecord): void {
    const before = this.#baseline.bytes
    const after = outcome.bytes
    for (const [from, to] of APART) before.set(after.subarray(from, to), from)
    let last = 0
    for (let at = 0; at < RECORD_BYTES; at++) {
      if (before[at] === after[at]) continue
      let end = at + 1
      for (let next = end; next < RECORD_BYTES && next - end < MERGE; next++)
        if (before[next] !== after[next]) end = next + 1
      this.#control.varint(at - last)
      this.#control.varint(end - at)
      this.#data.from(after, at, end - at)
      last = at = end
    }
    this.#control.push(0)
    this.#control.push(0)
  }

  /** The file's contents. */
  finish(cpu: string): Uint8Array {
    const header = new TextEncoder().encode(JSON.stringify({ format: FORMAT, cpu, variants: this.#variants }))
    const all = Buffer.alloc(8 + header.length + this.#control.length + this.#data.length)
    all.writeUInt32LE(header.length, 0)
    all.set(header, 4)
    all.writeUInt32LE(this.#control.length, 4 + header.length)
    all.set(this.#control.bytes, 8 + header.length)
    all.set(this.#data.bytes, 8 + header.length + this.#control.length)
    return brotliCompressSync(all, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: 11,
        [constants.BROTLI_PARAM_LGWIN]: 24,
        [constants.BROTLI_PARAM_SIZE_HINT]: all.length,
      },
    })
  }
}

/** RIP after the INT3 behind the code. */
function endOf({ view }: StateRecord): number {
  return CODE_ADDRESS + view.getUint32(OFFSET.codeLength, true) + 1
}

/** A recorded case; `input` and `expected` are reused for the next one. */
export interface VectorCase {
  readonly variant: Variant
  readonly index: number
  readonly encoded: Encoded
  readonly input: StateRecord
  readonly expected: StateRecord
}

/** A vector file, unpacked. */
export class VectorFile {
  readonly header: VectorHeader
  readonly #control: Uint8Array
  readonly #data: Uint8Array
  #controlAt = 0
  #dataAt = 0

  /** Throws `VectorFileError` when the bytes are no vector file. */
  constructor(file: Uint8Array) {
    let all: Buffer
    try {
      all = brotliDecompressSync(file)
      const headerLength = all.readUInt32LE(0)
      this.header = JSON.parse(all.toString('utf8', 4, 4 + headerLength)) as VectorHeader
      const controlAt = 8 + headerLength
      const dataAt = controlAt + all.readUInt32LE(4 + headerLength)
      this.#control = all.subarray(controlAt, dataAt)
      this.#data = all.subarray(dataAt)
    } catch (error) {
      throw new VectorFileError(`not a vector file: ${(error as Error).message}`)
    }
    if (this.header.format !== FORMAT)
      throw new VectorFileError(`unknown vector file format ${this.header.format}`)
  }

  /**
   * The cases of those of `wanted` that the file holds up to date; `report` gets a sentence for each recorded variant
   * that is stale or gone. Iterate once.
   */
  *cases(wanted: readonly Variant[], report: (problem: string) => void): Generator<VectorCase> {
    const byName = new Map(wanted.map((v) => [variantName(v), v]))
    const factory = new CaseFactory()
    const input = newRecord()
    const expected = newRecord()
    for (const { name, hash, count } of this.header.variants) {
      const variant = byName.get(name)
      const current = variant !== undefined && factory.hash(variant) === hash && variant.count === count
      if (!variant) report(`vectors of ${name} belong to no form: record its group again`)
      else if (!current)
        report(`vectors of ${name} are stale: the form or the generator changed, record its group again`)
      for (let index = 0; index < count; index++) {
        if (!variant || !current) {
          this.#next(undefined, expected)
          continue
        }
        const encoded = factory.generate(variant, index, input)
        if (this.#next(input, expected)) yield { variant, index, encoded, input, expected }
      }
    }
  }

  /** Reads the next case; without input only skips it. */
  #next(input: StateRecord | undefined, expected: StateRecord): boolean {
    const ending = this.#byte()
    if (ending === SKIPPED) return false
    if (input) fillBaseline(expected, input)
    const { bytes, view } = expected
    set64(view, OFFSET.rip, input ? endOf(input) : 0)
    view.setUint32(OFFSET.stop, STOP_BREAKPOINT, true)
    if (ending === STOPPED) {
      bytes[OFFSET.stop] = this.#data[this.#dataAt]!
      bytes.set(this.#data.subarray(this.#dataAt + 1, this.#dataAt + 5), OFFSET.errorCode)
      bytes.set(this.#data.subarray(this.#dataAt + 5, this.#dataAt + 13), OFFSET.cr2)
      bytes.set(this.#data.subarray(this.#dataAt + 13, this.#dataAt + 21), OFFSET.rip)
      this.#dataAt += 21
    }
    view.setUint32(OFFSET.rflags, view.getUint32(OFFSET.rflags, true) ^ this.#varint(), true)
    const top = topOf(expected)
    view.setUint16(FX.status, view.getUint16(FX.status, true) ^ this.#varint(), true)
    rotateStack(expected, topOf(expected) - top)
    for (let at = 0; ; ) {
      at += this.#varint()
      const length = this.#varint()
      if (length === 0) return true
      if (at + length > RECORD_BYTES || this.#dataAt + length > this.#data.length)
        throw new VectorFileError('the vector file is damaged')
      bytes.set(this.#data.subarray(this.#dataAt, this.#dataAt + length), at)
      this.#dataAt += length
      at += length
    }
  }

  #byte(): number {
    if (this.#controlAt >= this.#control.length) throw new VectorFileError('the vector file ends too early')
    return this.#control[this.#controlAt++]!
  }
  #varint(): number {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = this.#byte()
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
      if (shift > 28) throw new VectorFileError('the vector file is damaged')
    }
  }
}
