import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { describe, it } from 'node:test'
import { NbdDisk } from '@typevisor/vmm/disk'
import { connectStream } from './socket-stream.ts'
import { temporaryFolder, whyWithout } from './testing/qemu.ts'
import { Random } from './testing/random.ts'

/** A server that ends with the test. */
async function serve(
  socket: string,
  ...parameters: string[]
): Promise<{ process: ChildProcess } & AsyncDisposable> {
  const process = spawn('qemu-nbd', ['-k', socket, '-t', ...parameters], { stdio: 'ignore' })
  for (let waited = 0; !existsSync(socket) && waited < 5000; waited += 10) {
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return {
    process,
    [Symbol.asyncDispose]: async () => {
      process.kill()
      if (process.exitCode === null && process.signalCode === null) await once(process, 'exit')
    },
  }
}

describe('an NBD disk beside qemu-nbd', { skip: whyWithout('qemu-nbd') }, () => {
  it('reads, writes, zeroes and flushes, with requests in flight', async () => {
    using folder = temporaryFolder()
    const path = folder.path('raw')
    writeFileSync(path, Buffer.alloc(4 << 20))
    await using _server = await serve(folder.path('socket'), '-f', 'raw', '--discard=unmap', path)
    const disk = await NbdDisk.connect(await connectStream({ path: folder.path('socket') }))
    assert.equal(disk.size, 4 << 20)
    const model = Buffer.alloc(disk.size)
    const random = new Random(1)
    const writes: unknown[] = []
    for (let i = 0; i < 64; i++) {
      const bytes = random.bytes(512 * (1 + random.below(128)))
      const offset = 65536 * i
      model.set(bytes, offset)
      writes.push(disk.write(offset, [bytes.subarray(0, 100), bytes.subarray(100)]))
    }
    await Promise.all(writes)
    await disk.writeZeroes(70_000, 100_000, true)
    model.fill(0, 70_000, 170_000)
    await disk.discard(65536 * 40, 65536)
    await disk.read(65536 * 40, [model.subarray(65536 * 40, 65536 * 41)])
    await disk.flush()
    assert.ok(readFileSync(path).equals(model))
    const bytes = Buffer.alloc(disk.size)
    await disk.read(0, [bytes.subarray(0, 1000), bytes.subarray(1000)])
    assert.ok(bytes.equals(model))
    await disk.close()
    await assert.rejects(async () => disk.read(0, [bytes]), { code: 'TV_DISK_CLOSED' })
  })

  it('is refused an export that does not exist, and writes to one that may only be read', async () => {
    using folder = temporaryFolder()
    writeFileSync(folder.path('raw'), Buffer.alloc(1 << 20))
    await using _server = await serve(
      folder.path('socket'),
      '-f',
      'raw',
      '-r',
      '-x',
      'disk',
      folder.path('raw'),
    )
    const connect = async (name: string) =>
      NbdDisk.connect(await connectStream({ path: folder.path('socket') }), name)
    await assert.rejects(connect('other'), { code: 'TV_NBD_REFUSED' })
    const disk = await connect('disk')
    await assert.rejects(async () => disk.write(0, [Buffer.alloc(512)]), { code: 'TV_DISK_READ_ONLY' })
    await disk.close()
  })

  it('fails what is in flight when the server is gone', async () => {
    using folder = temporaryFolder()
    writeFileSync(folder.path('raw'), Buffer.alloc(64 << 20))
    await using server = await serve(folder.path('socket'), '-f', 'raw', folder.path('raw'))
    const disk = await NbdDisk.connect(await connectStream({ path: folder.path('socket') }))
    const reads = Array.from({ length: 20 }, async () => disk.read(0, [Buffer.alloc(32 << 20)]))
    server.process.kill('SIGKILL')
    const results = await Promise.allSettled(reads)
    assert.ok(results.some(({ status }) => status === 'rejected'))
    await assert.rejects(async () => disk.read(0, [Buffer.alloc(1)]), { code: 'TV_NBD_DISCONNECTED' })
  })
})

describe('an NBD server that lies', () => {
  const GREETING = Buffer.from('NBDMAGICIHAVEOPT\0\u0003', 'latin1')
  const info = (size: bigint) => {
    const bytes = Buffer.alloc(20 + 12 + 20)
    for (const [at, type, length] of [
      [0, 3, 12],
      [32, 1, 0],
    ]) {
      bytes.writeBigUInt64BE(0x0003_e889_0455_65a9n, at)
      bytes.writeUInt32BE(7, at + 8)
      bytes.writeUInt32BE(type, at + 12)
      bytes.writeUInt32BE(length, at + 16)
    }
    bytes.writeBigUInt64BE(size, 22)
    bytes.writeUInt16BE(1, 30)
    return bytes
  }
  const lies: [string, string, Buffer[]][] = [
    ['about its magic number', 'TV_NBD_PROTOCOL', [Buffer.from('HTTP/1.1 200 OK\r\n\r\n')]],
    ['by ending at once', 'TV_NBD_DISCONNECTED', []],
    [
      'with a reply of 4 GiB',
      'TV_NBD_PROTOCOL',
      [GREETING, Buffer.from('0003e889045565a90000000700000003ffffffff', 'hex')],
    ],
    ['with an export of 2^63 bytes', 'TV_NBD_PROTOCOL', [GREETING, info(1n << 63n)]],
    [
      'with replies to nothing',
      'TV_NBD_PROTOCOL',
      [GREETING, info(1n << 20n), Buffer.from('67446698000000000000000000000099', 'hex')],
    ],
  ]
  for (const [how, code, bytes] of lies) {
    it(`is found out: ${how}`, async () => {
      using folder = temporaryFolder()
      const server = createServer((socket: Socket) => {
        socket.on('error', () => {})
        socket.end(Buffer.concat(bytes))
      })
      server.listen(folder.path('socket'))
      await once(server, 'listening')
      const attempt = async () => {
        const disk = await NbdDisk.connect(await connectStream({ path: folder.path('socket') }))
        await disk.read(0, [Buffer.alloc(512)])
      }
      await assert.rejects(attempt(), { code })
      server.close()
    })
  }
})
