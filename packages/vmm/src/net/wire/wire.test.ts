import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { ManualClock } from '../../clock/manual-clock.ts'
import { ipOf } from '../addresses.ts'
import { MILLISECOND, SECOND } from '../alarms.ts'
import { ALL_OFFLOADS, connect, type Frame, frameOf } from '../frame.ts'
import { Nat } from '../nat/nat.ts'
import { FakeGuest } from '../testing/fake-guest.ts'
import { FakeHost } from '../testing/fake-host.ts'
import { settle } from '../testing/network.ts'
import { Capture } from './capture.ts'
import { TokenBucket } from './token-bucket.ts'
import { Wire, type WireOptions } from './wire.ts'

function setup(options: Omit<WireOptions, 'clock'> = {}) {
  const clock = new ManualClock(1_700_000_000_123)
  const host = new FakeHost()
  const nat = new Nat({ host, clock: clock.queue, random: () => 4 })
  const guest = new FakeGuest({ offloads: ALL_OFFLOADS })
  const wire = new Wire({ clock: clock.queue, ...options })
  connect(guest, wire.a)
  connect(wire.b, nat)
  return { clock, host, nat, guest, wire }
}

describe('a wire with a limit', () => {
  it('lets bytes through at its rate, each way', async () => {
    const rate = { bytesPerSecond: 1_000_000 }
    const { clock, host, guest } = setup({ rate: { fromA: rate, fromB: rate } })
    const connection = guest.connect(ipOf('192.0.2.1'), 80, { segment: 60_000, window: 1 << 20 })
    connection.keeps = false
    await settle()
    connection.sendBytes(new Uint8Array(20_000_000))
    let given = 0
    for (let step = 0; step < 1000; step++) {
      const [stream] = host.streams
      if (!stream.paused && given < 20_000_000) {
        stream.handler.data(new Uint8Array(50_000))
        given += 50_000
      }
      clock.advance(10 * MILLISECOND)
      await settle()
    }
    const up = host.streams[0].bytes
    assert.ok(up > 9_000_000 && up < 10_200_000, `${up} up`)
    assert.ok(
      connection.received > 9_000_000 && connection.received < 10_200_000,
      `${connection.received} down`,
    )
  })
  it('refuses a rate that is none', () => {
    for (const bytesPerSecond of [0, -1, Number.NaN, Infinity]) {
      assert.throws(() => new TokenBucket({ bytesPerSecond }, () => 0), { code: 'TV_NETWORK_LIMIT' })
    }
  })
  it('lets a burst through after a pause, and no more', () => {
    let now = 0
    const bucket = new TokenBucket({ bytesPerSecond: 1000, burst: 500 }, () => now)
    now = 100 * SECOND
    assert.equal(bucket.delay(), 0)
    bucket.take(1500)
    assert.equal(Math.round(bucket.delay() / SECOND), 1)
    now = 101.1 * SECOND
    assert.equal(bucket.delay(), 0)
  })
})

describe('a capture', () => {
  const version = spawnSync('tcpdump', ['--version'])
  const skip = version.error ? 'tcpdump is not installed' : false

  it('holds what passed in both directions, as tcpdump reads it', { skip }, async () => {
    const pieces: Uint8Array[] = []
    const wall = { now: () => 1_700_000_000_123.456 }
    const capture = new Capture({ wall, write: (bytes) => pieces.push(bytes) })
    const { host, guest } = setup({ capture })
    const connection = guest.connect(ipOf('192.0.2.1'), 80)
    await settle()
    connection.sendBytes(new TextEncoder().encode('GET / HTTP/1.0\r\n\r\n'))
    await settle()
    host.streams[0].send('HTTP/1.0 200 OK\r\n\r\n')
    const folder = mkdtempSync(join(tmpdir(), 'typevisor-'))
    try {
      writeFileSync(join(folder, 'net.pcap'), Buffer.concat(pieces))
      const arguments_ = ['-nn', '-tt', '-r', join(folder, 'net.pcap'), 'tcp']
      const { stdout, stderr, status } = spawnSync('tcpdump', arguments_, { encoding: 'utf8' })
      assert.equal(status, 0, stderr)
      assert.match(stdout, /^1700000000\.123456/m)
      assert.match(stdout, /10\.0\.2\.15\.\d+ > 192\.0\.2\.1\.80: Flags \[S\]/)
      assert.match(stdout, /192\.0\.2\.1\.80 > 10\.0\.2\.15\.\d+: Flags \[S\.\].*wscale/)
      assert.match(stdout, /HTTP: GET \/ HTTP\/1\.0/)
      assert.match(stdout, /192\.0\.2\.1\.80 > 10\.0\.2\.15\.\d+:.*HTTP: HTTP\/1\.0 200 OK/)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
  it('keeps so much of each frame as it is told, and stays within its size', () => {
    const pieces: Uint8Array[] = []
    const options = { wall: { now: () => 0 }, write: (bytes: Uint8Array) => pieces.push(bytes) }
    const capture = new Capture({ ...options, snaplen: 100, limit: 24 + 10 * 116 })
    const frame: Frame = frameOf(new Uint8Array(1000))
    for (let index = 0; index < 25; index++) capture.record(frame)
    assert.equal(Buffer.concat(pieces).length, 24 + 10 * 116)
    assert.equal(capture.lost, 15)
    assert.equal(new DataView(pieces[1].buffer).getUint32(12), 1000)
  })
})
