import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { SerialInput } from './serial-input.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (part: Uint8Array) => new TextDecoder().decode(part)

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
