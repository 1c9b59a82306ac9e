/**
 * Fuzzer of the network: frames of a hostile guest, through a wire and a switch to the NAT, while the host's side
 * connects, sends, ends and fails at random, the link fills up and drains, time passes, and the NAT is saved and restored.
 *
 *   node tools/fuzz/packets.ts [--seconds N] [--seed S] [--rounds N]
 *
 * Each round has a network and a seed of its own, the last printed is the one that failed: `--seed S --rounds 1` is it
 * again. A round fails when something throws, a step takes a second, a limit is exceeded, or a frame that the NAT sends
 * is not well-formed.
 */
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { ManualClock } from '../../packages/vmm/src/clock/manual-clock.ts'
import type { Ip } from '../../packages/vmm/src/net/addresses.ts'
import { addSums, complement, onesSum } from '../../packages/vmm/src/net/checksum.ts'
import { answerWithAddresses, readQuestion } from '../../packages/vmm/src/net/dns/message.ts'
import {
  ALL_OFFLOADS,
  type Attachable,
  connect,
  contiguous,
  type Frame,
  NO_OFFLOADS,
  type Port,
  UNPLUGGED,
} from '../../packages/vmm/src/net/frame.ts'
import { Nat } from '../../packages/vmm/src/net/nat/nat.ts'
import { isIcmpIntact } from '../../packages/vmm/src/net/packet/icmp.ts'
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseIpv4,
  parseIpv6,
  pseudoHeaderSum,
} from '../../packages/vmm/src/net/packet/ip.ts'
import { FIN, parseTcp, RST, SYN } from '../../packages/vmm/src/net/packet/tcp.ts'
import { parseUdp } from '../../packages/vmm/src/net/packet/udp.ts'
import { readPolicy } from '../../packages/vmm/src/net/policy/policy.ts'
import { VirtualSwitch } from '../../packages/vmm/src/net/switch/switch.ts'
import { FakeHost } from '../../packages/vmm/src/net/testing/fake-host.ts'
import { settle } from '../../packages/vmm/src/net/testing/network.ts'
import { Capture } from '../../packages/vmm/src/net/wire/capture.ts'
import { Wire } from '../../packages/vmm/src/net/wire/wire.ts'
import { type KnownConnection, seedFrame } from './packet-seeds.ts'
import { Random } from './random.ts'

const STEPS_PER_ROUND = 2000
/** Milliseconds of the processor's, since the host may be busy. */
const SLOW_STEP = 1000
const LIMITS = { connections: 40, halfOpen: 10, udpPorts: 16 }
/** What the NAT may hold for a guest that does its worst, with these limits. */
const MEMORY_LIMIT = 400 * 2 ** 20
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 4, 5, 6, 16, 20, 40, 44, 58, 60] as const

/** The hostile guest's port: checks what it is sent, and keeps track of connections, to hit them. */
class Sink implements Attachable {
  offloads = ALL_OFFLOADS
  full = false
  /** A neighbor hears what other guests say too. */
  checks = true
  received = 0
  readonly connections = new Map<string, KnownConnection>()
  peer: Port = UNPLUGGED

  attach(peer: Port): void {
    this.peer = peer
  }
  resume(): void {}

  deliver(frame: Frame): boolean {
    if (this.full) return false
    this.received++
    const bytes = contiguous(frame, 0, frame.length)
    expect(frame.length === bytes.length && frame.length >= 14, 'a frame is as long as it says')
    expect(
      frame.segmentation !== undefined || frame.length <= 1514,
      'a frame is no longer than the MTU allows',
    )
    expect(!frame.segmentation || this.offloads[frame.segmentation.kind], 'offloads were asked for')
    expect(!frame.checksum || this.offloads.checksum, 'checksums are there unless they need not be')
    if (this.checks) this.#check(bytes, frame)
    return true
  }

  #check(bytes: Uint8Array, frame: Frame): void {
    const type = (bytes[12] << 8) | bytes[13]
    if (type === ETHERTYPE_ARP) return
    const parse = type === ETHERTYPE_IPV4 ? parseIpv4 : parseIpv6
    const packet = parse(bytes.subarray(14), bytes.length - 14)
    expect(packet !== undefined, 'the IP header is right')
    const { source, destination, protocol, fragment } = packet
    const payload = bytes.subarray(14 + packet.payload, 14 + packet.payload + packet.length)
    if (fragment) return
    if (protocol === PROTOCOL_TCP) {
      const sum = addSums(pseudoHeaderSum(source, destination, protocol, payload.length), onesSum(payload))
      expect(frame.checksum !== undefined || sum === 0xffff, 'the TCP checksum is right')
      this.#note(source, destination, payload)
    } else if (protocol === PROTOCOL_UDP) {
      expect(parseUdp(payload, source, destination, false) !== undefined, 'the UDP header is right')
    } else expect(isIcmpIntact(payload, source, destination), 'the ICMP checksum is right')
  }

  #note(source: Ip, destination: Ip, payload: Uint8Array): void {
    const header = parseTcp(payload, payload.length)
    expect(header !== undefined, 'the TCP header is right')
    const key = `${source}${destination}${header.sourcePort}.${header.destinationPort}`
    if (header.flags & RST) {
      this.connections.delete(key)
      return
    }
    const length = payload.length - header.headerLength + (header.flags & (SYN | FIN) ? 1 : 0)
    this.connections.set(key, {
      source: destination,
      destination: source,
      sourcePort: header.destinationPort,
      destinationPort: header.sourcePort,
      sequence: header.sequence + length,
      acknowledgment: header.acknowledgment,
    })
    if (this.connections.size > 100) this.connections.delete(this.connections.keys().next().value!)
  }
}

function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`Not so: ${what}.`)
}

/** Makes checksums right again, as far as the lengths allow, so that damage gets past them. */
function repair(bytes: Uint8Array): void {
  const v4 = bytes[12] === 8 && bytes[13] === 0
  const packet = bytes.subarray(14)
  if (v4 && packet.length >= 20) {
    const header = (packet[0] & 15) * 4
    if (header < 20 || header > packet.length) return
    packet[10] = packet[11] = 0
    const sum = complement(onesSum(packet, 0, header))
    packet.set([sum >> 8, sum], 10)
  }
  const parsed = v4 ? parseIpv4(packet, packet.length) : parseIpv6(packet, packet.length)
  if (!parsed) return
  const payload = packet.subarray(parsed.payload, parsed.payload + parsed.length)
  const field = { 6: 16, 17: 6, 1: 2, 58: 2 }[parsed.protocol]
  if (field === undefined || payload.length < field + 2) return
  payload[field] = payload[field + 1] = 0
  const pseudo =
    parsed.protocol === 1
      ? 0
      : pseudoHeaderSum(parsed.source, parsed.destination, parsed.protocol, payload.length)
  const sum = complement(addSums(pseudo, onesSum(payload)))
  payload.set([sum >> 8, sum], field)
}

function mutate(random: Random, bytes: Uint8Array): Uint8Array {
  let mutated = bytes.slice()
  for (let count = random.below(4); count > 0; count--) {
    // Headers are where it matters.
    const at = random.below(Math.min(mutated.length, random.pick([60, 100, 65_535])))
    const kind = random.below(5)
    if (kind === 0) mutated[at] ^= 1 << random.below(8)
    else if (kind === 1) mutated[at] = random.pick(INTERESTING)
    else if (kind === 2) mutated = mutated.slice(0, at)
    else {
      const inserted = kind === 3 ? random.bytes(random.below(40)) : new Uint8Array(0)
      const behind = kind === 3 ? at : at + 1 + random.below(8)
      mutated = Uint8Array.from(Buffer.concat([mutated.subarray(0, at), inserted, mutated.subarray(behind)]))
    }
  }
  if (random.chance(0.7)) repair(mutated)
  return mutated
}

/** In pieces, with offloads that may be right or not. */
function toFrame(random: Random, bytes: Uint8Array): Frame {
  const parts: Uint8Array[] = []
  let at = 0
  while (at < bytes.length && parts.length < 18 && random.chance(0.5)) {
    const length = random.pick([0, 1, 14, 34, 54, 66, 1000])
    parts.push(bytes.subarray(at, at + length))
    at = Math.min(at + length, bytes.length)
  }
  parts.push(bytes.subarray(at))
  const offset = random.pick([6, 16, 16, 60_000])
  const large = random.chance(0.3)
  return {
    parts,
    length: bytes.length,
    checksum: large || random.chance(0.2) ? { start: random.pick([34, 54, 0, 70_000]), offset } : undefined,
    segmentation: large
      ? {
          kind: random.pick(['tcp4', 'tcp6'] as const),
          size: random.pick([1460, 536, 1, 0, 65_535]),
          headerLength: 54,
        }
      : undefined,
  }
}

function build(random: Random) {
  const clock = new ManualClock()
  const host = new FakeHost()
  host.connects = false
  const answer = random.bytes(300)
  host.answers = async (query) =>
    random.chance(0.3)
      ? answer
      : answerWithAddresses(query, readQuestion(query)!, [Uint8Array.of(192, 0, 2, 1)], 60)
  if (random.chance(0.5)) host.echo = async () => random.chance(0.5)
  const policy = readPolicy(
    random.pick([
      {},
      { allow: ['*.example.org', '192.0.2.0/24', 'host-loopback', '[2001:db8::/32]'] },
      { default: 'deny' },
    ]),
  )
  const nat = new Nat({ host, clock: clock.queue, random: () => random.next(), policy, limits: LIMITS })
  const sink = new Sink()
  const neighbor = new Sink()
  neighbor.offloads = NO_OFFLOADS
  neighbor.checks = false
  const network = new VirtualSwitch({ clock: clock.queue })
  const capture = new Capture({ wall: clock.wall, write: () => {}, snaplen: random.pick([64, 65_535]) })
  const rate = random.chance(0.3) ? { bytesPerSecond: 1e6 } : undefined
  const wire = new Wire({ clock: clock.queue, capture, rate: { fromA: rate, fromB: rate } })
  connect(sink, wire.a)
  if (random.chance(0.5)) {
    connect(wire.b, network.port({ segment: 'lab' }))
    connect(network.port({ segment: 'lab', pinned: true }), nat)
    connect(neighbor, network.port({ segment: 'lab' }))
  } else connect(wire.b, nat)
  return { clock, host, nat, sink, network, wire }
}

/** Something that happens on the host's side, or to the machine. */
function disturb(random: Random, { clock, host, nat, sink }: ReturnType<typeof build>): void {
  const stream = host.streams.length > 0 ? random.pick(host.streams) : undefined
  const socket = host.datagrams.length > 0 ? random.pick(host.datagrams) : undefined
  const action = random.below(14)
  if (action <= 2) stream?.handler.connected()
  else if (action <= 4) {
    if (stream && !stream.paused) stream.handler.data(new Uint8Array(random.pick([1, 1000, 65_536])))
  } else if (action === 5) stream?.handler.ended()
  else if (action === 6)
    stream?.handler.failed(random.pick(['refused', 'reset', 'unreachable', 'timeout'] as const))
  else if (action === 7 && stream) stream.holds = true
  else if (action === 8) stream?.release()
  else if (action === 9) clock.advance(random.pick([1e6, 1e8, 1e9, 6e10]))
  else if (action === 10) sink.full = true
  else if (action === 11)
    socket?.received(random.bytes(random.below(3000)), { address: '192.0.2.1', port: random.below(500) })
  else if (action === 12) host.visit()
  else if (random.chance(0.05)) nat.restore(JSON.parse(JSON.stringify(nat.save())))
  if (sink.full && random.chance(0.3)) {
    sink.full = false
    sink.peer.resume()
  }
}

export interface RoundResult {
  readonly frames: number
  readonly answers: number
}

export async function round(seed: number, steps = STEPS_PER_ROUND): Promise<RoundResult> {
  const random = new Random(seed)
  const all = build(random)
  const { nat, sink, host } = all
  await nat.forward({ protocol: 'tcp', hostPort: 80, guestPort: 80 })
  for (let step = 0; step < steps; step++) {
    const begin = process.cpuUsage()
    try {
      const connections = [...sink.connections.values()]
      const bytes = mutate(random, seedFrame(random, connections))
      sink.peer.deliver(toFrame(random, bytes))
      if (random.chance(0.5)) disturb(random, all)
      if (random.chance(0.2)) await settle()
      expect(nat.statistics.connections <= LIMITS.connections, 'connections are bounded')
      expect(nat.statistics.udpPorts <= LIMITS.udpPorts, 'UDP ports are bounded')
    } catch (cause) {
      throw new Error(`Seed ${seed}, step ${step}: ${cause instanceof Error ? cause.message : cause}`, {
        cause,
      })
    }
    const { user, system } = process.cpuUsage(begin)
    const took = (user + system) / 1000
    if (took > SLOW_STEP) throw new Error(`Seed ${seed}, step ${step} took ${took.toFixed(0)} ms.`)
    forget(host)
  }
  nat.close()
  all.network.close()
  all.wire.close()
  const { rss } = process.memoryUsage()
  if (rss > MEMORY_LIMIT * 2)
    throw new Error(`Seed ${seed}: the process holds ${(rss / 2 ** 20).toFixed(0)} MiB.`)
  return { frames: steps, answers: sink.received }
}

/** The fake host keeps everything; a fuzzer must not. */
function forget(host: FakeHost): void {
  if (host.streams.length > 60) host.streams.splice(0, 20)
  if (host.datagrams.length > 60) host.datagrams.splice(0, 20)
  for (const { written } of host.streams) written.length = 0
  for (const { sent } of host.datagrams) sent.length = 0
  host.queries.length = 0
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(Date.now() >>> 0) },
      rounds: { type: 'string' },
    },
  })
  const end = performance.now() + Number(values.seconds) * 1000
  let seed = Number(values.seed)
  let rounds = 0
  let answers = 0
  const limit = values.rounds === undefined ? Infinity : Number(values.rounds)
  while (rounds < limit && performance.now() < end) {
    answers += (await round(seed++)).answers
    rounds++
  }
  const { rss } = process.memoryUsage()
  console.log(
    `${rounds} rounds from seed ${values.seed}: ${rounds * STEPS_PER_ROUND} frames, ${answers} answers, ${(rss / 2 ** 20).toFixed(0)} MiB; no failure`,
  )
}
