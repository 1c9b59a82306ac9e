import { PM_BASE, SCI_IRQ } from '../boot/acpi/tables.ts'
import type { MmioBus } from '../bus/mmio-bus.ts'
import type { PortBus, PortDevice, PortRange } from '../bus/port-bus.ts'
import type { TimerClock, WallClock } from '../clock/clock.ts'
import { AcpiPm } from '../devices/pc/acpi-pm/acpi-pm.ts'
import { DebugConsole } from '../devices/pc/debug-console/debug-console.ts'
import { DebugExit } from '../devices/pc/debug-exit/debug-exit.ts'
import { I8042 } from '../devices/pc/i8042/i8042.ts'
import { I8254 } from '../devices/pc/i8254/i8254.ts'
import { Mc146818 } from '../devices/pc/mc146818/mc146818.ts'
import { ResetControl } from '../devices/pc/reset-control/reset-control.ts'
import { type ByteSink, Uart16550 } from '../devices/pc/uart16550/uart16550.ts'
import { I8259Pair } from '../interrupts/i8259/i8259.ts'
import { IoApic } from '../interrupts/io-apic/io-apic.ts'
import type { InterruptLine } from '../interrupts/line.ts'
import { ApicBus } from '../interrupts/local-apic/apic-bus.ts'
import { LOCAL_APIC_DEFAULT_BASE, LocalApic } from '../interrupts/local-apic/local-apic.ts'
import type { GuestRam } from '../memory/guest-memory.ts'
import type { MachineExit } from './exit.ts'
import { interruptMessage, PciBus, type PciPart } from './pci.ts'

/** Where a PC's outputs go. */
export interface PcOutputs {
  /** COM1. */
  serial: ByteSink
  onSerialRoom?: () => void
  /** Port 0xE9. */
  debugConsole: ByteSink
}

export interface PcSurroundings extends PcOutputs {
  ports: PortBus
  mmio: MmioBus
  clock: TimerClock
  wall: WallClock
  memory: { bytes: number; lowBytes: number }
  ram: GuestRam
  random: () => number
  /** Devices in the slots of a PCI bus; without any there is no such bus. */
  pci?: readonly PciPart[]
  /** `interruptPending` may have changed. */
  onInterruptChange: () => void
  onExit: (exit: MachineExit) => void
}

/** The parts that a machine talks to by name; all others are reached through the buses alone. */
export interface PcParts {
  localApic: LocalApic
  ioApic: IoApic
  pics: I8259Pair
  pit: I8254
  rtc: Mc146818
  com1: Uart16550
  keyboard: I8042
  acpiPm: AcpiPm
  resets: ResetControl
  pci?: PciBus
  /** INTR to the processor. */
  interruptPending(): boolean
  /** INTA. */
  acknowledgeInterrupt(): number
}

/** The PC: its parts with their ports, memory and interrupts. */
export function buildPc(s: PcSurroundings): PcParts {
  const { clock, wall, onExit } = s
  const interrupts = wireInterrupts(s)
  const { isa, pics, ioApic, localApic } = interrupts
  const reset = () => onExit({ kind: 'reset' })

  const pit = new I8254({ irq: isa(0), clock })
  const keyboard = new I8042({ irq: isa(1), onReset: reset })
  const com1 = new Uart16550({
    irq: isa(4),
    clock,
    output: s.serial,
    ...(s.onSerialRoom ? { onRoom: s.onSerialRoom } : {}),
  })
  const { bytes, lowBytes } = s.memory
  const rtc = new Mc146818({ irq: isa(8), clock, wall, memory: { lowBytes, highBytes: bytes - lowBytes } })
  const acpiPm = new AcpiPm({ sci: isa(SCI_IRQ), clock, onSoftOff: () => onExit({ kind: 'poweroff' }) })
  const resets = new ResetControl({ onReset: reset })
  const debugConsole = new DebugConsole({ output: s.debugConsole })
  const debugExit = new DebugExit({ onExit: (status) => onExit({ kind: 'debug-exit', status }) })

  for (const range of [
    { name: 'pic-master', base: 0x20, length: 2, device: pics.master },
    { name: 'pit', base: 0x40, length: 4, device: pit },
    { name: 'keyboard-data', base: 0x60, length: 1, device: keyboard },
    { name: 'port-b', base: 0x61, length: 1, device: pit.portB },
    { name: 'keyboard-command', base: 0x64, length: 1, device: at(4, keyboard) },
    { name: 'rtc', base: 0x70, length: 2, device: rtc },
    { name: 'port-a', base: 0x92, length: 1, device: resets.portA },
    { name: 'pic-slave', base: 0xa0, length: 2, device: pics.slave },
    { name: 'debug-console', base: 0xe9, length: 1, device: debugConsole },
    { name: 'debug-exit', base: 0xf4, length: 4, device: debugExit, width: 4 },
    { name: 'com1', base: 0x3f8, length: 8, device: com1 },
    { name: 'elcr-master', base: 0x4d0, length: 1, device: pics.master.edgeLevelControl },
    { name: 'elcr-slave', base: 0x4d1, length: 1, device: pics.slave.edgeLevelControl },
    { name: 'acpi-pm', base: PM_BASE, length: 12, device: acpiPm, width: 4 },
  ] as const satisfies readonly PortRange[]) {
    s.ports.register(range)
  }
  s.mmio.register({ name: 'io-apic', base: 0xfec0_0000, length: 0x1000, device: ioApic })
  s.mmio.register({ name: 'local-apic', base: LOCAL_APIC_DEFAULT_BASE, length: 0x1000, device: localApic })
  const { resetControl } = resets
  if (!s.pci?.length)
    s.ports.register({ name: 'reset-control', base: 0xcf9, length: 1, device: resetControl })
  return {
    ...interrupts,
    pit,
    keyboard,
    com1,
    rtc,
    acpiPm,
    resets,
    ...(s.pci?.length ? { pci: new PciBus(s.pci, s, { ...s, ...interrupts, resetControl }) } : {}),
  }
}

/** A device whose range begins at one of its higher offsets. */
function at(first: number, device: PortDevice): PortDevice {
  return {
    portRead: (offset, size) => device.portRead(first + offset, size),
    portWrite: (offset, size, value) => device.portWrite(first + offset, size, value),
  }
}

/**
 * ISA lines go to the 8259As and to the I/O APIC, IRQ0 to pin 2 of it. The 8259As' INTR goes to LINT0 and to pin 0.
 * The processor takes ExtINT before the APIC's own interrupts.
 */
function wireInterrupts({ clock, mmio, onInterruptChange }: PcSurroundings) {
  const bus = new ApicBus()
  const pics = new I8259Pair(() => {
    localApic.setLint0(pics.intr)
    ioApic.setLine(0, pics.intr)
    onInterruptChange()
  })
  const ioApic = new IoApic({ deliver: (message) => bus.send(message), onExtInt: onInterruptChange })
  const localApic: LocalApic = new LocalApic({
    clock,
    pins: {
      onChange: onInterruptChange,
      send: (message, shorthand) => bus.send(message, shorthand, localApic),
      endOfInterrupt: (vector) => ioApic.endOfInterrupt(vector),
      onBase: (base) => mmio.relocate(localApic, base),
    },
  })
  bus.attach(localApic)
  localApic.enterVirtualWireMode()
  const extInt = () => pics.intr && (localApic.acceptsExtInt || ioApic.extInt)
  const isa = (irq: number): InterruptLine => {
    const pic = pics.line(irq)
    const pin = irq === 0 ? 2 : irq
    return {
      set: (asserted) => {
        pic.set(asserted)
        ioApic.setLine(pin, asserted)
      },
    }
  }
  return {
    pics,
    ioApic,
    localApic,
    isa,
    gsi: (pin: number): InterruptLine => ({ set: (asserted) => ioApic.setLine(pin, asserted) }),
    message: (address: number, data: number) => {
      const message = interruptMessage(address, data)
      if (message) bus.send(message)
    },
    interruptPending: () => extInt() || localApic.intr,
    acknowledgeInterrupt: () => (extInt() ? pics.acknowledge() : localApic.acknowledge()),
  }
}
