import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { type Attachable, connect, contiguous, frameOf, UNPLUGGED, VirtualSwitch } from '@typevisor/vmm/net'
import { createCapture } from './capture.ts'
import { connectSwitch, serveSwitch } from './switch-socket.ts'

const folder = mkdtempSync(join(tmpdir(), 'typevisor-'))
after(() => rmSync(folder, { recursive: true }))
const clock = { now: () => performance.now() * 1e6, at: () => ({ deadline: 0 }), cancel: () => {} }

/** A machine that says which frame came. */
function listener(): Attachable & { next: Promise<Uint8Array> } {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>()
  return {
    ...UNPLUGGED,
    attach: () => {},
    next: promise,
    deliver: (frame) => {
      resolve(contiguous(frame, 0, frame.length).slice())
      return true
    },
  }
}

describe('a switch that is open to other processes', () => {
  it('joins those who connect to its socket', async () => {
    const network = new VirtualSwitch({ clock })
    const server = await serveSwitch(network, join(folder, 'switch'), { segment: 'lab' })
    const here = listener()
    connect(network.port({ segment: 'lab' }), here)
    const there = listener()
    const { promise: unplugged, resolve } = Promise.withResolvers<void>()
    const port = await connectSwitch(server.path, resolve)
    connect(port, there)
    const frame = new Uint8Array(60).fill(0xff, 0, 6)
    frame.set([2, 0, 0, 0, 0, 1], 6)
    port.deliver(frameOf(frame))
    assert.deepEqual(await here.next, frame)
    const other = await connectSwitch(server.path)
    frame.set([2, 0, 0, 0, 0, 2], 6)
    other.deliver(frameOf(frame))
    assert.deepEqual(await there.next, frame)
    server.close()
    await unplugged
    network.close()
  })
  it('says when there is none', async () => {
    await assert.rejects(connectSwitch(join(folder, 'nothing')), { code: 'TV_NETWORK_ADDRESS' })
    writeFileSync(join(folder, 'file'), '')
    await assert.rejects(serveSwitch(new VirtualSwitch({ clock }), join(folder, 'file'), {}), {
      code: 'TV_NETWORK_ADDRESS',
    })
  })
})

describe('a capture into a file', () => {
  it('is whole when it is closed', () => {
    const { capture, close } = createCapture(join(folder, 'net.pcap'))
    for (let index = 0; index < 1000; index++) capture.record(frameOf(new Uint8Array(1000)))
    close()
    capture.record(frameOf(new Uint8Array(1000)))
    assert.equal(readFileSync(join(folder, 'net.pcap')).length, 24 + 1000 * 1016)
  })
  it('says when it cannot be written', () => {
    assert.throws(() => createCapture(join(folder, 'no', 'such', 'folder')), { code: 'TV_NETWORK_CAPTURE' })
  })
})
