// RFC 9293, "Sequence Numbers": arithmetic modulo 2^32.

export const advance = (sequence: number, count: number): number => (sequence + count) >>> 0

/** How far `a` lies behind `b`, negative when it lies before it. */
export const distance = (a: number, b: number): number => (a - b) | 0
