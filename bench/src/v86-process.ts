// Runs a guest in v86 in this process, and prints what its serial port sends.
//
//   node v86-process.ts BIOS MEMORY-MIB KERNEL INITRD COMMAND-LINE

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { V86 } from 'v86'
import { Lines } from './lines.ts'

/** v86 does not tell when a guest without ACPI switches itself off or starts anew; Linux does. */
const LAST_WORDS = /reboot: (Power down|System halted|Restarting)/

async function image(path: string): Promise<{ buffer: ArrayBuffer }> {
  const { buffer, byteOffset, byteLength } = await readFile(path)
  return { buffer: buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer }
}

const [bios = '', memory = '', kernel = '', initrd = '', commandLine = ''] = process.argv.slice(2)
const lines = new Lines((line) => {
  process.stdout.write(`${line}\n`)
  if (LAST_WORDS.test(line)) process.stdout.write('', () => process.exit())
})
const emulator = new V86({
  wasm_path: fileURLToPath(import.meta.resolve('v86').replace(/[^/]*$/, 'v86.wasm')),
  memory_size: Number(memory) * 2 ** 20,
  bios: await image(bios),
  bzimage: await image(kernel),
  initrd: await image(initrd),
  cmdline: commandLine,
  autostart: true,
  disable_keyboard: true,
  disable_mouse: true,
  disable_speaker: true,
})
emulator.add_listener('serial0-output-byte', (byte) => lines.take(byte))
