/** Soft float: exact IEEE 754 arithmetic with the flags and rounding modes that WebAssembly does not have. */
import type { Callable } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { defineAdd, defineDivide, defineMultiply, defineMultiplyAdd, defineSquareRoot } from './arithmetic.ts'
import { defineCompareNumbers, defineFormats, defineRoundInteger } from './formats.ts'
import { BINARY16, BINARY32, BINARY64, definePack, defineRound, defineUnpack } from './unpacked.ts'

/** Needs `mulHighU` and `divide128` of the integer routines. */
export function floatRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const round = defineRound(module)
  routines.set('sfRound', round)
  for (const format of [BINARY16, BINARY32, BINARY64]) {
    routines.set(`unpack${format.bits}`, defineUnpack(module, format))
    routines.set(`pack${format.bits}`, definePack(module, round, format))
  }
  const core = {
    add: defineAdd(module),
    multiply: defineMultiply(module, routines.get('mulHighU')!),
    divide: defineDivide(module, routines.get('divide128')!),
    squareRoot: defineSquareRoot(module),
    multiplyAdd: defineMultiplyAdd(module, routines.get('mulHighU')!),
    roundInteger: defineRoundInteger(module),
    compare: defineCompareNumbers(module),
  }
  for (const [name, callable] of Object.entries(core)) routines.set(`sf.${name}`, callable)
  defineFormats(module, routines, core)
}
