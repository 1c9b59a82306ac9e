import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { type CpioEntry, writeCpio } from './cpio.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const ENTRIES: readonly CpioEntry[] = [
  { kind: 'directory', path: 'dev', mode: 0o755 },
  { kind: 'character-device', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
  { kind: 'file', path: 'init', mode: 0o755, data: bytes('#!/bin/sh\n') },
  { kind: 'symlink', path: 'sh', target: 'bin/busybox' },
  { kind: 'file', path: 'empty', mode: 0o644, data: new Uint8Array() },
]

/** What an archive holds, by the field table of cpio(5). */
function parse(archive: Uint8Array) {
  const found: { name: string; mode: number; major: number; minor: number; data: string }[] = []
  for (let at = 0; ; ) {
    const text = Buffer.from(archive.subarray(at, at + 110)).toString('latin1')
    assert.equal(text.slice(0, 6), '070701')
    const field = (i: number) => Number.parseInt(text.slice(6 + 8 * i, 14 + 8 * i), 16)
    const nameEnd = at + 110 + field(11)
    const name = Buffer.from(archive.subarray(at + 110, nameEnd - 1)).toString()
    assert.equal(archive[nameEnd - 1], 0)
    const start = (nameEnd + 3) & ~3
    const data = Buffer.from(archive.subarray(start, start + field(6))).toString()
    at = (start + field(6) + 3) & ~3
    if (name === 'TRAILER!!!') {
      assert.equal(at, archive.length)
      return found
    }
    found.push({ name, mode: field(1), major: field(9), minor: field(10), data })
  }
}

describe('cpio writer', () => {
  it('writes files, directories, links and devices with their modes', () => {
    assert.deepEqual(parse(writeCpio(ENTRIES)), [
      { name: 'dev', mode: 0o40755, major: 0, minor: 0, data: '' },
      { name: 'dev/console', mode: 0o20600, major: 5, minor: 1, data: '' },
      { name: 'init', mode: 0o100755, major: 0, minor: 0, data: '#!/bin/sh\n' },
      { name: 'sh', mode: 0o120777, major: 0, minor: 0, data: 'bin/busybox' },
      { name: 'empty', mode: 0o100644, major: 0, minor: 0, data: '' },
    ])
  })
  it('keeps every header and every content on a multiple of 4, whatever the lengths', () => {
    for (let length = 0; length < 9; length++) {
      const entries: CpioEntry[] = [
        { kind: 'file', path: 'n'.repeat(length + 1), mode: 0o644, data: new Uint8Array(length).fill(0x61) },
        { kind: 'file', path: 'z', mode: 0o644, data: bytes('end') },
      ]
      const [first, second] = parse(writeCpio(entries))
      assert.equal(first.data, 'a'.repeat(length))
      assert.equal(second.data, 'end')
    }
  })
  it('gives the same bytes for the same entries', () => {
    assert.deepEqual(writeCpio(ENTRIES), writeCpio(ENTRIES))
  })
  for (const [tool, args] of [
    ['cpio', ['-t', '--quiet']],
    ['bsdtar', ['-tf', '-']],
    ['busybox', ['cpio', '-t']],
  ] as const) {
    const skip = spawnSync(tool, ['--help']).error ? `${tool} is not installed` : false
    it(`is listed by ${tool}`, { skip }, () => {
      const { stdout, status } = spawnSync(tool, [...args], { input: writeCpio(ENTRIES), encoding: 'utf8' })
      assert.equal(status, 0)
      assert.deepEqual(stdout.trim().split('\n').sort(), ENTRIES.map((entry) => entry.path).sort())
    })
  }
})
