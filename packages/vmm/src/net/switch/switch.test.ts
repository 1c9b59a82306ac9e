import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../../clock/manual-clock.ts'
import { formatIp, ipOf, parseMac } from '../addresses.ts'
import { MILLISECOND } from '../alarms.ts'
import { ALL_OFFLOADS, connect, frameOf, NO_OFFLOADS } from '../frame.ts'
import { Nat } from '../nat/nat.ts'
import { ethernet, FakeGuest } from '../testing/fake-guest.ts'
import { FakeHost } from '../testing/fake-host.ts'
import { settle } from '../testing/network.ts'
import { MacTable } from './mac-table.ts'
import { VirtualSwitch } from './switch.ts'

const macOf = (index: number) =>
  `52:54:00:00:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}`

function setup(segments: (string | undefined)[], offloads = NO_OFFLOADS) {
  const clock = new ManualClock()
  const network = new VirtualSwitch({ clock: clock.queue })
  const guests = segments.map((segment, index) => {
    const guest = new FakeGuest({ address: `10.0.2.${15 + index}`, mac: macOf(index), offloads })
    connect(guest, network.port(segment === undefined ? {} : { segment }))
    return guest
  })
  /** Frames of no known type, which the fake guest keeps. */
  const say = (from: number, to: string, length = 50) =>
    guests[from].sendRaw(frameOf(ethernet(parseMac(to)!, guests[from].mac, 0x88b5, new Uint8Array(length))))
  /** How many have arrived at each machine since it was asked last, also such as were for another. */
  const arrived = guests.map(() => 0)
  guests.forEach((guest, index) => {
    const deliver = guest.deliver.bind(guest)
    guest.deliver = (frame) => {
      const taken = deliver(frame)
      if (taken) arrived[index]++
      return taken
    }
  })
  const heard = () => arrived.splice(0, arrived.length, ...guests.map(() => 0))
  return { clock, network, guests, say, heard }
}

describe('the virtual switch', () => {
  it('sends what is for all to all of the segment, and learns who is where', () => {
    const { say, heard } = setup(['lab', 'lab', 'lab', 'other'])
    say(0, 'ff:ff:ff:ff:ff:ff')
    assert.deepEqual(heard(), [0, 1, 1, 0])
    say(1, macOf(2))
    assert.deepEqual(heard(), [1, 0, 1, 0], 'an address that is not known yet')
    say(2, macOf(0))
    assert.deepEqual(heard(), [1, 0, 0, 0], 'one that is')
    say(3, macOf(0))
    assert.deepEqual(heard(), [0, 0, 0, 0], 'another segment')
  })
  it('keeps machines apart that nobody put together', () => {
    const { say, heard } = setup([undefined, undefined])
    say(0, 'ff:ff:ff:ff:ff:ff')
    say(0, macOf(1))
    assert.deepEqual(heard(), [0, 0])
  })
  it("does not give away a gateway's address", () => {
    const { network, guests, say, heard } = setup(['lab', 'lab'])
    const gateway = new FakeGuest({ mac: '52:55:0a:00:02:02' })
    connect(gateway, network.port({ segment: 'lab', pinned: true }))
    gateway.sendRaw(frameOf(ethernet(guests[0].mac, gateway.mac, 0x88b5, new Uint8Array(50))))
    heard()
    guests[1].sendRaw(frameOf(ethernet(guests[0].mac, gateway.mac, 0x88b5, new Uint8Array(50))))
    assert.deepEqual(heard(), [0, 0])
    say(0, '52:55:0a:00:02:02')
    assert.equal(gateway.frames.length, 1)
    assert.deepEqual(heard(), [0, 0])
  })
  it('holds back who sends to a slow machine, and loses nothing', () => {
    const { guests, say, heard } = setup(['lab', 'lab'])
    say(1, macOf(0))
    heard()
    guests[1].full = true
    let sent = 0
    while (say(0, macOf(1), 1500)) sent++
    assert.ok(sent > 100 && sent < 400, `${sent} frames wait`)
    let resumed = 0
    guests[0].resume = () => resumed++
    guests[1].drain()
    assert.equal(heard()[1], sent)
    assert.equal(resumed, 1)
  })
  it('does not let a machine that stands still hold up others', () => {
    const { clock, guests, say, heard } = setup(['lab', 'lab', 'lab'])
    say(1, macOf(0))
    say(2, macOf(0))
    heard()
    guests[1].full = true
    while (say(0, macOf(1), 1500));
    clock.advance(200 * MILLISECOND)
    for (let index = 0; index < 10_000; index++) assert.equal(say(0, macOf(1), 1500), true)
    say(0, macOf(2))
    assert.equal(heard()[2], 1)
  })
  it('cuts large segments up for a machine that takes only small ones', async () => {
    const { guests, clock, network } = setup(['lab', 'lab'])
    const host = new FakeHost()
    const nat = new Nat({ host, clock: clock.queue, random: () => 9 })
    connect(network.port({ segment: 'lab', pinned: true }), nat)
    const connection = guests[0].connect(ipOf('192.0.2.1'), 80, { window: 1 << 20 })
    await settle()
    host.streams[0].handler.data(Uint8Array.from({ length: 60_000 }, (_, index) => index * 7))
    assert.equal(connection.received, 60_000)
    assert.ok(guests[0].largestFrame <= 1514)
    assert.deepEqual(guests[0].wrong, [])
    assert.deepEqual(
      Buffer.concat(connection.chunks),
      Buffer.from(Uint8Array.from({ length: 60_000 }, (_, index) => index * 7)),
    )
  })
  it('joins machines with one gateway, over IPv6 too', async () => {
    const clock = new ManualClock()
    const network = new VirtualSwitch({ clock: clock.queue })
    const host = new FakeHost()
    const nat = new Nat({ host, clock: clock.queue, random: () => 9 })
    connect(network.port({ segment: 'lab', pinned: true }), nat)
    for (const [index, address] of ['10.0.2.15', '10.0.2.16', 'fd00:10:0:2::17'].entries()) {
      const guest = new FakeGuest({
        address,
        mac: macOf(index),
        offloads: index === 1 ? ALL_OFFLOADS : NO_OFFLOADS,
      })
      connect(guest, network.port({ segment: 'lab' }))
      const remote = address.includes(':') ? '2001:db8::1' : '192.0.2.1'
      const connection = guest.connect(ipOf(remote), 80, { window: 1 << 20 })
      await settle()
      host.streams[index].handler.data(new Uint8Array(30_000))
      assert.equal(connection.received, 30_000, formatIp(guest.address))
      assert.deepEqual(guest.wrong, [])
    }
  })
  it('has a limit to its ports', () => {
    const { network } = setup([])
    const ports = Array.from({ length: 1024 }, () => network.port())
    assert.throws(() => network.port(), { code: 'TV_NETWORK_LIMIT' })
    ports[0].close()
    network.port()
  })
})

describe('a table of addresses', () => {
  it('is bounded, and no port can push out those of others', () => {
    const table = new MacTable<{ pinned: boolean }>(() => 0)
    const [good, bad] = [{ pinned: false }, { pinned: false }]
    table.learn(parseMac(macOf(1))!, good)
    for (let index = 0; index < 60_000; index++)
      table.learn(parseMac(`02:00:00:01:${macOf(index).slice(-5)}`)!, bad)
    assert.equal(table.size, 65)
    assert.equal(table.find(parseMac(macOf(1))!), good)
  })
  it('forgets what was not seen for five minutes', () => {
    let now = 0
    const table = new MacTable<{ pinned: boolean }>(() => now)
    const port = { pinned: false }
    table.learn(parseMac(macOf(1))!, port)
    now = 299e9
    assert.equal(table.find(parseMac(macOf(1))!), port)
    now = 301e9
    assert.equal(table.find(parseMac(macOf(1))!), undefined)
  })
})
