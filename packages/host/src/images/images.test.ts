import assert from 'node:assert/strict'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { parsePackage } from './apt.ts'
import { buildImage, requireImage } from './build.ts'
import { ImageStore, imagesDirectory, parseRecord } from './store.ts'

const RECORD = {
  version: 1,
  name: 'tiny',
  built: '2024-01-01T00:00:00.000Z',
  kernelVersion: '6.1.0-1-cloud-amd64',
  packages: {},
  kernel: 'vmlinuz',
  initrd: 'initramfs.gz',
  commandLine: 'console=ttyS0',
  streamCommandLine: '',
  kernelBytes: 1,
  initrdBytes: 2,
}

let directory: string
let store: ImageStore
const path = process.env.PATH

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'typevisor-images-'))
  store = new ImageStore(join(directory, 'images'))
})
afterEach(async () => {
  process.env.PATH = path
  await rm(directory, { recursive: true })
})

const write = (target: string, text = JSON.stringify(RECORD)) => writeFile(join(target, 'image.json'), text)

/** Puts commands of ours in the place of apt's. */
async function install(commands: Record<string, string>) {
  const bin = join(directory, 'bin')
  await mkdir(bin)
  for (const [name, script] of Object.entries(commands)) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`)
    await chmod(join(bin, name), 0o755)
  }
  process.env.PATH = `${bin}:/usr/bin:/bin`
}

describe('image store', () => {
  it("lies in the user's cache directory, absolute as the specification demands", () => {
    assert.equal(imagesDirectory({ XDG_CACHE_HOME: '/c' }), '/c/typevisor/images')
    assert.match(imagesDirectory({ XDG_CACHE_HOME: 'relative' }), /\/\.cache\/typevisor\/images$/)
  })
  it('lists nothing before there is a directory', async () => {
    assert.deepEqual(await store.list(), [])
  })
  it('shows an image when it is complete, not before', async () => {
    const image = await store.create('tiny', async (target) => {
      await write(target)
      assert.deepEqual(await store.list(), [])
    })
    assert.equal(image.record.kernelVersion, RECORD.kernelVersion)
    assert.deepEqual(await store.list(), [image])
    assert.deepEqual(await readdir(store.directory), ['tiny'])
  })
  it('keeps the old image and nothing else when a new build fails', async () => {
    await store.create('tiny', (target) => write(target))
    const failing = store.create('tiny', async (target) => {
      await writeFile(join(target, 'vmlinuz'), 'half')
      throw new Error('no more')
    })
    await assert.rejects(failing, /no more/)
    assert.deepEqual(await readdir(store.directory), ['tiny'])
    assert.equal((await store.list()).length, 1)
  })
  it('replaces an image, and sweeps up after builds that were killed', async () => {
    await mkdir(join(store.directory, '.tiny.999999999.partial'), { recursive: true })
    await store.create('tiny', (target) => write(target))
    await store.create('tiny', (target) => write(target, JSON.stringify({ ...RECORD, kernelVersion: 'new' })))
    assert.equal((await store.find('tiny'))?.record.kernelVersion, 'new')
    assert.deepEqual(await readdir(store.directory), ['tiny'])
  })
  it('removes an image, and refuses what is none', async () => {
    await store.create('tiny', (target) => write(target))
    await store.remove('tiny')
    assert.deepEqual(await store.list(), [])
    for (const name of ['tiny', '..', '../images', '', '.']) {
      await assert.rejects(store.remove(name), { code: 'TV_IMAGE_NOT_BUILT' })
    }
  })
  it('names a full device and a cache that cannot be written', async () => {
    const full = Object.assign(new Error('full'), { code: 'ENOSPC', syscall: 'write' })
    await assert.rejects(
      store.create('tiny', () => Promise.reject(full)),
      { code: 'TV_IMAGE_NO_SPACE' },
    )
    await writeFile(join(directory, 'file'), '')
    const inFile = new ImageStore(join(directory, 'file', 'images'))
    await assert.rejects(
      inFile.create('tiny', async () => {}),
      { code: 'TV_IMAGE_CACHE' },
    )
  })
  it('says that a record is damaged, and lists the image no more', async () => {
    for (const text of [
      '',
      '{',
      'null',
      '[]',
      '{"version":2}',
      JSON.stringify({ ...RECORD, kernel: '../x' }),
    ]) {
      assert.equal(parseRecord(text), undefined, text)
    }
    await mkdir(join(store.directory, 'tiny'), { recursive: true })
    await write(join(store.directory, 'tiny'), '{')
    await assert.rejects(store.find('tiny'), { code: 'TV_IMAGE_CORRUPT' })
    assert.deepEqual(await store.list(), [])
  })
})

describe('image build', () => {
  const build = (signal?: AbortSignal) => buildImage('tiny', { store, ...(signal ? { signal } : {}) })
  const nothingLeft = async () => assert.deepEqual(await readdir(store.directory), [])

  it('knows its images by name', async () => {
    await assert.rejects(buildImage('huge', { store }), {
      code: 'TV_IMAGE_UNKNOWN',
      message: /known images: tiny/,
    })
    await assert.rejects(requireImage('constructor', store), { code: 'TV_IMAGE_UNKNOWN' })
    await assert.rejects(requireImage('tiny', store), { code: 'TV_IMAGE_NOT_BUILT' })
  })
  it('says when there is no apt', async () => {
    process.env.PATH = join(directory, 'nothing')
    await assert.rejects(build(), { code: 'TV_IMAGE_NO_APT' })
    await nothingLeft()
  })
  it('says when the archive cannot be reached', async () => {
    await install({
      'apt-get': `echo "W: Failed to fetch http://deb.invalid/InRelease  Could not resolve 'deb.invalid'" >&2`,
      'apt-cache': 'exit 100',
    })
    await assert.rejects(build(), { code: 'TV_IMAGE_NETWORK', message: /Could not resolve 'deb.invalid'/ })
    await nothingLeft()
  })
  it('says when the sources are not those of Debian', async () => {
    await install({ 'apt-get': '', 'apt-cache': 'exit 100' })
    await assert.rejects(build(), { code: 'TV_IMAGE_PACKAGE', message: /Debian's sources/ })
    await nothingLeft()
  })
  it('goes on without the lists of an archive that is out of step', async () => {
    await install({
      'apt-get':
        'echo "E: Failed to fetch http://deb.invalid/Packages.xz  File has unexpected size" >&2; exit 100',
      'apt-cache': 'echo "Package: busybox-static"; echo "Version: 1"',
    })
    const progress: string[] = []
    const building = buildImage('tiny', { store, progress: (line) => progress.push(line) })
    await assert.rejects(building, { message: /busybox-static names no kernel package/ })
    assert.match(progress[1], /without the lists .* Failed to fetch .*unexpected size/)
    await nothingLeft()
  })
  it('asks for packages of the architecture of the image', async () => {
    await install({ 'apt-get': '', 'apt-cache': 'echo "$@" > "$0.log"; exit 100' })
    for (const [name, architecture] of [
      ['tiny', 'amd64'],
      ['tiny32', 'i386'],
    ]) {
      await assert.rejects(buildImage(name, { store }), { message: new RegExp(`for ${architecture}`) })
      const asked = await readFile(join(directory, 'bin', 'apt-cache.log'), 'utf8')
      assert.match(
        asked,
        new RegExp(`APT::Architecture=${architecture} .*APT::Architectures=${architecture} `),
      )
    }
  })
  it('says when the device is full', async () => {
    await install({ 'apt-get': 'echo "E: write failed: No space left on device" >&2; exit 100' })
    await assert.rejects(build(), { code: 'TV_IMAGE_NO_SPACE' })
    await nothingLeft()
  })
  it('leaves nothing when it is interrupted', async () => {
    await install({ 'apt-get': 'exec sleep 60' })
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 100)
    await assert.rejects(build(controller.signal), { code: 'TV_IMAGE_INTERRUPTED' })
    await nothingLeft()
  })
})

describe('package records', () => {
  it('give name, version, size, and of each dependency the first alternative', () => {
    const text =
      'Package: meta\nVersion: 6.1-2\nDepends: linux-image-6.1-cloud-amd64 (= 6.1-2), a | b, c:any\nSize: 42\n\nPackage: other\n'
    assert.deepEqual(parsePackage(text), {
      name: 'meta',
      version: '6.1-2',
      depends: ['linux-image-6.1-cloud-amd64', 'a', 'c'],
      bytes: 42,
    })
  })
})
