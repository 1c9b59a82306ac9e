import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { VirtioRng } from '../devices/virtio/rng/rng.ts'
import { emulated } from '../hypervisor/emulated.ts'
import type { Exit } from '../hypervisor/hypervisor.ts'
import { FakeCpu } from '../testing/fake-cpu.ts'
import { Machine } from './machine.ts'
import type { PciPart } from './pci.ts'
import { virtioPci } from './pci.ts'
import { Profile } from './profile.ts'

/** A machine in which sleeping is what moves the time. */
function setup(
  program: (cpu: FakeCpu, budget: number) => Exit,
  profile?: Profile,
  pci: readonly PciPart[] = [],
) {
  let now = 5e9
  const output: number[] = []
  const debug: number[] = []
  const sleeps: number[] = []
  let yields = 0
  let cpu: FakeCpu | undefined
  let onSleep = (_wake: () => void) => {}
  const machine = new Machine({
    hypervisor: emulated('interpreter', (options) => {
      cpu = new FakeCpu(options)
      cpu.program = program
      return cpu
    }),
    memoryBytes: 2 << 20,
    pci,
    ...(profile ? { profile } : {}),
    serial: { write: (byte) => output.push(byte) },
    debugConsole: { write: (byte) => debug.push(byte) },
    host: {
      monotonic: { now: () => now },
      wall: { now: () => now / 1e6 },
      random: () => 4,
      yieldToHost: async () => {
        yields++
      },
      sleep: (ms) => {
        sleeps.push(ms)
        const { promise, resolve } = Promise.withResolvers<void>()
        if (ms !== Infinity) {
          now += Math.ceil(ms * 1e6)
          resolve()
        }
        queueMicrotask(() => onSleep(resolve))
        return { done: promise, wake: resolve }
      },
    },
  })
  return {
    machine,
    cpu: cpu!,
    output,
    debug,
    sleeps,
    yields: () => yields,
    pass: (ns: number) => {
      now += ns
    },
    onSleep: (action: () => void) => {
      onSleep = action
    },
  }
}

const HLT: Exit = { kind: 'hlt' }
const SLICE: Exit = { kind: 'slice' }

/** 8259A vectors 0x20 and 0x28, all unmasked. */
function initializePics({ pins }: FakeCpu): void {
  for (const [port, base, icw3] of [
    [0x20, 0x20, 4],
    [0xa0, 0x28, 2],
  ]) {
    pins.portWrite(port, 1, 0x11)
    for (const value of [base, icw3, 1, 0]) pins.portWrite(port + 1, 1, value)
  }
}

describe('machine', () => {
  it('ends with the status that the guest writes to the debug exit port', async () => {
    const { machine } = setup(({ pins }) => {
      pins.portWrite(0xf4, 4, 0x10)
      return SLICE
    })
    assert.deepEqual(await machine.run(), { kind: 'debug-exit', status: 0x21 })
  })
  it('ends by soft off, by each of the resets, by a triple fault, and by stop', async () => {
    const off = setup(({ pins }) => {
      pins.portWrite(0x604, 2, (5 << 10) | (1 << 13))
      return SLICE
    })
    assert.deepEqual(await off.machine.run(), { kind: 'poweroff' })
    for (const [port, value] of [
      [0x64, 0xfe],
      [0x92, 0x03],
      [0xcf9, 0x06],
    ]) {
      const reset = setup(({ pins }) => {
        pins.portWrite(port, 1, value)
        return SLICE
      })
      assert.deepEqual(await reset.machine.run(), { kind: 'reset' })
    }
    const fault = setup(() => ({ kind: 'shutdown', reason: '#DF' }))
    assert.deepEqual(await fault.machine.run(), {
      kind: 'shutdown',
      reason: '#DF',
      report: 'report of the fake CPU',
    })
    const stop = setup(() => HLT)
    stop.onSleep(() => stop.machine.stop())
    assert.deepEqual(await stop.machine.run(), { kind: 'stopped' })
  })
  it('gives serial and debug output out', async () => {
    const { machine, output, debug } = setup(({ pins }) => {
      pins.portWrite(0x3f8, 1, 0x41)
      pins.portWrite(0xe9, 1, 0x42)
      pins.portWrite(0xf4, 1, 0)
      return SLICE
    })
    await machine.run()
    assert.deepEqual([output, debug], [[0x41], [0x42]])
  })
  it('sleeps while halted until the next deadline, and then has an interrupt to deliver', async () => {
    const vectors: number[] = []
    const { machine, sleeps, cpu } = setup((cpu) => {
      if (cpu.runs === 1) {
        initializePics(cpu)
        cpu.pins.portWrite(0x43, 1, 0x34)
        cpu.pins.portWrite(0x40, 1, 0x9c)
        cpu.pins.portWrite(0x40, 1, 0x2e) // 11932: 10 ms
        vectors.push(cpu.pins.acknowledgeInterrupt()) // OUT is high from the start
        cpu.pins.portWrite(0x20, 1, 0x20)
        return HLT
      }
      vectors.push(cpu.pins.acknowledgeInterrupt())
      cpu.pins.portWrite(0x20, 1, 0x20)
      if (cpu.runs === 4) cpu.pins.portWrite(0xf4, 1, 0)
      return HLT
    })
    await machine.run()
    assert.deepEqual(vectors, [0x20, 0x20, 0x20, 0x20])
    assert.equal(cpu.runs, 4)
    assert.equal(sleeps.length, 3)
    for (const ms of sleeps) assert.ok(Math.abs(ms - 10) < 0.01, `${ms}`)
  })
  it('sleeps for ever while halted without a deadline, and wakes for serial input', async () => {
    const { machine, sleeps, onSleep, cpu } = setup((cpu) => {
      const { pins } = cpu
      if (cpu.runs === 1) {
        initializePics(cpu)
        pins.portWrite(0x3fc, 1, 0x0b)
        pins.portWrite(0x3f9, 1, 0x01)
        return HLT
      }
      assert.equal(pins.interruptPending(), true)
      assert.equal(pins.acknowledgeInterrupt(), 0x24)
      pins.portWrite(0xe9, 1, pins.portRead(0x3f8, 1))
      pins.portWrite(0xf4, 1, 0)
      return HLT
    })
    onSleep(() => machine.serialInput(Uint8Array.of(0x61)))
    await machine.run()
    assert.deepEqual(sleeps, [Infinity])
    assert.equal(cpu.runs, 2)
  })
  it('does not spin for a guest that halted with interrupts off', async () => {
    const { machine, sleeps, onSleep, cpu } = setup((cpu) => {
      if (cpu.runs === 1) {
        initializePics(cpu)
        cpu.pins.portWrite(0x43, 1, 0x34)
        cpu.pins.portWrite(0x40, 1, 0)
        cpu.pins.portWrite(0x40, 1, 0)
      }
      return HLT
    })
    onSleep(() => {
      if (sleeps.at(-1) === Infinity) machine.stop()
    })
    assert.deepEqual(await machine.run(), { kind: 'stopped' })
    assert.ok(cpu.runs < 10)
  })
  it('sizes slices by the speed it sees, to about 2 ms, and yields between them', async () => {
    const budgets: number[] = []
    const { machine, pass, yields } = setup((cpu, budget) => {
      budgets.push(budget)
      pass(budget / 0.1) // 100 million instructions per second
      if (cpu.runs === 50) cpu.pins.portWrite(0xf4, 1, 0)
      return SLICE
    })
    await machine.run()
    assert.ok(Math.abs(budgets.at(-1)! - 200_000) < 2_000, `${budgets.at(-1)}`)
    assert.ok(yields() > 40)
  })
  it('shortens a slice to the next deadline', async () => {
    const budgets: number[] = []
    const { machine } = setup((cpu, budget) => {
      budgets.push(budget)
      if (cpu.runs === 1) {
        cpu.pins.mmioWrite(0xfee0_00f0, 4, 0x1ff)
        cpu.pins.mmioWrite(0xfee0_03e0, 4, 0xb)
        cpu.pins.mmioWrite(0xfee0_0380, 4, 500_000)
        return SLICE
      }
      cpu.pins.portWrite(0xf4, 1, 0)
      return SLICE
    })
    await machine.run()
    assert.equal(budgets[1], 10_000)
  })
  it('ends the slice when an interrupt becomes pending or a nearer deadline is set', () => {
    const { machine, cpu } = setup((cpu) => {
      const { pins } = cpu
      pins.mmioWrite(0xfee0_00f0, 4, 0x1ff)
      const before = cpu.exitRequests
      pins.mmioWrite(0xfee0_0300, 4, 0x4_0040)
      assert.equal(cpu.exitRequests, before + 1)
      assert.equal(pins.interruptPending(), true)
      assert.equal(pins.acknowledgeInterrupt(), 0x40)
      assert.equal(pins.interruptPending(), false)
      pins.mmioWrite(0xfee0_03e0, 4, 0xb)
      pins.mmioWrite(0xfee0_0380, 4, 100)
      assert.equal(cpu.exitRequests, before + 2)
      pins.portWrite(0xf4, 1, 0)
      return SLICE
    })
    void cpu
    return machine.run().then((exit) => assert.equal(exit.kind, 'debug-exit'))
  })
  it('ends the slice when the guest reads a time that a deadline has passed at', async () => {
    const { machine, pass } = setup((cpu) => {
      const { pins } = cpu
      initializePics(cpu)
      for (const value of [0x34, 0x9c, 0x2e]) pins.portWrite(value === 0x34 ? 0x43 : 0x40, 1, value) // 10 ms
      pins.acknowledgeInterrupt()
      const before = cpu.exitRequests
      pass(9.9e6)
      pins.timeStampCounter()
      assert.equal(cpu.exitRequests, before)
      pass(0.2e6)
      pins.timeStampCounter()
      assert.equal(cpu.exitRequests, before + 1)
      pins.portWrite(0xf4, 1, 0)
      return SLICE
    })
    assert.equal((await machine.run()).kind, 'debug-exit')
  })
  it('delivers ISA interrupts through the I/O APIC, IRQ0 at pin 2, and level ones again after EOI', async () => {
    const { machine } = setup(({ pins }) => {
      const redirect = (pin: number, low: number) => {
        pins.mmioWrite(0xfec0_0000, 4, 0x10 + 2 * pin)
        pins.mmioWrite(0xfec0_0010, 4, low)
      }
      pins.portWrite(0x21, 1, 0xff)
      pins.mmioWrite(0xfee0_00f0, 4, 0x1ff)
      redirect(2, 0x30)
      redirect(9, 0x8041)
      pins.portWrite(0x43, 1, 0x34)
      assert.equal(pins.acknowledgeInterrupt(), 0x30)
      pins.mmioWrite(0xfee0_00b0, 4, 0)
      pins.portWrite(0x602, 2, 0x100)
      machine.powerButton()
      assert.equal(pins.acknowledgeInterrupt(), 0x41)
      pins.mmioWrite(0xfee0_00b0, 4, 0)
      assert.equal(pins.acknowledgeInterrupt(), 0x41)
      pins.portWrite(0x600, 2, 0x100)
      pins.mmioWrite(0xfee0_00b0, 4, 0)
      assert.equal(pins.acknowledgeInterrupt(), -1)
      pins.portWrite(0xf4, 1, 0)
      return SLICE
    })
    assert.equal((await machine.run()).kind, 'debug-exit')
  })
  it('has no PCI bus unless it is given devices, but always a reset at port CF9h', async () => {
    const without = setup(({ pins }) => {
      pins.portWrite(0xcf8, 4, 0x8000_0000)
      assert.equal(pins.portRead(0xcfc, 4), 0xffff_ffff)
      pins.portWrite(0xf4, 1, 0)
      return SLICE
    })
    await without.machine.run()
    const rng = virtioPci((s) => new VirtioRng(s))
    const { machine } = setup(
      ({ pins }) => {
        pins.portWrite(0xcf8, 4, 0x8000_0800)
        assert.equal(pins.portRead(0xcfc, 4), 0x1044_1af4)
        pins.portWrite(0xcf9, 1, 0x06)
        assert.equal(pins.portRead(0xcf8, 4), 0x8000_0800)
        return SLICE
      },
      undefined,
      [rng],
    )
    assert.deepEqual(await machine.run(), { kind: 'reset' })
  })
  it('saves its PCI bus, and restores it where the same devices are', () => {
    const rng = virtioPci((s) => new VirtioRng(s))
    const build = (count: number) => setup(() => HLT, undefined, new Array(count).fill(rng))
    const { cpu, machine } = build(2)
    const config = ({ pins }: FakeCpu, address: number, value?: number) => {
      pins.portWrite(0xcf8, 4, 0x8000_0000 + address)
      if (value !== undefined) pins.portWrite(0xcfc, 4, value)
      return pins.portRead(0xcfc, 4)
    }
    config(cpu, 0x1020, 0xf000_0000)
    config(cpu, 0x1004, 6)
    const state = JSON.parse(JSON.stringify(machine.parts.pci!.save()))
    const other = build(2)
    other.machine.parts.pci!.restore(state)
    assert.equal(config(other.cpu, 0x1020), 0xf000_0000)
    assert.equal(other.cpu.pins.mmioRead(0xf000_0012, 2), 1)
    assert.throws(() => build(1).machine.parts.pci!.restore(state), { code: 'TV_SNAPSHOT_STATE' })
  })
  it('maps BARs and brings a device’s message to the local APIC, and INTA# to the I/O APIC', async () => {
    const rng = virtioPci((s) => new VirtioRng(s))
    const { machine } = setup(
      ({ pins }) => {
        const config = (register: number, value?: number) => {
          pins.portWrite(0xcf8, 4, 0x8000_0800 + register)
          if (value !== undefined) pins.portWrite(0xcfc, 4, value)
          return pins.portRead(0xcfc, 4)
        }
        pins.mmioWrite(0xfee0_00f0, 4, 0x1ff)
        const [msiX, registers] = [config(0x14) & ~15, config(0x20) & ~15].map((bar) => bar >>> 0)
        assert.equal(pins.mmioRead(registers + 18, 2), 0xffff)
        config(4, 6)
        assert.equal(pins.mmioRead(registers + 18, 2), 1)
        pins.mmioWrite(msiX, 4, 0xfee0_0000)
        pins.mmioWrite(msiX + 8, 4, 0x61)
        pins.mmioWrite(msiX + 12, 4, 0)
        pins.mmioWrite(registers + 16, 2, 0)
        pins.mmioWrite(0xfec0_0000, 4, 0x10 + 2 * 17)
        pins.mmioWrite(0xfec0_0010, 4, 0x8062)
        for (const [enable, vector] of [
          [0x8000_0000, 0x61],
          [0, 0x62],
        ]) {
          config(0x40, enable)
          // A driver that agrees on VERSION_1 and then enables a queue that is nowhere: the device says so.
          for (const [offset, size, value] of [
            [20, 1, 0],
            [16, 2, 0],
            [8, 4, 1],
            [12, 4, 1],
            [20, 1, 15],
            [52, 4, 1],
            [28, 2, 1],
          ] as const)
            pins.mmioWrite(registers + offset, size, value)
          assert.equal(pins.mmioRead(registers + 20, 1), 0x4f)
          assert.equal(pins.acknowledgeInterrupt(), vector)
          pins.mmioRead(registers + 0x1000, 1)
          pins.mmioWrite(0xfee0_00b0, 4, 0)
          assert.equal(pins.acknowledgeInterrupt(), -1)
        }
        machine.stop()
        return SLICE
      },
      undefined,
      [rng],
    )
    assert.deepEqual(await machine.run(), { kind: 'stopped' })
  })
  it('counts the TSC in nanoseconds from 0', () => {
    const { cpu, pass } = setup(() => HLT)
    assert.equal(cpu.pins.timeStampCounter(), 0)
    pass(1234.5)
    assert.equal(cpu.pins.timeStampCounter(), 1234)
  })
  it('survives a guest that writes garbage to every port and MSR', async () => {
    const { machine } = setup((cpu) => {
      const { pins } = cpu
      let seed = cpu.runs
      const random = () => (seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0)
      for (let i = 0; i < 20_000; i++) {
        const size = ([1, 2, 4] as const)[random() % 3]
        const port = i & 1 ? random() >>> 16 : PC_PORTS[(random() >>> 8) % PC_PORTS.length]
        pins.portRead(port, size)
        if (!ENDING.some((p) => port <= p && p < port + size))
          pins.portWrite(port, size, random() >>> (32 - 8 * size))
        pins.mmioRead(0xfec0_0000 + (random() & 0x2f_ffff), size)
        pins.mmioWrite(0xfec0_0000 + (random() & 0x50), size, random() >>> (32 - 8 * size))
        pins.mmioWrite(0xfee0_0000 + (random() & 0x3ff), size, random() >>> (32 - 8 * size))
        pins.writeMsr(0x800 + (random() & 0xff), random(), random())
        pins.readMsr(random())
        pins.writeMsr(0x1b, random(), random() & 0xff)
        pins.writeMsr(0x6e0, random(), random())
        if (pins.interruptPending()) pins.acknowledgeInterrupt()
        pins.writeTaskPriority(random() & 15)
      }
      if (cpu.runs === 4) machine.stop()
      return SLICE
    })
    assert.deepEqual(await machine.run(), { kind: 'stopped' })
  })
  it('tells a profile where each slice ended, and has shorter ones for it', async () => {
    const profile = new Profile()
    const budgets: number[] = []
    const { machine, cpu, pass } = setup((cpu, budget) => {
      budgets.push(budget)
      pass(1e6)
      if (cpu.runs === 3) machine.stop()
      return SLICE
    }, profile)
    const sample = { address: 0x1000n, cpl: 3, isRecompiled: false }
    Object.assign(cpu, { sample: () => sample })
    await machine.run()
    assert.deepEqual(profile.addresses(), [{ mode: 'user', address: 0x1000n, time: 3e6, recompiledTime: 0 }])
    assert.ok(budgets[0] >= 0.2e6 * 0.02 && budgets[0] <= 0.8e6 * 0.02)
    assert.notEqual(budgets[0], budgets[1])
  })
  it('counts slices and the time in them, and nothing of an engine that counts nothing', async () => {
    const { machine, pass } = setup((cpu) => {
      pass(3e6)
      if (cpu.runs === 4) machine.stop()
      return SLICE
    })
    await machine.run()
    pass(1e9)
    assert.deepEqual(machine.statistics(), { seconds: 0.012, runningSeconds: 0.012, slices: 4 })
  })
})

const PC_PORTS = [
  0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x70, 0x71, 0xa0, 0xa1, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc,
  0x3fd, 0x4d0, 0x600, 0x602, 0x608,
]
/** Ports whose purpose is to end the machine; 0x60 may, after command 0xd1. */
const ENDING = [0x64, 0x92, 0xf4, 0xf5, 0xf6, 0xf7, 0xcf9, 0x604, 0x605]
