/** Saving and restoring the state of x87, SSE and AVX. SDM Vol. 1, "Managing State Using the XSAVE Feature Set". */
import * as L from '../state/layout.ts'
import { CR0_TS, CR4_OSXSAVE, EXCEPTION } from '../state/registers.ts'
import type { Callable, Code, Expr } from '../wasm/code.ts'
import type { ModuleBuilder } from '../wasm/module.ts'
import { type Instruction, instruction } from './instruction.ts'
import type { Meaning, Operand } from './meaning.ts'
import { vector } from './vector.ts'

const RAM = 1
const MXCSR_RESERVED = ~0xffff
const MXCSR_MASK = 0xffff
const CONTROL_DEFAULT = 0x37f
/** Offsets in the image. */
const MXCSR_AT = 24
const REGISTERS_AT = 32
const XMM_AT = 160
const HEADER_AT = 512
const YMM_AT = 576
const COMPONENT_X87 = 1
const COMPONENT_SSE = 2
const COMPONENT_AVX = 4

const at = (
  c: Code,
  kind: 'i32' | 'i64' | 'i64_32u' | 'i64_16u' | 'i32_16u' | 'i32_8u',
  offset: number,
): Expr => c.load(kind, c.i32(0), offset)
const put = (
  c: Code,
  kind: 'i32' | 'i64' | 'i32_16' | 'i32_8' | 'i64_16',
  offset: number,
  value: Expr | number,
) => c.store(kind, c.i32(0), value, offset)

/** packState(wide): the registers to FX_IMAGE. `wide`: 64-bit instruction and data pointers. */
function definePack(module: ModuleBuilder): Callable {
  return module.func('packState', ['i32'], [], (c) => {
    const top = at(c, 'i32', L.FPU_TOP)
    const status = at(c, 'i32', L.FPU_STATUS).or(top.shl(11))
    put(c, 'i32_16', L.FX_IMAGE, at(c, 'i32', L.FPU_CONTROL))
    put(c, 'i32_16', L.FX_IMAGE + 2, status)
    put(c, 'i32_16', L.FX_IMAGE + 4, at(c, 'i32', L.FPU_TAGS).and(0xff))
    put(c, 'i32_16', L.FX_IMAGE + 6, at(c, 'i32', L.FPU_OPCODE))
    for (const [offset, slot] of [
      [8, L.FPU_IP],
      [16, L.FPU_DP],
    ] as const) {
      const pointer = at(c, 'i64', slot)
      put(c, 'i64', L.FX_IMAGE + offset, c.select(c.param(0), pointer, pointer.and(0xffffffff)))
    }
    put(c, 'i32', L.FX_IMAGE + MXCSR_AT, at(c, 'i32', L.MXCSR))
    put(c, 'i32', L.FX_IMAGE + MXCSR_AT + 4, MXCSR_MASK)
    for (let i = 0; i < 8; i++) {
      const register = top.add(i).and(7).shl(4)
      put(c, 'i64', L.FX_IMAGE + REGISTERS_AT + i * 16, c.load('i64', register, L.X87))
      put(c, 'i64', L.FX_IMAGE + REGISTERS_AT + i * 16 + 8, c.load('i64_16u', register, L.X87 + 8))
    }
    c.copyMemory(c.i32(L.FX_IMAGE + XMM_AT), c.i32(L.XMM), c.i32(256))
  })
}

/** unpackX87(): from FX_IMAGE. */
function defineUnpackX87(module: ModuleBuilder): Callable {
  return module.func('unpackX87', [], [], (c) => {
    const status = at(c, 'i32_16u', L.FX_IMAGE + 2)
    const top = status.shrU(11).and(7)
    put(c, 'i32', L.FPU_CONTROL, at(c, 'i32_16u', L.FX_IMAGE).and(0x1f7f).or(0x40))
    put(c, 'i32', L.FPU_TOP, top)
    put(c, 'i32', L.FPU_TAGS, at(c, 'i32_8u', L.FX_IMAGE + 4))
    put(c, 'i32', L.FPU_OPCODE, at(c, 'i32_16u', L.FX_IMAGE + 6).and(0x7ff))
    put(c, 'i64', L.FPU_IP, at(c, 'i64', L.FX_IMAGE + 8))
    put(c, 'i64', L.FPU_DP, at(c, 'i64', L.FX_IMAGE + 16))
    // ES and B follow from the flags and the masks.
    const unmasked = status
      .and(at(c, 'i32_16u', L.FX_IMAGE).not())
      .and(0x3f)
      .ne(0)
    const summary = c.select(unmasked, c.i32(0x8080), 0)
    put(c, 'i32', L.FPU_STATUS, status.and(0x477f).or(summary))
    for (let i = 0; i < 8; i++) {
      const register = top.add(i).and(7).shl(4)
      c.store('i64', register, at(c, 'i64', L.FX_IMAGE + REGISTERS_AT + i * 16), L.X87)
      c.store('i64', register, at(c, 'i64_16u', L.FX_IMAGE + REGISTERS_AT + i * 16 + 8), L.X87 + 8)
    }
  })
}

/** initX87(): the state after FNINIT, with empty registers of value zero. */
function defineInitX87(module: ModuleBuilder): Callable {
  return module.func('initX87', [], [], (c) => {
    put(c, 'i32', L.FPU_CONTROL, CONTROL_DEFAULT)
    for (const slot of [L.FPU_STATUS, L.FPU_TOP, L.FPU_TAGS, L.FPU_OPCODE]) put(c, 'i32', slot, 0)
    for (const slot of [L.FPU_IP, L.FPU_DP]) put(c, 'i64', slot, 0)
    c.fillMemory(c.i32(L.X87), 0, 128)
  })
}

/** hostOfArea(address, bytes, tag offset): host offset in RAM where the TLB has the area in one page, else −1. */
function defineHostOfArea(module: ModuleBuilder): Callable {
  return module.func('hostOfArea', ['i64', 'i32', 'i32'], ['i32'], (c) => {
    const entry = at(c, 'i32', L.TLB_BASE).add(
      c
        .param(0)
        .wrap()
        .shrU(7)
        .and((L.TLB_ENTRIES - 1) << 5),
    )
    const last = c.param(0).add(c.param(1).extendU()).sub(1)
    const hit = c.load('i64', entry.add(c.param(2))).eq(last.and(-4096))
    c.return(
      c.select(
        hit,
        c
          .param(0)
          .wrap()
          .add(c.load('i32', entry, L.TLB_ADDEND)),
        -1,
      ),
    )
  })
}

/** copyOut(address, offset, bytes, uop): a part of FX_IMAGE to memory; all or nothing. `bytes` is a multiple of 8. */
function defineCopyOut(module: ModuleBuilder, known: (name: string) => Callable): Callable {
  return module.func('copyOut', ['i64', 'i32', 'i32', 'i32'], [], (c) => {
    const [start, offset, bytes, uop] = [c.param(0), c.param(1), c.param(2), c.param(3)]
    const address = start.add(offset.extendU())
    const host = c.call(known('hostOfArea'), address, bytes, L.TLB_WRITE)
    c.if(host.ne(-1), () => {
      c.copyMemory(host, offset.add(L.FX_IMAGE), bytes, RAM, 0)
      c.return()
    })
    const last = address.add(bytes.extendU()).sub(8)
    for (const end of [address, last]) {
      c.call(known('slowLoadForWrite'), end, 8, uop)
      c.if(at(c, 'i32', L.FAULT), () => c.return())
    }
    const i = c.variable('i32', 0)
    c.while(
      () => i.get().ltU(bytes),
      () => {
        const word = c.load('i64', offset.add(i.get()), L.FX_IMAGE)
        c.call(known('slowStore'), address.add(i.get().extendU()), word, 8, uop)
        c.if(at(c, 'i32', L.FAULT), () => c.return())
        i.set(i.get().add(8))
      },
    )
  })
}
/** copyIn(address, offset, bytes, uop): from memory to FX_IMAGE. */
function defineCopyIn(module: ModuleBuilder, known: (name: string) => Callable): Callable {
  return module.func('copyIn', ['i64', 'i32', 'i32', 'i32'], [], (c) => {
    const [start, offset, bytes, uop] = [c.param(0), c.param(1), c.param(2), c.param(3)]
    const address = start.add(offset.extendU())
    const host = c.call(known('hostOfArea'), address, bytes, L.TLB_READ)
    c.if(host.ne(-1), () => {
      c.copyMemory(offset.add(L.FX_IMAGE), host, bytes, 0, RAM)
      c.return()
    })
    const i = c.variable('i32', 0)
    c.while(
      () => i.get().ltU(bytes),
      () => {
        const word = c.call(known('slowLoad'), address.add(i.get().extendU()), 8, uop)
        c.if(at(c, 'i32', L.FAULT), () => c.return())
        c.store('i64', offset.add(i.get()), word, L.FX_IMAGE)
        i.set(i.get().add(8))
      },
    )
  })
}

export function sseStateRoutines(module: ModuleBuilder, routines: Map<string, Callable>): void {
  const known = (name: string): Callable => routines.get(name)!
  routines.set('packState', definePack(module))
  routines.set('unpackX87', defineUnpackX87(module))
  routines.set('initX87', defineInitX87(module))
  routines.set('hostOfArea', defineHostOfArea(module))
  routines.set('copyOut', defineCopyOut(module, known))
  routines.set('copyIn', defineCopyIn(module, known))
}

/** 64-bit mode has 16 XMM registers, the others 8. */
const xmmBytes = (u: Meaning): number => (u.long ? 256 : 128)
const wide = (u: Meaning): number => (u.variant.size === 8 ? 1 : 0)

function checkedAddress(u: Meaning, operand: Operand, alignment: number): Expr {
  const address = u.address(operand)
  u.if(address.wrap().and(alignment - 1), () => u.raise(EXCEPTION.GP, 0))
  return address
}
function copyOut(u: Meaning, address: Expr, offset: number, bytes: number): void {
  u.routine('copyOut', address, offset, bytes, u.uop)
  u.exitOnFault()
}
function copyIn(u: Meaning, address: Expr, offset: number, bytes: number): void {
  u.routine('copyIn', address, offset, bytes, u.uop)
  u.exitOnFault()
}
/** #GP(0) where MXCSR in the image has reserved bits. */
function checkMxcsr(u: Meaning): void {
  u.if(u.state('i32', L.FX_IMAGE + MXCSR_AT).and(MXCSR_RESERVED), () => u.raise(EXCEPTION.GP, 0))
}
function loadMxcsr(u: Meaning): void {
  u.setState('i32', L.MXCSR, u.state('i32', L.FX_IMAGE + MXCSR_AT))
}
function loadXmm(u: Meaning): void {
  u.copyMemory(u.i32(L.XMM), u.i32(L.FX_IMAGE + XMM_AT), u.i32(xmmBytes(u)))
}

const AREA = { sized: true, memoryBytes: 512 } as const
const SYSTEM = 'saves what the operating system set'

const FXSAVE = instruction({
  mnemonic: 'fxsave',
  spec: 'SDM Vol. 2A, "FXSAVE—Save x87 FPU, MMX Technology, and SSE State"',
  forms: [{ bytes: 'NP 0F AE /0', operands: ['M'], access: 'w', ...AREA }],
  modeSensitive: true,
  meaning: (u, area) => {
    u.requireX87()
    const address = checkedAddress(u, area!, 16)
    u.routine('packState', wide(u))
    copyOut(u, address, 0, XMM_AT + xmmBytes(u))
  },
})

const FXRSTOR = instruction({
  mnemonic: 'fxrstor',
  spec: 'SDM Vol. 2A, "FXRSTOR—Restore x87 FPU, MMX, XMM, and MXCSR State"',
  forms: [{ bytes: 'NP 0F AE /1', operands: ['M'], access: 'r', ...AREA }],
  modeSensitive: true,
  meaning: (u, area) => {
    u.requireX87()
    const address = checkedAddress(u, area!, 16)
    copyIn(u, address, 0, XMM_AT + xmmBytes(u))
    checkMxcsr(u)
    u.routine('unpackX87')
    loadMxcsr(u)
    loadXmm(u)
  },
})

/** #UD without CR4.OSXSAVE, #NM with CR0.TS. */
function requireXsave(u: Meaning): void {
  u.if(u.state('i32', L.CR4).and(CR4_OSXSAVE).eqz(), () => u.raise(EXCEPTION.UD))
  u.if(u.state('i32', L.CR0).and(CR0_TS), () => u.raise(EXCEPTION.NM))
}
/** Components asked for in EDX:EAX that XCR0 has. */
const requested = (u: Meaning): Expr => u.gpr(0, 4).and(u.state('i64', L.XCR0)).wrap()

function xsave(mnemonic: string, number: number): Instruction {
  return instruction({
    mnemonic,
    spec: 'SDM Vol. 2D, "XSAVE—Save Processor Extended States", "XSAVEOPT"',
    forms: [{ bytes: `NP 0F AE /${number}`, operands: ['M'], access: 'w', ...AREA }],
    modeSensitive: true,
    feature: 'xsave',
    system: SYSTEM,
    meaning: (u, area) => {
      requireXsave(u)
      const address = checkedAddress(u, area!, 64)
      const components = requested(u)
      u.routine('packState', wide(u))
      const both = components.and(COMPONENT_X87 | COMPONENT_SSE).eq(COMPONENT_X87 | COMPONENT_SSE)
      u.if(
        both,
        () => copyOut(u, address, 0, XMM_AT + xmmBytes(u)),
        () => {
          u.if(components.and(COMPONENT_X87), () => {
            copyOut(u, address, 0, MXCSR_AT)
            copyOut(u, address, REGISTERS_AT, XMM_AT - REGISTERS_AT)
          })
          u.if(components.and(COMPONENT_SSE | COMPONENT_AVX), () => copyOut(u, address, MXCSR_AT, 8))
          u.if(components.and(COMPONENT_SSE), () => copyOut(u, address, XMM_AT, xmmBytes(u)))
        },
      )
      u.if(components.and(COMPONENT_AVX), () => {
        u.copyMemory(u.i32(L.FX_IMAGE + YMM_AT), u.i32(L.YMM_HIGH), u.i32(xmmBytes(u)))
        copyOut(u, address, YMM_AT, xmmBytes(u))
      })
      const header = address.add(HEADER_AT)
      const old = u.loadMemory(header, 8)
      const mask = components.extendU()
      u.storeMemory(header, 8, old.and(mask.not()).or(mask))
    },
  })
}

const XRSTOR = instruction({
  mnemonic: 'xrstor',
  spec: 'SDM Vol. 2D, "XRSTOR—Restore Processor Extended States"',
  forms: [{ bytes: 'NP 0F AE /5', operands: ['M'], access: 'r', ...AREA }],
  modeSensitive: true,
  feature: 'xsave',
  system: SYSTEM,
  meaning: (u, area) => {
    requireXsave(u)
    const address = checkedAddress(u, area!, 64)
    const components = requested(u)
    const present = u.loadMemory(address.add(HEADER_AT), 8)
    const compact = u.loadMemory(address.add(HEADER_AT + 8), 8)
    const reserved = u.loadMemory(address.add(HEADER_AT + 16), 8)
    const unknown = present.and(u.state('i64', L.XCR0).not())
    u.if(unknown.or(compact).or(reserved).ne(0), () => u.raise(EXCEPTION.GP, 0))
    copyIn(u, address, 0, XMM_AT + xmmBytes(u))
    u.if(components.and(COMPONENT_SSE | COMPONENT_AVX), () => checkMxcsr(u))
    const given = present.wrap()
    const takesAvx = components.and(given).and(COMPONENT_AVX)
    u.if(takesAvx, () => copyIn(u, address, YMM_AT, xmmBytes(u)))
    u.if(components.and(COMPONENT_X87), () => {
      u.if(
        given.and(COMPONENT_X87),
        () => u.routine('unpackX87'),
        () => u.routine('initX87'),
      )
    })
    u.if(components.and(COMPONENT_SSE | COMPONENT_AVX), () => loadMxcsr(u))
    u.if(components.and(COMPONENT_SSE), () => {
      u.if(
        given.and(COMPONENT_SSE),
        () => loadXmm(u),
        () => u.fillMemory(u.i32(L.XMM), 0, xmmBytes(u)),
      )
    })
    u.if(components.and(COMPONENT_AVX), () => {
      u.if(
        takesAvx,
        () => u.copyMemory(u.i32(L.YMM_HIGH), u.i32(L.FX_IMAGE + YMM_AT), u.i32(xmmBytes(u))),
        () => u.fillMemory(u.i32(L.YMM_HIGH), 0, xmmBytes(u)),
      )
    })
  },
})

const XGETBV = instruction({
  mnemonic: 'xgetbv',
  spec: 'SDM Vol. 2D, "XGETBV—Get Value of Extended Control Register"',
  forms: [{ bytes: 'NP 0F 01 D0', operands: [] }],
  feature: 'xsave',
  system: 'depends on the operating system',
  meaning: (u) => {
    u.if(u.state('i32', L.CR4).and(CR4_OSXSAVE).eqz(), () => u.raise(EXCEPTION.UD))
    u.if(u.gpr(1, 4).ne(0), () => u.raise(EXCEPTION.GP, 0))
    u.setGpr(0, 4, u.state('i64', L.XCR0))
    u.setGpr(2, 4, u.i64(0))
  },
})

const LDMXCSR = vector(
  {
    extension: 'sse',
    mnemonic: 'ldmxcsr',
    bytes: 'NP 0F AE /2',
    operands: ['Md'],
    access: 'r',
    vex: 'LZ',
  },
  (u, _v, source) => {
    const value = u.readUnsigned(source).wrap()
    u.if(value.and(MXCSR_RESERVED), () => u.raise(EXCEPTION.GP, 0))
    u.setState('i32', L.MXCSR, value)
  },
)
const STMXCSR = vector(
  {
    extension: 'sse',
    mnemonic: 'stmxcsr',
    bytes: 'NP 0F AE /3',
    operands: ['Md'],
    access: 'w',
    vex: 'LZ',
  },
  (u, _v, target) => u.write(target, u.state('i64_32u', L.MXCSR)),
)

/** Memory is coherent and in order here: fences have nothing to do, and no line needs flushing. */
const FENCES = ['E8', 'F0', 'F8'].map((modrm, i) =>
  instruction({
    mnemonic: ['lfence', 'mfence', 'sfence'][i]!,
    spec: 'SDM Vol. 2, "LFENCE—Load Fence", "MFENCE—Memory Fence", "SFENCE—Store Fence"',
    forms: [{ bytes: `NP 0F AE ${modrm}`, operands: [] }],
    meaning: () => {},
  }),
)
const CLFLUSH = instruction({
  mnemonic: 'clflush',
  spec: 'SDM Vol. 2A, "CLFLUSH—Flush Cache Line"',
  forms: [{ bytes: 'NP 0F AE /7', operands: ['Mb'], access: 'r' }],
  meaning: (u, line) => {
    u.readUnsigned(line!)
  },
})

export const SSE_STATE: readonly Instruction[] = [
  FXSAVE,
  FXRSTOR,
  xsave('xsave', 4),
  XRSTOR,
  xsave('xsaveopt', 6),
  XGETBV,
  ...LDMXCSR,
  ...STMXCSR,
  ...FENCES,
  CLFLUSH,
]
