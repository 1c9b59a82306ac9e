import assert from 'node:assert/strict'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import type { BackingReference } from '@typevisor/vmm/disk'
import { createDisk, openDisk } from './open-disk.ts'
import { temporaryFolder } from './testing/qemu.ts'

function create(path: string, backing?: BackingReference): Promise<void> {
  return createDisk(path, { format: 'qcow2', size: 1 << 20, ...(backing && { backing }) })
}

async function firstByte(path: string): Promise<number> {
  const disk = await openDisk(path, { readOnly: true })
  const bytes = new Uint8Array(1)
  await disk.read(0, [bytes])
  await disk.close()
  return bytes[0]
}

describe('openDisk', () => {
  it('opens a chain of images, with the first alone for writing', async () => {
    using folder = temporaryFolder()
    writeFileSync(folder.path('base'), Buffer.alloc(1 << 20, 7))
    await create(folder.path('middle'), { name: 'base', format: 'raw' })
    await create(folder.path('top'), { name: 'middle', format: 'qcow2' })
    const disk = await openDisk(folder.path('top'))
    await disk.write(65536, [Uint8Array.of(1)])
    await disk.close()
    assert.equal(await firstByte(folder.path('top')), 7)
    assert.equal(await firstByte(folder.path('base')), 7)
  })

  it('lets a raw disk that nobody called raw not become an image', async () => {
    using folder = temporaryFolder()
    const path = folder.path('disk')
    writeFileSync(path, Buffer.alloc(4096))
    const magic = [Buffer.from('QF'), Buffer.from([0x49, 0xfb, 0, 0])]
    const disk = await openDisk(path)
    assert.throws(() => disk.write(0, magic), { code: 'TV_DISK_FORMAT', message: /Say that it is raw/ })
    await disk.write(4, magic)
    await disk.write(0, [Buffer.from('QFIx')])
    await disk.close()
    const raw = await openDisk(path, { format: 'raw' })
    await raw.write(0, magic)
    await raw.close()
  })

  const refusals: [string, string, (path: (name: string) => string) => Promise<void>][] = [
    ['that is missing', 'nothing', async () => {}],
    ['outside of the folder', '/etc/hostname', async () => {}],
    ['above the folder', '../../etc/hostname', async () => {}],
    ['behind a link out of the folder', 'link', async (path) => symlinkSync('/etc/hostname', path('link'))],
    ['that is a folder', 'sub', async (path) => void mkdirSync(path('sub'))],
    ['by another protocol', 'nbd://localhost/', async () => {}],
    ['in QEMU’s JSON', 'json:{"driver":"file","filename":"/etc/hostname"}', async () => {}],
    ['that is the image itself', 'top', async () => {}],
    ['that leads back', 'other', (path) => create(path('other'), { name: 'top', format: 'qcow2' })],
    [
      'of a format that nobody recorded, with a backing file of its own',
      'guess',
      async (path) => {
        await create(path('base'))
        await create(path('guess'), { name: 'base', format: 'qcow2' })
      },
    ],
  ]
  for (const [which, name, prepare] of refusals) {
    it(`refuses a backing file ${which}`, async () => {
      using folder = temporaryFolder()
      const recorded = name === 'top' || name === 'other' ? { format: 'qcow2' } : {}
      await create(folder.path('top'), { name, ...recorded })
      await prepare(folder.path)
      const code = name === 'sub' ? 'TV_DISK_IO' : 'TV_DISK_BACKING'
      await assert.rejects(openDisk(folder.path('top'), { readOnly: true }), { code })
    })
  }

  it('refuses all backing files where it is told to', async () => {
    using folder = temporaryFolder()
    await create(folder.path('base'))
    await create(folder.path('top'), { name: 'base', format: 'qcow2' })
    await assert.rejects(openDisk(folder.path('top'), { backingFolder: false }), { code: 'TV_DISK_BACKING' })
  })

  it('makes no image in place of another, and leaves nothing of one that cannot be', async () => {
    using folder = temporaryFolder()
    const path = folder.path('image')
    await assert.rejects(createDisk(path, { format: 'qcow2', size: 1 << 20, clusterSize: 3 }), {
      code: 'TV_DISK_OPTION',
    })
    await createDisk(path, { format: 'raw', size: 4096 })
    await assert.rejects(createDisk(path, { format: 'raw', size: 512 }), { code: 'TV_DISK_IO' })
    assert.equal((await openDisk(path, { readOnly: true })).size, 4096)
  })

  it('says that there is no such image', async () => {
    using folder = temporaryFolder()
    await assert.rejects(openDisk(folder.path('none')), { code: 'TV_DISK_NOT_FOUND' })
  })

  it('refuses a second writer', { skip: process.platform !== 'linux' && 'locks need Linux' }, async () => {
    using folder = temporaryFolder()
    await create(folder.path('image'))
    const disk = await openDisk(folder.path('image'))
    await assert.rejects(openDisk(folder.path('image')), { code: 'TV_DISK_LOCKED' })
    await (await openDisk(folder.path('image'), { readOnly: true })).close()
    await disk.close()
    await (await openDisk(folder.path('image'))).close()
  })
})
