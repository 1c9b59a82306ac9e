import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { describe, it } from 'node:test'
import { EscapeKeys } from './escape-keys.ts'
import { SerialInput } from './serial-input.ts'
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

describe('serial input', () => {
  function setup(room: number) {
    let sent = ''
    const calls: string[] = []
    const input = new SerialInput({
      send: (chunk) => {
        const taken = Math.min(room, chunk.length)
        sent += text(chunk.subarray(0, taken))
        room -= taken
        return taken
      },
      source: { pause: () => calls.push('pause'), resume: () => calls.push('resume') },
    })
    const give = (more: number) => {
      room += more
      input.room()
    }
    return { input, give, calls, sent: () => sent }
  }
  it('pauses its source while the guest takes no more, and loses nothing', () => {
    const { input, give, calls, sent } = setup(3)
    input.push(bytes('abcdef'))
    assert.equal(sent(), 'abc')
    assert.equal(calls.at(-1), 'pause')
    input.push(bytes('gh'))
    give(4)
    assert.equal(sent(), 'abcdefg')
    assert.equal(calls.at(-1), 'pause')
    give(9)
    assert.equal(sent(), 'abcdefgh')
    assert.equal(calls.at(-1), 'resume')
  })
  it('sends every byte once when there is room at once', () => {
    let sent = ''
    const input: SerialInput = new SerialInput({
      send: (chunk) => {
        sent += text(chunk)
        input.room()
        return chunk.length
      },
      source: { pause: () => {}, resume: () => {} },
    })
    input.push(bytes('abc'))
    input.push(bytes('def'))
    assert.equal(sent, 'abcdef')
  })
  it('ends with one Ctrl-D after a whole line or nothing, two after a part of one, always after the rest', () => {
    for (const [given, expected] of [
      ['', '\x04'],
      ['a\n', 'a\n\x04'],
      ['a', 'a\x04\x04'],
    ]) {
      const { input, give, sent } = setup(0)
      input.push(bytes(given))
      input.end()
      give(10)
      assert.equal(sent(), expected)
    }
  })
})

describe('the end of serial input', () => {
  it('is told again, but only when the guest took what was sent before', () => {
    let sent = ''
    let room = 1
    const input = new SerialInput({
      send: (chunk) => {
        const taken = Math.min(room, chunk.length)
        room -= taken
        sent += text(chunk.subarray(0, taken))
        return taken
      },
      source: { pause: () => {}, resume: () => {} },
    })
    input.end()
    for (let i = 0; i < 5; i++) input.repeatEnd()
    assert.equal(sent, '\x04')
    room = 9
    input.room()
    assert.equal(sent, '\x04\x04')
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
