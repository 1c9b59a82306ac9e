import type { InterpreterCode } from '@typevisor/x86'

/** The interpreter's code, and the name by which an engine asks for it. */
export interface KeptCode {
  readonly name: string
  readonly code: InterpreterCode
}

const HEAD_BYTES = 4

/** A file of it: the length of what is JSON (u32, little-endian), that, and the module. */
export function writeCodeFile({ name, code }: KeptCode): Uint8Array<ArrayBuffer> {
  const { bytes, ...rest } = code
  const text = new TextEncoder().encode(JSON.stringify({ name, ...rest }))
  const file = new Uint8Array(HEAD_BYTES + text.length + bytes.length)
  new DataView(file.buffer).setUint32(0, text.length, true)
  file.set(text, HEAD_BYTES)
  file.set(bytes, HEAD_BYTES + text.length)
  return file
}

export function readCodeFile(file: ArrayBuffer): KeptCode {
  const end = HEAD_BYTES + new DataView(file).getUint32(0, true)
  const { name, ...rest } = JSON.parse(
    new TextDecoder().decode(new Uint8Array(file, HEAD_BYTES, end - HEAD_BYTES)),
  )
  return { name, code: { ...rest, bytes: new Uint8Array(file, end) } }
}
