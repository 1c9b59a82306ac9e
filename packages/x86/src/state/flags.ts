/**
 * Flags are kept as what they come from. The six arithmetic flags follow from four values (a kind, two operands and a
 * result, all sign-extended to 64 bits), and most are never asked for.
 *
 *   kind     CF                  OF                   AF            ZF, SF, PF
 *   add      carry(a, b, r)      (a^r)&(b^r), sign    (a^b^r).4     result
 *   sub      borrow(a, b, r)     (a^b)&(a^r), sign    (a^b^r).4     result
 *   partial  a.0                 a.11                 a.4           result
 *   explicit a.0                 a.11                 a.4           a.6, a.7, a.2
 *
 * ZF always equals `result == 0`. Carry and borrow are the top bit of the carry vector, which is right for operands of
 * any size because they are sign-extended, and for ADC and SBB because it is computed from the result.
 */
export const FLAGS_ADD = 0
export const FLAGS_SUB = 1
export const FLAGS_PARTIAL = 2
export const FLAGS_EXPLICIT = 3

export const CF = 1 << 0
export const PF = 1 << 2
export const AF = 1 << 4
export const ZF = 1 << 6
export const SF = 1 << 7
export const TF = 1 << 8
export const IF = 1 << 9
export const DF = 1 << 10
export const OF = 1 << 11
export const IOPL = 3 << 12
export const NT = 1 << 14
export const RF = 1 << 16
export const VM = 1 << 17
export const AC = 1 << 18
export const VIF = 1 << 19
export const VIP = 1 << 20
export const ID = 1 << 21
export const ARITHMETIC = CF | PF | AF | ZF | SF | OF
