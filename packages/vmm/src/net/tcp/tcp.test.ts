import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ipOf } from '../addresses.ts'
import { MILLISECOND, SECOND } from '../alarms.ts'
import { ALL_OFFLOADS } from '../frame.ts'
import { ACK, FIN, PSH, parseTcp, RST, SYN, type TcpHeader } from '../packet/tcp.ts'
import type { FakeConnectionOptions } from '../testing/fake-guest.ts'
import { fakeNetwork, settle } from '../testing/network.ts'
import { advance } from './sequence.ts'

const SERVER = ipOf('192.0.2.1')
const text = (s: string) => new TextEncoder().encode(s)
const pattern = (length: number) =>
  Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 0xff)

async function open(options: FakeConnectionOptions = {}, offloads = false) {
  const network = fakeNetwork({}, offloads ? { offloads: ALL_OFFLOADS } : {})
  const connection = network.guest.connect(SERVER, 80, options)
  await settle()
  const [stream] = network.host.streams
  const segments: (TcpHeader & { length: number })[] = []
  connection.onSegment = (header, length) => segments.push({ ...header, length })
  return { ...network, connection, stream, segments }
}

describe('TCP with a guest', () => {
  it('opens when the host has a connection, and carries bytes both ways', async () => {
    const { guest, host, connection, stream } = await open()
    assert.equal(connection.state, 'open')
    assert.deepEqual(host.streams[0].to, { address: '192.0.2.1', port: 80 })
    connection.sendBytes(text('GET /'))
    await settle()
    assert.equal(stream.text, 'GET /')
    stream.send('hello')
    assert.equal(connection.text, 'hello')
    assert.deepEqual(guest.wrong, [])
  })
  it('answers nothing before the host has a connection, however often it is asked', async () => {
    const { guest, host, clock } = fakeNetwork()
    host.connects = false
    const connection = guest.connect(SERVER, 80)
    connection.sendSyn()
    clock.advance(3 * SECOND)
    assert.equal(connection.state, 'syn-sent')
    assert.equal(host.streams.length, 1)
    host.streams[0].handler.connected()
    assert.equal(connection.state, 'open')
  })
  it('resets what the host refuses, and says of what cannot be reached that it cannot', async () => {
    const { guest, host } = fakeNetwork()
    host.connects = false
    const refused = guest.connect(SERVER, 80)
    host.streams[0].handler.failed('refused')
    assert.equal(refused.state, 'reset')
    guest.connect(SERVER, 81)
    host.streams[1].handler.failed('unreachable')
    const [icmp] = guest.packets
    assert.deepEqual([icmp.bytes[0], icmp.bytes[1]], [3, 1])
    assert.equal(parseTcp(icmp.bytes.subarray(28), 20)?.destinationPort, 81)
  })
  it('cuts data to the guest into segments of its MSS', async () => {
    const { connection, stream, segments } = await open({ mss: 1000 })
    stream.handler.data(pattern(4500))
    assert.deepEqual(
      segments.map(({ length }) => length).filter((length) => length > 0),
      [1000, 1000, 1000, 1000, 500],
    )
    assert.deepEqual(Buffer.concat(connection.chunks), Buffer.from(pattern(4500)))
  })
  it('leaves cutting to a driver that does it', async () => {
    const { connection, stream, segments, guest } = await open({ window: 1 << 20 }, true)
    stream.handler.data(pattern(65_000))
    assert.deepEqual(
      segments.map(({ length }) => length),
      [44 * 1460, 65_000 - 44 * 1460],
    )
    assert.equal(guest.largestFrame, 44 * 1460 + 54)
    assert.deepEqual(Buffer.concat(connection.chunks), Buffer.from(pattern(65_000)))
    assert.deepEqual(guest.wrong, [])
  })
  it('takes segments of 64 KiB in whatever pieces they lie', async () => {
    const { connection, stream } = await open({ segment: 65_000 })
    connection.sendBytes(pattern(200_000))
    await settle()
    assert.deepEqual(Buffer.concat(stream.written), Buffer.from(pattern(200_000)))
  })
  it('never has more on the way than the guest has room for, and probes a window that stays closed', async () => {
    const { connection, stream, segments, clock } = await open({
      window: 3000,
      scale: undefined,
      acknowledges: false,
    })
    stream.handler.data(pattern(10_000))
    assert.equal(connection.received, 2 * 1460)
    connection.window = 0
    connection.acknowledge()
    segments.length = 0
    clock.advance(300 * MILLISECOND)
    assert.equal(segments.at(-1)?.length, 1, 'a probe has one byte')
    clock.advance(20 * SECOND)
    assert.ok(segments.length >= 4 && segments.length < 12, `${segments.length} probes`)
    connection.window = 30_000
    connection.acknowledge()
    assert.equal(connection.received, 10_000)
  })
  it('closes its own window while the host does not read, and opens it again', async () => {
    const { connection, stream, segments } = await open({ segment: 1460 })
    stream.holds = true
    connection.sendBytes(pattern(500_000))
    await settle()
    assert.ok(segments.at(-1)!.window << 6 < 1460, 'less than a segment')
    assert.ok(stream.bytes <= 65_536, `${stream.bytes} bytes are held`)
    stream.release()
    await settle()
    assert.deepEqual(Buffer.concat(stream.written), Buffer.from(pattern(500_000)))
  })
  it('holds few buffers for a guest that sends single bytes to a host that does not read', async () => {
    const { connection, stream } = await open({ segment: 1 })
    stream.holds = true
    for (let index = 0; index < 1000; index++) {
      connection.segment(ACK | PSH, connection.next, text('x'))
      connection.next = advance(connection.next, 1)
      await settle()
    }
    assert.ok(stream.written.length <= 16, `${stream.written.length} buffers`)
    connection.end()
    assert.equal(stream.bytes, 1000)
    assert.equal(stream.ended, true)
  })
  it('stops the host while the guest does not read', async () => {
    const { connection, stream } = await open({ acknowledges: false })
    stream.handler.data(pattern(70_000))
    assert.equal(stream.paused, true)
    for (let round = 0; round < 4; round++) connection.acknowledge()
    assert.equal(stream.paused, false)
  })
  it('puts segments into order, whichever way they come', async () => {
    const { connection, stream } = await open()
    const start = connection.next
    const piece = (offset: number, data: string) => {
      connection.segment(ACK | PSH, advance(start, offset), text(data))
    }
    piece(6, 'ghi')
    piece(3, 'def')
    piece(8, 'ijk')
    piece(0, 'abcd')
    piece(2, 'cde')
    await settle()
    assert.equal(stream.text, 'abcdefghijk')
  })
  it('acknowledges at once what came out of order, so that the guest sends the rest again', async () => {
    const { connection, segments } = await open()
    connection.segment(ACK, advance(connection.next, 100), text('later'))
    assert.equal(segments.length, 1)
    assert.equal(segments[0].acknowledgment, connection.next)
  })
  it('delays the acknowledgment of a small segment, but not by much', async () => {
    const { connection, segments, clock } = await open()
    connection.sendBytes(text('a'))
    await settle()
    assert.equal(segments.length, 0)
    clock.advance(20 * MILLISECOND)
    assert.equal(segments.length, 1)
  })
  it('acknowledges a burst once', async () => {
    const { connection, segments } = await open()
    connection.sendBytes(pattern(8 * 1460))
    await settle()
    assert.equal(segments.length, 1)
  })
  it('sends again what is not acknowledged, ever more seldom, and gives up at last', async () => {
    const { connection, stream, segments, clock, nat } = await open({ acknowledges: false })
    stream.send('lost')
    clock.advance(3 * SECOND)
    const again = segments.filter(({ length }) => length === 4).length
    assert.ok(again >= 3 && again <= 5, `${again} times`)
    assert.equal(connection.text, 'lost')
    clock.advance(600 * SECOND)
    assert.equal(stream.wasReset, true)
    assert.equal(connection.state, 'reset')
    assert.equal(nat.statistics.connections, 0)
  })
  it('sends a lost segment again after three duplicate acknowledgments, and goes on', async () => {
    const { guest, connection, stream, clock } = await open({ window: 1 << 20 })
    let count = 0
    guest.loses = (frame) => frame.length > 1000 && ++count === 3
    stream.handler.data(pattern(40_000))
    assert.deepEqual(Buffer.concat(connection.chunks), Buffer.from(pattern(40_000)))
    assert.equal(clock.now(), 0)
  })
  it('delivers everything over a link that loses a tenth', async () => {
    const { guest, connection, stream, clock } = await open({ window: 1 << 20 })
    let seed = 7
    guest.loses = () => (seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0) / 2 ** 32 < 0.1
    for (let chunk = 0; chunk < 20; chunk++) stream.handler.data(pattern(5000))
    for (let second = 0; second < 120 && connection.received < 100_000; second++) clock.advance(SECOND)
    assert.equal(connection.received, 100_000)
    for (let chunk = 0; chunk < 20; chunk++) {
      const bytes = Buffer.concat(connection.chunks).subarray(chunk * 5000, chunk * 5000 + 5000)
      assert.deepEqual(bytes, Buffer.from(pattern(5000)))
    }
  })
  it('offers again what the link had no room for', async () => {
    const { guest, connection, stream } = await open({ window: 1 << 20 })
    guest.full = true
    stream.handler.data(pattern(20_000))
    stream.handler.ended()
    assert.equal(connection.received, 0)
    guest.drain()
    assert.equal(connection.received, 20_000)
    assert.equal(connection.ended, true)
  })
  it('keeps the other direction open when one has ended', async () => {
    const { connection, stream, nat, clock } = await open()
    connection.end()
    assert.equal(stream.ended, true)
    stream.send('still here')
    assert.equal(connection.text, 'still here')
    stream.handler.ended()
    assert.equal(connection.ended, true)
    await settle()
    assert.equal(nat.statistics.connections, 0)
    clock.advance(SECOND)
  })
  it('waits a while for stray segments when it was the first to end, but not for a new connection', async () => {
    const { guest, connection, stream, nat, clock, host } = await open({ localPort: 5000 })
    stream.handler.ended()
    assert.equal(connection.ended, true)
    connection.end()
    assert.equal(nat.statistics.connections, 1)
    const next = guest.connect(SERVER, 80, { localPort: 5000 })
    next.next = advance(connection.next, 1)
    next.segment(SYN, connection.next)
    await settle()
    assert.equal(host.streams.length, 2)
    host.streams[1].handler.failed('reset')
    clock.advance(10 * SECOND)
    assert.equal(nat.statistics.connections, 0)
  })
  it('passes resets on, both ways', async () => {
    const one = await open()
    one.connection.reset()
    assert.equal(one.stream.wasReset, true)
    const two = await open()
    two.stream.handler.failed('reset')
    assert.equal(two.connection.state, 'reset')
    assert.equal(two.nat.statistics.connections, 0)
  })
  it('believes a reset only at the sequence number that it expects', async () => {
    const { connection, stream, segments } = await open()
    connection.segment(RST, advance(connection.next, 100))
    assert.equal(stream.wasReset, false)
    assert.equal(segments.at(-1)?.flags, ACK)
    connection.segment(SYN, advance(connection.next, 50))
    assert.equal(stream.wasReset, false)
    connection.segment(RST, connection.next)
    assert.equal(stream.wasReset, true)
  })
  it('resets segments of no connection', async () => {
    const { guest, nat } = fakeNetwork()
    const connection = guest.connect(SERVER, 80)
    await settle()
    nat.reset()
    assert.equal(connection.state, 'reset')
    let answer: TcpHeader | undefined
    connection.onSegment = (header) => (answer = header)
    connection.segment(ACK, 77)
    assert.equal(answer?.flags, RST)
  })
  it('asks a quiet guest whether it is there, and ends the connection of one that is not', async () => {
    const { connection, stream, segments, clock } = await open()
    clock.advance(605 * SECOND)
    assert.equal(segments.length, 1)
    assert.equal(segments[0].sequence, advance(connection.expected, -1))
    connection.acknowledge()
    clock.advance(600 * SECOND)
    assert.equal(stream.wasReset, false)
    clock.advance(200 * SECOND)
    assert.equal(stream.wasReset, true)
  })
  it('holds no more half-open connections than it may, and serves on after a flood', async () => {
    const { guest, host, nat, clock } = fakeNetwork({ limits: { halfOpen: 50 } })
    host.connects = false
    for (let port = 1; port <= 5000; port++) guest.connect(SERVER, 80, { localPort: port })
    assert.equal(nat.statistics.connections, 50)
    clock.advance(80 * SECOND)
    assert.equal(nat.statistics.connections, 0)
    host.connects = true
    const late = guest.connect(SERVER, 80, { localPort: 6000 })
    await settle()
    assert.equal(late.state, 'open')
  })
  it('ends with a FIN that the guest has to acknowledge', async () => {
    const { connection, stream, segments, clock } = await open({ acknowledges: false })
    stream.handler.ended()
    clock.advance(2 * SECOND)
    assert.ok(segments.filter(({ flags }) => flags & FIN).length >= 2)
    connection.acknowledge()
    segments.length = 0
    clock.advance(20 * SECOND)
    assert.equal(segments.length, 0)
  })
  it('is the same over IPv6', async () => {
    const network = fakeNetwork({}, { address: 'fd00:10:0:2::15', offloads: ALL_OFFLOADS })
    const connection = network.guest.connect(ipOf('2001:db8::1'), 443, { window: 1 << 20 })
    await settle()
    const [stream] = network.host.streams
    assert.deepEqual(stream.to, { address: '2001:db8::1', port: 443 })
    stream.handler.data(pattern(50_000))
    connection.sendBytes(text('six'))
    await settle()
    assert.equal(connection.received, 50_000)
    assert.equal(stream.text, 'six')
    assert.deepEqual(network.guest.wrong, [])
  })
})
