import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { gzipSync } from 'node:zlib'
import { writeCpio } from '@typevisor/host'
import { ImageStore } from '@typevisor/host/images'
import { runKernel, withDirectory } from './support.ts'

/** The image `tiny32`, where it was built already. */
const image = await new ImageStore().find('tiny32')
const skip = image ? false : 'the image tiny32 is not built (typevisor image build tiny32)'

const INIT = `#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
busybox uname -m > /dev/ttyS0
busybox poweroff -f
`

it('boots a 32-bit Linux kernel from its bzImage to user space and off again', {
  skip,
  timeout: 300_000,
}, async () => {
  await withDirectory(async (directory) => {
    const initrd = join(directory, 'initrd')
    const original = readFileSync(join(image!.directory, image!.record.initrd))
    const archive = writeCpio([{ path: 'init', kind: 'file', mode: 0o755, data: Buffer.from(INIT) }])
    writeFileSync(initrd, Buffer.concat([original, gzipSync(archive)]))
    const { serial, output, status } = await runKernel({
      kernel: join(image!.directory, image!.record.kernel),
      initrd,
      // Its self-tests of ciphers take an interpreter longer than all else of the boot.
      commandLine: 'console=ttyS0 quiet loglevel=0 panic=-1 cryptomgr.notests=1',
      memoryMib: 256,
      seconds: 200,
    })
    assert.match(serial, /^i686\r?$/m, output)
    assert.equal(status, 0)
  })
})
