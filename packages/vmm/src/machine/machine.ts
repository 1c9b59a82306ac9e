import type { CpuPins, CpuStatistics } from '@typevisor/x86'
import { MmioBus } from '../bus/mmio-bus.ts'
import { PortBus } from '../bus/port-bus.ts'
import type { WallClock } from '../clock/clock.ts'
import { DeadlineQueue } from '../clock/deadline-queue.ts'
import { unreachable } from '../errors.ts'
import type { CpuRegisters, Exit, Hypervisor, Vcpu, Vm } from '../hypervisor/hypervisor.ts'
import { allocateGuestMemory, GuestRam } from '../memory/guest-memory.ts'
import type { MachineExit } from './exit.ts'
import { buildPc, type PcOutputs, type PcParts } from './pc.ts'
import type { PciPart } from './pci.ts'
import type { Profile } from './profile.ts'
import { SlicePacer } from './slice-pacer.ts'

/** What a machine needs of its surroundings; nothing else of them is reached. */
export interface MachineHost {
  /** Nanoseconds, monotonic, from any origin. */
  monotonic: { now(): number }
  wall: WallClock
  /** 32 bits of entropy. */
  random: () => number
  /** Resumes after other work of the event loop had its turn. */
  yieldToHost: () => Promise<void>
  /** Resolves after `milliseconds`, or earlier when `wake` is called; Infinity waits for `wake` alone. */
  sleep: (milliseconds: number) => { done: Promise<void>; wake: () => void }
}

export interface MachineOptions extends PcOutputs {
  hypervisor: Hypervisor
  memoryBytes: number
  host: MachineHost
  /** A CPU model by name; the engine's default otherwise. */
  model?: string
  /** Is told where the time goes. */
  profile?: Profile
  /** Devices on a PCI bus, from slot 1 on. The machine has no such bus without any. */
  pci?: readonly PciPart[]
}

/** What a machine counted. */
export interface MachineStatistics {
  /** Since the machine began to run, and of these with the processor at work. */
  readonly seconds: number
  readonly runningSeconds: number
  readonly slices: number
  /** Left out where the engine counts nothing. */
  readonly cpu?: CpuStatistics
}

/**
 * A PC with one processor. It is made with RAM that is empty: a boot loader fills `ram` and gives `start` the
 * processor's state; then `run` lives as long as the guest does.
 */
export class Machine {
  readonly ram: GuestRam
  readonly parts: PcParts
  readonly #vm: Vm
  readonly #vcpu: Vcpu
  readonly #host: MachineHost
  readonly #clock: DeadlineQueue
  readonly #pacer = new SlicePacer()
  readonly #profile: Profile | undefined
  #intr = false
  #exit: MachineExit | undefined
  #wake: (() => void) | undefined
  #running = false
  /** Guest time when the running slice should end; Infinity while none runs. */
  #sliceEnd = Infinity
  #interrupted = false
  #deafHalts = 0
  /** Guest time when `run` was called, and when it ended. */
  #began = 0
  #ended: number | undefined
  #runningTime = 0
  #slices = 0

  constructor(options: MachineOptions) {
    const { host, memoryBytes } = options
    this.#host = host
    this.#profile = options.profile
    const origin = host.monotonic.now()
    this.#clock = new DeadlineQueue({ now: () => host.monotonic.now() - origin }, () =>
      this.#onEarlierDeadline(),
    )
    const memory = allocateGuestMemory(memoryBytes)
    this.ram = new GuestRam(memory, (gpa, length) => this.#vm?.memoryWritten(gpa, length))
    const ports = new PortBus()
    const mmio = new MmioBus()
    this.parts = buildPc({
      ...options,
      ports,
      mmio,
      clock: this.#clock,
      wall: host.wall,
      memory,
      ram: this.ram,
      random: host.random,
      onInterruptChange: () => this.#updateInterrupt(),
      onExit: (exit) => this.#end(exit),
    })
    const pins = this.#pins(ports, mmio)
    this.#vm = options.hypervisor.createVm({
      memory,
      pins,
      ...(options.model === undefined ? {} : { model: options.model }),
      ...(options.profile ? { clock: () => host.monotonic.now() } : {}),
    })
    this.#vcpu = this.#vm.vcpus[0]
  }

  /** Guest time, in nanoseconds. */
  now(): number {
    return this.#clock.now()
  }

  /** Brings the processor to the state that a boot protocol demands. */
  start(registers: CpuRegisters): void {
    this.#vcpu.reset()
    this.#vcpu.setState(registers)
  }

  /** Serial input: returns how many bytes were taken; the rest is to be offered again after `onSerialRoom`. */
  serialInput(bytes: Uint8Array): number {
    return this.parts.com1.receive(bytes)
  }

  /** Presses the power button: the guest is asked to shut down, and may not. */
  powerButton(): void {
    this.parts.acpiPm.pressPowerButton()
  }

  /** Ends the machine without asking the guest. */
  stop(): void {
    this.#end({ kind: 'stopped' })
  }

  /** A readable report of the processor. */
  report(): string {
    return this.#vcpu.report()
  }

  statistics(): MachineStatistics {
    const cpu = this.#vcpu.statistics?.()
    return {
      seconds: ((this.#ended ?? this.now()) - this.#began) / 1e9,
      runningSeconds: this.#runningTime / 1e9,
      slices: this.#slices,
      ...(cpu ? { cpu } : {}),
    }
  }

  /** Runs until the machine ends. While the processor is halted this waits for a deadline or an interrupt. */
  async run(): Promise<MachineExit> {
    if (this.#running) throw new Error('Invariant broken: a machine runs once at a time')
    this.#running = true
    this.#began = this.now()
    try {
      while (!this.#exit) await this.#turn()
      return this.#exit
    } finally {
      this.#running = false
      this.#ended = this.now()
      this.#vm.release?.()
    }
  }

  /** One slice of the processor, then whatever else waits. */
  async #turn(): Promise<void> {
    this.#clock.runDue()
    const before = this.now()
    const budget = this.#pacer.budget(
      Math.min(this.#clock.next() - before, this.#profile?.nextSlice() ?? Infinity),
    )
    this.#sliceEnd = before + this.#pacer.duration(budget)
    this.#interrupted = false
    const exit = this.#vcpu.run(budget)
    const elapsed = this.now() - before
    this.#sliceEnd = Infinity
    this.#runningTime += elapsed
    this.#slices++
    if (this.#profile) this.#note(this.#profile, exit, elapsed)
    if (this.#exit) return
    switch (exit.kind) {
      case 'slice':
        this.#deafHalts = 0
        if (!this.#interrupted) this.#pacer.measured(budget, elapsed)
        if (this.#pacer.turnIsOver(elapsed)) await this.#host.yieldToHost()
        return
      case 'hlt':
        this.#pacer.turnIsOver(Infinity)
        await this.#halted()
        return
      case 'shutdown':
        this.#end({ kind: 'shutdown', reason: exit.reason, report: this.#vcpu.report() })
        return
      default:
        unreachable(exit)
    }
  }

  #note(profile: Profile, { kind }: Exit, elapsed: number): void {
    const sample = this.#vcpu.sample?.()
    if (sample) profile.slice(sample, kind, elapsed)
  }

  /** Waits without polling until an interrupt is pending or the machine ends. */
  async #halted(): Promise<void> {
    this.#deafHalts = this.#intr ? this.#deafHalts + 1 : 0
    await this.#host.yieldToHost() // input that is there already comes first
    this.#clock.runDue()
    while (!this.#exit && (!this.#intr || this.#isDeaf)) {
      const wait = this.#isDeaf ? Infinity : Math.max(this.#clock.next() - this.now(), 0) / 1e6
      const { done, wake } = this.#host.sleep(wait)
      this.#wake = wake
      await done
      this.#wake = undefined
      this.#clock.runDue()
    }
  }

  /** Halted with RFLAGS.IF = 0: an interrupt is pending and again not taken. Only the end wakes this guest. */
  get #isDeaf(): boolean {
    return this.#deafHalts > 2
  }

  #onEarlierDeadline(): void {
    if (this.#clock.next() < this.#sliceEnd) this.#interrupt()
  }

  #end(exit: MachineExit): void {
    this.#exit ??= exit
    this.#interrupt()
  }

  /** Something happened that the loop must see: a slice ends soon, a sleep ends now. */
  #interrupt(): void {
    this.#interrupted = true
    this.#vcpu?.requestExit()
    this.#wake?.()
  }

  #updateInterrupt(): void {
    const intr = this.parts?.interruptPending() ?? false
    const rising = intr && !this.#intr
    this.#intr = intr
    if (rising) this.#interrupt()
  }

  /**
   * A guest that waits by the time stamp counter runs far fewer instructions in a slice's time than the pacer expects.
   * When it sees that a deadline has passed, the slice ends, so that it gets the interrupt too.
   */
  #timeStampCounter(): number {
    const now = this.now()
    if (now >= this.#clock.next()) this.#interrupt()
    return Math.floor(now)
  }

  #pins(ports: PortBus, mmio: MmioBus): CpuPins {
    const { localApic } = this.parts
    return {
      portRead: (port, size) => ports.read(port, size),
      portWrite: (port, size, value) => ports.write(port, size, value),
      mmioRead: (gpa, size) => mmio.read(gpa, size),
      mmioWrite: (gpa, size, value) => mmio.write(gpa, size, value),
      interruptPending: () => this.#intr,
      acknowledgeInterrupt: () => (this.#intr ? this.parts.acknowledgeInterrupt() : -1),
      readTaskPriority: () => localApic.taskPriority,
      writeTaskPriority: (value) => {
        localApic.taskPriority = value
      },
      readMsr: (index) => localApic.readMsr(index),
      writeMsr: (index, low, high) => localApic.writeMsr(index, low, high),
      timeStampCounter: () => this.#timeStampCounter(),
      random: () => this.#host.random(),
    }
  }
}
