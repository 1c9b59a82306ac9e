import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Cpu, interpreterCode } from '@typevisor/x86'
import { readCodeFile, writeCodeFile } from './code-file.ts'

describe('a file of the interpreter’s code', () => {
  const kept = interpreterCode({ recompile: {} })
  it('holds all of it', () => {
    const read = readCodeFile(writeCodeFile(kept).buffer)
    assert.equal(read.name, kept.name)
    assert.deepEqual(read.code, kept.code)
  })
  it('is what an engine asks for, and runs', () => {
    const { name, code } = readCodeFile(writeCodeFile(kept).buffer)
    const memory = new WebAssembly.Memory({ initial: 16, maximum: 16 })
    const pins = { interruptPending: () => false, acknowledgeInterrupt: () => -1 } as never
    const asked: string[] = []
    const cpu = new Cpu({
      memory: { memory, bytes: 1 << 20, lowBytes: 1 << 20 },
      pins,
      recompile: {},
      keepCode: (name) => {
        asked.push(name)
        return code
      },
    })
    assert.deepEqual(asked, [name])
    new Uint8Array(memory.buffer)[0x1000] = 0xf4 // HLT
    cpu.setState({ mode: 'protected32', rip: 0x1000n })
    assert.equal(cpu.run(100).kind, 'hlt')
  })
})
