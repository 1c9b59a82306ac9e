import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import koffi from 'koffi'
import { allocateHuge } from './huge-pages.ts'

const skip = existsSync('/sys/kernel/mm/transparent_hugepage/enabled')
  ? false
  : 'the kernel of this host has no transparent huge pages'

/** Flags of the mapping that an address is in. proc(5), "/proc/pid/smaps". */
function flagsOf(address: bigint): string[] {
  let isHere = false
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const range = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line)
    if (range) isHere = address >= BigInt(`0x${range[1]}`) && address < BigInt(`0x${range[2]}`)
    else if (isHere && line.startsWith('VmFlags:')) return line.split(' ').slice(1)
  }
  return []
}

describe('huge pages', () => {
  it('are asked for where memory is allocated so', { skip }, () => {
    const bytes = allocateHuge(64 << 20)
    assert.ok(bytes.every((byte) => byte === 0))
    assert.ok(flagsOf(koffi.address(bytes) + (32n << 20n)).includes('hg'))
  })
  it('are not asked for where there is no whole page', () => {
    assert.equal(allocateHuge(16).length, 16)
  })
})
