// System V ABI, "ELF Header", "Program Header", "Note Section".

import { KernelError } from '../errors.ts'
import type { GuestRam } from '../memory/guest-memory.ts'
import { Binary } from './binary.ts'
import type { BootMemory } from './boot-memory.ts'

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
  /** The program to be loaded. */
  file: Binary
}

export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && new Binary(bytes).u32(0) === MAGIC
}

/** Reads an x86 executable. What its headers promise is checked here, so that loading cannot fail half-way. */
export function parseElf(bytes: Uint8Array): ElfFile {
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
  const segments = Array.from({ length: count }, (_, i) => {
    const at = table + i * entrySize
    return wide ? segment64(file, at) : segment32(file, at)
  })
  for (const segment of segments) checkSegment(file, segment)
  if (!segments.some((s) => s.type === PT_LOAD && s.memorySize > 0)) {
    throw new KernelError('TV_KERNEL_FORMAT', 'The kernel is an ELF file with nothing to load.')
  }
  return { bits, entry, segments, file }
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

function checkSegment(file: Binary, segment: Segment): void {
  if (segment.type !== PT_LOAD && segment.type !== PT_NOTE) return
  file.slice(segment.offset, segment.fileSize)
  if (segment.type === PT_LOAD && segment.memorySize < segment.fileSize) {
    throw new KernelError(
      'TV_KERNEL_FORMAT',
      'The kernel is an ELF file with a segment that is larger than its memory.',
    )
  }
}

/** The descriptor of Xen's note of this type, or undefined. */
export function xenNote(elf: ElfFile, type: number): Uint8Array | undefined {
  for (const segment of elf.segments) {
    if (segment.type !== PT_NOTE) continue
    const found = findNote(
      elf.file.slice(segment.offset, segment.fileSize),
      segment.align === 8 ? 8 : 4,
      type,
    )
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
export function loadElf(elf: ElfFile, ram: GuestRam, memory: BootMemory): void {
  const loads = elf.segments.filter((s) => s.type === PT_LOAD && s.memorySize > 0)
  for (const s of loads) memory.claim(s.paddr, s.memorySize, 'kernel')
  for (const s of loads) {
    ram.write(s.paddr, elf.file.slice(s.offset, s.fileSize))
    ram.fill(s.paddr + s.fileSize, s.memorySize - s.fileSize)
  }
}
