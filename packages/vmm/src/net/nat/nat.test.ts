import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { addressBytes, formatIp, ipOf, multicastMac, parseMac, readIpv4 } from '../addresses.ts'
import { SECOND } from '../alarms.ts'
import { buildDhcp, MESSAGE, OPTION, parseDhcp } from '../dhcp/message.ts'
import {
  answerWithAddresses,
  buildQuery,
  isTruncated,
  messageId,
  RCODE_FAILURE,
  RCODE_NO_NAME,
  readAddresses,
  readQuestion,
  responseCode,
  TYPE_A,
} from '../dns/message.ts'
import { NetworkError, PolicyError } from '../errors.ts'
import { ARP_REQUEST, parseArp } from '../packet/arp.ts'
import { isIcmpIntact, sealIcmp } from '../packet/icmp.ts'
import {
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_UDP,
  writeIpHeader,
} from '../packet/ip.ts'
import { buildUdp } from '../packet/udp.ts'
import { readPolicy } from '../policy/policy.ts'
import { ethernet, FakeGuest, GATEWAY_MAC } from '../testing/fake-guest.ts'
import { fakeNetwork, settle } from '../testing/network.ts'
import { layoutOf } from './layout.ts'
import type { NatState } from './nat.state.ts'

const GATEWAY = ipOf('10.0.2.2')
const DNS = ipOf('10.0.2.3')
const OUTSIDE = ipOf('192.0.2.1')
const text = (s: string) => new TextEncoder().encode(s)

function dhcp(guest: FakeGuest, type: number, extra: [number, Uint8Array][] = [], client = '0.0.0.0') {
  const payload = buildDhcp({
    operation: 1,
    transaction: 77,
    broadcast: false,
    client: ipOf(client),
    yours: ipOf('0.0.0.0'),
    server: ipOf('0.0.0.0'),
    mac: guest.mac,
    options: new Map([[OPTION.messageType, Uint8Array.of(type)], ...extra]),
  })
  const source = ipOf(client)
  const destination = ipOf('255.255.255.255')
  const udp = buildUdp({ source, sourcePort: 68, destination, destinationPort: 67, payload })
  guest.packets.length = 0
  guest.sendIp(destination, PROTOCOL_UDP, udp, source)
  const [datagram] = guest.takeUdp()
  return parseDhcp(datagram.payload)!
}

function echoRequest(destination = GATEWAY, source = ipOf('10.0.2.15')) {
  const v6 = destination.length === 8
  const bytes = Uint8Array.of(v6 ? 128 : 8, 0, 0, 0, 1, 2, 0, 1, 9, 8, 7, 6)
  return sealIcmp(bytes, source, destination)
}

describe('the gateway on the link', () => {
  it('answers ARP for its addresses, and for no other', () => {
    const { guest } = fakeNetwork()
    const answers: string[] = []
    const deliver = guest.deliver.bind(guest)
    guest.deliver = (frame) => {
      const bytes = frame.parts[0]
      if (bytes[12] === 8 && bytes[13] === 6) {
        const arp = parseArp(bytes.subarray(14))!
        answers.push(formatIp(arp.sender))
        assert.equal(arp.senderMac, GATEWAY_MAC)
      }
      return deliver(frame)
    }
    for (const address of ['10.0.2.2', '10.0.2.3', '10.0.2.4', '192.0.2.1']) {
      guest.sendArp(ARP_REQUEST, parseMac('00:00:00:00:00:00')!, ipOf(address))
    }
    assert.deepEqual(answers, ['10.0.2.2', '10.0.2.3'])
  })
  it('answers echo at its addresses, in IPv4 and IPv6', () => {
    const { guest } = fakeNetwork()
    guest.sendIp(GATEWAY, PROTOCOL_ICMP, echoRequest())
    assert.equal(guest.packets[0].bytes[0], 0)
    assert.deepEqual([...guest.packets[0].bytes.subarray(4)], [1, 2, 0, 1, 9, 8, 7, 6])
    const six = fakeNetwork({}, { address: 'fd00:10:0:2::15' }).guest
    six.sendIp(ipOf('fd00:10:0:2::2'), PROTOCOL_ICMPV6, echoRequest(ipOf('fd00:10:0:2::2'), six.address))
    assert.equal(six.packets[0].bytes[0], 129)
    assert.ok(isIcmpIntact(six.packets[0].bytes, six.packets[0].source, six.packets[0].destination))
  })
  it('says at once that it does not echo for others, where the host has no way to', async () => {
    const { guest } = fakeNetwork()
    guest.sendIp(OUTSIDE, PROTOCOL_ICMP, echoRequest(OUTSIDE))
    await settle()
    assert.deepEqual([...guest.packets[0].bytes.subarray(0, 2)], [3, 13])
  })
  it('asks the host for an echo, where it can', async () => {
    const { guest, host } = fakeNetwork()
    const asked: string[] = []
    host.echo = async (address) => asked.push(address) > 0
    guest.sendIp(OUTSIDE, PROTOCOL_ICMP, echoRequest(OUTSIDE))
    await settle()
    assert.deepEqual(asked, ['192.0.2.1'])
    assert.equal(guest.packets[0].bytes[0], 0)
    assert.equal(formatIp(guest.packets[0].source), '192.0.2.1')
  })
  it('says when the time to live is over, as a router does', () => {
    const { guest } = fakeNetwork()
    const udp = buildUdp({
      source: guest.address,
      sourcePort: 5,
      destination: OUTSIDE,
      destinationPort: 33_434,
      payload: text('x'),
    })
    guest.sendIp(OUTSIDE, PROTOCOL_UDP, udp, guest.address, 1)
    assert.deepEqual([...guest.packets[0].bytes.subarray(0, 2)], [11, 0])
    assert.equal(formatIp(guest.packets[0].source), '10.0.2.2')
  })
  it('advertises itself as an IPv6 router with a prefix and a DNS server', () => {
    const { guest } = fakeNetwork({}, { address: 'fe80::5054:ff:fe12:3456' })
    const all = ipOf('ff02::2')
    const message = sealIcmp(Uint8Array.of(133, 0, 0, 0, 0, 0, 0, 0), guest.address, all)
    const packet = new Uint8Array(48)
    const header = {
      source: guest.address,
      destination: all,
      protocol: PROTOCOL_ICMPV6,
      length: 8,
      hopLimit: 255,
    }
    writeIpHeader(packet, 0, header)
    packet.set(message, 40)
    guest.sendFrame(multicastMac(all), ETHERTYPE_IPV6, packet)
    const [advertisement] = guest.packets
    assert.equal(advertisement.bytes[0], 134)
    assert.equal(advertisement.hopLimit, 255)
    assert.ok(isIcmpIntact(advertisement.bytes, advertisement.source, advertisement.destination))
    const hex = Buffer.from(advertisement.bytes).toString('hex')
    assert.ok(hex.includes('fd000010000000020000000000000000'), 'the prefix')
    assert.ok(hex.endsWith('fd000010000000020000000000000003'), 'the DNS server')
  })
  it('answers neighbor solicitations for its addresses', () => {
    const { guest } = fakeNetwork({}, { address: 'fd00:10:0:2::15' })
    const target = ipOf('fd00:10:0:2::3')
    const destination = ipOf('ff02::1:ff00:3')
    const bytes = new Uint8Array(32)
    bytes[0] = 135
    bytes.set(addressBytes(target), 8)
    bytes.set([1, 1, ...addressBytes(guest.mac)], 24)
    sealIcmp(bytes, guest.address, destination)
    const packet = new Uint8Array(72)
    const header = {
      source: guest.address,
      destination,
      protocol: PROTOCOL_ICMPV6,
      length: 32,
      hopLimit: 255,
    }
    writeIpHeader(packet, 0, header)
    packet.set(bytes, 40)
    guest.sendFrame(multicastMac(destination), ETHERTYPE_IPV6, packet)
    assert.equal(guest.packets[0].bytes[0], 136)
    assert.equal(guest.packets[0].bytes[4], 0xe0)
  })
  it('drops what is from an address of somebody else, or of its own', () => {
    const { guest, host } = fakeNetwork()
    for (const source of ['192.0.2.7', '10.0.2.2', '10.0.2.255', '127.0.0.1', '0.0.0.0']) {
      const from = ipOf(source)
      const datagram = {
        source: from,
        sourcePort: 5,
        destination: OUTSIDE,
        destinationPort: 6,
        payload: text('x'),
      }
      guest.sendIp(OUTSIDE, PROTOCOL_UDP, buildUdp(datagram), from)
    }
    assert.equal(host.datagrams.length, 0)
  })
})

describe('DHCP', () => {
  it('gives the address, the mask, the router and the DNS server that users know', () => {
    const { guest } = fakeNetwork()
    const offer = dhcp(guest, MESSAGE.discover)
    assert.equal(formatIp(offer.yours), '10.0.2.15')
    assert.equal(offer.options.get(OPTION.messageType)?.[0], MESSAGE.offer)
    const ack = dhcp(guest, MESSAGE.request, [[OPTION.requestedAddress, addressBytes(offer.yours)]])
    assert.equal(ack.options.get(OPTION.messageType)?.[0], MESSAGE.ack)
    assert.equal(ack.transaction, 77)
    const option = (code: number) => [...ack.options.get(code)!].join('.')
    assert.equal(option(OPTION.mask), '255.255.255.0')
    assert.equal(option(OPTION.router), '10.0.2.2')
    assert.equal(option(OPTION.dns), '10.0.2.3')
    assert.equal(option(OPTION.broadcast), '10.0.2.255')
    assert.equal(option(OPTION.mtu), '5.220')
  })
  it('refuses an address that the client does not have', () => {
    const { guest } = fakeNetwork()
    const nak = dhcp(guest, MESSAGE.request, [[OPTION.requestedAddress, addressBytes(ipOf('10.0.9.9'))]])
    assert.equal(nak.options.get(OPTION.messageType)?.[0], MESSAGE.nak)
  })
  it('gives each machine an address of its own, and again the same, and never runs out', () => {
    const { nat } = fakeNetwork()
    const seen = new Set<string>()
    for (let index = 0; index < 150; index++) {
      const other = new FakeGuest({ mac: `52:54:00:00:01:${index.toString(16).padStart(2, '0')}` })
      other.attach(nat)
      nat.attach(other)
      seen.add(formatIp(dhcp(other, MESSAGE.discover).yours))
      assert.equal(formatIp(dhcp(other, MESSAGE.discover).yours), [...seen].at(-1))
    }
    assert.equal(seen.size, 150)
    for (let index = 0; index < 1000; index++) {
      const mac = `52:54:00:00:${(index >> 8).toString(16).padStart(2, '0')}:${(index & 255).toString(16).padStart(2, '0')}`
      const other = new FakeGuest({ mac })
      other.attach(nat)
      nat.attach(other)
      dhcp(other, MESSAGE.discover)
    }
    assert.ok(nat.save().leases.length <= 200)
  })
})

describe('UDP', () => {
  it('goes out from one socket per port of the guest, and answers come only from whom it wrote to', () => {
    const { guest, host } = fakeNetwork()
    guest.sendUdp(OUTSIDE, 7, text('one'), 4000)
    guest.sendUdp(ipOf('192.0.2.2'), 8, text('two'), 4000)
    guest.sendUdp(OUTSIDE, 7, text('three'), 4001)
    assert.equal(host.datagrams.length, 2)
    const [first] = host.datagrams
    assert.deepEqual(
      first.sent.map(({ to }) => to),
      [
        { address: '192.0.2.1', port: 7 },
        { address: '192.0.2.2', port: 8 },
      ],
    )
    first.received(text('stranger'), { address: '192.0.2.66', port: 7 })
    first.received(text('answer'), { address: '192.0.2.2', port: 8 })
    const [answer, ...more] = guest.takeUdp()
    assert.equal(Buffer.from(answer.payload).toString(), 'answer')
    assert.deepEqual(
      [formatIp(answer.source), answer.sourcePort, answer.destinationPort],
      ['192.0.2.2', 8, 4000],
    )
    assert.equal(more.length, 0)
  })
  it('to everybody stays on the link, without an answer', () => {
    const { guest, host } = fakeNetwork()
    for (const address of ['10.0.2.255', '255.255.255.255', '224.0.0.251', '10.0.2.0']) {
      guest.sendUdp(ipOf(address), 5353, text('anybody?'))
    }
    assert.equal(host.datagrams.length, 0)
    assert.equal(guest.packets.length, 0)
  })
  it('has fragments put together, in any order, and cuts large answers up', () => {
    const { guest, host } = fakeNetwork()
    const payload = Uint8Array.from({ length: 5000 }, (_, index) => index)
    const datagram = {
      source: guest.address,
      sourcePort: 9,
      destination: OUTSIDE,
      destinationPort: 10,
      payload,
    }
    const udp = buildUdp(datagram)
    for (const offset of [2960, 0, 1480, 4440]) {
      const piece = udp.subarray(offset, offset + 1480)
      const packet = new Uint8Array(20 + piece.length)
      const fragment = { identification: 5, offset, more: offset + 1480 < udp.length }
      const header = {
        source: guest.address,
        destination: OUTSIDE,
        protocol: PROTOCOL_UDP,
        length: piece.length,
      }
      writeIpHeader(packet, 0, { ...header, fragment })
      packet.set(piece, 20)
      guest.sendFrame(GATEWAY_MAC, ETHERTYPE_IPV4, packet)
    }
    const [socket] = host.datagrams
    assert.deepEqual(Buffer.from(socket.sent[0].bytes), Buffer.from(payload))
    socket.received(payload, { address: '192.0.2.1', port: 10 })
    assert.deepEqual(
      guest.packets.map(({ fragment }) => fragment?.offset),
      [0, 1480, 2960, 4440],
    )
    assert.equal(
      guest.packets.every(({ length }) => length <= 1480),
      true,
    )
  })
  it('keeps a bounded number of ports, the ones that were used last', () => {
    const { guest, host, nat, clock } = fakeNetwork({ limits: { udpPorts: 10 } })
    for (let port = 1; port <= 100; port++) guest.sendUdp(OUTSIDE, 7, text('x'), port)
    assert.equal(nat.statistics.udpPorts, 10)
    assert.equal(host.datagrams.filter(({ closed }) => closed).length, 90)
    clock.advance(400 * SECOND)
    assert.equal(nat.statistics.udpPorts, 0)
  })
})

describe('DNS', () => {
  const answering = (ttl = 5) => {
    const network = fakeNetwork({
      policy: readPolicy({ allow: ['*.example.org:443', '198.51.100.0/24:80'] }),
    })
    network.host.answers = async (query) =>
      answerWithAddresses(query, readQuestion(query)!, [Uint8Array.of(192, 0, 2, 80)], ttl)
    return network
  }
  const ask = async ({ guest }: { guest: FakeGuest }, name: string) => {
    guest.sendUdp(DNS, 53, buildQuery(0x1234, name, TYPE_A))
    await settle()
    return guest.takeUdp()[0]?.payload
  }

  it('answers from the resolver of the host', async () => {
    const network = answering()
    const answer = await ask(network, 'www.Example.org')
    assert.equal(messageId(answer), 0x1234)
    const [{ address }] = readAddresses(answer, readQuestion(answer)!)
    assert.equal(formatIp(address), '192.0.2.80')
  })
  it('does not even ask for names that are denied', async () => {
    const network = answering()
    assert.equal(responseCode(await ask(network, 'secret.attacker.test')), RCODE_NO_NAME)
    assert.equal(responseCode(await ask(network, 'example.org')), RCODE_NO_NAME)
    assert.equal(network.host.queries.length, 0)
  })
  it('says that it failed when the host has no answer, or one to another question', async () => {
    const network = answering()
    network.host.answers = () => Promise.reject(new Error('nobody'))
    assert.equal(responseCode(await ask(network, 'a.example.org')), RCODE_FAILURE)
    network.host.answers = async () => buildQuery(1, 'other.test', TYPE_A)
    assert.equal(responseCode(await ask(network, 'a.example.org')), RCODE_FAILURE)
  })
  it('cuts an answer that does not fit, and gives it whole over TCP', async () => {
    const network = answering()
    const many = Array.from({ length: 60 }, (_, index) => Uint8Array.of(192, 0, 2, index))
    network.host.answers = async (query) => answerWithAddresses(query, readQuestion(query)!, many, 5)
    assert.equal(isTruncated(await ask(network, 'a.example.org')), true)
    const connection = network.guest.connect(DNS, 53)
    await settle()
    const query = buildQuery(5, 'a.example.org', TYPE_A)
    connection.sendBytes(Uint8Array.of(0, query.length, ...query))
    await settle()
    assert.equal(connection.received, 2 + readQuestion(query)!.end + 60 * 16)
  })
  it('holds no more answers than a connection takes', async () => {
    const network = answering()
    const many = Array.from({ length: 250 }, (_, index) => Uint8Array.of(192, 0, 2, index))
    network.host.answers = async (query) => answerWithAddresses(query, readQuestion(query)!, many, 5)
    const connection = network.guest.connect(DNS, 53, { acknowledges: false, window: 4000 })
    await settle()
    const query = buildQuery(5, 'a.example.org', TYPE_A)
    for (let index = 0; index < 2000; index++) {
      connection.sendBytes(Uint8Array.of(0, query.length, ...query))
      await settle()
    }
    const waiting = network.host.queries.length * 4000 - connection.received
    assert.ok(waiting < 150_000, `${waiting} bytes wait`)
  })
  it('opens what a name stands for, as long as its answer counts, on the ports that are allowed', async () => {
    const network = answering()
    const { guest, clock } = network
    const attempt = async (address: string, port: number) => {
      const connection = guest.connect(ipOf(address), port)
      await settle()
      return connection.state
    }
    assert.equal(await attempt('192.0.2.80', 443), 'reset')
    await ask(network, 'www.example.org')
    assert.equal(await attempt('192.0.2.80', 443), 'open')
    assert.equal(await attempt('192.0.2.80', 80), 'reset')
    assert.equal(await attempt('192.0.2.81', 443), 'reset')
    assert.equal(await attempt('198.51.100.7', 80), 'open')
    clock.advance(120 * SECOND)
    assert.equal(await attempt('192.0.2.80', 443), 'reset')
  })
  it('closes what a denied name stands for, where the rest is open', async () => {
    const network = fakeNetwork({ policy: readPolicy({ deny: ['bad.test'] }) })
    network.host.answers = async (query) =>
      answerWithAddresses(query, readQuestion(query)!, [Uint8Array.of(192, 0, 2, 66)], 5)
    assert.equal(responseCode(await ask(network, 'bad.test')), RCODE_NO_NAME)
    const bad = network.guest.connect(ipOf('192.0.2.66'), 443)
    const good = network.guest.connect(ipOf('192.0.2.67'), 443)
    await settle()
    assert.deepEqual([bad.state, good.state], ['reset', 'open'])
  })
  it('does not let a name lead to the host or to nowhere', async () => {
    const network = answering()
    network.host.answers = async (query) =>
      answerWithAddresses(
        query,
        readQuestion(query)!,
        [Uint8Array.of(127, 0, 0, 1), Uint8Array.of(169, 254, 169, 254)],
        5,
      )
    await ask(network, 'a.example.org')
    for (const address of ['127.0.0.1', '169.254.169.254', '10.0.2.2']) {
      const connection = network.guest.connect(ipOf(address), 443)
      await settle()
      assert.equal(connection.state, 'reset', address)
    }
    assert.equal(network.host.streams.length, 0)
  })
})

describe('a forwarded port', () => {
  it('leads from the host to the guest', async () => {
    const { nat, guest, host } = fakeNetwork()
    await nat.forward({ protocol: 'tcp', hostPort: 8080, guestPort: 80 })
    const server = guest.listen(80)
    const visitor = host.visit()
    assert.equal(server.state, 'open')
    visitor.send('GET')
    assert.equal(server.text, 'GET')
    server.sendBytes(text('200'))
    await settle()
    assert.equal(visitor.text, '200')
  })
  it('waits for a guest that is only now setting up its network', async () => {
    const { nat, guest, host, clock } = fakeNetwork()
    await nat.forward({ protocol: 'tcp', hostPort: 8080, guestPort: 80 })
    guest.loses = () => true
    const visitor = host.visit()
    clock.advance(2 * SECOND)
    guest.loses = () => false
    const server = guest.listen(80)
    guest.sendArp(ARP_REQUEST, parseMac('00:00:00:00:00:00')!, GATEWAY)
    assert.equal(server.state, 'open')
    assert.equal(visitor.wasReset, false)
  })
  it('ends the connection when nobody is there', async () => {
    const { nat, guest, host, clock } = fakeNetwork()
    await nat.forward({ protocol: 'tcp', hostPort: 8080, guestPort: 80 })
    guest.loses = () => true
    const visitor = host.visit()
    clock.advance(100 * SECOND)
    assert.equal(visitor.wasReset, true)
    assert.equal(nat.statistics.connections, 0)
  })
  it('carries datagrams both ways', async () => {
    const { nat, guest, host } = fakeNetwork()
    guest.sendArp(ARP_REQUEST, parseMac('00:00:00:00:00:00')!, GATEWAY)
    await nat.forward({ protocol: 'udp', hostPort: 5353, guestPort: 53 })
    const [socket] = host.datagrams
    socket.received(text('ask'), { address: '127.0.0.1', port: 9999 })
    const [visit] = guest.takeUdp()
    assert.equal(visit.destinationPort, 53)
    assert.equal(formatIp(visit.source), '10.0.2.2')
    guest.sendUdp(visit.source, visit.sourcePort, text('answer'), 53)
    assert.deepEqual(
      socket.sent.map(({ to }) => to),
      [{ address: '127.0.0.1', port: 9999 }],
    )
  })
  it('is refused when it makes no sense', async () => {
    const { nat } = fakeNetwork()
    for (const wrong of [{ guestPort: 0 }, { guestPort: 70_000 }, { hostPort: -1 }, { guestAddress: 'x' }]) {
      await assert.rejects(
        nat.forward({ protocol: 'tcp', hostPort: 8080, guestPort: 80, ...wrong }),
        (error: NetworkError) => error instanceof NetworkError && error.code === 'TV_NETWORK_FORWARD',
      )
    }
  })
})

describe('the layout of the network', () => {
  it('is the same in another network', () => {
    const layout = layoutOf({ network: '192.168.127.0/24', network6: 'fd12:3456:789a:1::/64', mtu: 1400 })
    const { guest } = fakeNetwork({ layout }, { address: '192.168.127.15' })
    const offer = dhcp(guest, MESSAGE.discover)
    assert.equal(formatIp(offer.yours), '192.168.127.15')
    assert.equal([...offer.options.get(OPTION.router)!].join('.'), '192.168.127.2')
    assert.deepEqual([formatIp(layout.dns), formatIp(layout.dns6)], ['192.168.127.3', 'fd12:3456:789a:1::3'])
  })
  it('is refused when it is none', () => {
    const networks = ['10.0.2.1/24', '10.0.2.0/28', '10.0.2.0', 'fd00::/64', 'x']
    for (const network of networks) assert.throws(() => layoutOf({ network }), { code: 'TV_NETWORK_ADDRESS' })
    assert.throws(() => layoutOf({ network6: 'fd00::/48' }), { code: 'TV_NETWORK_ADDRESS' })
    assert.throws(() => layoutOf({ mtu: 9000 }), { code: 'TV_NETWORK_LIMIT' })
  })
})

describe('a saved NAT', () => {
  it('resets the connections that were open, and remembers the rest', async () => {
    const policy = readPolicy({ default: 'allow', deny: ['192.0.2.66'] })
    const before = fakeNetwork({ policy })
    const lease = dhcp(before.guest, MESSAGE.discover).yours
    const connection = before.guest.connect(OUTSIDE, 80)
    await settle()
    connection.sendBytes(text('hello'))
    await settle()
    const state = JSON.parse(JSON.stringify(before.nat.save())) as NatState
    const after = fakeNetwork()
    const deliver = before.guest.deliver.bind(before.guest)
    after.nat.attach({ ...after.guest, offloads: after.guest.offloads, deliver, resume: () => {} })
    let reset: { flags: number; sequence: number } | undefined
    connection.onSegment = (header) => (reset = header)
    const { expected } = connection
    after.nat.restore(state)
    assert.equal(connection.state, 'reset')
    assert.equal(reset?.sequence, expected)
    assert.deepEqual(after.nat.policy, policy)
    assert.equal(formatIp(lease), '10.0.2.15')
    assert.deepEqual(after.nat.save().leases, state.leases)
  })
  it('is refused in a version that nobody knows', () => {
    const { nat } = fakeNetwork()
    const state = { ...nat.save(), version: 2 } as unknown as NatState
    assert.throws(() => nat.restore(state), { code: 'TV_SNAPSHOT_VERSION' })
  })
  it('is refused with a policy that nobody understands', () => {
    const { nat } = fakeNetwork()
    const state = { ...nat.save(), policy: { default: 'deny' as const, allow: ['a b'], deny: [] } }
    assert.throws(() => nat.restore(state), PolicyError)
  })
})

describe('malformed packets', () => {
  it('are dropped, at every length', () => {
    const { guest, host, nat } = fakeNetwork()
    const udp = buildUdp({
      source: guest.address,
      sourcePort: 5,
      destination: OUTSIDE,
      destinationPort: 6,
      payload: text('payload'),
    })
    const packet = new Uint8Array(20 + udp.length)
    writeIpHeader(packet, 0, {
      source: guest.address,
      destination: OUTSIDE,
      protocol: PROTOCOL_UDP,
      length: udp.length,
    })
    packet.set(udp, 20)
    const frame = ethernet(GATEWAY_MAC, guest.mac, ETHERTYPE_IPV4, packet)
    for (let length = 0; length < frame.length; length++) {
      guest.sendRaw({ parts: [frame.subarray(0, length)], length })
    }
    assert.equal(host.datagrams.length, 0)
    for (let length = 0; length < 60; length++)
      guest.sendFrame(GATEWAY_MAC, ETHERTYPE_ARP, new Uint8Array(length))
    guest.sendRaw({ parts: [frame], length: frame.length })
    assert.equal(host.datagrams.length, 1)
    assert.equal(nat.statistics.udpPorts, 1)
    assert.equal(readIpv4(packet, 16), OUTSIDE)
  })
})
