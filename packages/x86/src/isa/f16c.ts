/** F16C: half precision in memory and in vectors, computed as single precision. */
import type { Expr } from '../wasm/code.ts'
import type { Instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { readNarrow } from './sse-convert.ts'
import { CONVERSIONS, OWN_ROUNDING, packedShape, partOf } from './sse-float-routines.ts'
import { avx, type Halves, low64, vexVectors } from './vector.ts'

/** Four lanes of each piece through the exact routine. */
function convert(
  u: Meaning,
  pieces: Halves,
  conversion: 'float16To32' | 'float32To16',
  control: Expr,
): Halves {
  const shape = conversion === 'float16To32' ? packedShape(2, 4, 4) : packedShape(4, 2, 4)
  const results = pieces.map((piece, i) => {
    const part = control.or(partOf(i, pieces.length))
    return u.routine('sseConvertPacked', CONVERSIONS.indexOf(conversion), part, piece, shape)
  })
  u.exitOnFault()
  return results
}

const FROM_HALVES = avx(
  'f16c',
  'vcvtph2ps',
  [
    { bytes: 'VEX.128.66.0F38.W0 13 /r', operands: ['Vps', 'Wq'] },
    { bytes: 'VEX.256.66.0F38.W0 13 /r', operands: ['Vqq', 'Wdq'] },
  ],
  (u, dst, src) => {
    const pieces = readNarrow(u, vexVectors(u), dst!, src!)
    u.writeHalves(dst!, convert(u, pieces, 'float16To32', u.i32(0)))
  },
)

/** Bit 2 of the constant: the rounding is MXCSR's; else it is bits 1 and 0. */
const TO_HALVES = avx(
  'f16c',
  'vcvtps2ph',
  [
    { bytes: 'VEX.128.66.0F3A.W0 1D /r', operands: ['Wq', 'Vps', 'Ib'] },
    { bytes: 'VEX.256.66.0F3A.W0 1D /r', operands: ['Wdq', 'Vqq', 'Ib'] },
  ],
  (u, dst, src, choice) => {
    const constant = u.immediate8(choice!)
    const control = u.select(constant.and(4), u.i32(0), constant.and(3).or(OWN_ROUNDING))
    // A store that faults leaves MXCSR as it was.
    if (dst!.kind === 'memory') u.probeWrite(u.address(dst!), dst!.size)
    const [low, high] = convert(u, u.readHalves(src!), 'float32To16', control)
    if (high) return writeLarge(u, dst!, low!.withLane('i64x2', 1, high.lane('i64x2', 0)))
    const bits = low!.lane('i64x2', 0)
    if (dst!.kind === 'memory') return u.writeLow(dst!, bits)
    writeLarge(u, dst!, low64(u, bits))
  },
)
const writeLarge = (u: Meaning, dst: Operand, value: Expr): void =>
  u.writeHalves({ ...dst, size: 16 } as Operand, [value])

export const F16C: readonly Instruction[] = [FROM_HALVES, TO_HALVES]
