import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { gunzipSync } from 'node:zlib'
import type { DomainDisk, DomainNetwork } from '@typevisor/host'
import { createDisk, openDisk } from '@typevisor/host/disk'
import { ImageStore } from '@typevisor/host/images'
import { missing, runKernel, withDirectory } from './support.ts'

const MIB = 1 << 20
const image = await new ImageStore().find('tiny')
const initrd = image && join(image.directory, image.record.initrd)
const skip = !initrd
  ? 'the image tiny is not built (typevisor image build tiny)'
  : gunzipSync(readFileSync(initrd)).includes('virtio_net.ko')
    ? false
    : 'the image tiny was built without modules for disks and networks (typevisor image build tiny)'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const pattern = (length: number, seed: number) =>
  Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 9) + seed) & 0xff)

/** What the image's own shell answers to a script, by the words before the colons. The script may be echoed. */
async function runScript(
  script: string,
  devices: { disks?: readonly DomainDisk[]; network?: DomainNetwork },
): Promise<{ answers: Map<string, string>; output: string }> {
  const { record, directory } = image!
  const { serial, output, status } = await runKernel({
    kernel: join(directory, record.kernel),
    initrd: initrd!,
    commandLine: `${record.commandLine} quiet loglevel=0 ${record.streamCommandLine}`,
    memoryMib: 256,
    engine: 'jit',
    seconds: 200,
    input: `${script}\npoweroff -f\n`,
    ...devices,
  })
  assert.equal(status, 0, `${output}\n${serial}`)
  const lines = serial.split(/\r?\n/).map((line) => /^(?!echo )([a-z ]+): (.*)$/.exec(line))
  return { answers: new Map(lines.flatMap((match) => (match ? [[match[1], match[2]]] : []))), output }
}

async function fill(path: string, offset: number, bytes: Uint8Array): Promise<void> {
  const disk = await openDisk(path)
  await disk.write(offset, [bytes])
  await disk.close()
}

async function contents(path: string, offset: number, length: number): Promise<Uint8Array> {
  const disk = await openDisk(path, { readOnly: true })
  const bytes = new Uint8Array(length)
  await disk.read(offset, [bytes])
  await disk.close()
  return bytes
}

const ON_DISKS = `
echo disks: $(cd /sys/block; ls -d vd*)
echo serial: $(cat /sys/block/vda/serial)
for disk in vda vdb; do
  echo "read $disk: $(dd if=/dev/$disk bs=64k count=48 2>/dev/null | sha256sum | cut -c 1-64)"
  seq 1 300000 > /tmp/numbers
  dd if=/tmp/numbers of=/dev/$disk bs=64k seek=64 conv=fsync 2>/dev/null
  dd if=/dev/zero of=/dev/$disk bs=512 count=3 seek=5 conv=fsync 2>/dev/null
done
echo "wrote: $(sha256sum < /tmp/numbers | cut -c 1-64)"
echo "read only: $(cat /sys/block/vdc/ro) $(dd if=/dev/vdc bs=64k 2>/dev/null | sha256sum | cut -c 1-64)"
mke2fs /dev/vdd > /dev/null
mkdir /tmp/mnt
mount -t ext4 -o discard /dev/vdd /tmp/mnt && seq 1 100000 > /tmp/mnt/file && rm /tmp/mnt/file && echo kept > /tmp/mnt/kept
umount /tmp/mnt
mount -t ext4 /dev/vdd /tmp/mnt && echo "filesystem: $(cat /tmp/mnt/kept)"
fstrim /tmp/mnt && echo "trimmed: yes"
umount /tmp/mnt
blkdiscard -z -o 65536 -l 65536 /dev/vdd 2>/dev/null
`

describe("virtio-blk under Debian's kernel", () => {
  it('reads what the host wrote, and the host what the guest wrote, raw and qcow2', {
    skip,
    timeout: 300_000,
  }, async () => {
    await withDirectory(async (directory) => {
      const path = (name: string) => join(directory, name)
      const size = 16 * MIB
      await createDisk(path('a.raw'), { format: 'raw', size })
      for (const name of ['b.qcow2', 'd.qcow2']) await createDisk(path(name), { format: 'qcow2', size })
      const fromHost = pattern(3 * MIB, 7)
      await fill(path('a.raw'), 0, fromHost)
      await fill(path('b.qcow2'), 0, fromHost)
      writeFileSync(path('c.raw'), pattern(MIB, 9))
      const { answers, output } = await runScript(ON_DISKS, {
        disks: [
          { path: path('a.raw'), serial: 'first-disk', format: 'raw' },
          { path: path('b.qcow2') },
          { path: path('c.raw'), readOnly: true },
          { path: path('d.qcow2') },
        ],
      })
      assert.equal(output, '')
      assert.equal(answers.get('disks'), 'vda vdb vdc vdd')
      assert.equal(answers.get('serial'), 'first-disk')
      assert.equal(answers.get('read vda'), sha256(fromHost))
      assert.equal(answers.get('read vdb'), sha256(fromHost))
      assert.equal(answers.get('read only'), `1 ${sha256(pattern(MIB, 9))}`)
      assert.equal(answers.get('filesystem'), 'kept')
      assert.equal(answers.get('trimmed'), 'yes')
      const numbers = Buffer.from(Array.from({ length: 300_000 }, (_, i) => `${i + 1}\n`).join(''))
      assert.equal(answers.get('wrote'), sha256(numbers))
      fromHost.fill(0, 5 * 512, 8 * 512)
      for (const name of ['a.raw', 'b.qcow2']) {
        assert.deepEqual(await contents(path(name), 4 * MIB, numbers.length), new Uint8Array(numbers))
        assert.deepEqual(await contents(path(name), 0, fromHost.length), fromHost)
      }
      if (missing('qemu-img')) return
      for (const name of ['b.qcow2', 'd.qcow2'])
        execFileSync('qemu-img', ['check', '-f', 'qcow2', path(name)], { stdio: 'pipe' })
      execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'qcow2', path('a.raw'), path('b.qcow2')])
    })
  })
})

const ON_NETWORK = (port: number) => `
echo address: $(ip -4 address show eth0 | grep -o 'inet [0-9./]*')
echo route: $(ip route | grep default)
echo resolver: $(cat /etc/resolv.conf)
echo answer: $(echo question | nc 10.0.2.2 ${port})
echo get | nc 10.0.2.2 ${port} > /tmp/big
echo "received: $(sha256sum < /tmp/big | cut -c 1-64)"
( echo put; cat /tmp/big ) | nc 10.0.2.2 ${port} > /tmp/sum
echo "sent: $(cat /tmp/sum)"
seq 1 100000 > /root/page
httpd -p 80 -h /root
echo fetched: $(echo fetch | nc 10.0.2.2 ${port})
`

/** A server of lines: it answers, sends much, takes much, or fetches a page from the guest. */
async function serve(big: Uint8Array, fetchPage: () => Promise<string>) {
  const answer = async (socket: Socket): Promise<unknown> => {
    const pieces: Buffer[] = []
    for await (const piece of socket) {
      pieces.push(piece as Buffer)
      const all = Buffer.concat(pieces)
      const word = all.subarray(0, all.indexOf(10)).toString()
      if (word === 'question') return socket.end('forty-two\n')
      if (word === 'get') return socket.end(big)
      if (word === 'fetch') return socket.end(`${await fetchPage()}\n`)
      if (all.length === big.length + 4) return socket.end(`${sha256(all.subarray(4))}\n`)
    }
    return undefined
  }
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    answer(socket).catch((error) => socket.end(`${error}\n`))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as { port: number }).port, close: () => server.close() }
}

describe("virtio-net under Debian's kernel", () => {
  it('gets an address by DHCP, talks to the host through the NAT, and is talked to', {
    skip,
    timeout: 300_000,
  }, async () => {
    const big = pattern(3 * MIB, 3)
    const published = await freePort()
    const page = async () => {
      const response = await fetch(`http://127.0.0.1:${published}/page`)
      return `${response.status} ${(await response.text()).length}`
    }
    const { port, close } = await serve(big, page)
    try {
      const { answers, output } = await runScript(ON_NETWORK(port), {
        network: {
          policy: { default: 'deny', allow: [`host-loopback:${port}`], deny: [] },
          publish: [{ protocol: 'tcp', hostPort: published, guestPort: 80 }],
        },
      })
      assert.deepEqual(
        [...answers.entries(), output],
        [
          ['address', 'inet 10.0.2.15/24'],
          ['route', 'default via 10.0.2.2 dev eth0'],
          ['resolver', 'nameserver 10.0.2.3'],
          ['answer', 'forty-two'],
          ['received', sha256(big)],
          ['sent', sha256(big)],
          ['fetched', '200 588895'],
          '',
        ],
      )
    } finally {
      close()
    }
  })
})

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
