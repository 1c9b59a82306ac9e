import { BOOT } from './record.ts'

/** Programs that stress the same thing, and are summed up together. */
export interface Group {
  name: string
  programs: readonly string[]
}

export const INTEGER: Group = {
  name: 'integer',
  programs: ['sieve', 'sort', 'chase', 'sha256', 'coremix', 'interp', 'calls', 'gcd', 'bignum'],
}
export const FLOATING_POINT: Group = {
  name: 'floating point and SIMD',
  programs: ['nbody', 'nbody-x87', 'mandel', 'spectral', 'sse2'],
}
export const MEMORY: Group = { name: 'memory', programs: ['memcpy', 'memset'] }
export const KERNEL: Group = { name: 'kernel', programs: ['pgfault', 'getpid', 'pipe', 'forkexec'] }
export const PROGRAMS: Group = { name: 'gzip and shell', programs: ['gzip', 'shell'] }
export const BOOTING: Group = { name: 'boot', programs: [BOOT] }

export const GROUPS: readonly Group[] = [INTEGER, FLOATING_POINT, MEMORY, KERNEL, PROGRAMS, BOOTING]
export const ALL_PROGRAMS = GROUPS.filter((group) => group !== BOOTING).flatMap(({ programs }) => programs)
