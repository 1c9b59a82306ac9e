import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { initramfsFormat } from './initramfs.ts'

describe('initramfs', () => {
  it('is known by how it begins', () => {
    assert.equal(initramfsFormat(new TextEncoder().encode('070701000')), 'cpio')
    assert.equal(initramfsFormat(Uint8Array.of(0x1f, 0x8b, 8)), 'gzip')
  })
  it('is nothing else, nor a beginning that is cut off', () => {
    for (const bytes of [[], [0x1f], [0x30, 0x37, 0x30, 0x37], [0x3c, 0x21, 0x44, 0x4f]]) {
      assert.equal(initramfsFormat(Uint8Array.from(bytes)), undefined)
    }
  })
})
