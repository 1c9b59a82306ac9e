import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { InterpreterCode } from '@typevisor/x86'
import { keepCodeIn } from './engine-code.ts'

describe('the kept code of an engine', () => {
  let home = ''
  let made = 0
  const folder = () => join(home, 'engines')
  const code = (): InterpreterCode => {
    made++
    return {
      bytes: Uint8Array.of(0, 97, 115, 109, made),
      functions: { dispatch: { index: 3, params: ['i32'], results: ['i32'] } },
      routines: {},
      handlerType: 7,
    }
  }
  const keepFrom = () => keepCodeIn(folder(), home)
  const onlyFile = () => join(folder(), readdirSync(folder())[0]!)

  beforeEach(() => {
    made = 0
    home = mkdtempSync(join(tmpdir(), 'typevisor-'))
    writeFileSync(join(home, 'isa.ts'), 'one')
  })
  afterEach(() => rmSync(home, { recursive: true }))

  it('is made once, and is the same the next time', () => {
    const first = keepFrom()('model', code)
    assert.deepEqual(keepFrom()('model', code), first)
    assert.equal(made, 1)
    assert.deepEqual(readdirSync(folder()).length, 1)
  })
  it('is made anew by another name, and from other sources', () => {
    keepFrom()('model', code)
    keepFrom()('other', code)
    assert.equal(made, 2)
    writeFileSync(join(home, 'isa.ts'), 'two')
    keepFrom()('model', code)
    assert.equal(made, 3)
  })
  it('does not change with a test of the sources', () => {
    keepFrom()('model', code)
    writeFileSync(join(home, 'isa.test.ts'), 'two')
    keepFrom()('model', code)
    assert.equal(made, 1)
  })
  it('is made anew where its file was changed, cut off or emptied, and kept again', () => {
    keepFrom()('model', code)
    const good = readFileSync(onlyFile())
    const bad = [good.subarray(0, -1), new Uint8Array(), Buffer.from(good)]
    bad[2]![40] ^= 1
    for (const [i, bytes] of bad.entries()) {
      writeFileSync(onlyFile(), bytes)
      keepFrom()('model', code)
      assert.equal(made, 2 + i)
    }
    keepFrom()('model', code)
    assert.equal(made, 4)
  })
  it('is made where the folder cannot be made', () => {
    writeFileSync(folder(), 'a file')
    assert.equal(keepFrom()('model', code).handlerType, 7)
  })
  it('goes when it is among the oldest of more than eight', () => {
    for (let i = 0; i < 10; i++) {
      keepFrom()(`model${i}`, code)
      for (const name of readdirSync(folder()))
        if (name.startsWith(`model${i}-`)) utimesSync(join(folder(), name), 1000 + i, 1000 + i)
    }
    const kept = readdirSync(folder()).map((name) => name.split('-')[0])
    assert.equal(kept.length, 8)
    assert.ok(!kept.includes('model0') && kept.includes('model9'))
  })
})
