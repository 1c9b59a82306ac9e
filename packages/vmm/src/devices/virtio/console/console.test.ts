import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { FakeGuest } from '../testing/fake-guest.ts'
import { VirtioConsole } from './console.ts'

const [READY, ADD, PORT_READY, CONSOLE, RESIZE, OPEN, NAME] = [0, 1, 3, 4, 5, 6, 7]
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1')
const utf8 = (string: string) => new Uint8Array(Buffer.from(string))

function control(port: number, event: number, value: number): Uint8Array {
  const message = Buffer.alloc(8)
  message.writeUInt32LE(port, 0)
  message.writeUInt16LE(event, 4)
  message.writeUInt16LE(value, 6)
  return new Uint8Array(message)
}

function setup({ packed = false, features = undefined as number[] | undefined } = {}) {
  const log = { out: ['', ''], room: Infinity, opens: [] as boolean[], rooms: 0, emergency: '' }
  const take = (port: number) => (bytes: Uint8Array) => {
    const count = Math.min(bytes.length, log.room)
    log.out[port] += text(bytes.subarray(0, count))
    log.room -= count
    return count
  }
  const make = () =>
    new VirtioConsole({
      ports: [
        { isConsole: true, output: take(0) },
        {
          name: 'org.example.agent',
          output: take(1),
          onGuestOpen: (open) => log.opens.push(open),
          onRoom: () => log.rooms++,
        },
      ],
      columns: 100,
      rows: 40,
      emergency: (byte) => (log.emergency += String.fromCharCode(byte)),
    })
  const device = make()
  const guest = new FakeGuest(device, { packed, ...(features ? { features } : {}) }).begin()
  const [receive, transmit, controlIn, controlOut, receive1, transmit1] = guest.queues
  const say = (port: number, event: number, value: number) => {
    controlOut.add([control(port, event, value)])
    guest.kick(3)
  }
  const heard = () =>
    controlIn.usedAll().map(({ bytes }) => {
      const view = new DataView(bytes.buffer)
      return [
        view.getUint32(0, true),
        view.getUint16(4, true),
        view.getUint16(6, true),
        text(bytes.subarray(8)),
      ]
    })
  const listen = (count = 12) => {
    for (let i = 0; i < count; i++) controlIn.add([], [64])
    guest.kick(2)
  }
  return { device, guest, heard, listen, log, make, receive, transmit, receive1, transmit1, say }
}

/** All that a driver does before a port can be used. */
function opened(options = {}) {
  const all = setup(options)
  all.listen()
  all.say(0xffff_ffff, READY, 1)
  for (const port of [0, 1]) all.say(port, PORT_READY, 1)
  for (const port of [0, 1]) all.say(port, OPEN, 1)
  all.heard()
  return all
}

for (const packed of [false, true]) {
  describe(`virtio-console, ${packed ? 'packed' : 'split'}`, () => {
    it('says its size and the number of ports', () => {
      const { guest } = setup({ packed })
      assert.deepEqual([guest.read(0x100, 2), guest.read(0x102, 2), guest.read(0x104)], [100, 40, 2])
    })
    it('introduces its ports: a console, and a port by its name', () => {
      const { device, heard, listen, say } = setup({ packed })
      say(0xffff_ffff, READY, 1)
      assert.deepEqual(heard(), [])
      listen()
      assert.deepEqual(heard(), [
        [0, ADD, 1, ''],
        [1, ADD, 1, ''],
      ])
      say(0, PORT_READY, 1)
      assert.deepEqual(heard(), [
        [0, CONSOLE, 1, ''],
        [0, RESIZE, 1, '\x64\0\x28\0'],
        [0, OPEN, 1, ''],
      ])
      say(1, PORT_READY, 1)
      assert.deepEqual(heard(), [[1, NAME, 1, 'org.example.agent']])
      device.ports[1].hostOpen = true
      assert.deepEqual(heard(), [[1, OPEN, 1, '']])
    })
    it('carries bytes both ways on both ports', () => {
      const { device, guest, log, receive, receive1, transmit, transmit1 } = opened({ packed })
      transmit.add([utf8('to the '), utf8('screen')])
      guest.kick(1)
      transmit1.add([utf8('to the host')])
      guest.kick(5)
      assert.deepEqual(log.out, ['to the screen', 'to the host'])
      receive.add([], [3])
      receive.add([], [30])
      assert.equal(device.ports[0].send(utf8('keys')), 4)
      assert.deepEqual(
        receive.usedAll().map(({ bytes }) => text(bytes)),
        ['key', 's'],
      )
      receive1.add([], [30])
      assert.equal(device.ports[1].send(utf8('question')), 8)
      assert.equal(text(receive1.used()!.bytes), 'question')
    })
    it('keeps in the guest what the sink does not take, until it is resumed', () => {
      const { device, guest, log, transmit1 } = opened({ packed })
      log.room = 5
      transmit1.add([utf8('first'), utf8('second')])
      transmit1.add([utf8('third')])
      guest.kick(5)
      guest.kick(5)
      assert.equal(log.out[1], 'first')
      assert.equal(transmit1.used(), undefined)
      log.room = 3
      device.ports[1].resume()
      assert.equal(log.out[1], 'firstsec')
      log.room = Infinity
      device.ports[1].resume()
      assert.equal(log.out[1], 'firstsecondthird')
      assert.equal(transmit1.usedAll().length, 2)
    })
    it('takes from the host what the guest has room for, and says when there is more', () => {
      const { device, guest, log, receive1 } = opened({ packed })
      receive1.add([], [4])
      assert.equal(device.ports[1].send(utf8('abcdef')), 4)
      assert.equal(log.rooms, 0)
      receive1.add([], [4])
      guest.kick(4)
      assert.equal(log.rooms, 1)
      assert.equal(device.ports[1].send(utf8('ef')), 2)
    })
    it('tells when a program opens and closes its side, and takes nothing for a closed port', () => {
      const { device, log, receive1, say } = opened({ packed })
      receive1.add([], [4])
      say(1, OPEN, 0)
      assert.deepEqual(log.opens, [true, false])
      assert.equal(device.ports[1].send(utf8('x')), 0)
    })
    it('forgets a request in flight when the guest resets it', () => {
      const { device, guest, log, transmit1 } = opened({ packed })
      log.room = 0
      transmit1.add([utf8('lost')])
      guest.kick(5)
      guest.write(0x70, 0)
      log.room = Infinity
      device.ports[1].resume()
      assert.equal(log.out[1], '')
      assert.deepEqual(log.opens, [true, false])
    })
    it('continues from a saved state, amid a request', () => {
      const { guest, log, make, transmit1 } = opened({ packed })
      log.room = 2
      transmit1.add([utf8('half')])
      guest.kick(5)
      const state = JSON.parse(JSON.stringify(guest.transport.save()))
      const other = new FakeGuest(make(), { packed })
      other.ram.write(0, guest.ram.read(0, 8 << 20))
      log.room = Infinity
      other.transport.restore(state)
      assert.equal(log.out[1], 'half')
    })
    it('has one port without control messages for a driver without MULTIPORT', () => {
      const { device, guest, log, receive, transmit } = setup({ packed, features: [] })
      transmit.add([utf8('plain')])
      guest.kick(1)
      receive.add([], [8])
      assert.equal(device.ports[0].send(utf8('keys')), 4)
      assert.equal(log.out[0], 'plain')
    })
  })
}

describe('virtio-console', () => {
  it('bounds the messages that wait for a guest without buffers, and ignores nonsense', () => {
    const { guest, heard, listen, say } = setup()
    for (let i = 0; i < 100; i++) {
      say(0, READY, 1)
      say(1, PORT_READY, 1)
      say(7, PORT_READY, 1)
      say(9, OPEN, 1)
      say(0, 99, 1)
      guest.queues[3].usedAll()
    }
    listen()
    assert.equal(heard().length, 3)
    assert.deepEqual(guest.faults, [])
  })
  it('tells of another size', () => {
    const { device, guest, heard } = opened()
    guest.write(0x64, 3)
    device.resize(132, 50)
    assert.deepEqual(heard(), [[0, RESIZE, 1, '\x84\0\x32\0']])
    assert.equal(guest.read(0x60) & 2, 2)
    assert.equal(guest.read(0x100, 2), 132)
    assert.equal(guest.read(0xfc), 1)
  })
  it('takes a byte without any queue', () => {
    const { guest, log } = setup()
    guest.write(0x108, 0x21)
    assert.equal(log.emergency, '!')
  })
})
