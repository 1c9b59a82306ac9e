import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatIp, formatMac, inPrefix, ipOf, parseIp, parseMac, parsePrefix } from './addresses.ts'

describe('addresses', () => {
  it('are read and written as RFC 5952 has them', () => {
    const same = ['0.0.0.0', '255.255.255.255', '216.34.1.2', '::', '::1', 'fe80::2', '2001:db8::1:0:0:1']
    for (const text of [...same, '1:2:3:4:5:6:7:8', '2001:db8:0:1:1:1:1:1', '1:0:0:2::3', '10::10:0:0:0']) {
      assert.equal(formatIp(ipOf(text)), text.replace('10::10:0:0:0', '10::10:0:0:0'))
    }
    assert.equal(formatIp(ipOf('2001:DB8:0:0:0:0:0:1')), '2001:db8::1')
    assert.equal(formatIp(ipOf('::ffff:192.0.2.1')), '::ffff:c000:201')
    assert.equal(formatMac(parseMac('52:54:00:AB:cd:ef')!), '52:54:00:ab:cd:ef')
  })
  it('are refused when they are none', () => {
    const wrong = [
      '',
      '1.2.3',
      '1.2.3.256',
      '01.2.3.4',
      '1.2.3.4.5',
      ':',
      ':::',
      '1::2::3',
      '1:2:3:4:5:6:7',
      'g::',
    ]
    for (const text of [...wrong, '1:2:3:4:5:6:7:8:9', '::1.2.3', '12345::', 'fe80::1%eth0', ' 1.2.3.4']) {
      assert.equal(parseIp(text), undefined, text)
    }
    assert.equal(parsePrefix('10.0.0.0/33'), undefined)
    assert.equal(parseMac('52:54:00:12:34'), undefined)
  })
  it('lie in a prefix or do not', () => {
    const cases: [string, string, boolean][] = [
      ['10.1.2.3', '10.0.0.0/8', true],
      ['11.1.2.3', '10.0.0.0/8', false],
      ['192.0.2.127', '192.0.2.0/25', true],
      ['192.0.2.128', '192.0.2.0/25', false],
      ['2001:db8:ffff::1', '2001:db8::/32', true],
      ['2001:db9::1', '2001:db8::/31', true],
      ['2001:dba::1', '2001:db8::/31', false],
      ['10.0.0.1', '::/0', false],
      ['10.0.0.1', '0.0.0.0/0', true],
    ]
    for (const [address, prefix, expected] of cases) {
      assert.equal(inPrefix(ipOf(address), parsePrefix(prefix)!), expected, `${address} in ${prefix}`)
    }
  })
})
