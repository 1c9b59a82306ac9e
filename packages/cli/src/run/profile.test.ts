import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Profile } from '@typevisor/host'
import { foldedStacks, profileTable } from './profile.ts'
import { Symbols } from './symbols.ts'

const MAP = `0000000000000000 D fixed_percpu_data
ffffffff81000000 T _text
ffffffff81001020 t copy
ffffffff81001000 W clear
ffffffff81001020 T copy_alias
`
const MACHINE = { seconds: 0.01, runningSeconds: 0.008, slices: 5 }

function sampled(): Profile {
  const profile = new Profile()
  profile.slice({ address: 0xffffffff81001024n, cpl: 0, isRecompiled: true }, 'slice', 3e6)
  profile.slice({ address: 0xffffffff81001028n, cpl: 0, isRecompiled: false }, 'slice', 1e6)
  profile.slice({ address: 0x401234n, cpl: 3, isRecompiled: false }, 'slice', 3e6)
  profile.slice({ address: 0n, cpl: 0, isRecompiled: false }, 'hlt', 1e6)
  return profile
}

describe('symbols', () => {
  it('are functions, found by any address in them', () => {
    const symbols = new Symbols(MAP)
    assert.equal(symbols.find(0xffffffff81001000n), 'clear')
    assert.equal(symbols.find(0xffffffff8100101fn), 'clear')
    assert.equal(symbols.find(0xffffffff81001020n), 'copy')
    assert.equal(symbols.find(0xffffffffc0000000n), undefined)
    assert.equal(symbols.find(0n), undefined)
  })
})

describe('a profile', () => {
  it('is told as shares of the time, by mode, page and address', () => {
    const table = profileTable(sampled(), MACHINE, new Symbols(MAP))
    for (const line of [
      'Of 0.010 seconds, by 3 samples:',
      ' 40.0 %  kernel',
      ' 30.0 %  user',
      ' 10.0 %  kernel or user, in slices that end with a halt',
      ' 20.0 %  halted, or waiting for the host',
      ' 40.0 %    75 % recompiled  kernel  ffffffff81001000',
      ' 30.0 %   100 % recompiled  kernel  ffffffff81001024  copy',
      ' 30.0 %     0 % recompiled  user    0000000000401234',
    ])
      assert.ok(table.split('\n').includes(line), `${line}\n${table}`)
  })
  it('is written as folded stacks in microseconds', () => {
    assert.equal(
      foldedStacks(sampled(), MACHINE, new Symbols(MAP)),
      `kernel;ffffffff81001000;copy 4000
user;0000000000401000;0000000000401234 3000
until a halt 1000
halted 2000
`,
    )
    assert.match(foldedStacks(sampled(), MACHINE), /^kernel;ffffffff81001000;ffffffff81001024 3000\n/)
  })
})
