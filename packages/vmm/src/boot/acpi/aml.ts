// ACPI 6.5, "ACPI Machine Language (AML) Specification", and "Resource Data Types for ACPI".
// An encoder for the few terms that our DSDT needs; each returns the bytes of one term.

export type Aml = readonly number[]

/** "Package Length Encoding": the length counts itself. */
function packageLength(content: number): Aml {
  if (content + 1 < 0x40) return [content + 1]
  const total = content + 2
  if (total < 0x1000) return [0x40 | (total & 0xf), (total >> 4) & 0xff]
  return [0x80 | ((total + 1) & 0xf), ((total + 1) >> 4) & 0xff, (total + 1) >> 12]
}

function packaged(opcode: Aml, content: Aml): Aml {
  return [...opcode, ...packageLength(content.length), ...content]
}

/** A name segment: four characters, filled up with `_`. */
function nameSegment(name: string): Aml {
  return [...name.padEnd(4, '_')].map((c) => c.charCodeAt(0))
}

/** `\NAME`, or `NAME` in the current scope. */
function namePath(name: string): Aml {
  return name.startsWith('\\') ? [0x5c, ...nameSegment(name.slice(1))] : nameSegment(name)
}

export function integer(value: number): Aml {
  if (value === 0) return [0x00]
  if (value === 1) return [0x01]
  if (value <= 0xff) return [0x0a, value]
  return [0x0c, value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24]
}

export function name(path: string, value: Aml): Aml {
  return [0x08, ...namePath(path), ...value]
}

export function packageOf(...elements: Aml[]): Aml {
  return packaged([0x12], [elements.length, ...elements.flat()])
}

export function scope(path: string, ...terms: Aml[]): Aml {
  return packaged([0x10], [...namePath(path), ...terms.flat()])
}

export function device(path: string, ...terms: Aml[]): Aml {
  return packaged([0x5b, 0x82], [...namePath(path), ...terms.flat()])
}

/** EISAID("PNP0501"): three letters of five bits, then four hexadecimal digits, as a big-endian word. */
export function eisaId(id: string): Aml {
  const [a, b, c] = [...id].slice(0, 3).map((letter) => letter.charCodeAt(0) & 0x1f)
  const letters = (a << 10) | (b << 5) | c
  const product = Number.parseInt(id.slice(3), 16)
  return [0x0c, letters >> 8, letters & 0xff, product >> 8, product & 0xff]
}

/** ResourceTemplate: a buffer of descriptors and the end tag. */
export function resources(...descriptors: Aml[]): Aml {
  const bytes = [...descriptors.flat(), 0x79, 0x00]
  return packaged([0x11], [...integer(bytes.length), ...bytes])
}

/** "I/O Port Descriptor", 16-bit decode, at a fixed base. */
export function ioPorts(base: number, length: number): Aml {
  return [0x47, 0x01, base & 0xff, base >> 8, base & 0xff, base >> 8, 0x01, length]
}

/** "IRQ Descriptor" without flags: edge, active high. */
export function irq(line: number): Aml {
  const mask = 1 << line
  return [0x22, mask & 0xff, mask >> 8]
}

/** "Word Address Space Descriptor" of a bridge that passes on all of a range: bus numbers or I/O. */
function wordSpace(type: number, flags: number, base: number, length: number): Aml {
  const word = (value: number) => [value & 0xff, value >> 8]
  return [...[0x88, 13, 0, type, 0x0c, flags], ...[0, base, base + length - 1, 0, length].flatMap(word)]
}

export function busNumbers(first: number, count: number): Aml {
  return wordSpace(2, 0, first, count)
}

/** Ports that devices behind a bridge may have. */
export function ioWindow(base: number, length: number): Aml {
  return wordSpace(1, 3, base, length)
}

/** "DWord Address Space Descriptor": addresses that devices behind a bridge may have, not cacheable, writable. */
export function memoryWindow(base: number, length: number): Aml {
  const dword = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff)
  return [0x87, 23, 0, 0, 0x0c, 1, ...[0, base, base + length - 1, 0, length].flatMap(dword)]
}
