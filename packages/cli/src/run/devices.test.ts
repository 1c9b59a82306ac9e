import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseDisk, parseNetwork, parsePublish } from './devices.ts'

const REFUSED = { code: 'TV_OPTION_VALUE' }

describe('--disk', () => {
  it('names a file, and how it is to be opened', () => {
    assert.deepEqual(parseDisk('a.img'), { path: 'a.img' })
    assert.deepEqual(parseDisk('/x/a=b.img,format=raw,readonly,serial=one'), {
      path: '/x/a=b.img',
      format: 'raw',
      readOnly: true,
      serial: 'one',
    })
    assert.deepEqual(parseDisk('a.img,readonly=off,format=qcow2'), {
      path: 'a.img',
      readOnly: false,
      format: 'qcow2',
    })
  })
  it('takes a comma that is written twice for a part of the name', () => {
    assert.deepEqual(parseDisk('a,,b,readonly'), { path: 'a,b', readOnly: true })
    assert.deepEqual(parseDisk('a,,,readonly'), { path: 'a,', readOnly: true })
    assert.deepEqual(parseDisk(',,a,,,,b'), { path: ',a,,b' })
  })
  it('refuses what it does not know', () => {
    for (const text of [
      '',
      ',readonly',
      'a,',
      'a,format=vdi',
      'a,format',
      'a,readonly=1',
      'a,cache=none',
      'a,serial=',
      `a,serial=${'x'.repeat(21)}`,
    ])
      assert.throws(() => parseDisk(text), REFUSED, text)
  })
})

describe('--net', () => {
  it('is none, or a NAT with settings', async () => {
    assert.equal(await parseNetwork('none', []), undefined)
    const open = { default: 'allow', allow: [], deny: [] }
    assert.deepEqual(await parseNetwork('user', []), { policy: open, publish: [] })
    assert.deepEqual(
      await parseNetwork(
        'user,mac=52:54:00:00:00:01,network=10.1.0.0/24,mtu=1400,ipv6=off,capture=a.pcap',
        [],
      ),
      {
        mac: '52:54:00:00:00:01',
        network: '10.1.0.0/24',
        mtu: 1400,
        ipv6: false,
        capture: 'a.pcap',
        policy: open,
        publish: [],
      },
    )
  })
  it('denies the rest where something is allowed', async () => {
    const allow = ['*.example.org:80,443', 'host-loopback:9']
    assert.deepEqual(
      (await parseNetwork('user,allow=*.example.org:80,,443,allow=host-loopback:9', []))?.policy,
      {
        default: 'deny',
        allow,
        deny: [],
      },
    )
    assert.deepEqual((await parseNetwork('user,deny=192.0.2.0/24', []))?.policy, {
      default: 'allow',
      allow: [],
      deny: ['192.0.2.0/24'],
    })
  })
  it('refuses what it does not know', async () => {
    for (const text of [
      '',
      'tap',
      'none,mtu=1400',
      'user,mtu',
      'user,ipv6=1',
      'user,mac=',
      'user,bridge=br0',
    ])
      await assert.rejects(parseNetwork(text, []), REFUSED, text)
    await assert.rejects(parseNetwork('user,allow=a b', []), { code: 'TV_POLICY_ENTRY' })
    await assert.rejects(parseNetwork('none', ['80:80']), REFUSED)
  })
})

describe('--publish', () => {
  it('leads a port of the host to one of the guest', () => {
    const tcp = { protocol: 'tcp', hostPort: 8080, guestPort: 80 }
    assert.deepEqual(parsePublish('8080:80'), tcp)
    assert.deepEqual(parsePublish('0.0.0.0:8080:80/tcp'), { ...tcp, hostAddress: '0.0.0.0' })
    assert.deepEqual(parsePublish('[::1]:8080:80'), { ...tcp, hostAddress: '::1' })
    assert.deepEqual(parsePublish('0:53/udp'), { protocol: 'udp', hostPort: 0, guestPort: 53 })
  })
  it('refuses what it does not know', () => {
    for (const text of ['', '80', 'a:80', '80:', '80:80/sctp', '1:2:3:4', '-1:80', '::1:80:80'])
      assert.throws(() => parsePublish(text), REFUSED, text)
  })
})
