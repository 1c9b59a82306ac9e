import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Cpu } from '../cpu.ts'
import { INERT_PINS } from '../testing/inert-pins.ts'
import { answerRegions, type RegionAnswer, type RegionRequest, type RegionWorker } from './region-service.ts'

const RAM_BYTES = 2 << 20
const CODE = 0x100000

/** Has its answers ready at once, and hands them over only when it is asked. */
class AskedWorker implements RegionWorker {
  readonly #answer = answerRegions()
  #listener: (answer: RegionAnswer) => void = () => {}
  #waiting: RegionAnswer | undefined
  asked = 0
  /** So often it is asked before it answers. */
  patience = 1

  readonly heads: number[] = []

  post(request: RegionRequest): void {
    if ('plans' in request) this.heads.push(...request.plans.map(({ blocks }) => blocks[0]!.at & 0xfff))
    this.#waiting = this.#answer(request)
  }
  onAnswer(listener: (answer: RegionAnswer) => void): void {
    this.#listener = listener
  }
  poll(): void {
    this.asked++
    if (this.asked < this.patience) return
    const answer = this.#waiting
    this.#waiting = undefined
    if (answer) this.#listener(answer)
  }
  end(): void {}
}

describe('regions that are made elsewhere', () => {
  const start = (code = [0x49, 0xeb, 0xfd]) => {
    const memory = new WebAssembly.Memory({ initial: RAM_BYTES / 65536, maximum: RAM_BYTES / 65536 })
    const worker = new AskedWorker()
    const cpu = new Cpu({
      memory: { memory, bytes: RAM_BYTES, lowBytes: RAM_BYTES },
      pins: INERT_PINS,
      recompile: { hotAfter: 100, worker },
    })
    // dec ecx; jmp to dec
    new Uint8Array(memory.buffer, CODE).set(code)
    cpu.setState({ mode: 'protected32', rip: BigInt(CODE), gpr: { rsp: BigInt(RAM_BYTES) } })
    return { cpu, worker }
  }
  it('are entered in the slice in which they become ready', () => {
    const { cpu, worker } = start()
    assert.deepEqual(cpu.run(1_000_000), { kind: 'slice' })
    assert.ok(cpu.recompiled!.regions > 0)
    assert.ok(worker.asked < 20, `asked ${worker.asked} times`)
  })
  it('are those of code that runs often, not of code that has run for long', () => {
    // mov ecx, 400000; dec ecx; jnz; call 20h; jmp 0; at 20h: ret
    const outer = [0xb9, 0x80, 0x1a, 0x06, 0x00, 0x49, 0x75, 0xfd, 0xe8, 0x13, 0x00, 0x00, 0x00, 0xeb, 0xf1]
    const { cpu, worker } = start([...outer, ...new Array(32 - outer.length).fill(0x90), 0xc3])
    for (let ran = 0; ran < 160e6; ran += 1e6) cpu.run(1e6)
    assert.ok(worker.heads.includes(5), `${worker.heads}`)
    assert.ok(!worker.heads.includes(32), `${worker.heads}`)
  })
  it('are not asked for once more by what will be inside them', () => {
    // dec ecx; test cl, 1; jz to jmp; inc edx; jmp 0
    const { cpu, worker } = start([0x49, 0xf6, 0xc1, 0x01, 0x74, 0x01, 0x42, 0xeb, 0xf7])
    worker.patience = 20
    for (let i = 0; i < 40; i++) cpu.run(10_000)
    assert.ok(worker.asked >= worker.patience, `asked ${worker.asked} times`)
    assert.deepEqual(worker.heads, [0])
  })
  it('do not change how many instructions a slice has', () => {
    const { cpu } = start()
    cpu.run(1_000_000)
    const retired = cpu.retired
    assert.ok(retired >= 1_000_000 && retired < 1_000_010, `${retired}`)
    assert.equal((0x1_0000_0000 - cpu.state.getUint32(8 + 0x100, true)) * 2, retired & ~1)
  })
})
