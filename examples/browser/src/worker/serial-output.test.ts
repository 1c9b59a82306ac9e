import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { SerialOutput } from './serial-output.ts'

const FLOOD = 300_000

describe('serial output of a page', () => {
  const start = () => {
    const pieces: string[] = []
    const output = new SerialOutput((bytes) => pieces.push(new TextDecoder().decode(bytes)))
    const write = (text: string) => {
      for (const byte of new TextEncoder().encode(text)) output.write(byte)
    }
    return { output, pieces, write }
  }
  it('goes out in pieces, the first at once', async () => {
    const { pieces, write } = start()
    write('one')
    write(' two')
    await setTimeout(10)
    assert.deepEqual(pieces, ['one two'])
    write('three')
    await setTimeout(10)
    write(' four')
    await setTimeout(400)
    assert.deepEqual(pieces, ['one two', 'three four'])
  })
  it('goes out once per frame while somebody types', async () => {
    const { output, pieces, write } = start()
    for (let i = 0; i < 20; i++) {
      output.typed()
      write('x')
      await setTimeout(20)
    }
    assert.ok(pieces.length >= 10, `${pieces.length} pieces`)
  })
  it('holds the machine back while the screen is behind', async () => {
    let sent = 0
    const output = new SerialOutput(({ length }) => {
      sent += length
    })
    assert.equal(output.congestion(), undefined)
    for (let i = 0; i < FLOOD; i++) output.write(0x41)
    output.flush()
    assert.equal(sent, FLOOD)
    const free = output.congestion()
    assert.ok(free)
    output.shown(FLOOD)
    await free
    assert.equal(output.congestion(), undefined)
  })
})
