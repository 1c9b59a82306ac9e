import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { guestOptions } from './options.ts'

const BASE = 'https://example.org/linux/'
const SIZE = { rows: 30, cols: 100 }
const options = (query: string) => guestOptions(new URL(query, BASE), BASE)

describe("the page's address", () => {
  it('without parameters is the guest next to the page, which knows the terminal', () => {
    const { commandLine, ...rest } = options('')
    assert.deepEqual(rest, {
      kernel: `${BASE}guest/vmlinuz`,
      initrd: `${BASE}guest/initramfs.gz`,
      machine: { memoryBytes: 2 ** 29, engine: 'jit', cpu: undefined },
    })
    assert.equal(
      commandLine(SIZE),
      'console=ttyS0 panic=-1 no_timer_check typevisor.size=30x100 TERM=xterm-256color',
    )
  })
  it('adds to the command line, and names memory, engine and CPU', () => {
    const { commandLine, machine } = options('?append=quiet&memory=1g&engine=warp&cpu=486')
    assert.match(commandLine(SIZE), /^console=ttyS0 .* quiet$/)
    assert.deepEqual(machine, { memoryBytes: 2 ** 30, engine: 'warp', cpu: '486' })
  })
  it('names a kernel elsewhere, which has nothing of the guest here', () => {
    const { kernel, initrd, commandLine } = options('?kernel=https://k.example/bzImage&append=a%20b')
    assert.deepEqual([kernel, initrd, commandLine(SIZE)], ['https://k.example/bzImage', undefined, 'a b'])
    assert.equal(options('?kernel=k&initrd=../i.gz').initrd, 'https://example.org/i.gz')
  })
  it('is refused when it makes no sense', () => {
    for (const query of ['?memory=lots', '?memory=512', '?kernel=data:,x', '?initrd=http://']) {
      assert.throws(() => options(query), { code: 'TV_PAGE_PARAMETER' }, query)
    }
  })
})
