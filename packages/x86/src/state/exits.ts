/** Why the interpreter's run function returned. */
export const EXIT = {
  /** The budget is used up, or an exit was requested; RIP is exact. */
  slice: 0,
  /** FAULT holds an exception raised by the instruction at CURRENT_UOP. */
  fault: 1,
  /** There is no micro-op yet for RIP: translate, decode, go on. */
  decode: 2,
  /** HLT; RIP is after it. */
  halt: 3,
  /** RIP, and perhaps the mode, changed: look again. */
  dispatch: 4,
  /** Control has arrived often at RIP: worth recompiling. */
  hot: 5,
} as const
