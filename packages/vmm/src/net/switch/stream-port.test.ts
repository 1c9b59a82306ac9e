import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type Frame, frameOf, UNPLUGGED } from '../frame.ts'
import { FakeStream } from '../testing/fake-host.ts'
import { StreamPort } from './stream-port.ts'

function setup() {
  const arrived: string[] = []
  let full = false
  let resumed = 0
  let closed = 0
  const port = new StreamPort(() => closed++)
  const stream = new FakeStream({ address: '', port: 0 }, port)
  port.use(stream)
  port.attach({
    ...UNPLUGGED,
    deliver: (frame: Frame) => {
      if (full) return false
      arrived.push(Buffer.from(frame.parts[0]).toString())
      return true
    },
    resume: () => resumed++,
  })
  return {
    port,
    stream,
    arrived,
    fill: (value: boolean) => {
      full = value
    },
    resumed: () => resumed,
    closed: () => closed,
  }
}

const framed = (text: string) => Buffer.from([0, 0, 0, text.length, ...Buffer.from(text)])

describe('a port to another process', () => {
  it('puts the length before each frame, as QEMU does', () => {
    const { port, stream } = setup()
    port.deliver({ parts: [Buffer.from('two '), Buffer.from('parts')], length: 9 })
    assert.deepEqual(Buffer.concat(stream.written), framed('two parts'))
  })
  it('finds the frames in whatever pieces they come', () => {
    const { port, arrived } = setup()
    const bytes = Buffer.concat([framed('one'), framed('two'), framed('three')])
    for (const byte of bytes) port.data(Uint8Array.of(byte))
    port.data(bytes)
    assert.deepEqual(arrived, ['one', 'two', 'three', 'one', 'two', 'three'])
  })
  it('stops the other side while there is no room on this one', () => {
    const { port, stream, arrived, fill } = setup()
    fill(true)
    port.data(Buffer.concat([framed('one'), framed('two')]))
    assert.equal(stream.paused, true)
    fill(false)
    port.resume()
    assert.equal(stream.paused, false)
    assert.deepEqual(arrived, ['one', 'two'])
  })
  it('refuses frames while the other side does not read, and says when it does', () => {
    const { port, stream, resumed } = setup()
    stream.holds = true
    let taken = 0
    while (port.deliver(frameOf(new Uint8Array(1500)))) taken++
    assert.ok(taken > 100 && taken < 200, `${taken} frames`)
    stream.release()
    assert.equal(resumed(), 1)
    assert.equal(port.deliver(frameOf(new Uint8Array(1500))), true)
  })
  it('unplugs a process that sends nonsense', () => {
    const { port, stream, closed, arrived } = setup()
    port.data(Uint8Array.of(0x7f, 0, 0, 0, 1, 2, 3))
    assert.equal(stream.wasReset, true)
    assert.equal(closed(), 1)
    port.data(framed('more'))
    assert.deepEqual(arrived, [])
    assert.equal(port.deliver(frameOf(new Uint8Array(60))), true)
  })
})
