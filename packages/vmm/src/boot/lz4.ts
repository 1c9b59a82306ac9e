// LZ4 documentation, "LZ4 Block Format Description", and "Legacy frame" in "LZ4 Frame Format Description".
// Ours, because no maintained package reads the legacy frame, which the kernel's build makes.

const LEGACY_MAGIC = 0x184c_2102
const BLOCK_MAX = 8 << 20
const MIN_MATCH = 4
/** A length of 15 goes on in further bytes. */
const LONG = 15

/**
 * Unpacks a legacy frame to at most `maxBytes`, block by block: `take` gets a buffer that the next block is written to, which
 * `allocate` makes.
 */
export function unlz4Legacy(
  data: Uint8Array,
  maxBytes: number,
  take: (bytes: Uint8Array) => void,
  allocate: (bytes: number) => Uint8Array = (bytes) => new Uint8Array(bytes),
): void {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (data.length < 4 || view.getUint32(0, true) !== LEGACY_MAGIC) throw corrupt('no legacy frame')
  const output = allocate(Math.min(maxBytes, BLOCK_MAX))
  let left = maxBytes
  for (let at = 4; at + 4 <= data.length; ) {
    const size = view.getUint32(at, true)
    at += 4
    if (size === LEGACY_MAGIC) continue // a frame may follow another
    if (size === 0 || at + size > data.length) throw corrupt('a block leaves the file')
    const length = unpackBlock(data.subarray(at, at + size), output, Math.min(left, BLOCK_MAX))
    take(output.subarray(0, length))
    left -= length
    at += size
  }
}

/** Unpacks one block to `output`, not beyond `limit`; returns the end. */
function unpackBlock(block: Uint8Array, output: Uint8Array, limit: number): number {
  let from = 0
  let to = 0
  for (;;) {
    if (from >= block.length) throw corrupt('a token is cut off')
    const token = block[from++]
    let literals = token >> 4
    if (literals === LONG) {
      const end = endOfLength(block, from)
      literals += 255 * (end - 1 - from) + block[end - 1]
      from = end
    }
    if (from + literals > block.length || to + literals > limit) throw corrupt('literals leave the block')
    copyLiterals(block, from, output, to, literals)
    from += literals
    to += literals
    if (from === block.length) return to // the last sequence has no match
    if (from + 2 > block.length) throw corrupt('an offset is cut off')
    const offset = block[from] | (block[from + 1] << 8)
    from += 2
    let length = (token & LONG) + MIN_MATCH
    if (length === LONG + MIN_MATCH) {
      const end = endOfLength(block, from)
      length += 255 * (end - 1 - from) + block[end - 1]
      from = end
    }
    if (offset === 0 || offset > to) throw corrupt('a match is before the block')
    if (to + length > limit) throw corrupt('a match leaves the block')
    copyMatch(output, to, offset, length)
    to += length
  }
}

/** Where the bytes end that a length goes on in: behind the first that is not 255. */
function endOfLength(block: Uint8Array, from: number): number {
  let at = from
  while (block[at] === 255) at++
  if (at >= block.length) throw corrupt('a length is cut off')
  return at + 1
}

/** Up to here a loop is faster than a call. */
const SHORT = 32

function copyLiterals(block: Uint8Array, from: number, output: Uint8Array, to: number, length: number): void {
  if (length > SHORT) output.set(block.subarray(from, from + length), to)
  else for (let i = 0; i < length; i++) output[to + i] = block[from + i]
}

/** A match that overlaps itself repeats: each copy doubles what there is to copy from. */
function copyMatch(output: Uint8Array, to: number, offset: number, length: number): void {
  const from = to - offset
  if (length <= SHORT) {
    for (let i = 0; i < length; i++) output[to + i] = output[from + i]
    return
  }
  for (let done = 0; done < length; ) {
    const bytes = Math.min(offset + done, length - done)
    output.copyWithin(to + done, from, from + bytes)
    done += bytes
  }
}

function corrupt(why: string): Error {
  return new Error(`corrupt LZ4 data: ${why}`)
}
