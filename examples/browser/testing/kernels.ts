// Kernels of a few instructions, entered by PVH in 32-bit mode, plain or inside a bzImage.

import { gzipSync, zstdCompressSync } from 'node:zlib'
import { xzAsync } from 'node-liblzma/wasm'

const LOAD = 0x20_0000

/** What each does, in machine code. */
export const PROGRAMS = {
  /** out 0xf4, 0x10: isa-debug-exit's status is 0x21 */
  exit: [0xb0, 0x10, 0xe6, 0xf4],
  /** ud2 without an IDT */
  tripleFault: [0x0f, 0x0b],
  /** out 0x64, 0xfe */
  reset: [0xb0, 0xfe, 0xe6, 0x64],
  /** PM1a_CNT := S5 with SLP_EN */
  powerOff: [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef],
  /** writes to COM1 for ever */
  flood: [0xb0, 0x41, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xfd],
} as const

/** An ELF64 file with one segment of code and the note that tells its PVH entry. */
export function elfKernel(code: readonly number[]): Uint8Array {
  const file = new Writer(0x200)
  file.bytes(0, [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]).u16(16, 2, 62).u32(20, 1)
  file.u64(24, LOAD, 64).u16(52, 64, 56, 2)
  const header = (at: number, type: number, offset: number, length: number) =>
    file.u32(at, type, 7).u64(at + 8, offset, LOAD, LOAD, length, length)
  header(64, 1, 0x100, code.length + 3)
  header(120, 4, 0x140, 24)
  file.bytes(0x100, [...code, 0xf4, 0xeb, 0xfd])
  file.u32(0x140, 4, 8, 18).bytes(0x14c, [0x58, 0x65, 0x6e, 0]).u64(0x150, LOAD)
  return file.data
}

/** Only literals, in one block of a legacy frame. */
function lz4(data: Uint8Array): Uint8Array {
  const more = data.length - 15
  const lengths = [...new Array(Math.floor(more / 255)).fill(255), more % 255]
  const block = [0xf0, ...lengths, ...data]
  const frame = new Writer(8 + block.length)
  return frame.u32(0, 0x184c_2102, block.length).bytes(8, block).data
}

export const COMPRESSORS = {
  gzip: async (data: Uint8Array): Promise<Uint8Array> => gzipSync(data),
  lz4: async (data: Uint8Array) => lz4(data),
  xz: (data: Uint8Array): Promise<Uint8Array> => xzAsync(Buffer.from(data)),
  zstd: async (data: Uint8Array): Promise<Uint8Array> => zstdCompressSync(data),
} as const

/** A bzImage of protocol 2.15 around a kernel. */
export async function bzImage(
  vmlinux: Uint8Array,
  compression: keyof typeof COMPRESSORS,
): Promise<Uint8Array> {
  const stream = await COMPRESSORS[compression](vmlinux)
  // The build appends the size, which gzip has already.
  const length = compression === 'gzip' ? stream.length : stream.length + 4
  const payload = 0x400
  const file = new Writer(payload + length)
  file.bytes(0x1f1, [1]).u16(0x1fe, 0xaa55).bytes(0x202, [0x48, 0x64, 0x72, 0x53, 0x0f, 0x02])
  file.u32(0x22c, 0x7fff_ffff).u32(0x238, 2047).u32(0x248, 0, length).u32(0x260, 0x10_0000)
  file.bytes(payload, stream)
  return file.u32(payload + length - 4, vmlinux.length).data
}

class Writer {
  readonly data: Uint8Array
  readonly #view: DataView

  constructor(length: number) {
    this.data = new Uint8Array(length)
    this.#view = new DataView(this.data.buffer)
  }

  bytes(at: number, values: ArrayLike<number>): this {
    this.data.set(values, at)
    return this
  }

  u16(at: number, ...values: number[]): this {
    for (const [i, value] of values.entries()) this.#view.setUint16(at + 2 * i, value, true)
    return this
  }

  u32(at: number, ...values: number[]): this {
    for (const [i, value] of values.entries()) this.#view.setUint32(at + 4 * i, value, true)
    return this
  }

  u64(at: number, ...values: number[]): this {
    for (const [i, value] of values.entries()) this.#view.setBigUint64(at + 8 * i, BigInt(value), true)
    return this
  }
}
