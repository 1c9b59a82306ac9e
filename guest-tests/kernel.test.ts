import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { EAGER_RECOMPILER, missing, runKernel, tool, withDirectory } from './support.ts'

const COMMON = [
  '-O1',
  '-ffreestanding',
  '-fno-pic',
  '-fno-pie',
  '-mgeneral-regs-only',
  '-fno-stack-protector',
  '-fcf-protection=none',
  '-fno-asynchronous-unwind-tables',
  '-fno-omit-frame-pointer',
  '-Wno-array-bounds',
]
const NO_STACK_NOTE = ['-Wl,--no-warn-execstack']

/** Builds one of the kernels; Multiboot loaders take 32-bit ELF files only. */
function build(name: 'long' | 'protected' | 'garbage', directory: string): string {
  const isLong = name === 'long'
  const width = isLong ? ['-m64', '-mno-red-zone', '-mcmodel=small'] : ['-m32']
  const file = join(directory, `${name}.elf`)
  const linked = isLong ? join(directory, 'long64.elf') : file
  const [boot, main] = [join(directory, `${name}-boot.o`), join(directory, `${name}.o`)]
  const shared = isLong ? 'long' : 'protected'
  tool('gcc', [...width, '-c', `kernel/${shared}-boot.S`, '-o', boot])
  tool('gcc', [...width, ...COMMON, '-c', `kernel/${name}.c`, '-o', main])
  const link = [
    '-nostdlib',
    '-static',
    '-no-pie',
    '-Wl,--build-id=none',
    ...NO_STACK_NOTE,
    `-Wl,-T,kernel/${shared}.ld`,
  ]
  tool('gcc', [...width, ...link, boot, main, '-o', linked])
  if (isLong) tool('objcopy', ['-O', 'elf32-i386', linked, file])
  return file
}

const NOWHERE = `
.align 4
.long 0x1badb002, 0, -0x1badb002
.globl _start
_start: lidt nothing
  mov $0xf0000000, %eax
  jmp *%eax
nothing: .word 0; .long 0
`

const QEMU = 'qemu-system-x86_64'

describe('a kernel that checks the CPU from inside', { skip: missing('gcc') || missing('objcopy') }, () => {
  for (const name of ['protected', 'long'] as const) {
    it(`finds nothing wrong with the interpreter in ${name} mode`, async () => {
      await withDirectory(async (directory) => {
        const { status, output } = await runKernel({ kernel: build(name, directory) })
        assert.equal(status, 1, output)
        assert.match(output, /mode: [0-9a-f]+h checks hold, 0h do not/)
      })
    })
    it(`finds nothing wrong with recompiled code in ${name} mode`, async () => {
      await withDirectory(async (directory) => {
        const { status, output } = await runKernel({
          kernel: build(name, directory),
          engine: EAGER_RECOMPILER,
        })
        assert.equal(status, 1, output)
        assert.match(output, /mode: [0-9a-f]+h checks hold, 0h do not/)
      })
    })

    it(`expects of the CPU what QEMU does in ${name} mode`, { skip: missing(QEMU) }, async () => {
      await withDirectory(async (directory) => {
        const machine = ['-accel', 'tcg', '-cpu', 'max', '-nodefaults', '-display', 'none', '-no-reboot']
        const devices = ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04', '-debugcon', 'stdio']
        const args = [...machine, ...devices, '-kernel', build(name, directory)]
        const { status, stdout } = spawnSync(QEMU, args, { encoding: 'utf8', timeout: 60_000 })
        assert.equal(status, 1, stdout)
      })
    })
  }

  it('may write garbage to every port and MSR without harm to the host', { timeout: 300_000 }, async () => {
    await withDirectory(async (directory) => {
      const { status, output } = await runKernel({ kernel: build('garbage', directory), seconds: 240 })
      assert.equal(status, 1, output)
    })
  })

  it('that jumps into nowhere ends with a readable report', async () => {
    await withDirectory(async (directory) => {
      // Multiboot's header, then: lidt of nothing; jmp F0000000h.
      const source = join(directory, 'nowhere.S')
      writeFileSync(source, NOWHERE)
      const kernel = join(directory, 'nowhere.elf')
      tool('gcc', [
        '-m32',
        '-nostdlib',
        '-static',
        '-no-pie',
        '-Wl,--build-id=none',
        '-Wl,-T,kernel/protected.ld',
        source,
        '-o',
        kernel,
      ])
      const { status, output } = await runKernel({ kernel })
      assert.equal(status, 4, output)
      assert.match(output, /triple fault[\s\S]*RIP=[\s\S]*Last exception: #UD[\s\S]*Code at RIP/)
    })
  })
})
