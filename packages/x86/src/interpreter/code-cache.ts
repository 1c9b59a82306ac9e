/**
 * Decoded code: micro-ops by page of RAM and code size.
 *
 * A code page has a map from offset to micro-op (64 pointers to sub-maps of 64), which CODE_MAPS names by page of RAM. Decoding
 * starts where control arrives and goes on to the end of the straight line. Micro-ops hold offsets, never addresses, so a page
 * is decoded once however often it is mapped. A write to decoded bytes makes the page's micro-ops stale: their handler is overwritten with one that looks
 * again, so even the next instruction is right. Space comes from an arena, micro-ops from below and maps from above, that is
 * emptied when it is full.
 */
import { type CodeSize, Decoder, type DecodeStatus } from '../decode/decoder.ts'
import type { DecodeTables } from '../decode/tables.ts'
import * as L from '../state/layout.ts'
import { EXCEPTION } from '../state/registers.ts'
import { INTERNAL, MAX_UOPS, MicroOpWriter } from './micro-op.ts'

const PAGE = 4096
/** Instructions in one straight line, at most. */
const MAX_RUN = 256
const RUN_BYTES = (MAX_RUN * MAX_UOPS + 1) * L.UOP_SIZE
const SUBMAP_BYTES = 64 * 4

interface CodePage {
  /** Address of the map in engine memory. */
  readonly map: number
  readonly host: number
  readonly codeSize: CodeSize
  /** Runs of micro-ops: start and end addresses, in turn. */
  readonly runs: number[]
  /** 1 for each 64 bytes that decoded instructions touch. */
  readonly marks: Uint8Array
}

interface CrossingInstruction {
  readonly bytes: Uint8Array
  readonly codeSize: CodeSize
  readonly uop: number
}

export class CodeCache {
  readonly #words: Int32Array
  readonly #codePages: Uint8Array
  readonly #ram: () => Uint8Array
  readonly #decoder: Decoder
  readonly #writer: MicroOpWriter
  readonly #end: number
  readonly #pages = new Map<number, CodePage>()
  /** Host page and code size by the address of the map. */
  readonly #byMap = new Map<number, CodePage>()
  readonly #crossing = new Map<number, CrossingInstruction>()
  readonly #flushed: () => void
  readonly #protect: (hostPage: number) => void
  readonly #invalidated: (map: number) => void
  readonly #forgetJumps: () => void
  /** The free space of the arena. */
  #next = L.ARENA
  #top: number
  /** Times the arena was emptied, pages made stale, and instructions decoded. */
  readonly counters = { flushes: 0, invalidations: 0, decoded: 0 }

  constructor(options: {
    engineMemory: ArrayBuffer
    ram: () => Uint8Array
    tables: DecodeTables
    /** Called when all code was dropped: code TLBs must be emptied. */
    flushed: () => void
    /** Called when a page of RAM begins to hold code. */
    protect: (hostPage: number) => void
    /** Called when another micro-op, or none, is where one was. */
    forgetJumps: () => void
    /** Called when the micro-ops of a code page, named by its map, have become stale. */
    invalidated?: (map: number) => void
  }) {
    this.#words = new Int32Array(options.engineMemory)
    this.#codePages = new Uint8Array(options.engineMemory, L.CODE_PAGES, L.CODE_PAGES_SIZE)
    this.#ram = options.ram
    this.#decoder = new Decoder(options.tables)
    this.#writer = new MicroOpWriter(options.engineMemory, this.#decoder)
    this.#end = this.#top = options.engineMemory.byteLength
    this.#flushed = options.flushed
    this.#protect = options.protect
    this.#forgetJumps = options.forgetJumps
    this.#invalidated = options.invalidated ?? (() => {})
  }

  /** From now on CODE_MAPS has the code page at a host page (address of its first byte in RAM) for this code size. */
  offer(host: number, codeSize: CodeSize): void {
    this.#words[(L.CODE_MAPS >> 2) + host / PAGE] = this.#page(host, codeSize).map
  }

  #page(host: number, codeSize: CodeSize): CodePage {
    const key = (host / PAGE) * 16 + codeSize
    const known = this.#pages.get(key)
    if (known) return known
    const map = this.#allocateMap(L.CODE_PAGE_BYTES)
    this.#words[(map + L.CODE_PAGE_SIZE_AT) >> 2] = codeSize
    const page = { map, host, codeSize, runs: [], marks: new Uint8Array(64) }
    this.#pages.set(key, page)
    this.#byMap.set(map, page)
    return page
  }

  /** Code size of the page with this map; undefined where there is none. */
  codeSizeOf(map: number): CodeSize | undefined {
    return this.#byMap.get(map)?.codeSize
  }
  /** The micro-op at an offset of the page with this map, or 0. */
  lookUp(map: number, offset: number): number {
    const submap = this.#words[(map >> 2) + (offset >> 6)]!
    return submap === 0 ? 0 : this.#words[(submap >> 2) + (offset & 63)]!
  }

  /** Makes sure that a page and a run fit; true when everything was dropped for that. */
  reserve(): boolean {
    if (this.#next + RUN_BYTES + 64 * 1024 <= this.#top) return false
    this.flush()
    return true
  }

  #allocateMap(bytes: number): number {
    const end = this.#top
    this.#top = end - bytes
    this.#words.fill(0, this.#top >> 2, end >> 2)
    return this.#top
  }

  flush(): void {
    for (const { host } of this.#pages.values()) {
      this.#codePages[host / PAGE] = 0
      this.#words[(L.CODE_MAPS >> 2) + host / PAGE] = 0
    }
    this.#pages.clear()
    this.#byMap.clear()
    this.#crossing.clear()
    this.#next = L.ARENA
    this.#top = this.#end
    this.counters.flushes++
    this.#flushed()
  }

  /** Decodes the straight line at `offset` of a page, unless that is done; returns the micro-op, or 0 where it crosses the page. */
  decode(host: number, offset: number, codeSize: CodeSize): number {
    const page = this.#page(host, codeSize)
    const known = this.#lookUp(page, offset)
    if (known) return this.#isCrossing(known) ? 0 : known
    this.#beginCode(host)
    const start = this.#next
    this.#run(page, offset)
    return this.#next === start ? 0 : start
  }

  #beginCode(host: number): void {
    if (this.#codePages[host / PAGE] !== 0) return
    this.#codePages[host / PAGE] = 1
    this.#protect(host)
  }

  #isCrossing(uop: number): boolean {
    return (this.#words[uop >> 2]! & 0xffff) === INTERNAL.cross
  }

  /**
   * Enters an instruction that begins at `offset` of one page and ends on another into the first page's map. Its first
   * micro-op checks that the next linear page is still that other one.
   */
  decodeCrossing(
    host: number,
    offset: number,
    nextHost: number,
    bytes: Uint8Array,
    codeSize: CodeSize,
  ): void {
    const page = this.#page(host, codeSize)
    const next = this.#page(nextHost, codeSize)
    const known = this.#lookUp(page, offset)
    if (known && this.#words[(known + L.UOP_DISP) >> 2] === next.map) return
    if (known) this.#forgetJumps()
    this.#beginCode(host)
    this.#beginCode(nextHost)
    const start = this.#next
    this.#next = start + L.UOP_SIZE
    const uop = this.single(bytes, offset, codeSize)
    const end = this.#next
    this.#writer.internal(start, INTERNAL.cross, offset, 0, uop, next.map)
    this.#enter(page, offset, start)
    page.runs.push(start, end)
    next.runs.push(start, end)
    this.#mark(page, offset, PAGE - offset)
    this.#mark(next, 0, bytes.length - (PAGE - offset))
  }

  #lookUp(page: CodePage, offset: number): number {
    return this.lookUp(page.map, offset)
  }

  #enter(page: CodePage, offset: number, uop: number): void {
    const pointer = (page.map >> 2) + (offset >> 6)
    let submap = this.#words[pointer]!
    if (submap === 0) submap = this.#words[pointer] = this.#allocateMap(SUBMAP_BYTES)
    this.#words[(submap >> 2) + (offset & 63)] = uop
  }

  /** Decodes to where the straight line ends, or meets what is decoded, or crosses the page. */
  #run(page: CodePage, from: number): void {
    const ram = this.#ram()
    const d = this.#decoder
    const { host, codeSize } = page
    let at = this.#next
    let offset = from
    let count = 0
    let isOver = false
    while (!isOver && count < MAX_RUN && offset < PAGE) {
      if (count > 0 && this.#lookUp(page, offset)) break
      const status = d.decode(ram, host + offset, host + PAGE, codeSize)
      if (status === 'truncated') break
      this.#enter(page, offset, at)
      at = this.#instruction(at, offset, status, codeSize)
      isOver = status !== 'ok' || d.entry!.endsBlock
      offset += d.length
      count++
    }
    if (count === 0) return
    if (!isOver) at = this.#writer.internal(at, INTERNAL.goto, 0, 0, offset)
    this.counters.decoded += count
    this.#mark(page, from, offset - from)
    page.runs.push(this.#next, at)
    this.#next = at
  }

  #instruction(at: number, offset: number, status: DecodeStatus, codeSize: CodeSize): number {
    const w = this.#writer
    if (status === 'ok') {
      const next = w.instruction(at, offset, codeSize)
      if (next >= 0) return next
    }
    const exception = status === 'too-long' || status === 'truncated' ? EXCEPTION.GP : EXCEPTION.UD
    return w.internal(at, INTERNAL.raise, offset, 0, exception)
  }

  #mark(page: CodePage, offset: number, length: number): void {
    const last = Math.min(offset + Math.max(length, 1) - 1, PAGE - 1)
    for (let chunk = offset >> 6; chunk <= last >> 6; chunk++) page.marks[chunk] = 1
  }

  /**
   * Micro-ops for an instruction whose bytes were gathered from two pages (or that runs alone, `alone`); followed by a
   * micro-op that leaves at the next instruction. `key` names the place; equal bytes there are decoded once.
   */
  crossing(key: number, bytes: Uint8Array, offset: number, codeSize: CodeSize): number {
    const known = this.#crossing.get(key)
    if (known?.codeSize === codeSize && sameBytes(known.bytes, bytes)) return known.uop
    const uop = this.single(bytes, offset, codeSize)
    this.#crossing.set(key, { bytes: bytes.slice(), codeSize, uop })
    return uop
  }

  /** Micro-ops for one instruction, then an exit at the next. */
  single(bytes: Uint8Array, offset: number, codeSize: CodeSize): number {
    const d = this.#decoder
    const status = d.decode(bytes, 0, bytes.length, codeSize)
    const start = this.#next
    let at = this.#instruction(start, offset, status, codeSize)
    at = this.#writer.internal(at, INTERNAL.goto, 0, 0, offset + d.length)
    this.#next = at
    return start
  }

  /** Whether the bytes hold a whole instruction, or something that is none. */
  isComplete(bytes: Uint8Array, codeSize: CodeSize): boolean {
    return this.#decoder.decode(bytes, 0, bytes.length, codeSize) !== 'truncated'
  }

  /** RAM changed at [host, host + bytes); true where there was decoded code. */
  written(host: number, bytes: number): boolean {
    const pages = this.#touched(host, bytes)
    for (const page of pages) this.#invalidate(page)
    return pages.length > 0
  }

  /** Whether decoded instructions lie in [host, host + bytes). */
  holdsCode(host: number, bytes: number): boolean {
    return this.#touched(host, bytes).length > 0
  }

  /** Code pages with decoded instructions in [host, host + bytes). */
  #touched(host: number, bytes: number): CodePage[] {
    const found: CodePage[] = []
    const first = Math.floor(host / PAGE)
    const last = Math.floor((host + bytes - 1) / PAGE)
    for (let page = first; page <= last; page++) {
      if (this.#codePages[page] === 0) continue
      const from = Math.max(host, page * PAGE) - page * PAGE
      const to = Math.min(host + bytes, (page + 1) * PAGE) - 1 - page * PAGE
      for (const codeSize of [2, 4, 8] as const) {
        const code = this.#pages.get(page * 16 + codeSize)
        if (code && marked(code, from, to)) found.push(code)
      }
    }
    return found
  }

  #invalidate(page: CodePage): void {
    this.counters.invalidations++
    const { runs } = page
    for (let i = 0; i < runs.length; i += 2) {
      for (let at = runs[i]!; at < runs[i + 1]!; at += L.UOP_SIZE) {
        const word = this.#words[at >> 2]!
        if ((word & 0xffff) === INTERNAL.cross) {
          this.#words[(at + L.UOP_DISP) >> 2] = 0
          continue
        }
        // `goto` looks its target up anyway.
        if ((word & 0xffff) !== INTERNAL.goto) this.#words[at >> 2] = (word & 0xffff0000) | INTERNAL.stale
      }
    }
    runs.length = 0
    page.marks.fill(0)
    // A page without code may be written at full speed, until code is decoded there again.
    if (([2, 4, 8] as const).every((size) => !this.#pages.get((page.host / PAGE) * 16 + size)?.runs.length))
      this.#codePages[page.host / PAGE] = 0
    this.#words.fill(0, page.map >> 2, (page.map >> 2) + L.CODE_PAGE_SUBMAPS)
    this.#forgetJumps()
    this.#invalidated(page.map)
  }
}

function marked(page: CodePage, from: number, to: number): boolean {
  for (let chunk = from >> 6; chunk <= to >> 6; chunk++) if (page.marks[chunk] !== 0) return true
  return false
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
