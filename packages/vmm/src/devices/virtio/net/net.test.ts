import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ipOf, parseMac } from '../../../net/addresses.ts'
import {
  ALL_OFFLOADS,
  connect,
  copyFrame,
  type Frame,
  frameOf,
  keepFrame,
  NO_OFFLOADS,
  type Port,
} from '../../../net/frame.ts'
import { ETHERTYPE_IPV4, PROTOCOL_TCP, writeIpHeader } from '../../../net/packet/ip.ts'
import { writeTcpHeader } from '../../../net/packet/tcp.ts'
import { FakeGuest } from '../testing/fake-guest.ts'
import { VirtioNet } from './net.ts'

const [CSUM, GUEST_CSUM, MAC, GUEST_TSO4, HOST_TSO4, MRG_RXBUF, STATUS] = [0, 1, 5, 7, 11, 15, 16]
const [NEEDS_CSUM, DATA_VALID, GSO_TCPV4] = [1, 2, 1]
const [RECEIVE, TRANSMIT] = [0, 1]
const NEEDS_RESET = 64

/** The other end of the link. */
class Far {
  offloads = ALL_OFFLOADS
  readonly frames: Frame[] = []
  full = false
  resumed = 0
  peer: Port | undefined
  onResume = () => {}

  attach(peer: Port): void {
    this.peer = peer
  }

  deliver(frame: Frame): boolean {
    if (!this.full) this.frames.push(keepFrame(frame))
    return !this.full
  }

  resume(): void {
    this.resumed++
    this.onResume()
  }
}

function setup(options: { packed?: boolean; features?: number[] } = {}) {
  const far = new Far()
  const make = () => new VirtioNet({ mac: parseMac('52:54:00:12:34:56')! })
  const device = make()
  connect(device.port, far)
  const guest = new FakeGuest(device, options).begin()
  const [receive, transmit] = guest.queues
  const port = device.port
  far.resumed = 0
  const send = async (...parts: Uint8Array[]) => {
    transmit.add(parts)
    guest.kick(TRANSMIT)
    await null // the processor gives way
  }
  const offer = (...lengths: number[]) => {
    for (const length of lengths) receive.add([], [length])
    guest.kick(RECEIVE)
  }
  return { device, far, guest, make, offer, port, receive, send, transmit }
}

function header(
  fields: Partial<Record<'flags' | 'gso' | 'headers' | 'size' | 'start' | 'offset', number>> = {},
) {
  const bytes = new Uint8Array(12)
  const view = new DataView(bytes.buffer)
  view.setUint8(0, fields.flags ?? 0)
  view.setUint8(1, fields.gso ?? 0)
  view.setUint16(2, fields.headers ?? 0, true)
  view.setUint16(4, fields.size ?? 0, true)
  view.setUint16(6, fields.start ?? 0, true)
  view.setUint16(8, fields.offset ?? 0, true)
  return bytes
}

const payload = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 3 + 1) & 0xff)

function bytesOf(frame: Frame): Uint8Array {
  const bytes = new Uint8Array(frame.length)
  copyFrame(frame, 0, frame.length, bytes)
  return bytes
}

/** A TCP segment that is to be cut up. */
function largeFrame(length: number): Frame {
  const bytes = new Uint8Array(54 + length)
  bytes[12] = ETHERTYPE_IPV4 >> 8
  bytes[13] = ETHERTYPE_IPV4 & 0xff
  const [source, destination] = [ipOf('10.0.2.2'), ipOf('10.0.2.15')]
  writeIpHeader(bytes, 14, { source, destination, protocol: PROTOCOL_TCP, length: 20 + length })
  writeTcpHeader(bytes, 34, {
    sourcePort: 80,
    destinationPort: 9,
    sequence: 1,
    acknowledgment: 1,
    flags: 16,
    window: 1,
  })
  bytes.set(payload(length), 54)
  const segmentation = { kind: 'tcp4', size: 1000, headerLength: 54 } as const
  return { ...frameOf(bytes), checksum: { start: 34, offset: 16 }, segmentation }
}

for (const packed of [false, true]) {
  describe(`virtio-net, ${packed ? 'packed' : 'split'}`, () => {
    it('sends what the guest queues, in order, and gives the buffers back', async () => {
      const { far, guest, send, transmit } = setup({ packed })
      await send(header(), payload(60))
      await send(Buffer.concat([header(), payload(20)]), payload(1000))
      assert.deepEqual(
        far.frames.map(bytesOf),
        [payload(60), Buffer.concat([payload(20), payload(1000)])].map((b) => new Uint8Array(b)),
      )
      assert.deepEqual(
        transmit.usedAll().map(({ written }) => written),
        [0, 0],
      )
      assert.equal(guest.interrupted, true)
    })
    it('sends when the processor gives way, without a notification for each packet', async () => {
      const { far, guest, transmit } = setup({ packed })
      transmit.add([header(), payload(60)])
      guest.kick(TRANSMIT)
      transmit.kickWanted()
      transmit.add([header(), payload(61)])
      assert.equal(transmit.kickWanted(), false)
      assert.equal(far.frames.length, 0)
      await null
      assert.equal(far.frames.length, 2)
      transmit.add([header(), payload(62)])
      assert.equal(transmit.kickWanted(), true)
    })
    it('receives into the buffer behind a header, and interrupts', () => {
      const { guest, offer, port, receive } = setup({ packed })
      offer(1526)
      assert.equal(port.deliver(frameOf(payload(100))), true)
      const { written, bytes } = receive.used()!
      assert.equal(written, 112)
      assert.deepEqual([...bytes.subarray(0, 12)], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
      assert.deepEqual(bytes.subarray(12), payload(100))
      assert.equal(guest.interrupted, true)
    })
    it('spreads a large frame over buffers, all full but the last', () => {
      const { offer, port, receive } = setup({ packed })
      offer(100, 500, 1000, 1000, 1000)
      const frame = largeFrame(2000)
      assert.equal(port.deliver(frame), true)
      const used = receive.usedAll()
      assert.deepEqual(
        used.map(({ written }) => written),
        [100, 500, 1000, 12 + 2054 - 1600],
      )
      const all = Buffer.concat(used.map(({ bytes }) => bytes))
      assert.deepEqual(new Uint8Array(all.subarray(12)), bytesOf(frame))
      assert.deepEqual([...all.subarray(0, 12)], [NEEDS_CSUM, GSO_TCPV4, 54, 0, 232, 3, 34, 0, 16, 0, 4, 0])
    })
    it('holds a frame back until there are buffers for all of it', () => {
      const { far, guest, offer, port, receive } = setup({ packed })
      offer(1000)
      assert.equal(port.deliver(largeFrame(2000)), false)
      far.onResume = () => void port.deliver(largeFrame(2000))
      offer(200)
      assert.equal(far.resumed, 1)
      assert.equal(receive.used(), undefined)
      assert.equal(receive.kickWanted(), true)
      offer(1000)
      assert.equal(far.resumed, 2)
      assert.deepEqual(
        receive.usedAll().map(({ written }) => written),
        [1000, 200, 866],
      )
      assert.deepEqual(guest.faults, [])
    })
    it('leaves frames in the ring while the other end has no room', async () => {
      const { far, port, send, transmit } = setup({ packed })
      far.full = true
      await send(header(), payload(60))
      await send(header(), payload(61))
      assert.equal(transmit.used(), undefined)
      far.full = false
      port.resume()
      assert.deepEqual(
        far.frames.map(({ length }) => length),
        [60, 61],
      )
      assert.equal(transmit.usedAll().length, 2)
      await send(header(), payload(62))
      assert.equal(far.frames.length, 3)
    })
    it('continues from a saved state with what is in the rings', async () => {
      const { far, guest, make, send } = setup({ packed })
      far.full = true
      await send(header(), payload(60))
      const state = JSON.parse(JSON.stringify(guest.transport.save()))
      const device = make()
      const newFar = new Far()
      connect(device.port, newFar)
      const other = new FakeGuest(device, { packed })
      other.ram.write(0, guest.ram.read(0, 8 << 20))
      other.transport.restore(state)
      assert.deepEqual(newFar.frames.map(bytesOf), [payload(60)])
      assert.equal(newFar.resumed, 1)
      assert.deepEqual(far.frames, [])
    })
  })
}

describe('virtio-net', () => {
  it('tells its address, MTU and link', () => {
    const { device, guest } = setup()
    const bytes = Array.from({ length: 6 }, (_, i) => guest.read(0x100 + i, 1))
    assert.deepEqual(bytes, [0x52, 0x54, 0, 0x12, 0x34, 0x56])
    assert.deepEqual([guest.read(0x106, 2), guest.read(0x10a, 2)], [1, 1500])
    device.linkUp = false
    assert.equal(guest.read(0x106, 2), 0)
    assert.equal(guest.read(0x60), 2)
  })
  it('loses frames while the link is down, and while there is no driver', async () => {
    const { device, far, guest, offer, port, receive, send, transmit } = setup()
    offer(1526)
    device.linkUp = false
    await send(header(), payload(60))
    assert.equal(transmit.usedAll().length, 1)
    assert.equal(port.deliver(frameOf(payload(60))), true)
    device.linkUp = true
    guest.write(0x70, 0)
    assert.equal(port.deliver(frameOf(payload(60))), true)
    assert.deepEqual(port.offloads, NO_OFFLOADS)
    assert.equal(receive.used(), undefined)
    assert.deepEqual(far.frames, [])
  })
  it('passes partial checksums and large segments on as they were negotiated', async () => {
    const { far, send } = setup()
    await send(header({ flags: NEEDS_CSUM, start: 34, offset: 16 }), payload(60))
    assert.deepEqual(far.frames[0].checksum, { start: 34, offset: 16 })
    await send(
      header({ flags: NEEDS_CSUM, gso: GSO_TCPV4, headers: 54, size: 1448, start: 34, offset: 16 }),
      payload(4000),
    )
    assert.deepEqual(far.frames[1].segmentation, { kind: 'tcp4', size: 1448, headerLength: 54 })
  })
  it('gives a driver without offloads whole frames, whatever the other end thinks', () => {
    const { offer, port, receive } = setup({ features: [MAC, MRG_RXBUF] })
    assert.deepEqual(port.offloads, NO_OFFLOADS)
    offer(1526, 1526, 1526)
    assert.equal(port.deliver(largeFrame(2000)), true)
    const used = receive.usedAll()
    assert.deepEqual(
      used.map(({ written, bytes }) => [written, bytes[0], bytes[1]]),
      [
        [1066, 0, 0],
        [1066, 0, 0],
      ],
    )
  })
  it('takes segmentation without checksums for neither', () => {
    const { port } = setup({ features: [GUEST_TSO4, MRG_RXBUF] })
    assert.deepEqual(port.offloads, NO_OFFLOADS)
  })
  it('says that checksums are right where they are', () => {
    const { offer, port, receive } = setup({ features: [GUEST_CSUM, MRG_RXBUF] })
    offer(1526)
    port.deliver({ ...frameOf(payload(60)), verified: true })
    assert.equal(receive.used()!.bytes[0], DATA_VALID)
  })
  it('drops what a driver that merges no buffers has none for', () => {
    const { offer, port, receive } = setup({ features: [GUEST_CSUM, GUEST_TSO4] })
    offer(1000)
    assert.equal(port.deliver(frameOf(payload(1200))), true)
    assert.equal(receive.used(), undefined)
    assert.equal(port.deliver(frameOf(payload(900))), true)
    assert.equal(receive.used()!.written, 912)
  })
  it('lets the other end go on after a reset', async () => {
    const { far, guest, port } = setup()
    assert.equal(port.deliver(frameOf(payload(60))), false)
    far.onResume = () => assert.equal(port.deliver(frameOf(payload(60))), true)
    guest.write(0x70, 0)
    assert.equal(far.resumed, 1)
    far.onResume = () => {}
    guest.begin()
    guest.queues[TRANSMIT].add([header(), payload(70)])
    guest.kick(TRANSMIT)
    await null
    assert.equal(far.frames.length, 1)
  })
  it('receives answers while it sends', async () => {
    const { far, offer, port, receive, send } = setup()
    offer(1526)
    far.deliver = (frame) => port.deliver(keepFrame(frame))
    await send(header(), payload(60))
    assert.deepEqual(receive.used()!.bytes.subarray(12), payload(60))
  })
})

describe('virtio-net against hostile drivers', () => {
  it('drops what is no frame, and goes on', async () => {
    const { far, send, transmit } = setup({ features: [CSUM, HOST_TSO4, MRG_RXBUF, STATUS] })
    for (const parts of [
      [payload(11)],
      [header()],
      [header(), payload(13)],
      [header(), new Uint8Array(65_550)],
    ]) {
      await send(...parts)
      assert.equal(transmit.usedAll().length, 1)
    }
    for (const fields of [
      { gso: GSO_TCPV4, size: 1000 },
      { flags: NEEDS_CSUM, gso: GSO_TCPV4, size: 0 },
      { flags: NEEDS_CSUM, gso: 4, size: 1000 },
      { flags: NEEDS_CSUM, gso: 3, size: 1000 },
      { flags: NEEDS_CSUM, gso: 0x81, size: 1000 },
      { flags: NEEDS_CSUM, start: 0xffff, offset: 0xffff },
      { flags: NEEDS_CSUM, start: 59 },
    ]) {
      await send(header(fields), payload(60))
      assert.equal(transmit.usedAll().length, 1)
    }
    assert.deepEqual(far.frames, [])
    await send(header(), payload(60))
    assert.equal(far.frames.length, 1)
  })
  it('does not heed a checksum that was not negotiated', async () => {
    const { far, send } = setup({ features: [MAC] })
    await send(header({ flags: NEEDS_CSUM, start: 34, offset: 16 }), payload(60))
    assert.equal(far.frames[0].checksum, undefined)
  })
  it('needs a reset when a receive buffer has no room for its header', () => {
    const { guest, offer, port } = setup()
    offer(11)
    assert.equal(port.deliver(frameOf(payload(60))), true)
    assert.ok(guest.status & NEEDS_RESET)
    assert.deepEqual(guest.faults, ['a receive buffer has no room for its header'])
    assert.equal(guest.begin().status, 15)
  })
  it('does not mind buffers that have no room behind the first', () => {
    const { offer, port, receive } = setup()
    offer(12)
    receive.add([payload(3)])
    offer(1526)
    assert.equal(port.deliver(frameOf(payload(60))), true)
    assert.deepEqual(
      receive.usedAll().map(({ written }) => written),
      [12, 0, 60],
    )
  })
  it('passes no frame that is longer than the MTU', () => {
    const { offer, port, receive } = setup()
    offer(9000)
    assert.equal(port.deliver(frameOf(new Uint8Array(1515))), true)
    assert.equal(receive.used(), undefined)
    assert.equal(port.deliver(frameOf(new Uint8Array(1514))), true)
    assert.equal(receive.used()!.written, 1526)
  })
})
