import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ipOf } from './addresses.ts'
import { addSums, onesSum } from './checksum.ts'
import { ALL_OFFLOADS, type Frame, NO_OFFLOADS } from './frame.ts'
import {
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  PROTOCOL_TCP,
  parseIpv4,
  parseIpv6,
  pseudoHeaderSum,
  writeIpHeader,
} from './packet/ip.ts'
import { ACK, FIN, PSH, parseTcp, writeTcpHeader } from './packet/tcp.ts'
import { comply } from './segmentation.ts'
import { ethernet, GATEWAY_MAC } from './testing/fake-guest.ts'

const payload = Uint8Array.from({ length: 10_000 }, (_, index) => index * 13)

function large(v6: boolean): Frame {
  const [source, destination] = (v6 ? ['2001:db8::1', '2001:db8::2'] : ['192.0.2.1', '192.0.2.2']).map(ipOf)
  const packet = new Uint8Array(60 + payload.length)
  const ip = writeIpHeader(packet, 0, {
    source,
    destination,
    protocol: PROTOCOL_TCP,
    length: 20 + payload.length,
  })
  const fields = { sourcePort: 1, destinationPort: 2, sequence: 2 ** 32 - 3000, acknowledgment: 9, window: 5 }
  writeTcpHeader(packet, ip, { ...fields, flags: ACK | PSH | FIN })
  const pseudo = pseudoHeaderSum(source, destination, PROTOCOL_TCP, 20 + payload.length)
  packet.set([pseudo >> 8, pseudo], ip + 16)
  packet.set(payload, ip + 20)
  const type = v6 ? ETHERTYPE_IPV6 : ETHERTYPE_IPV4
  const bytes = ethernet(GATEWAY_MAC, GATEWAY_MAC, type, packet.subarray(0, ip + 20 + payload.length))
  return {
    parts: [bytes.subarray(0, 1000), bytes.subarray(1000)],
    length: bytes.length,
    checksum: { start: 14 + ip, offset: 16 },
    segmentation: { kind: v6 ? 'tcp6' : 'tcp4', size: 1440, headerLength: 34 + ip },
  }
}

describe('what a frame leaves undone', () => {
  for (const v6 of [false, true]) {
    it(`is done for a port that does not do it, over IPv${v6 ? 6 : 4}`, () => {
      const frames = comply(large(v6), NO_OFFLOADS)
      assert.equal(frames.length, 7)
      let sequence = 2 ** 32 - 3000
      const bodies = frames.map(({ parts: [bytes] }, index) => {
        const ip = (v6 ? parseIpv6 : parseIpv4)(bytes.subarray(14), bytes.length - 14)!
        const tcp = bytes.subarray(14 + ip.payload)
        const header = parseTcp(tcp, ip.length)!
        const sum = addSums(pseudoHeaderSum(ip.source, ip.destination, PROTOCOL_TCP, ip.length), onesSum(tcp))
        assert.equal(sum, 0xffff)
        assert.equal(header.sequence, sequence % 2 ** 32)
        assert.equal(header.flags, index === 6 ? ACK | PSH | FIN : ACK)
        sequence += ip.length - 20
        return tcp.subarray(20)
      })
      assert.deepEqual(Buffer.concat(bodies), Buffer.from(payload))
    })
  }
  it('is left to a port that does it', () => {
    const frame = large(false)
    assert.deepEqual(comply(frame, ALL_OFFLOADS), [frame])
    assert.equal(comply(frame, { ...ALL_OFFLOADS, tcp6: false })[0], frame)
  })
  it('is nothing, if it is not what it claims to be', () => {
    const frame = large(false)
    const size = (value: number) => ({ ...frame, segmentation: { ...frame.segmentation!, size: value } })
    assert.deepEqual(comply(size(0), NO_OFFLOADS), [])
    assert.deepEqual(comply(size(1), NO_OFFLOADS), [])
    assert.deepEqual(comply({ ...frame, parts: [new Uint8Array(60)], length: 60 }, NO_OFFLOADS), [])
    const wrong = { ...frame, segmentation: undefined, checksum: { start: 70_000, offset: 6 } }
    assert.deepEqual(comply(wrong, NO_OFFLOADS), [])
  })
})
