/** Host operations by name: what `Meaning.host` calls. */
import { HOST_OPERATIONS, type HostOperation } from '../isa/host-operations.ts'
import * as L from '../state/layout.ts'
import { CR4_OSXSAVE, EXCEPTION } from '../state/registers.ts'
import {
  type InertMsrs,
  readControl,
  readDebug,
  readMsr,
  readTimeStamp,
  writeControl,
  writeDebug,
  writeMsr,
  xsetbv,
} from './control.ts'
import { type Core, FAULTED, isCanonical } from './core.ts'
import type { Source } from './interrupts.ts'
import { type CpuModel, cpuid } from './model.ts'
import { portIn, portOut } from './ports.ts'
import { accessRights, loadLdt, loadSegment, loadTask, segmentLimit, verify } from './segments.ts'
import { transcendental } from './transcendental.ts'
import { farCall, farJump, farReturn, interruptReturn, sysenter, sysexit } from './transfers.ts'

type Size = 2 | 4 | 8
type PortSize = 1 | 2 | 4

export interface OperationsOptions {
  readonly core: Core
  readonly model: CpuModel
  readonly inert: InertMsrs
  /** Delivers an event with RIP set; false for a triple fault, which ends the slice. */
  readonly deliver: (vector: number, source: Source) => void
}

/** The function that the module imports as `host`: runs an operation by its number. */
export function hostOperations(options: OperationsOptions): (operation: number) => void {
  const table = buildTable(options)
  const list = HOST_OPERATIONS.map((name) => table[name])
  return (operation) => {
    try {
      list[operation]!()
    } catch (error) {
      if (error !== FAULTED) throw error
    }
  }
}

function buildTable({ core, model, inert, deliver }: OperationsOptions): Record<HostOperation, () => void> {
  const low = (i: number): number => core.argument(i)
  const high = (i: number): number => core.argumentHigh(i)
  const selector = (i: number): number => core.argument(i) & 0xffff
  const answer = (value: number | undefined): void => {
    core.setResult(0, value === undefined ? 0 : 1)
    core.setResult(1, value ?? 0)
  }
  return {
    loadSegment: () => loadSegment(core, low(0), selector(1)),
    loadLdt: () => loadLdt(core, selector(0)),
    loadTask: () => loadTask(core, selector(0)),
    verify: () => core.setResult(0, verify(core, selector(0), low(1) === 1) ? 1 : 0),
    accessRights: () => answer(accessRights(core, selector(0))),
    segmentLimit: () => answer(segmentLimit(core, selector(0))),
    softwareInterrupt: () => {
      const vector = low(0)
      const source = low(1) === 0 ? 'software' : 'hardware'
      checkVirtual8086(core, vector, source)
      core.ripFromUop(true)
      deliver(vector, source)
    },
    farJump: () => farJump(core, selector(1), { low: low(0), high: high(0) }, low(2) as Size),
    farCall: () => farCall(core, selector(1), { low: low(0), high: high(0) }, low(2) as Size),
    farReturn: () => farReturn(core, low(0), low(1) as Size),
    interruptReturn: () => interruptReturn(core, low(0) as Size),
    sysenter: () => sysenter(core),
    sysexit: () => sysexit(core, low(0) as Size),
    readControl: () => readControl(core, low(0)),
    writeControl: () => writeControl(core, model, low(0), low(1), high(1)),
    readDebug: () => readDebug(core, low(0)),
    writeDebug: () => writeDebug(core, low(0), low(1), high(1)),
    readMsr: () => readMsr(core, inert, low(0)),
    writeMsr: () => writeMsr(core, inert, low(0), low(1), low(2)),
    xsetbv: () => {
      if (!(core.word(L.CR4) & CR4_OSXSAVE)) core.fail(EXCEPTION.UD)
      xsetbv(core, model, low(0), low(1), low(2))
    },
    cpuid: () => {
      const osxsave = (core.word(L.CR4) & CR4_OSXSAVE) !== 0
      const xcr0 = core.word(L.XCR0)
      const [eax, ebx, ecx, edx] = cpuid(model, low(0), low(1), { osxsave, xcr0 })
      for (const [i, value] of [eax, ebx, ecx, edx].entries()) core.setResult(i, value)
    },
    timeStamp: () => readTimeStamp(core),
    invalidatePage: () => core.exports.invalidatePage(),
    invalidateProcessContext: () => invalidateProcessContext(core, low(0), high(2)),
    random: () => core.setResult(0, core.pins.random() | 0, core.pins.random() | 0),
    portIn: () => portIn(core, low(0), low(1) as PortSize),
    portOut: () => portOut(core, low(0), low(1) as PortSize, low(2)),
    hypercall: () => core.fail(EXCEPTION.UD),
    transcendental: () => transcendental(core, low(0)),
  }
}

/** INT n in virtual-8086 mode needs IOPL 3; INT3, INTO and INT1 do not. */
function checkVirtual8086(core: Core, vector: number, source: Source): void {
  const iopl = (core.word(L.RFLAGS_SYSTEM) >> 12) & 3
  const isPlain = source === 'software' && vector !== EXCEPTION.BP && vector !== EXCEPTION.OF
  if (core.isVirtual8086 && isPlain && iopl < 3) core.fail(EXCEPTION.GP, 0)
}

/** All types drop everything here, which the manual allows. */
function invalidateProcessContext(core: Core, type: number, addressHigh: number): void {
  if (type >>> 0 > 3 || (type === 0 && !isCanonical(addressHigh))) core.fail(EXCEPTION.GP, 0)
  core.exports.flushTlb(0)
}
