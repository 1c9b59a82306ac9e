/** Operand values: random ones, and those at which instructions change their minds. */
import type { Random } from './random.ts'

/** How an operand's bytes are meant. */
export type ValueKind = 'integer' | 'float32' | 'float64' | 'float80' | 'bcd'

/** Writes a value of `length` bytes at `offset`. */
export function writeValue(
  random: Random,
  view: DataView,
  offset: number,
  length: number,
  kind: ValueKind,
): void {
  if (kind === 'integer' || random.oneIn(12)) {
    writeInteger(random, view, offset, length)
    return
  }
  const lane = kind === 'float32' ? 4 : kind === 'float64' ? 8 : 10
  if (kind === 'bcd') {
    writeBcd(random, view, offset)
    return
  }
  if (length < lane) {
    writeInteger(random, view, offset, length)
    return
  }
  for (let at = 0; at + lane <= length; at += lane) writeFloat(random, view, offset + at, lane)
}

/** An integer of any length: random, small, a power of two and its neighbours, minimum, maximum, equal lanes. */
export function writeInteger(random: Random, view: DataView, offset: number, length: number): void {
  const bytes = new Uint8Array(view.buffer, view.byteOffset + offset, length)
  if (length > 8) {
    const lane = random.pick([1, 2, 4, 8])
    if (random.oneIn(3)) {
      random.fill(bytes)
      return
    }
    for (let at = 0; at < length; at += lane)
      writeInteger(random, view, offset + at, Math.min(lane, length - at))
    return
  }
  switch (random.below(8)) {
    case 0:
    case 1:
    case 2:
      random.fill(bytes)
      break
    case 3: // small, either sign
      bytes.fill(random.oneIn(2) ? 0 : 0xff)
      bytes[0] = bytes[0]! ^ random.below(16)
      break
    case 4: // a power of two, or its complement
      bytes.fill(0)
      setBit(bytes, random.below(length * 8))
      if (random.oneIn(3)) for (let i = 0; i < length; i++) bytes[i] = ~bytes[i]!
      break
    case 5: // minimum or maximum
      bytes.fill(random.oneIn(2) ? 0 : 0xff)
      bytes[length - 1] = bytes[length - 1]! ^ 0x80
      if (random.oneIn(4)) bytes[0] = bytes[0]! ^ 1
      break
    case 6: // ones below a place
      bytes.fill(0)
      for (let i = random.below(length * 8 + 1) - 1; i >= 0; i--) setBit(bytes, i)
      break
    default:
      bytes.fill(random.pick([0, 0, 0xff, 0x80, 0x7f, 0x01]))
  }
}

function setBit(bytes: Uint8Array, bit: number): void {
  bytes[bit >> 3] = bytes[bit >> 3]! | (1 << (bit & 7))
}

const FLOATS = [
  0,
  1,
  -1,
  0.5,
  -0.5,
  1.5,
  2.5,
  -2.5,
  0.1,
  3,
  10,
  255.5,
  32767.5,
  32768,
  -32768.5,
  65535.5,
  2147483647.5,
  2147483648,
  -2147483648.5,
  -2147483649,
  4294967295.5,
  2 ** 62,
  2 ** 63,
  -(2 ** 63),
  1e10,
  1e-10,
  1e30,
  1e38,
  3.4028235e38,
  3.5e38,
  1.17549435e-38,
  1e-40,
  1.4e-45,
  1e300,
  1e-300,
  2.2250738585072014e-308,
  5e-324,
  4.450147717014403e-308,
  0.49999999999999994,
  0.9999999999999999,
  1.0000000000000002,
  2 ** 52 - 0.5,
  8388607.5,
]

function writeFloat(random: Random, view: DataView, offset: number, lane: number): void {
  if (lane === 10) {
    writeFloat80(random, view, offset)
    return
  }
  const store = lane === 4 ? view.setFloat32.bind(view) : view.setFloat64.bind(view)
  switch (random.below(8)) {
    case 0:
    case 1: {
      const value = random.pick(FLOATS)
      store(offset, random.oneIn(3) ? -value : value, true)
      break
    }
    case 2:
    case 3: // of ordinary size
      store(offset, (random.u32() - 0x80000000) * 2 ** random.between(-40, 8), true)
      break
    case 4: // an integer
      store(offset, random.between(-1000, 1000) * 2 ** random.below(random.oneIn(2) ? 4 : 60), true)
      break
    case 5:
      writeSpecial(random, view, offset, lane)
      break
    default: // any exponent, few or many fraction bits
      writeBits(random, view, offset, lane)
  }
}

function writeBits(random: Random, view: DataView, offset: number, lane: number): void {
  if (lane === 8) view.setUint32(offset, random.oneIn(2) ? 0 : random.u32(), true)
  const bits = random.u32()
  view.setUint32(offset + lane - 4, random.oneIn(3) ? bits & 0xfff00000 : bits, true)
}

/** Zeros, infinities, denormals and NaNs, quiet or signalling, with payloads. */
function writeSpecial(random: Random, view: DataView, offset: number, lane: number): void {
  const sign = random.oneIn(2) ? 0x80000000 : 0
  const [exponent, quiet] = lane === 4 ? [0x7f800000, 0x00400000] : [0x7ff00000, 0x00080000]
  const payload = random.oneIn(2) ? 1 : random.u32() & (quiet - 1)
  const kinds = [
    0,
    exponent,
    exponent | quiet,
    exponent | quiet | payload,
    exponent | payload,
    payload,
    quiet | payload,
  ]
  const low = random.oneIn(2) ? 0 : random.u32()
  const kind = random.below(kinds.length)
  if (lane === 8) view.setUint32(offset, kind < 3 ? 0 : low, true)
  view.setUint32(offset + lane - 4, (sign | kinds[kind]!) >>> 0, true)
}

/** Double extended: also pseudo-denormals, unnormals, pseudo-infinities and pseudo-NaNs. SDM Vol. 1, "Unsupported Double Extended-Precision…". */
function writeFloat80(random: Random, view: DataView, offset: number): void {
  const exponents = [
    0,
    1,
    0x3fff,
    0x3fff,
    0x4000,
    0x3ffe,
    0x403e,
    0x401e,
    0x400e,
    0x7ffe,
    0x7fff,
    0x3fff - 64,
    0x3c01,
    0x3f81,
  ]
  const exponent = random.oneIn(3)
    ? 0x3fff + random.between(-70, 70)
    : random.oneIn(4)
      ? random.below(0x8000)
      : random.pick(exponents)
  const integerBit = exponent === 0 ? (random.oneIn(8) ? 0x80000000 : 0) : random.oneIn(24) ? 0 : 0x80000000
  const shape = random.below(6)
  const high =
    shape === 0
      ? 0
      : shape === 1
        ? 0x40000000
        : shape === 2
          ? random.u32() & 0x7ff00000
          : random.u32() & 0x7fffffff
  const low = shape < 3 ? 0 : shape === 3 ? random.u32() & 0xfffff800 : random.u32()
  view.setUint32(offset, low, true)
  view.setUint32(offset + 4, (integerBit | high) >>> 0, true)
  view.setUint16(offset + 8, exponent | (random.oneIn(2) ? 0x8000 : 0), true)
}

function writeBcd(random: Random, view: DataView, offset: number): void {
  const digits = random.below(19)
  for (let i = 0; i < 9; i++)
    view.setUint8(offset + i, i * 2 < digits ? random.below(10) | (random.below(10) << 4) : 0)
  view.setUint8(offset + 9, random.oneIn(2) ? 0x80 : 0)
}
