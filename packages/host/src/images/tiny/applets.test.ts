import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { appletNames } from './applets.ts'

const executable = (text: string) => new TextEncoder().encode(`\x7fELF\0code\0${text}`)

describe('applet names of busybox', () => {
  it('are read from the table to the empty name at its end', () => {
    assert.deepEqual(appletNames(executable('\0[\0[[\0acpid\0sh\0zcat\0\0other\0')), [
      '[',
      '[[',
      'acpid',
      'sh',
      'zcat',
    ])
  })
  it('are none without a table', () => {
    assert.deepEqual(appletNames(executable('acpid\0sh\0')), [])
    assert.deepEqual(appletNames(new Uint8Array()), [])
  })
  it('end where the file does, and never name a path', () => {
    assert.deepEqual(appletNames(executable('\0[\0[[\0cut')), ['[', '[['])
    assert.deepEqual(appletNames(executable('\0[\0[[\0../../etc/passwd\0sh\0\0')), ['[', '[['])
  })
})
