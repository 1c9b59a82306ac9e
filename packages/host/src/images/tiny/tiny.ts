import { constants } from 'node:fs'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { type CpioEntry, writeCpio } from '../../cpio/cpio.ts'
import { type DebianArchitecture, type DebianPackage, PrivateApt } from '../apt.ts'
import { ImageError } from '../errors.ts'
import type { ImageRecord } from '../store.ts'
import { appletNames } from './applets.ts'

/** Which of Debian's kernels, and the architecture of all packages. */
export interface TinyVariant {
  architecture: DebianArchitecture
  /** The package that depends on the current kernel's. */
  metaPackage: string
}

export const TINY: TinyVariant = { architecture: 'amd64', metaPackage: 'linux-image-cloud-amd64' }
/** Debian has no cloud kernel for 32 bits; this is the one without PAE. */
export const TINY32: TinyVariant = { architecture: 'i386', metaPackage: 'linux-image-686' }

const BUSYBOX_PACKAGE = 'busybox-static'
/** What the power button needs; everything else that a shell needs is built into Debian's kernels. */
const MODULES = ['kernel/drivers/acpi/button.ko', 'kernel/drivers/input/evdev.ko'] as const
/** What a machine with virtio devices needs: its /init loads them when it sees such a machine. Some kernels have a few built in. */
const VIRTIO_MODULES = [
  'kernel/drivers/virtio/virtio_ring.ko',
  'kernel/drivers/virtio/virtio.ko',
  'kernel/drivers/virtio/virtio_pci_legacy_dev.ko',
  'kernel/drivers/virtio/virtio_pci_modern_dev.ko',
  'kernel/drivers/virtio/virtio_pci.ko',
  'kernel/drivers/char/hw_random/rng-core.ko',
  'kernel/drivers/char/hw_random/virtio-rng.ko',
  'kernel/drivers/char/virtio_console.ko',
  'kernel/drivers/virtio/virtio_balloon.ko',
  'kernel/drivers/block/virtio_blk.ko',
  'kernel/net/core/failover.ko',
  'kernel/drivers/net/net_failover.ko',
  'kernel/drivers/net/virtio_net.ko',
] as const

export interface BuildContext {
  name: string
  /** Where the image's files go. */
  target: string
  /** For what is needed on the way; removed by the caller. */
  scratch: string
  progress: (line: string) => void
  signal?: AbortSignal
}

/** Debian's current kernel, and busybox in an initramfs. */
export async function buildTiny(
  { architecture, metaPackage }: TinyVariant,
  context: BuildContext,
): Promise<void> {
  const { scratch, target, progress, signal } = context
  const apt = new PrivateApt(scratch, { architecture, ...(signal ? { signal } : {}) })
  progress("Fetching Debian's package lists")
  const missing = await apt.update()
  if (missing !== undefined) progress(`Going on without the lists that apt did not get: ${missing}`)
  const busybox = await apt.show(BUSYBOX_PACKAGE)
  const kernel = await apt.show(kernelPackage(await apt.show(metaPackage)))
  const root = join(scratch, 'root')
  for (const each of [kernel, busybox]) {
    progress(`Downloading ${each.name} ${each.version} (${(each.bytes / 1e6).toFixed(1)} MB)`)
    await apt.unpack(each, root)
  }
  progress('Writing the kernel and the initramfs')
  const kernelVersion = kernel.name.replace(/^linux-image-/, '')
  const kernelFile = join(root, 'boot', `vmlinuz-${kernelVersion}`)
  await copyFile(kernelFile, join(target, 'vmlinuz'), constants.COPYFILE_FICLONE)
  const archive = writeCpio(await initramfs(root, kernelVersion))
  const initrd = await promisify(gzip)(archive)
  await writeFile(join(target, 'initramfs.gz'), initrd)
  const record: ImageRecord = {
    version: 1,
    name: context.name,
    built: new Date().toISOString(),
    kernelVersion,
    packages: { [kernel.name]: kernel.version, [busybox.name]: busybox.version },
    kernel: 'vmlinuz',
    initrd: 'initramfs.gz',
    commandLine: 'console=ttyS0 panic=-1',
    streamCommandLine: 'typevisor.input=stream',
    kernelBytes: (await readFile(kernelFile)).length,
    initrdBytes: initrd.length,
  }
  await writeFile(join(target, 'image.json'), `${JSON.stringify(record, undefined, 2)}\n`)
}

/** The package that the meta package stands for today. */
function kernelPackage(meta: DebianPackage): string {
  const name = meta.depends.find((each) => each.startsWith('linux-image-'))
  if (name) return name
  throw new ImageError('TV_IMAGE_PACKAGE', `Debian's ${meta.name} names no kernel package.`)
}

async function initramfs(root: string, kernelVersion: string): Promise<CpioEntry[]> {
  const directory = (path: string, mode = 0o755): CpioEntry => ({ kind: 'directory', path, mode })
  const own = (file: string) => readFile(new URL(file, import.meta.url))
  return [
    ...[
      'bin',
      'dev',
      'etc',
      'etc/acpi',
      'etc/acpi/PWRF',
      'lib',
      'lib/modules',
      'lib/modules/virtio',
      'etc/udhcpc',
      'proc',
      'run',
      'sys',
      'tmp',
    ].map((path) => directory(path)),
    directory('root', 0o700),
    // The kernel opens it for /init before /init can mount devtmpfs.
    { kind: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
    { kind: 'file', path: 'init', mode: 0o755, data: await own('init') },
    { kind: 'file', path: 'etc/acpi/PWRF/00000080', mode: 0o755, data: await own('power-button') },
    { kind: 'file', path: 'etc/udhcpc/default.script', mode: 0o755, data: await own('lease') },
    ...(await modules(root, kernelVersion, MODULES, 'lib/modules')),
    ...(await modules(root, kernelVersion, VIRTIO_MODULES, 'lib/modules/virtio')),
    ...(await busybox(root)),
  ]
}

/** Modules in the order in which they are to be loaded; Debian 13 compresses them. */
async function modules(
  root: string,
  kernelVersion: string,
  names: readonly string[],
  target: string,
): Promise<CpioEntry[]> {
  const entries: CpioEntry[] = []
  for (const [index, module] of names.entries()) {
    for (const suffix of ['', '.xz']) {
      // Packages of merged-/usr systems have them in usr/lib.
      for (const lib of ['lib', 'usr/lib']) {
        const path = join(root, lib, 'modules', kernelVersion, module + suffix)
        const data = await readFile(path).catch(() => undefined)
        const name = `${String(index).padStart(2, '0')}-${module.replace(/.*\//, '')}`
        if (data) entries.push({ kind: 'file', path: `${target}/${name}${suffix}`, mode: 0o644, data })
      }
    }
  }
  return entries
}

/** busybox and a link to it for each of its applets. */
async function busybox(root: string): Promise<CpioEntry[]> {
  for (const directory of ['bin', 'usr/bin']) {
    const data = await readFile(join(root, directory, 'busybox')).catch(() => undefined)
    const applets = data ? appletNames(data).filter((name) => name !== 'busybox') : []
    if (!data || !applets.includes('sh')) continue
    return [
      { kind: 'file', path: 'bin/busybox', mode: 0o755, data },
      ...applets.map((name): CpioEntry => ({ kind: 'symlink', path: `bin/${name}`, target: 'busybox' })),
    ]
  }
  throw new ImageError('TV_IMAGE_PACKAGE', `Debian's ${BUSYBOX_PACKAGE} contains no busybox with a shell.`)
}
