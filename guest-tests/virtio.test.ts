import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { writeCpio } from '@typevisor/host'
import { ImageStore } from '@typevisor/host/images'
import { type PciPart, virtioPci } from '@typevisor/vmm'
import { VirtioBalloon, VirtioConsole, VirtioRng } from '@typevisor/vmm/virtio'
import { runKernel, withDirectory } from './support.ts'

const image = await new ImageStore().find('tiny')
const original = image ? readFileSync(join(image.directory, image.record.initrd)) : undefined
const skip = !original
  ? 'the image tiny is not built (typevisor image build tiny)'
  : gunzipSync(original).includes('lib/modules/virtio/')
    ? false
    : "the image tiny was built without virtio's modules (typevisor image build tiny)"

const INIT = `#!/bin/busybox sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in /lib/modules/virtio/*.ko*; do insmod $module; done
echo devices: $(ls /sys/bus/pci/devices | wc -l) $(ls /sys/bus/virtio/drivers/*/ | grep -c ^virtio)
echo rng: $(cat /sys/class/misc/hw_random/rng_current)
echo hwrng: $(dd if=/dev/hwrng bs=32 count=1 2>/dev/null | wc -c)
echo port: $(cat /sys/class/virtio-ports/*/name)
echo to the console > /dev/hvc0
exec 3<>/dev/vport1p1
echo question >&3
read answer <&3
echo answer: $answer
sleep 1 # for the balloon
echo interrupts: $(grep -c MSI /proc/interrupts) $(grep -c -E 'IO-APIC.*virtio' /proc/interrupts)
poweroff -f
`

/** The devices, and what the host's side of them saw. */
function devices(packed: boolean) {
  const seen = { console: '', port: '', balloon: 0, faults: [] as string[] }
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')
  const options = { packed, onFault: (reason: string) => void seen.faults.push(reason) }
  const terminal = new VirtioConsole({
    ports: [
      {
        isConsole: true,
        output: (bytes) => {
          seen.console += text(bytes)
          return bytes.length
        },
      },
      {
        name: 'org.example.agent',
        output: (bytes) => {
          seen.port += text(bytes)
          if (seen.port === 'question\n') terminal.ports[1].send(Buffer.from('forty-two\n'))
          return bytes.length
        },
      },
    ],
  })
  const port = terminal.ports[1]
  const balloon = new VirtioBalloon({ release: () => {}, onActual: (bytes) => (seen.balloon = bytes) })
  const parts: PciPart[] = [
    virtioPci((surroundings) => new VirtioRng(surroundings), options),
    virtioPci(() => terminal, options),
    virtioPci(() => balloon, options),
  ]
  port.hostOpen = true
  balloon.target = 16 << 20
  return { parts, seen }
}

describe("virtio devices under Debian's kernel", () => {
  for (const [interrupts, option] of [
    ['MSI-X', ''],
    ['INTx', ' pci=nomsi'],
  ]) {
    const packed = option === ''
    it(`work by ${interrupts}, with ${packed ? 'packed' : 'split'} rings`, {
      skip,
      timeout: 300_000,
    }, async () => {
      await withDirectory(async (directory) => {
        const initrd = join(directory, 'initrd')
        const archive = writeCpio([{ path: 'init', kind: 'file', mode: 0o755, data: Buffer.from(INIT) }])
        writeFileSync(initrd, Buffer.concat([original!, gzipSync(archive)]))
        const { parts, seen } = devices(packed)
        const { serial, output, status } = await runKernel({
          kernel: join(image!.directory, image!.record.kernel),
          initrd,
          commandLine: `console=ttyS0 quiet loglevel=0 panic=-1${option}`,
          memoryMib: 256,
          engine: 'jit',
          seconds: 200,
          pci: parts,
        })
        for (const line of [
          'devices: 4 3',
          'rng: virtio_rng.0',
          'hwrng: 32',
          'port: org.example.agent',
          'answer: forty-two',
          packed ? /interrupts: \d+ 0/ : 'interrupts: 0 3',
        ])
          assert.match(serial, typeof line === 'string' ? new RegExp(`^${line}\\r?$`, 'm') : line, output)
        assert.match(seen.console, /^to the console/)
        assert.equal(seen.balloon, 16 << 20)
        assert.deepEqual(seen.faults, [])
        assert.equal(status, 0)
      })
    })
  }
})
