import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ManualClock } from '../clock/manual-clock.ts'
import { ipOf } from './addresses.ts'
import { Alarms, SECOND } from './alarms.ts'
import { Reassembly } from './fragments.ts'

function setup() {
  const clock = new ManualClock()
  const reassembly = new Reassembly(new Alarms(clock.queue))
  const add = (identification: number, offset: number, length: number, more: boolean) =>
    reassembly.add(
      {
        source: ipOf('10.0.2.15'),
        destination: ipOf('192.0.2.1'),
        protocol: 17,
        hopLimit: 64,
        payload: 20,
        length,
        fragment: { identification, offset, more },
      },
      new Uint8Array(length).fill(offset / 8),
    )
  return { clock, add }
}

describe('reassembly', () => {
  it('gives the whole when the last piece is there, whichever that is', () => {
    const { add } = setup()
    assert.equal(add(1, 16, 5, false), undefined)
    assert.equal(add(1, 0, 8, true), undefined)
    const whole = add(1, 8, 8, true)
    assert.deepEqual([...whole!], [...Array(8).fill(0), ...Array(8).fill(1), ...Array(5).fill(2)])
  })
  it('drops a datagram whose pieces contradict each other', () => {
    const contradictions: [number, number, boolean][][] = [
      [
        [0, 16, true],
        [8, 16, true],
      ],
      [
        [0, 16, true],
        [0, 16, true],
      ],
      [
        [16, 8, false],
        [24, 8, true],
      ],
      [
        [16, 8, false],
        [24, 8, false],
      ],
      [
        [16, 8, true],
        [0, 8, false],
      ],
      [[0, 7, true]],
      [[0, 0, true]],
      [[65_528, 16, false]],
    ]
    for (const pieces of contradictions) {
      const { add } = setup()
      for (const [offset, length, more] of pieces) assert.equal(add(1, offset, length, more), undefined)
    }
  })
  it('keeps sixteen datagrams, the newest, and each for some seconds', () => {
    const { clock, add } = setup()
    for (let identification = 0; identification < 100; identification++) add(identification, 0, 8, true)
    assert.equal(add(83, 8, 8, false), undefined, 'gone, and begun again')
    assert.equal(add(99, 8, 8, false)?.length, 16)
    clock.advance(60 * SECOND)
    assert.equal(add(98, 8, 8, false), undefined)
  })
})
