// The ES library has no TextEncoder; names in images are all that needs one here.

export function encodeUtf8(text: string): Uint8Array {
  const escaped = encodeURIComponent(text.toWellFormed())
  const bytes = escaped.replace(/%([0-9A-F]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Uint8Array.from(bytes, (character) => character.charCodeAt(0))
}

/** Text that is no UTF-8 is taken as Latin-1. */
export function decodeUtf8(bytes: Uint8Array): string {
  const latin = Array.from(bytes, (byte) => String.fromCharCode(byte)).join('')
  try {
    return decodeURIComponent(latin.replace(/[^\x20-\x24\x26-\x7e]/g, escapeByte))
  } catch {
    return latin
  }
}

function escapeByte(character: string): string {
  return `%${character.charCodeAt(0).toString(16).padStart(2, '0')}`
}
