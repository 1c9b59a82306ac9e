// RFC 1071, "Computing the Internet Checksum".
//
// The sum is kept in the byte order of a little-endian host, sixteen bits at a time through a Uint16Array, and swapped
// at the end: the one's complement sum does not mind ("Byte Order Independence"). A piece that begins at an odd
// address or after an odd number of bytes contributes its sum with the bytes swapped.

const LITTLE_ENDIAN = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1
const VIEW_FROM = 64
/** So many sums of 16 bits fit into 32. */
const BLOCK = 0x8000

const swap = (sum: number) => ((sum & 0xff) << 8) | (sum >>> 8)

function fold(sum: number): number {
  let folded = sum
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x1_0000)
  return folded
}

/** Big-endian sum of few bytes. */
function sumBytes(bytes: Uint8Array, start: number, end: number): number {
  let sum = 0
  let index = start
  for (; index + 1 < end; index += 2) sum += (bytes[index] << 8) | bytes[index + 1]
  if (index < end) sum += bytes[index] << 8
  return fold(sum)
}

function sumWords(words: Uint16Array): number {
  let total = 0
  for (let block = 0; block < words.length; block += BLOCK) {
    const end = Math.min(block + BLOCK, words.length)
    let a = 0
    let b = 0
    let index = block
    for (; index + 7 < end; index += 8) {
      a = (a + words[index] + words[index + 1] + words[index + 2] + words[index + 3]) | 0
      b = (b + words[index + 4] + words[index + 5] + words[index + 6] + words[index + 7]) | 0
    }
    for (; index < end; index++) a = (a + words[index]) | 0
    total += (a >>> 0) + (b >>> 0)
  }
  return fold(total)
}

/** The one's complement sum of `bytes[start..end)` as 16-bit words from `start` on, not complemented. */
export function onesSum(bytes: Uint8Array, start = 0, end = bytes.length): number {
  if (end - start < VIEW_FROM || !LITTLE_ENDIAN) return sumBytes(bytes, start, end)
  const odd = (bytes.byteOffset + start) & 1
  const from = start + odd
  const count = (end - from) >> 1
  const view = swap(sumWords(new Uint16Array(bytes.buffer, bytes.byteOffset + from, count)))
  const tail = (end - from) & 1 ? bytes[end - 1] << 8 : 0
  const even = fold(view + tail)
  return odd ? fold((bytes[start] << 8) + swap(even)) : even
}

/** The same over pieces that follow each other, from `offset` in the first on. */
export function onesSumOfParts(parts: readonly Uint8Array[], offset = 0): number {
  let sum = 0
  let skip = offset
  let odd = false
  for (const part of parts) {
    if (skip >= part.length) {
      skip -= part.length
      continue
    }
    const piece = onesSum(part, skip)
    sum += odd ? swap(piece) : piece
    if ((part.length - skip) & 1) odd = !odd
    skip = 0
  }
  return fold(sum)
}

export function addSums(...sums: number[]): number {
  return fold(sums.reduce((a, b) => a + b, 0))
}

/** What goes into the header. */
export function complement(sum: number): number {
  return ~sum & 0xffff
}
