import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Cpu } from '../cpu.ts'
import { INERT_PINS } from '../testing/inert-pins.ts'

const RAM_BYTES = 2 << 20
const CODE = 0x100000

describe('statistics of a CPU that recompiles', () => {
  it('count regions and time in WebAssembly, and a sample tells of recompiled code', () => {
    const memory = new WebAssembly.Memory({ initial: RAM_BYTES / 65536, maximum: RAM_BYTES / 65536 })
    let now = 0
    const cpu = new Cpu({
      memory: { memory, bytes: RAM_BYTES, lowBytes: RAM_BYTES },
      pins: INERT_PINS,
      recompile: { hotAfter: 100 },
      clock: () => ++now,
    })
    // dec ecx; jmp to dec
    new Uint8Array(memory.buffer, CODE).set([0x49, 0xeb, 0xfd])
    cpu.setState({ mode: 'protected32', rip: BigInt(CODE) })
    cpu.run(50)
    assert.equal(cpu.sample().isRecompiled, false)
    cpu.run(10_000)
    assert.equal(cpu.sample().isRecompiled, true)
    const { exits, timeInside, recompiler } = cpu.statistics()
    assert.ok(exits.hot > 0)
    // The clock goes on by 1 in each stay.
    assert.equal(timeInside, now / 2)
    assert.ok(recompiler!.smallMade > 0 && recompiler!.small + recompiler!.large > 0)
    assert.equal(recompiler!.smallMade + recompiler!.largeMade, cpu.recompiled!.regions)
    cpu.reset()
    const after = cpu.statistics().recompiler!
    assert.deepEqual([after.small, after.large, after.bytesNow], [0, 0, 0])
  })
})
