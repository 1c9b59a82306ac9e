import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { TypevisorError } from '../errors.ts'
import { allocateGuestMemory, GuestRam } from '../memory/guest-memory.ts'
import { ByteWriter } from './byte-writer.ts'
import type { Decompressor, Decompressors } from './bzimage.ts'
import { type KernelImage, loadKernel } from './kernel.ts'

const MIB = 0x10_0000
const LOAD = 2 * MIB
const CODE = [0xfa, 0xf4, 0xeb, 0xfd]

/** Payloads in these tests are not packed: the "decompressors" hand them on. */
const plain = inPieces(Infinity)
const decompressors: Decompressors = { gzip: plain, xz: plain, lz4: plain, zstd: plain }

function inPieces(bytes: number): Decompressor {
  return async (data, _maxBytes, take) => {
    const piece = new Uint8Array(Math.min(bytes, data.length))
    for (let at = 6; at < data.length; at += bytes) {
      const length = Math.min(bytes, data.length - at)
      piece.set(data.subarray(at, at + length))
      take(piece.subarray(0, length))
      piece.fill(0xee) // it is not to be kept
    }
  }
}

/** An ELF64 file: one segment of code with 4 KiB of bss behind it, and Xen's notes where `pvh` is given. */
function elf64({ pvh, paddr = LOAD }: { pvh?: number; paddr?: number } = {}): Uint8Array {
  const file = new ByteWriter(0x200)
  file
    .set(0, Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1, 1))
    .u16(16, 2)
    .u16(18, 62)
    .u32(20, 1)
  file
    .u64(24, 0x8000_0000 + 1)
    .u64(32, 64)
    .u16(52, 64)
    .u16(54, 56)
    .u16(56, 2)
  file.u32(64, 1).u64(72, 0x100).u64(80, 0x8000_0000).u64(88, paddr).u64(96, CODE.length).u64(104, 0x1000)
  file
    .u32(120, 4)
    .u64(128, 0x140)
    .u64(152, pvh === undefined ? 0 : 0x30)
    .u64(160, 0x30)
    .u64(168, 4)
  file.set(0x100, Uint8Array.from(CODE))
  file.u32(0x140, 4).u32(0x144, 4).u32(0x148, 1).ascii(0x14c, 'Xen').u32(0x150, 7) // another note first
  file
    .u32(0x154, 4)
    .u32(0x158, 8)
    .u32(0x15c, 18)
    .ascii(0x160, 'Xen')
    .u64(0x164, pvh ?? 0)
  return file.bytes
}

function elf32(): Uint8Array {
  const file = new ByteWriter(0x200)
  file
    .set(0, Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 1, 1, 1))
    .u16(16, 2)
    .u16(18, 3)
    .u32(20, 1)
  file
    .u32(24, LOAD + 8)
    .u32(28, 52)
    .u16(40, 52)
    .u16(42, 32)
    .u16(44, 1)
  file.u32(52, 1).u32(56, 0x100).u32(60, LOAD).u32(64, LOAD).u32(68, 0x40).u32(72, 0x80)
  file.set(0x100 + 8, Uint8Array.from(CODE))
  return file.bytes
}

function withMultibootHeader(file: Uint8Array, flags: number, fields: readonly number[] = []): Uint8Array {
  const bytes = new ByteWriter(file.length).set(0, file)
  bytes
    .u32(0x120, 0x1bad_b002)
    .u32(0x124, flags)
    .u32(0x128, -(0x1bad_b002 + flags) >>> 0)
  fields.forEach((field, i) => {
    bytes.u32(0x12c + 4 * i, field)
  })
  return bytes.bytes
}

/** A bzImage of protocol 2.15 whose payload is `vmlinux` behind the magic of xz. */
function bzImage(vmlinux: Uint8Array): Uint8Array {
  const setup = 1024
  const file = new ByteWriter(setup + 0x400 + 6 + vmlinux.length + 4)
  file.u8(0x1f1, 1).u16(0x1fe, 0xaa55).u8(0x201, 0x6a).ascii(0x202, 'HdrS').u16(0x206, 0x020f)
  file.u32(0x22c, 0x7fff_ffff).u16(0x236, 1).u32(0x238, 100)
  file
    .u32(0x248, 0x400)
    .u32(0x24c, 6 + vmlinux.length + 4)
    .u64(0x258, 4 * MIB)
    .u32(0x260, MIB)
  file.set(setup + 0x200, Uint8Array.from(CODE))
  file.set(setup + 0x400, Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00)).set(setup + 0x406, vmlinux)
  return file.u32(setup + 0x406 + vmlinux.length, vmlinux.length).bytes
}

async function boot(image: KernelImage, bytes = 16 * MIB) {
  const ram = new GuestRam(allocateGuestMemory(bytes))
  ram.fill(LOAD, 0x1000, 0xcc)
  const result = await loadKernel(image, { ram, rsdp: 0xe_0000, decompressors })
  return { ram, ...result }
}

const text = (ram: GuestRam, gpa: number) => {
  let s = ''
  for (; ram.readU8(gpa) !== 0; gpa++) s += String.fromCharCode(ram.readU8(gpa))
  return s
}

const modules = [{ data: Uint8Array.of(1, 2, 3), commandLine: 'one' }, { data: new Uint8Array(5000).fill(9) }]

describe('PVH', () => {
  it('enters at the note in 32-bit mode, with start info, modules and map', async () => {
    const { ram, protocol, registers } = await boot({
      kernel: elf64({ pvh: LOAD }),
      commandLine: 'a=b ü',
      modules,
    })
    assert.equal(protocol, 'pvh')
    assert.equal(registers.mode, 'protected32')
    assert.equal(registers.rip, BigInt(LOAD))
    const info = Number(registers.gpr!.rbx)
    assert.equal(ram.readU32(info), 0x336e_c578)
    assert.equal(ram.readU32(info + 4), 1)
    assert.equal(ram.readU32(info + 12), 2)
    assert.deepEqual(Buffer.from(ram.read(Number(ram.readU64(info + 24)), 7)).toString(), 'a=b ü\0')
    assert.equal(ram.readU64(info + 32), 0xe_0000n)
    const list = Number(ram.readU64(info + 16))
    assert.deepEqual([...ram.read(Number(ram.readU64(list)), 3)], [1, 2, 3])
    assert.equal(ram.readU64(list + 8), 3n)
    assert.equal(text(ram, Number(ram.readU64(list + 16))), 'one')
    assert.equal(ram.readU64(list + 32 + 8), 5000n)
    assert.equal(ram.readU64(list + 32 + 16), 0n)
    const map = Number(ram.readU64(info + 40))
    const entries = Array.from({ length: ram.readU32(info + 48) }, (_, i) => map + 24 * i)
    const high = entries.find((at) => ram.readU64(at) === BigInt(MIB))!
    assert.equal(ram.readU64(high + 8), BigInt(15 * MIB))
    assert.equal(ram.readU32(high + 16), 1)
  })
  it('loads the segment by its physical address and clears its bss', async () => {
    const { ram } = await boot({ kernel: elf64({ pvh: LOAD }) })
    assert.deepEqual([...ram.read(LOAD, 4)], CODE)
    assert.equal(
      ram.read(LOAD + 4, 0xffc).every((byte) => byte === 0),
      true,
    )
  })
  it('is taken from the kernel inside a bzImage', async () => {
    const { protocol } = await boot({ kernel: bzImage(elf64({ pvh: LOAD })) })
    assert.equal(protocol, 'pvh')
  })
})

describe('a packed kernel', () => {
  it('is loaded in pieces of any size, and its note is found', async () => {
    for (const bytes of [1, 7, 0x101, 0x200, 0x1ff]) {
      const ram = new GuestRam(allocateGuestMemory(16 * MIB))
      ram.fill(LOAD, 0x1000, 0xcc)
      const kernel = bzImage(elf64({ pvh: LOAD + 2 }))
      const pieces = { ...decompressors, xz: inPieces(bytes) }
      const { protocol, registers } = await loadKernel({ kernel }, { ram, rsdp: 0, decompressors: pieces })
      assert.deepEqual([protocol, registers.rip], ['pvh', BigInt(LOAD + 2)])
      assert.deepEqual([...ram.read(LOAD, CODE.length + 1)], [...CODE, 0], `${bytes}`)
      assert.equal(ram.readU8(LOAD + 0xfff), 0)
      assert.equal(ram.readU8(LOAD + 0x1000), 0)
    }
  })
})

describe('Linux 64-bit boot protocol', () => {
  it('is used for a bzImage without the note, and on demand', async () => {
    assert.equal((await boot({ kernel: bzImage(elf64()) })).protocol, 'linux64')
    const onDemand = await boot({ kernel: bzImage(elf64({ pvh: LOAD })), protocol: 'linux64' })
    assert.equal(onDemand.protocol, 'linux64')
  })
  it('enters 0x200 behind the load address in long mode with a zero page', async () => {
    const { ram, registers } = await boot({ kernel: bzImage(elf64()), commandLine: 'quiet', modules })
    assert.equal(registers.rip, BigInt(4 * MIB + 0x200))
    assert.deepEqual([...ram.read(4 * MIB + 0x200, 4)], CODE)
    assert.deepEqual([registers.cr0, registers.cr4, registers.efer], [0x8000_0011, 0x20, 0x500])
    const zeroPage = Number(registers.gpr!.rsi)
    assert.equal(ram.readU32(zeroPage + 0x202), 0x5372_6448)
    assert.equal(ram.readU8(zeroPage + 0x210), 0xff)
    assert.equal(text(ram, ram.readU32(zeroPage + 0x228)), 'quiet')
    assert.deepEqual([...ram.read(ram.readU32(zeroPage + 0x218), 3)], [1, 2, 3])
    assert.equal(ram.readU32(zeroPage + 0x21c), 3)
    assert.equal(ram.readU64(zeroPage + 0x070), 0xe_0000n)
    assert.equal(ram.readU8(zeroPage + 0x1e8), 6)
    assert.equal(ram.readU64(zeroPage + 0x2d0 + 8), 0x9_fc00n)
  })
  it('maps the first 4 GiB to themselves', async () => {
    const { ram, registers } = await boot({ kernel: bzImage(elf64()) })
    const translate = (gva: number) => {
      const entry = (table: number, shift: number) => {
        const value = ram.readU64(table + (Math.floor(gva / 2 ** shift) % 512) * 8)
        assert.equal(value & 3n, 3n)
        return Number(value & ~0xfffn)
      }
      return entry(entry(entry(registers.cr3!, 39), 30), 21) + (gva % 0x20_0000)
    }
    for (const gva of [0, 0x12_3456, 0x4000_0000, 0xffff_ffff]) assert.equal(translate(gva), gva)
  })
  it('refuses a command line that the kernel would cut', async () => {
    await assert.rejects(boot({ kernel: bzImage(elf64()), commandLine: 'x'.repeat(101) }), {
      code: 'TV_KERNEL_UNSUPPORTED',
    })
  })
})

describe('Linux 32-bit boot protocol', () => {
  it('enters the unpacked 32-bit kernel without paging, with a zero page', async () => {
    const { ram, protocol, registers } = await boot({
      kernel: bzImage(elf32()),
      commandLine: 'quiet',
      modules,
    })
    assert.equal(protocol, 'linux32')
    assert.deepEqual([registers.mode, registers.cr0], ['protected32', 0x11])
    assert.equal(registers.rip, BigInt(LOAD + 8))
    assert.deepEqual([...ram.read(LOAD + 8, 4)], CODE)
    const zeroPage = Number(registers.gpr!.rsi)
    assert.equal(ram.readU32(zeroPage + 0x202), 0x5372_6448)
    assert.equal(text(ram, ram.readU32(zeroPage + 0x228)), 'quiet')
    assert.deepEqual([...ram.read(ram.readU32(zeroPage + 0x218), 3)], [1, 2, 3])
    assert.equal(ram.readU8(zeroPage + 0x1e8), 6)
  })
  it('is refused for a kernel of 64 bits, and for what is no bzImage', async () => {
    for (const kernel of [bzImage(elf64()), elf32()]) {
      await assert.rejects(boot({ kernel, protocol: 'linux32' }), { code: 'TV_KERNEL_UNSUPPORTED' })
    }
  })
})

describe('Multiboot', () => {
  it('enters an ELF kernel with its magic, information, modules and map', async () => {
    const kernel = withMultibootHeader(elf32(), 3)
    const { ram, protocol, registers } = await boot({ kernel, commandLine: 'hello', modules })
    assert.equal(protocol, 'multiboot')
    assert.equal(registers.mode, 'protected32')
    assert.equal(registers.rip, BigInt(LOAD + 8))
    assert.equal(registers.gpr!.rax, 0x2bad_b002n)
    const info = Number(registers.gpr!.rbx)
    assert.equal(ram.readU32(info) & 0x4d, 0x4d)
    assert.deepEqual([ram.readU32(info + 4), ram.readU32(info + 8)], [639, 15 * 1024])
    assert.equal(text(ram, ram.readU32(info + 16)), 'hello')
    assert.equal(ram.readU32(info + 20), 2)
    const list = ram.readU32(info + 24)
    const start = ram.readU32(list)
    assert.equal(start % 4096, 0)
    assert.equal(ram.readU32(list + 4) - start, 3)
    assert.deepEqual([...ram.read(start, 3)], [1, 2, 3])
    assert.equal(text(ram, ram.readU32(list + 8)), 'one')
    const map = ram.readU32(info + 48)
    assert.equal(ram.readU32(map), 20)
    assert.equal(ram.readU64(map + 12), 0x9_fc00n)
    assert.equal(ram.readU32(info + 44) % 24, 0)
  })
  it('loads by address fields what is no ELF file', async () => {
    const file = new Uint8Array(0x200)
    file.set(CODE, 0x180)
    const kernel = withMultibootHeader(file, 0x1_0000, [
      LOAD + 0x20,
      LOAD,
      LOAD + 0x90,
      LOAD + 0x200,
      LOAD + 0x80,
    ])
    const { ram, registers } = await boot({ kernel })
    assert.equal(registers.rip, BigInt(LOAD + 0x80))
    assert.deepEqual([...ram.read(LOAD + 0x80, 4)], CODE)
    assert.equal(ram.readU32(LOAD + 0x20), 0x1bad_b002)
    assert.equal(ram.readU8(LOAD + 0x90), 0)
    assert.equal(ram.readU8(LOAD + 0x1ff), 0)
    assert.equal(ram.readU8(LOAD + 0x200), 0xcc)
  })
  it('refuses requirements that it does not know', async () => {
    const kernel = withMultibootHeader(elf32(), 0x8003)
    await assert.rejects(boot({ kernel }), { code: 'TV_KERNEL_UNSUPPORTED' })
  })
  it('refuses address fields that contradict each other', async () => {
    for (const fields of [
      [LOAD, LOAD + 0x100, 0, 0, LOAD],
      [LOAD + 0x1000, LOAD, 0, 0, LOAD],
      [LOAD + 0x20, LOAD, LOAD - 4, 0, LOAD],
    ]) {
      const kernel = withMultibootHeader(new Uint8Array(0x200), 0x1_0000, fields)
      await assert.rejects(boot({ kernel }), { code: 'TV_KERNEL_FORMAT' })
    }
  })
})

describe('plain ELF', () => {
  it('is entered at its entry, translated to a physical address', async () => {
    const { protocol, registers } = await boot({ kernel: elf64() })
    assert.equal(protocol, 'elf')
    assert.deepEqual([registers.mode, registers.rip], ['long64', BigInt(LOAD + 1)])
    const narrow = await boot({ kernel: elf32() })
    assert.deepEqual([narrow.registers.mode, narrow.registers.rip], ['protected32', BigInt(LOAD + 8)])
  })
})

describe('a kernel file that is not one', () => {
  const code = (code: string) => ({ code })
  it('is refused with its code', async () => {
    await assert.rejects(boot({ kernel: new Uint8Array(0) }), code('TV_KERNEL_TRUNCATED'))
    await assert.rejects(boot({ kernel: new Uint8Array(4096) }), code('TV_KERNEL_FORMAT'))
    const arm = elf64()
    arm[18] = 183
    await assert.rejects(boot({ kernel: arm }), code('TV_KERNEL_FORMAT'))
    await assert.rejects(boot({ kernel: elf64(), protocol: 'pvh' }), code('TV_KERNEL_UNSUPPORTED'))
  })
  it('is refused when RAM does not hold it, its modules, or its place is not RAM', async () => {
    await assert.rejects(boot({ kernel: elf64({ paddr: 16 * MIB - 0x800 }) }), code('TV_MEMORY_TOO_SMALL'))
    await assert.rejects(boot({ kernel: elf64({ paddr: 0xa_0000 }) }), code('TV_MEMORY_TOO_SMALL'))
    await assert.rejects(boot({ kernel: elf64({ paddr: 0x9_f800 }) }), code('TV_MEMORY_TOO_SMALL'))
    const large = [{ data: new Uint8Array(14 * MIB) }]
    await assert.rejects(boot({ kernel: elf64({ pvh: LOAD }), modules: large }), code('TV_MEMORY_TOO_SMALL'))
  })
  it('is refused when its payload is foreign, corrupt, or of another size', async () => {
    const foreign = bzImage(elf64())
    foreign[0x800] = 0x42
    await assert.rejects(boot({ kernel: foreign }), code('TV_KERNEL_UNSUPPORTED'))
    await assert.rejects(boot({ kernel: bzImage(new Uint8Array(100)) }), code('TV_KERNEL_COMPRESSION'))
    const failing = async () => {
      throw new RangeError('zlib says so')
    }
    const image = bzImage(elf64())
    const ram = new GuestRam(allocateGuestMemory(16 * MIB))
    await assert.rejects(
      loadKernel({ kernel: image }, { ram, rsdp: 0, decompressors: { ...decompressors, xz: failing } }),
      code('TV_KERNEL_COMPRESSION'),
    )
    const size = (bytes: number) => new DataView(image.buffer).setUint32(image.length - 4, bytes, true)
    for (const bytes of [0x1ff, 0x201]) {
      size(bytes)
      await assert.rejects(boot({ kernel: image }), code('TV_KERNEL_COMPRESSION'))
    }
    size(0xffff_ffff)
    await assert.rejects(boot({ kernel: image }), code('TV_KERNEL_FORMAT'))
  })
  it('gives a TypevisorError for every truncation and thousands of mutations, never another', async () => {
    const ram = new GuestRam(allocateGuestMemory(16 * MIB))
    const attempt = async (kernel: Uint8Array) => {
      try {
        await loadKernel({ kernel, modules }, { ram, rsdp: 0, decompressors })
      } catch (error) {
        assert.ok(error instanceof TypevisorError, String(error))
      }
    }
    const files = [
      elf64({ pvh: LOAD }),
      elf32(),
      withMultibootHeader(elf32(), 3),
      withMultibootHeader(new Uint8Array(0x200), 0x1_0000, [LOAD + 0x20, LOAD, 0, 0, LOAD]),
      bzImage(elf64({ pvh: LOAD })),
      bzImage(elf32()),
    ]
    let seed = 7
    const random = (n: number) => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
      return (seed >>> 8) % n
    }
    for (const file of files) {
      for (let length = 0; length < file.length; length += 7) await attempt(file.slice(0, length))
      for (let i = 0; i < 1500; i++) {
        const mutant = file.slice()
        const at = random(Math.min(file.length, 0x280))
        for (let n = random(8); n >= 0; n--)
          mutant[(at + n) % file.length] = [0, 0xff, 0x80, random(256)][random(4)]
        await attempt(mutant)
      }
    }
  })
})
