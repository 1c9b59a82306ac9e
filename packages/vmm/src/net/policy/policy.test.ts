import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ipOf } from '../addresses.ts'
import { SECOND } from '../alarms.ts'
import type { PolicyError } from '../errors.ts'
import { Pins } from './pins.ts'
import { type EgressPolicy, PolicyRules, readPolicy } from './policy.ts'

const rules = (policy: Partial<EgressPolicy>) => new PolicyRules(readPolicy(policy))
const to = (address: string, ...names: string[]) =>
  ({ kind: 'address', address: ipOf(address), names }) as const

describe('egress policy', () => {
  it('denies what is not allowed once something is', () => {
    assert.equal(readPolicy({ allow: ['example.org'] }).default, 'deny')
    assert.equal(readPolicy({ deny: ['example.org'] }).default, 'allow')
    assert.equal(readPolicy({}).default, 'allow')
    assert.equal(rules({ allow: [] }).allows('tcp', to('192.0.2.1'), 80), false)
    assert.equal(rules({}).allows('tcp', to('192.0.2.1'), 80), true)
  })
  it('knows hosts by name, by wildcard, by address and by prefix, each with ports', () => {
    const policy = rules({
      allow: [
        'example.org:443',
        '*.example.net:80,8000-8010',
        '192.0.2.0/24',
        '[2001:db8::/32]:53',
        'udp://*:123',
      ],
    })
    const cases: ['tcp' | 'udp', ReturnType<typeof to>, number, boolean][] = [
      ['tcp', to('198.51.100.1', 'example.org'), 443, true],
      ['tcp', to('198.51.100.1', 'example.org'), 80, false],
      ['tcp', to('198.51.100.1', 'www.example.org'), 443, false],
      ['tcp', to('198.51.100.1', 'a.b.example.net'), 8005, true],
      ['tcp', to('198.51.100.1', 'example.net'), 80, false],
      ['tcp', to('198.51.100.1', 'badexample.net'), 80, false],
      ['tcp', to('192.0.2.200'), 22, true],
      ['tcp', to('192.0.3.1'), 22, false],
      ['udp', to('2001:db8::1'), 53, true],
      ['udp', to('2001:db8::1'), 54, false],
      ['udp', to('203.0.113.5'), 123, true],
      ['tcp', to('203.0.113.5'), 123, false],
    ]
    for (const [protocol, destination, port, expected] of cases) {
      assert.equal(
        policy.allows(protocol, destination, port),
        expected,
        JSON.stringify([protocol, destination, port]),
      )
    }
  })
  it('lets deny win over allow', () => {
    const policy = rules({ allow: ['192.0.2.0/24'], deny: ['192.0.2.7', '*:25'] })
    assert.equal(policy.allows('tcp', to('192.0.2.7'), 80), false)
    assert.equal(policy.allows('tcp', to('192.0.2.8'), 25), false)
    assert.equal(policy.allows('tcp', to('192.0.2.8'), 80), true)
  })
  it("keeps guests from the host's loopback and from link-local addresses unless an entry names them", () => {
    const open = rules({})
    assert.equal(open.allows('tcp', { kind: 'host-loopback' }, 80), false)
    assert.equal(open.allows('tcp', to('169.254.169.254'), 80), false)
    const named = rules({ default: 'allow', allow: ['host-loopback:8080', '169.254.169.254:80'] })
    assert.equal(named.allows('tcp', { kind: 'host-loopback' }, 8080), true)
    assert.equal(named.allows('tcp', { kind: 'host-loopback' }, 22), false)
    assert.equal(named.allows('tcp', to('169.254.169.254'), 80), true)
    assert.equal(rules({ allow: ['*'] }).allows('tcp', to('169.254.169.254', 'x.test'), 80), false)
  })
  it('cannot be got around by other ways of writing an address', () => {
    const open = rules({ default: 'allow', deny: ['10.0.0.0/8'] })
    for (const address of [
      '127.0.0.1',
      '0.0.0.0',
      '::1',
      '::',
      '::127.0.0.1',
      '::ffff:127.0.0.1',
      '64:ff9b::10.1.2.3',
    ]) {
      assert.equal(open.allows('tcp', to(address), 80), false, address)
    }
    for (const address of [
      '::ffff:10.1.2.3',
      '2002:a01:203::1',
      'fe80::1',
      '224.0.0.1',
      'ff02::1',
      '255.255.255.255',
    ]) {
      assert.equal(open.allows('tcp', to(address), 80), false, address)
    }
    assert.equal(open.allows('tcp', to('64:ff9b::192.0.2.1'), 80), true)
  })
  it('lets only names be asked about that lead somewhere', () => {
    const policy = rules({ allow: ['*.example.org:443'] })
    assert.equal(policy.allowsName('www.example.org'), true)
    assert.equal(policy.allowsName('example.org'), false)
    assert.equal(rules({ deny: ['bad.test'] }).allowsName('bad.test'), false)
    assert.equal(rules({ deny: ['bad.test:25'] }).allowsName('bad.test'), true)
    assert.equal(rules({ allow: ['*:443'] }).allowsName('any.test'), true)
  })
  it('names the entry that it does not understand', () => {
    const wrong = [
      '',
      ':443',
      'a b',
      'exa$mple.org',
      '*.',
      '*example.org',
      'example.org:0',
      'example.org:99999',
    ]
    const more = [
      'example.org:',
      'x:80-',
      'x:90-80',
      '1.2.3',
      '1.2.3.4/33',
      '10.0.0.1/8',
      '[1.2.3.4]:80',
      '[::1',
      'ftp://x',
    ]
    const last = [
      'icmp://x:80',
      'tcp://',
      '2001:db8::/32:80:',
      `${'a'.repeat(64)}.org`,
      '-a.org',
      'a..org',
      '::1%eth0',
    ]
    for (const entry of [...wrong, ...more, ...last]) {
      assert.throws(
        () => readPolicy({ allow: [entry] }),
        (error: PolicyError) =>
          error.code === 'TV_POLICY_ENTRY' &&
          error.entry === entry &&
          error.message.includes(JSON.stringify(entry)),
        JSON.stringify(entry),
      )
    }
  })
  it('refuses a record of another shape', () => {
    const wrong = [null, 'allow', [], { default: 'maybe' }, { allow: 'x' }, { allow: [1] }, { permit: [] }]
    for (const record of [...wrong, { allow: new Array(1001).fill('a') }]) {
      assert.throws(() => readPolicy(record), { code: 'TV_POLICY_FORMAT' })
    }
  })
})

describe('pinned names', () => {
  it('count for their time, and survive being saved', () => {
    let now = 0
    const pins = new Pins(() => now)
    pins.add(ipOf('192.0.2.1'), 'a.test', 10)
    pins.add(ipOf('192.0.2.1'), 'b.test', 20)
    now = 12 * SECOND
    assert.deepEqual(pins.namesOf(ipOf('192.0.2.1')), ['b.test'])
    const copy = new Pins(() => now)
    copy.restore(JSON.parse(JSON.stringify(pins.save())))
    now = 19 * SECOND
    assert.deepEqual(copy.namesOf(ipOf('192.0.2.1')), ['b.test'])
    now = 20 * SECOND
    assert.deepEqual(copy.namesOf(ipOf('192.0.2.1')), [])
  })
  it('are bounded', () => {
    const pins = new Pins(() => 0)
    for (let index = 0; index < 10_000; index++)
      pins.add(ipOf(`10.0.${index >> 8}.${index & 255}`), 'a.test', 10)
    for (let index = 0; index < 100; index++) pins.add(ipOf('192.0.2.1'), `${index}.test`, 10)
    assert.equal(pins.save().length, 4095 + 16)
  })
})
