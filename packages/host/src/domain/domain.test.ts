import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { type CpuRegisters, type CreateCpu, type Exit, emulated, type Hypervisor } from '@typevisor/vmm'
import { writeCpio } from '../cpio/cpio.ts'
import { createDomain, describeExit } from './domain.ts'
import { engineNames, loadEngine } from './engines.ts'
import { checkInitramfs, readInput } from './files.ts'
import { createMachineHost, sleep } from './host.ts'

const MIB = 1 << 20
let directory: string
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'typevisor-domain-'))
})
after(() => rm(directory, { recursive: true }))

async function file(name: string, data: Uint8Array | string): Promise<string> {
  const path = join(directory, name)
  await writeFile(path, data)
  return path
}

/** A Multiboot kernel that is its header alone, loaded at 1 MiB. "Multiboot Specification 0.6.96", "Header layout". */
function multibootKernel(): Uint8Array {
  const flags = 0x1_0000
  const address = 0x10_0000
  const fields = [0x1bad_b002, flags, -(0x1bad_b002 + flags), address, address, 0, 0, address]
  const bytes = new Uint8Array(4096)
  fields.forEach((field, i) => {
    new DataView(bytes.buffer).setUint32(4 * i, field, true)
  })
  return bytes
}

type Pins = Parameters<CreateCpu>[0]['pins']

/** An engine whose CPU does at each `run` what a function says. */
function fakeEngine(program: (pins: Pins, registers: CpuRegisters | undefined) => Exit): Hypervisor {
  return emulated('interpreter', ({ pins }) => {
    let registers: CpuRegisters | undefined
    return {
      reset: () => {},
      setState: (state) => {
        registers = state
      },
      run: () => program(pins, registers),
      requestExit: () => {},
      report: () => '',
      memoryWritten: () => {},
    }
  })
}

describe('domain', () => {
  it('loads a kernel, runs it, and gives its output and its end', async () => {
    const output: number[] = []
    const domain = await createDomain({
      kernel: await file('kernel', multibootKernel()),
      memoryBytes: 4 * MIB,
      engine: fakeEngine((pins, registers) => {
        pins.portWrite(0x3f8, 1, 0x41)
        pins.portWrite(0xf4, 4, registers?.rip === 0x10_0000n ? 0x10 : 0)
        return { kind: 'slice' }
      }),
      serial: { write: (byte) => output.push(byte) },
    })
    assert.equal(domain.protocol, 'multiboot')
    assert.deepEqual(await domain.run(), { kind: 'debug-exit', status: 0x21 })
    assert.deepEqual(output, [0x41])
  })
  it('holds a guest back while its output cannot go out', async () => {
    let runs = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    const domain = await createDomain({
      kernel: await file('flood', multibootKernel()),
      memoryBytes: 4 * MIB,
      engine: fakeEngine(() => {
        runs++
        return { kind: 'hlt' }
      }),
      serial: { write: () => {}, congestion: () => promise },
    })
    const end = domain.run()
    await sleep(20).done
    assert.equal(runs, 1)
    resolve()
    domain.machine.stop()
    await end
  })
  it('names an unknown engine and the known ones', async () => {
    assert.deepEqual(engineNames(), ['interpreter', 'jit', 'lock-step'])
    for (const name of ['warp', 'constructor', '']) {
      await assert.rejects(loadEngine(name), {
        code: 'TV_ENGINE_UNKNOWN',
        message: /known engines: interpreter, jit, lock-step/,
      })
    }
  })
  it('refuses an unknown CPU model, a foreign kernel, and too little memory', async () => {
    const serial = { write: () => {} }
    const kernel = await file('known', multibootKernel())
    await assert.rejects(createDomain({ kernel, memoryBytes: 4 * MIB, cpu: 'z80', serial }), {
      code: 'TV_CPU_MODEL',
    })
    const foreign = await file('foreign', 'x'.repeat(4096))
    await assert.rejects(createDomain({ kernel: foreign, memoryBytes: 4 * MIB, serial }), {
      code: 'TV_KERNEL_FORMAT',
    })
    const cut = await file('cut', 'MZ')
    await assert.rejects(createDomain({ kernel: cut, memoryBytes: 4 * MIB, serial }), {
      code: 'TV_KERNEL_TRUNCATED',
    })
    await assert.rejects(createDomain({ kernel, memoryBytes: MIB, serial }), { code: 'TV_MEMORY_TOO_SMALL' })
  })
  it('ends with the statuses that are documented', () => {
    assert.deepEqual(describeExit({ kind: 'poweroff' }), { status: 0 })
    assert.deepEqual(describeExit({ kind: 'debug-exit', status: 0x21 }), { status: 0x21 })
    assert.equal(describeExit({ kind: 'reset' }).status, 6)
    const fault = describeExit({ kind: 'shutdown', reason: 'triple fault', report: 'RIP=0' })
    assert.equal(fault.status, 4)
    assert.match(fault.message ?? '', /triple fault.*\nRIP=0/)
  })
})

describe('files of a domain', () => {
  it('must exist, be regular, and be readable', async () => {
    const missing = join(directory, 'missing')
    await assert.rejects(readInput(missing, 'kernel'), {
      code: 'TV_FILE_NOT_FOUND',
      message: /no kernel file/,
    })
    for (const path of [directory, '/dev/zero']) {
      await assert.rejects(readInput(path, 'kernel'), { code: 'TV_FILE_UNREADABLE' })
    }
  })
  it('hold an initramfs that Linux can unpack', async () => {
    const archive = writeCpio([{ kind: 'file', path: 'init', mode: 0o755, data: new Uint8Array(70_000) }])
    const packed = gzipSync(archive)
    await checkInitramfs('i', archive, MIB)
    await checkInitramfs('i', packed, MIB)
    const damaged = Uint8Array.from(packed)
    damaged[packed.length - 6] ^= 0xff
    const corrupt = { code: 'TV_INITRD_CORRUPT' }
    await assert.rejects(checkInitramfs('i', damaged, MIB), corrupt)
    await assert.rejects(checkInitramfs('i', packed.subarray(0, packed.length - 10), MIB), corrupt)
    await assert.rejects(checkInitramfs('i', new Uint8Array(100), MIB), { code: 'TV_INITRD_FORMAT' })
    await assert.rejects(checkInitramfs('i', new Uint8Array(), MIB), { code: 'TV_INITRD_FORMAT' })
    const bomb = gzipSync(new Uint8Array(8 * MIB))
    await assert.rejects(checkInitramfs('i', bomb, MIB), { code: 'TV_MEMORY_TOO_SMALL' })
  })
})

describe('surroundings of a machine', () => {
  it('sleep for the time that is asked, or until woken, however long', async () => {
    const before = performance.now()
    await sleep(0.3).done
    const { done, wake } = sleep(Infinity)
    setTimeout(wake, 5)
    await done
    const long = sleep(2 ** 40)
    setTimeout(long.wake, 5)
    await long.done
    assert.ok(performance.now() - before < 2000)
  })
  it('have a clock in nanoseconds and 32 bits of entropy', () => {
    const { monotonic, random } = createMachineHost()
    const start = monotonic.now()
    while (performance.now() * 1e6 < start + 1e6);
    assert.ok(monotonic.now() - start >= 1e6)
    const words = new Set(Array.from({ length: 3000 }, random))
    assert.ok(words.size > 2990)
    for (const word of words) assert.equal(word, word >>> 0)
  })
})
