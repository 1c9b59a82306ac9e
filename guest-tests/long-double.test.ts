import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { writeCpio } from '@typevisor/host'
import { type Image, ImageStore } from '@typevisor/host/images'
import { missing, runKernel, tool, withDirectory } from './support.ts'

/** The image `tiny`, where it was built already. */
async function tiny(): Promise<Image | undefined> {
  return await new ImageStore().find('tiny')
}
const image = await tiny()
const skip = missing('gcc') || (image ? false : 'the image tiny is not built (typevisor image build tiny)')

const INIT = `#!/bin/sh
mount -t devtmpfs dev /dev
/long-double > /dev/ttyS0
poweroff -f
`

it('prints the same digits of long doubles in a guest as on the host', {
  skip,
  timeout: 300_000,
}, async () => {
  await withDirectory(async (directory) => {
    const program = join(directory, 'long-double')
    tool('gcc', ['-O1', '-static', 'long-double.c', '-o', program, '-lm'])
    const wanted = tool(program, [])
    assert.ok(wanted.split('\n').length > 100)
    const archive = writeCpio([
      { path: 'long-double', kind: 'file', mode: 0o755, data: readFileSync(program) },
      { path: 'init', kind: 'file', mode: 0o755, data: Buffer.from(INIT) },
    ])
    const initrd = join(directory, 'initrd')
    const original = readFileSync(join(image!.directory, image!.record.initrd))
    // The next archive begins at a multiple of four, behind at least one zero.
    const padding = Buffer.alloc(4 - (original.length % 4))
    writeFileSync(initrd, Buffer.concat([original, padding, archive]))
    const { serial, output } = await runKernel({
      kernel: join(image!.directory, image!.record.kernel),
      initrd,
      commandLine: 'console=ttyS0 quiet loglevel=0 panic=-1',
      memoryMib: 256,
      seconds: 200,
    })
    const lines = serial.replaceAll('\r', '').split('\n')
    const start = lines.findIndex((line) => line.startsWith('1/3 '))
    const got = lines.slice(start, start + wanted.trimEnd().split('\n').length).join('\n')
    assert.equal(got, wanted.trimEnd(), output)
  })
})
