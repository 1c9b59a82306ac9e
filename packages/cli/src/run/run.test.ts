import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { describe, it } from 'node:test'
import { EscapeKeys } from './escape-keys.ts'
import { SerialOutput } from './serial-output.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (part: Uint8Array | string) => (typeof part === 'string' ? part : new TextDecoder().decode(part))

describe('escape keys', () => {
  const read = (...chunks: string[]) => {
    const keys = new EscapeKeys()
    return chunks.flatMap((chunk) =>
      keys.read(bytes(chunk)).map((part) => [typeof part === 'string', text(part)]),
    )
  }
  it('pass everything else on', () => {
    assert.deepEqual(read('ls\r\x03\x1b[A'), [[false, 'ls\r\x03\x1b[A']])
  })
  it('end and help, in either case, with what was typed before and after in order', () => {
    assert.deepEqual(read('a\x01hb\x01X'), [
      [false, 'a'],
      [true, 'help'],
      [false, 'b'],
      [true, 'end'],
    ])
    assert.deepEqual(read('\x01?\x01x'), [
      [true, 'help'],
      [true, 'end'],
    ])
  })
  it('send a literal Ctrl-A by Ctrl-A Ctrl-A and Ctrl-A A', () => {
    assert.deepEqual(read('\x01\x01x\x01ax'), [[false, '\x01x\x01x']])
  })
  it('work when a chunk ends after Ctrl-A, and swallow keys that mean nothing', () => {
    assert.deepEqual(read('\x01', 'x'), [[true, 'end']])
    assert.deepEqual(read('\x01q', 'x'), [[false, 'x']])
  })
})

describe('serial output', () => {
  it('writes a turn of the event loop in one piece, to all streams', async () => {
    const pieces: string[][] = [[], []]
    const streams = pieces.map(
      (list) =>
        new Writable({
          write: (chunk, _encoding, done) => {
            list.push(text(chunk))
            done()
          },
        }),
    )
    const output = new SerialOutput(...streams)
    for (const byte of bytes('hello')) output.write(byte)
    await new Promise((resolve) => setImmediate(resolve))
    for (const byte of bytes('again')) output.write(byte)
    output.flush()
    assert.deepEqual(pieces, [
      ['hello', 'again'],
      ['hello', 'again'],
    ])
  })
  it('tells of congestion until the slowest stream has room, or is gone', async () => {
    let release = () => {}
    const slow = new Writable({
      highWaterMark: 4,
      write: (_chunk, _encoding, done) => {
        release = done
      },
    })
    const output = new SerialOutput(slow)
    assert.equal(output.congestion(), undefined)
    for (const byte of bytes('12345678')) output.write(byte)
    output.flush()
    const first = output.congestion()
    assert.ok(first)
    release()
    await first
    assert.equal(output.congestion(), undefined)
    for (const byte of bytes('12345678')) output.write(byte)
    output.flush()
    const second = output.congestion()
    slow.destroy()
    await second
    assert.equal(output.congestion(), undefined)
  })
})
