/**
 * CPU models as data: what CPUID says, and what the control registers may hold.
 *
 * A model says what the engine is: an in-order CPU that does not speculate (Intel family 6, model 1Ch), with the features
 * of its psABI level. SDM Vol. 2A, "CPUID—CPU Identification".
 */
import {
  CR4_DE,
  CR4_FSGSBASE,
  CR4_MCE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PCE,
  CR4_PGE,
  CR4_PSE,
  CR4_PVI,
  CR4_SMAP,
  CR4_SMEP,
  CR4_TSD,
  CR4_UMIP,
  CR4_VME,
} from '../state/registers.ts'

/** Bits of CPUID's feature words by the names of the manual. */
const LEAF1_EDX = [
  'fpu',
  'vme',
  'de',
  'pse',
  'tsc',
  'msr',
  'pae',
  'mce',
  'cx8',
  'apic',
  '',
  'sep',
  'mtrr',
  'pge',
  'mca',
  'cmov',
  'pat',
  'pse36',
  '',
  'clfsh',
  '',
  '',
  '',
  'mmx',
  'fxsr',
  'sse',
  'sse2',
]
const LEAF1_ECX = [
  'sse3',
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  'ssse3',
  '',
  '',
  'fma',
  'cx16',
  '',
  '',
  '',
  'pcid',
  '',
  'sse4.1',
  'sse4.2',
  'x2apic',
  'movbe',
  'popcnt',
  'tsc-deadline',
  '',
  'xsave',
  '',
  'avx',
  'f16c',
  'rdrand',
  'hypervisor',
]
const LEAF7_EBX = [
  'fsgsbase',
  'tsc-adjust',
  '',
  'bmi1',
  '',
  'avx2',
  '',
  'smep',
  'bmi2',
  'erms',
  'invpcid',
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  'rdseed',
  '',
  'smap',
]
const LEAF7_ECX = ['', '', 'umip']
const LEAF7_EDX = ['', '', '', '', 'fsrm']
const EXTENDED_EDX = [
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  'syscall',
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  '',
  'nx',
  '',
  '',
  '',
  '',
  '',
  'pdpe1gb',
  'rdtscp',
  '',
  'lm',
]
const EXTENDED_ECX = ['lahf', '', '', '', '', 'lzcnt', '', '', 'prefetchw']

const V1 = [
  ...LEAF1_EDX,
  'hypervisor',
  'x2apic',
  'tsc-deadline',
  'tsc-adjust',
  'fsgsbase',
  'smep',
  'smap',
  'umip',
  'erms',
  'fsrm',
  'rdrand',
  'rdseed',
  'invpcid',
  'syscall',
  'nx',
  'pdpe1gb',
  'rdtscp',
  'lm',
  'lahf',
  'prefetchw',
]
const V2 = [...V1, 'sse3', 'ssse3', 'sse4.1', 'sse4.2', 'popcnt', 'cx16', 'xsave', 'pcid']
const V3 = [...V2, 'avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'lzcnt', 'movbe']

export interface CpuModel {
  readonly name: string
  readonly features: ReadonlySet<string>
  /** Bits of CR4 and XCR0 that may be set. */
  readonly cr4: number
  readonly xcr0: number
}

const XCR0_X87_SSE = 3
const XCR0_AVX = 4

function model(name: string, features: readonly string[]): CpuModel {
  const set = new Set(features.filter((feature) => feature !== ''))
  const optional = (feature: string, bit: number): number => (set.has(feature) ? bit : 0)
  const always =
    CR4_VME |
    CR4_PVI |
    CR4_TSD |
    CR4_DE |
    CR4_PSE |
    CR4_PAE |
    CR4_MCE |
    CR4_PGE |
    CR4_PCE |
    CR4_OSFXSR |
    CR4_OSXMMEXCPT
  const cr4 =
    always |
    optional('umip', CR4_UMIP) |
    optional('fsgsbase', CR4_FSGSBASE) |
    optional('pcid', 1 << 17) |
    optional('xsave', CR4_OSXSAVE) |
    optional('smep', CR4_SMEP) |
    optional('smap', CR4_SMAP)
  return { name, features: set, cr4, xcr0: optional('xsave', XCR0_X87_SSE) | optional('avx', XCR0_AVX) }
}

export const CPU_MODELS: readonly CpuModel[] = [
  model('x86-64-v1', V1),
  model('x86-64-v2', V2),
  model('x86-64-v3', V3),
]
export const DEFAULT_CPU_MODEL = 'x86-64-v2'

/** An unknown CPU model was asked for. */
export class CpuModelError extends Error {
  readonly code = 'TV_CPU_MODEL'
}

/** The model of that name. */
export function findModel(name: string): CpuModel {
  const model = CPU_MODELS.find((candidate) => candidate.name === name)
  if (model) return model
  const known = CPU_MODELS.map((candidate) => candidate.name).join(', ')
  throw new CpuModelError(`There is no CPU model "${name}"; there are ${known}.`)
}

function bits(names: readonly string[], features: ReadonlySet<string>): number {
  let word = 0
  for (const [bit, name] of names.entries()) if (name !== '' && features.has(name)) word |= 1 << bit
  return word
}

/** Twelve letters as EBX, EDX, ECX. */
function letters(text: string): number[] {
  return [0, 4, 8].map((at) => [3, 2, 1, 0].reduce((word, i) => (word << 8) | text.charCodeAt(at + i), 0))
}

const SIGNATURE = 0x000106ca // family 6, model 1Ch, stepping 10
/** The AVX component of XSAVE's area: where it begins, and its size. */
const AVX_OFFSET = 576
const AVX_BYTES = 256
/** Time-stamp counter: 1 GHz, as a ratio to a crystal of 25 MHz. */
const CRYSTAL_HZ = 25_000_000
const TSC_RATIO = 40
const PHYSICAL_BITS = 40
const LINEAR_BITS = 48
const OSXSAVE = 1 << 27

/** EAX, EBX, ECX, EDX of a leaf. `osxsave` mirrors CR4. */
export function cpuid(
  model: CpuModel,
  leaf: number,
  subleaf: number,
  { osxsave, xcr0 }: { osxsave: boolean; xcr0: number },
): readonly [number, number, number, number] {
  const { features, name } = model
  switch (leaf >>> 0) {
    case 0: {
      const [ebx, edx, ecx] = letters('GenuineIntel')
      return [0x16, ebx!, ecx!, edx!]
    }
    case 1:
      return [
        SIGNATURE,
        0x00010800, // CLFLUSH of 64 bytes, one logical processor
        bits(LEAF1_ECX, features) | (osxsave ? OSXSAVE : 0),
        bits(LEAF1_EDX, features),
      ]
    case 7:
      if (subleaf !== 0) return [0, 0, 0, 0]
      return [0, bits(LEAF7_EBX, features), bits(LEAF7_ECX, features), bits(LEAF7_EDX, features)]
    case 0xd:
      return extendedState(model.xcr0, xcr0, subleaf)
    case 0x15:
      return [1, TSC_RATIO, CRYSTAL_HZ, 0]
    case 0x16:
      return [1000, 1000, 100, 0]
    case 0x40000000: {
      const [ebx, edx, ecx] = letters('TypevisorVMM')
      return [0x40000000, ebx!, edx!, ecx!]
    }
    case 0x80000000:
      return [0x80000008 | 0, 0, 0, 0]
    case 0x80000001:
      return [0, 0, bits(EXTENDED_ECX, features), bits(EXTENDED_EDX, features)]
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
      return brand(`Typevisor Virtual CPU, ${name}`, (leaf & 0xf) - 2)
    case 0x80000006:
      return [0, 0, 0x01006040, 0] // L2: 256 KiB, 8-way, lines of 64 bytes
    case 0x80000007:
      return [0, 0, 0, 1 << 8] // invariant TSC
    case 0x80000008:
      return [PHYSICAL_BITS | (LINEAR_BITS << 8), 0, 0, 0]
    default:
      return [0, 0, 0, 0]
  }
}

/** Leaf 0Dh: components, the area's size for those in XCR0 and for all, XSAVEOPT; then where each lies. */
function extendedState(
  supported: number,
  xcr0: number,
  subleaf: number,
): readonly [number, number, number, number] {
  const bytes = (components: number): number => AVX_OFFSET + (components & XCR0_AVX ? AVX_BYTES : 0)
  if (supported === 0) return [0, 0, 0, 0]
  if (subleaf === 0) return [supported, bytes(xcr0), bytes(supported), 0]
  if (subleaf === 1) return [1, 0, 0, 0]
  return subleaf === 2 && supported & XCR0_AVX ? [AVX_BYTES, AVX_OFFSET, 0, 0] : [0, 0, 0, 0]
}

function brand(text: string, part: number): readonly [number, number, number, number] {
  const at = (i: number): number => {
    const start = part * 16 + i * 4
    return [3, 2, 1, 0].reduce((word, k) => (word << 8) | (text.charCodeAt(start + k) || 0), 0)
  }
  return [at(0), at(1), at(2), at(3)]
}
