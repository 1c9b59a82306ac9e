// System V ABI, "ELF Header", "Program Header", "Note Section".

import { KernelError } from '../errors.ts'
import type { GuestRam } from '../memory/guest-memory.ts'
import { Binary, checkRange } from './binary.ts'
import type { BootMemory } from './boot-memory.ts'
import type { FileSink } from './bzimage.ts'

const MAGIC = 0x464c_457f
const ELFCLASS32 = 1
const ELFCLASS64 = 2
const ELFDATA2LSB = 1
const EM_386 = 3
const EM_X86_64 = 62
const PT_LOAD = 1
const PT_NOTE = 4
const MAX_HEADERS = 256

export const XEN_ELFNOTE_PHYS32_ENTRY = 18

export interface Segment {
  type: number
  offset: number
  vaddr: number
  paddr: number
  fileSize: number
  memorySize: number
  align: number
}

export interface ElfFile {
  bits: 32 | 64
  entry: number
  segments: Segment[]
  /** The contents of its note segments. */
  notes: { segment: Segment; bytes: Uint8Array }[]
}

/** The headers of an executable. */
type ElfHeaders = Pick<ElfFile, 'bits' | 'entry' | 'segments'>

export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && new Binary(bytes).u32(0) === MAGIC
}

/** Reads an x86 executable. What its headers promise is checked here, so that loading cannot fail half-way. */
export function parseElf(bytes: Uint8Array): ElfFile {
  const headers = parseHeaders(bytes, bytes.length)
  const notes = headers.segments
    .filter(isNote)
    .map((segment) => ({ segment, bytes: bytes.subarray(segment.offset, segment.offset + segment.fileSize) }))
  return { ...headers, notes }
}

/** Reads the headers of a file of `size` bytes, of which there are the first. */
function parseHeaders(bytes: Uint8Array, size: number): ElfHeaders {
  const file = new Binary(bytes)
  if (file.u32(0) !== MAGIC) throw new KernelError('TV_KERNEL_FORMAT', 'The kernel is not an ELF file.')
  const bits = classOf(file)
  const wide = bits === 64
  const machine = file.u16(18)
  if (file.u8(5) !== ELFDATA2LSB || (machine !== EM_X86_64 && machine !== EM_386)) {
    throw new KernelError('TV_KERNEL_FORMAT', 'The kernel is an ELF file for another processor than x86.')
  }
  const entry = wide ? file.u64(24) : file.u32(24)
  const table = wide ? file.u64(32) : file.u32(28)
  const entrySize = file.u16(wide ? 54 : 42)
  const count = file.u16(wide ? 56 : 44)
  if (entrySize < (wide ? 56 : 32) || count === 0 || count > MAX_HEADERS) {
    throw new KernelError('TV_KERNEL_FORMAT', 'The kernel is an ELF file without usable program headers.')
  }
  if (table + count * entrySize > bytes.length && table + count * entrySize <= size)
    throw new KernelError('TV_KERNEL_UNSUPPORTED', "The kernel's program headers are not at its beginning.")
  const segments = Array.from({ length: count }, (_, i) => {
    const at = table + i * entrySize
    return wide ? segment64(file, at) : segment32(file, at)
  })
  for (const segment of segments) checkSegment(size, segment)
  if (!segments.some(isLoaded)) {
    throw new KernelError('TV_KERNEL_FORMAT', 'The kernel is an ELF file with nothing to load.')
  }
  return { bits, entry, segments }
}

function classOf(file: Binary): 32 | 64 {
  const value = file.u8(4)
  if (value === ELFCLASS32) return 32
  if (value === ELFCLASS64) return 64
  throw new KernelError('TV_KERNEL_FORMAT', `The kernel is an ELF file of unknown class ${value}.`)
}

function segment64(file: Binary, at: number): Segment {
  return {
    type: file.u32(at),
    offset: file.u64(at + 8),
    vaddr: file.u64(at + 16),
    paddr: file.u64(at + 24),
    fileSize: file.u64(at + 32),
    memorySize: file.u64(at + 40),
    align: file.u64(at + 48),
  }
}

function segment32(file: Binary, at: number): Segment {
  return {
    type: file.u32(at),
    offset: file.u32(at + 4),
    vaddr: file.u32(at + 8),
    paddr: file.u32(at + 12),
    fileSize: file.u32(at + 16),
    memorySize: file.u32(at + 20),
    align: file.u32(at + 28),
  }
}

function checkSegment(size: number, segment: Segment): void {
  if (segment.type !== PT_LOAD && segment.type !== PT_NOTE) return
  checkRange(size, segment.offset, segment.fileSize)
  if (segment.type === PT_LOAD && segment.memorySize < segment.fileSize) {
    throw new KernelError(
      'TV_KERNEL_FORMAT',
      'The kernel is an ELF file with a segment that is larger than its memory.',
    )
  }
}

/** The descriptor of Xen's note of this type, or undefined. */
export function xenNote(elf: ElfFile, type: number): Uint8Array | undefined {
  for (const { segment, bytes } of elf.notes) {
    const found = findNote(bytes, segment.align === 8 ? 8 : 4, type)
    if (found) return found
  }
  return undefined
}

function findNote(bytes: Uint8Array, align: number, type: number): Uint8Array | undefined {
  const notes = new Binary(bytes)
  const up = (n: number) => Math.ceil(n / align) * align
  let at = 0
  while (notes.has(at, 12)) {
    const nameSize = notes.u32(at)
    const size = notes.u32(at + 4)
    const descriptor = at + up(12 + nameSize)
    if (!notes.has(descriptor, size)) return undefined
    const isXen = nameSize === 4 && notes.u32(at + 12) === 0x006e_6558 // "Xen\0"
    if (isXen && notes.u32(at + 8) === type) return notes.slice(descriptor, size)
    at = descriptor + up(size)
  }
  return undefined
}

/** PVH: the physical address to enter in 32-bit mode, or undefined. */
export function pvhEntry(elf: ElfFile): number | undefined {
  const note = xenNote(elf, XEN_ELFNOTE_PHYS32_ENTRY)
  if (!note || note.length < 4) return undefined
  const entry = new Binary(note).u32(0)
  return entry === 0 ? undefined : entry
}

/** The physical address of the ELF entry point, whose header gives it as a virtual one. */
export function physicalEntry(elf: ElfFile): number {
  const segment = elf.segments.find(
    (s) => s.type === PT_LOAD && elf.entry >= s.vaddr && elf.entry < s.vaddr + s.memorySize,
  )
  return segment ? segment.paddr + (elf.entry - segment.vaddr) : elf.entry
}

/** Claims and fills the memory of all segments, by their physical addresses. */
export function loadElf(bytes: Uint8Array, ram: GuestRam, memory: BootMemory): ElfFile {
  const loading = new ElfLoading(ram, memory)
  loading.begin(bytes.length)
  loading.take(bytes)
  return loading.end()
}

/** The headers are within so many of the first bytes of a file that arrives in pieces. */
const HEAD_BYTES = 0x1_0000
/** So much of a note segment is looked at. */
const MAX_NOTES = 0x1_0000

/** Loads a file that arrives in pieces: segments go to RAM as they come, and only headers and notes are kept. */
export class ElfLoading implements FileSink {
  readonly #ram: GuestRam
  readonly #memory: BootMemory
  #size = 0
  /** How much of the file was there before the piece at hand. */
  #at = 0
  /** What was there before the headers were complete. */
  #head = new Uint8Array(0)
  #headers: ElfHeaders | undefined
  #notes: ElfFile['notes'] = []

  constructor(ram: GuestRam, memory: BootMemory) {
    this.#ram = ram
    this.#memory = memory
  }

  begin(size: number): void {
    this.#size = size
  }

  take(piece: Uint8Array): void {
    if (this.#headers) return this.#load(this.#headers, piece)
    const head = this.#head.length === 0 ? piece : joined(this.#head, piece)
    if (head.length < Math.min(this.#size, HEAD_BYTES)) {
      this.#head = Uint8Array.from(head)
      return
    }
    this.#headers = parseHeaders(head, this.#size)
    this.#prepare(this.#headers)
    this.#load(this.#headers, head)
  }

  /** The file, when all of it has been taken. */
  end(): ElfFile {
    if (!this.#headers) throw new Error('Invariant broken: an ELF file ended before its size')
    return { ...this.#headers, notes: this.#notes }
  }

  #prepare({ segments }: ElfHeaders): void {
    const loads = segments.filter(isLoaded)
    for (const s of loads) this.#memory.claim(s.paddr, s.memorySize, 'kernel')
    for (const s of loads) this.#ram.fill(s.paddr + s.fileSize, s.memorySize - s.fileSize)
    this.#notes = segments.filter(isNote).map((segment) => ({
      segment,
      bytes: new Uint8Array(Math.min(segment.fileSize, MAX_NOTES)),
    }))
  }

  #load({ segments }: ElfHeaders, piece: Uint8Array): void {
    /** The part of the piece that belongs to so many bytes of the file from `offset`, and where in these it begins. */
    const part = (offset: number, length: number): { at: number; bytes: Uint8Array } => {
      const start = Math.max(offset, this.#at)
      const end = Math.min(offset + length, this.#at + piece.length)
      return { at: start - offset, bytes: piece.subarray(start - this.#at, Math.max(start, end) - this.#at) }
    }
    for (const { paddr, offset, fileSize } of segments.filter(isLoaded)) {
      const { at, bytes } = part(offset, fileSize)
      if (bytes.length > 0) this.#ram.write(paddr + at, bytes)
    }
    for (const { segment, bytes: notes } of this.#notes) {
      const { at, bytes } = part(segment.offset, notes.length)
      if (bytes.length > 0) notes.set(bytes, at)
    }
    this.#at += piece.length
  }
}

const isLoaded = ({ type, memorySize }: Segment): boolean => type === PT_LOAD && memorySize > 0
const isNote = ({ type }: Segment): boolean => type === PT_NOTE

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length)
  both.set(a)
  both.set(b, a.length)
  return both
}
