import type { Buffers, Completion } from './block-backend.ts'

export function lengthOf(buffers: Buffers): number {
  if (buffers.length === 1) return buffers[0].length
  let length = 0
  for (const buffer of buffers) length += buffer.length
  return length
}

/** The pieces of `buffers` from byte `from` on, `length` bytes together. Nothing is copied. */
export function sliceBuffers(buffers: Buffers, from: number, length: number): Uint8Array[] {
  const slices: Uint8Array[] = []
  let skip = from
  let rest = length
  for (const buffer of buffers) {
    if (rest === 0) break
    if (skip >= buffer.length) {
      skip -= buffer.length
      continue
    }
    const slice = buffer.subarray(skip, Math.min(buffer.length, skip + rest))
    slices.push(slice)
    rest -= slice.length
    skip = 0
  }
  return slices
}

export function fillZeros(buffers: Buffers): void {
  for (const buffer of buffers) buffer.fill(0)
}

/** Copies from `source` on to the buffers, which it fills. */
export function scatter(source: Uint8Array, buffers: Buffers): void {
  let from = 0
  for (const buffer of buffers) {
    buffer.set(source.subarray(from, from + buffer.length))
    from += buffer.length
  }
}

/** Copies the buffers together into `target`. */
export function gather(buffers: Buffers, target: Uint8Array): void {
  let to = 0
  for (const buffer of buffers) {
    target.set(buffer, to)
    to += buffer.length
  }
}

const ZEROS = new Uint8Array(1 << 18)

/** `length` bytes of zeros, to be written and never written to. */
export function zeros(length: number): Uint8Array[] {
  const buffers: Uint8Array[] = []
  for (let rest = length; rest > 0; rest -= ZEROS.length) {
    buffers.push(rest < ZEROS.length ? ZEROS.subarray(0, rest) : ZEROS)
  }
  return buffers
}

const ZERO_STEP = 16 << 20

/** Writes zeros in steps of bounded size. */
export async function writeZeros(
  write: (offset: number, buffers: Buffers) => Completion,
  offset: number,
  length: number,
): Promise<void> {
  for (let done = 0; done < length; ) {
    const step = Math.min(length - done, ZERO_STEP)
    await write(offset + done, zeros(step))
    done += step
  }
}
