/** All instructions, and the routines that their meanings call. */
import { floatRoutines } from '../float/index.ts'
import type { RoutineGroup } from '../interpreter/build.ts'
import type { CpuModel } from '../system/model.ts'
import { systemRoutines } from '../system/routines.ts'
import { ALU } from './alu.ts'
import { AVX } from './avx.ts'
import { BIT } from './bit.ts'
import { BMI, bmiRoutines } from './bmi.ts'
import { CONTROL } from './control.ts'
import { DECIMAL } from './decimal.ts'
import { F16C } from './f16c.ts'
import { FLAG } from './flag.ts'
import { FMA, fmaRoutines } from './fma.ts'
import type { Instruction } from './instruction.ts'
import { integerRoutines } from './integer-routines.ts'
import { PORTS } from './io.ts'
import { MOVE } from './move.ts'
import { MULTIPLY } from './multiply.ts'
import { PACKED_ARITHMETIC } from './packed-arithmetic.ts'
import { PACKED_SHUFFLE } from './packed-shuffle.ts'
import { SEGMENTS } from './segment.ts'
import { SHIFT } from './shift.ts'
import { SSE_CONVERT } from './sse-convert.ts'
import { SSE_FLOAT } from './sse-float.ts'
import { sseFloatRoutines } from './sse-float-routines.ts'
import { EMMS, SSE_MOVE } from './sse-move.ts'
import { SSE_STATE, sseStateRoutines } from './sse-state.ts'
import { SSE_STRING, sseStringRoutines } from './sse-string.ts'
import { STACK } from './stack.ts'
import { STRING } from './string.ts'
import { SYSTEM } from './system.ts'
import { X87_ARITHMETIC } from './x87-arithmetic.ts'
import { X87_CONTROL } from './x87-control.ts'
import { X87_DATA } from './x87-data.ts'
import { X87_ENVIRONMENT, x87EnvironmentRoutines } from './x87-environment.ts'
import { x87ExactRoutines } from './x87-exact.ts'
import { x87FastRoutines } from './x87-fast.ts'
import { X87_NUMERIC, x87NumericRoutines } from './x87-numeric.ts'
import { x87Routines } from './x87-routines.ts'
import { X87_TRANSCENDENTAL } from './x87-transcendental.ts'

export const instructions: readonly Instruction[] = [
  ...ALU,
  ...MULTIPLY,
  ...SHIFT,
  ...MOVE,
  ...BIT,
  ...BMI,
  ...FLAG,
  ...DECIMAL,
  ...CONTROL,
  ...STACK,
  ...STRING,
  ...SEGMENTS,
  ...SYSTEM,
  ...PORTS,
  ...SSE_STATE,
  ...SSE_MOVE,
  ...PACKED_ARITHMETIC,
  ...PACKED_SHUFFLE,
  EMMS,
  ...SSE_STRING,
  ...SSE_FLOAT,
  ...SSE_CONVERT,
  ...AVX,
  ...FMA,
  ...F16C,
  ...X87_CONTROL,
  ...X87_ARITHMETIC,
  ...X87_DATA,
  ...X87_NUMERIC,
  ...X87_ENVIRONMENT,
  ...X87_TRANSCENDENTAL,
]

/** Those that a CPU model has. */
export function instructionsOf({ features }: CpuModel): readonly Instruction[] {
  return instructions.filter(({ feature }) => !feature || features.has(feature))
}

/** In the order in which they build on each other. */
export const routineGroups: readonly RoutineGroup[] = [
  systemRoutines,
  integerRoutines,
  bmiRoutines,
  floatRoutines,
  sseStateRoutines,
  sseStringRoutines,
  sseFloatRoutines,
  fmaRoutines,
  x87Routines,
  x87NumericRoutines,
  x87ExactRoutines,
  x87FastRoutines,
  x87EnvironmentRoutines,
]
