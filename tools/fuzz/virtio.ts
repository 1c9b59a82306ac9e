/**
 * Fuzzer of virtio devices: a driver that keeps the rules most of the time, and then does not. Rings, descriptors,
 * indirect tables and registers are damaged at random, queues and devices reset amid requests, time passes, the host's
 * side of each device acts, and devices are saved and restored.
 *
 *   node tools/fuzz/virtio.ts [--seconds N] [--seed S] [--rounds N]
 *
 * Each round has a device and a seed of its own: `--seed S --rounds 1` is it again. A round fails when something throws,
 * a step takes a second, a device that needs a reset does not come back from one, or an answer is wrong although
 * nothing was damaged.
 */
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { ManualClock } from '../../packages/vmm/src/clock/manual-clock.ts'
import { VirtioBalloon } from '../../packages/vmm/src/devices/virtio/balloon/balloon.ts'
import { VirtioBlk } from '../../packages/vmm/src/devices/virtio/blk/blk.ts'
import { HeldDisk } from '../../packages/vmm/src/devices/virtio/blk/testing/held-disk.ts'
import { VirtioConsole } from '../../packages/vmm/src/devices/virtio/console/console.ts'
import { VirtioNet } from '../../packages/vmm/src/devices/virtio/net/net.ts'
import { VirtioPci } from '../../packages/vmm/src/devices/virtio/pci/virtio-pci.ts'
import { VirtioRng } from '../../packages/vmm/src/devices/virtio/rng/rng.ts'
import { FakeDevice } from '../../packages/vmm/src/devices/virtio/testing/fake-device.ts'
import type { Descriptor, FakeDriver } from '../../packages/vmm/src/devices/virtio/testing/fake-driver.ts'
import { FakeGuest } from '../../packages/vmm/src/devices/virtio/testing/fake-guest.ts'
import type { VirtioDevice } from '../../packages/vmm/src/devices/virtio/virtio-device.ts'
import { allocateGuestMemory, GuestRam } from '../../packages/vmm/src/memory/guest-memory.ts'
import { parseMac } from '../../packages/vmm/src/net/addresses.ts'
import { ALL_OFFLOADS, frameOf } from '../../packages/vmm/src/net/frame.ts'
import { Random } from './random.ts'

const STEPS_PER_ROUND = 1000
/** Milliseconds of the processor's, since the host may be busy. */
const SLOW_STEP = 1000
const MEMORY_LIMIT = 1 << 30
const RAM = 8 << 20
const NEEDS_RESET = 64

interface Subject {
  readonly make: () => VirtioDevice
  /** What happens on the host's side. */
  readonly act: (device: VirtioDevice) => void
  /** The host's side comes to an end with what it has begun, so that a reset can be over. */
  readonly settle?: () => Promise<void>
  /** The readable part of a request that makes some sense. */
  readonly request?: () => Uint8Array<ArrayBuffer>
}

/** A disk whose requests are late, or fail. */
function disk(random: Random, clock: ManualClock): Subject {
  const backend = new HeldDisk(new Uint8Array(1 << 20))
  return {
    make: () => new VirtioBlk({ disk: backend, clock: clock.queue, queues: 2 }),
    act: (device) => {
      backend.holds = random.chance(0.4)
      backend.failure = random.chance(0.1) ? 'no room' : undefined
      backend.log.length = 0
      if (random.chance(0.5)) clock.advance(1e3)
      if (random.chance(0.05)) (device as VirtioBlk).resized()
      void backend.held.splice(random.below(backend.held.length), 1)[0]?.()
    },
    settle: async () => {
      for (const complete of backend.held.splice(0)) await complete()
    },
    request: () => {
      const bytes = random.bytes(16 + random.pick([0, 16, 16, 32, 512, 512, 1024, random.below(100)]))
      const view = new DataView(bytes.buffer)
      for (let at = 0; at + 16 <= bytes.length; at += 16) {
        const isHeader = at === 0
        view.setUint32(at, isHeader ? random.pick([0, 1, 1, 4, 8, 11, 13, 13, 99]) : random.below(2100), true)
        view.setUint32(at + 4, 0, true)
        view.setUint32(at + 8, random.pick([0, 1, 2047, 2048, random.below(2100), random.next()]), true)
        view.setUint32(at + 12, random.pick([0, 0, 0, 1, random.next()]), true)
      }
      return bytes
    },
  }
}

function subjects(random: Random, clock: ManualClock): Subject[] {
  const taken = (bytes: Uint8Array) => (random.chance(0.5) ? bytes.length : random.below(bytes.length + 1))
  return [
    {
      make: () => new FakeDevice(),
      act: (device) => {
        const fake = device as FakeDevice
        fake.holds = random.chance(0.4)
        const chain = fake.held.splice(random.below(fake.held.length), 1)[0]
        if (chain) fake.answer(chain)
        if (fake.held.length > 500) fake.held.length = 0
        for (let index = 0; index < 3; index++) fake.driver?.queue(index)?.signal()
        fake.pending = random.chance(0.1) ? Promise.resolve() : undefined
        fake.log.length = 0
      },
    },
    {
      make: () => new VirtioRng({ random: () => random.next(), clock: clock.queue, bytesPerSecond: 1e6 }),
      act: () => clock.advance(random.pick([1e3, 1e6, 1e9])),
    },
    {
      make: () =>
        new VirtioConsole({
          ports: [
            { isConsole: true, output: taken },
            { name: 'a', output: taken },
          ],
        }),
      act: (device) => {
        const fake = device as VirtioConsole
        const port = random.pick(fake.ports)
        const action = random.below(8)
        if (action < 4) port.send(random.bytes(random.below(300)))
        else if (action < 6) port.resume()
        else if (action === 6) port.hostOpen = random.chance(0.5)
        else fake.resize(random.below(300), random.below(100))
      },
    },
    disk(random, clock),
    network(random),
    {
      make: () => new VirtioBalloon({ release: () => {} }),
      act: (device) => {
        const fake = device as VirtioBalloon
        if (random.chance(0.5)) fake.refreshStatistics()
        else fake.target = random.below(RAM)
      },
    },
  ]
}

/** A network device whose other end is full at times, and sends whatever it likes. */
function network(random: Random): Subject {
  const far = {
    offloads: ALL_OFFLOADS,
    attach: () => {},
    deliver: () => random.chance(0.7),
    resume: () => {},
  }
  return {
    make: () => {
      const device = new VirtioNet({ mac: parseMac('52:54:00:12:34:56')! })
      device.port.attach(far)
      return device
    },
    act: (device) => {
      const net = device as VirtioNet
      if (random.chance(0.05)) net.linkUp = random.chance(0.8)
      if (random.chance(0.5)) net.port.resume()
      const bytes = random.bytes(random.pick([14, 60, 60, 600, 1514, 3000]))
      const checksum = random.chance(0.5) ? { start: 34, offset: random.pick([6, 16, 3000]) } : undefined
      const segmentation = random.chance(0.3)
        ? {
            kind: random.pick(['tcp4', 'tcp6'] as const),
            size: random.pick([0, 256, 1448]),
            headerLength: 54,
          }
        : undefined
      net.port.deliver({ ...frameOf(bytes), checksum, segmentation })
    },
    request: () => {
      const bytes = random.bytes(12 + random.pick([0, 13, 14, 60, 1514]))
      bytes[0] = random.below(4)
      bytes[1] = random.pick([0, 0, 0, 1, 3, 4, 0x81])
      return bytes
    },
  }
}

/** The guest's side: one driver for each queue, and what it should get back as long as nothing was damaged. */
class Attacker {
  readonly random: Random
  readonly ram: GuestRam
  readonly subject: Subject
  readonly packed: boolean
  readonly eventIndex: boolean
  device: VirtioDevice
  guest: FakeGuest
  queues: FakeDriver[] = []
  damaged = false
  used = 0
  #added = 0
  readonly #expected = new Map<string, Uint8Array>()

  constructor(random: Random, subject: Subject) {
    this.random = random
    this.subject = subject
    this.ram = new GuestRam(allocateGuestMemory(RAM))
    this.packed = random.chance(0.5)
    this.eventIndex = random.chance(0.5)
    this.device = subject.make()
    this.guest = this.#plug()
  }

  #plug(): FakeGuest {
    return new FakeGuest(this.device, { ram: this.ram, packed: this.packed, eventIndex: this.eventIndex })
  }

  /** Resets the device and begins anew. */
  async begin(): Promise<void> {
    this.guest.write(0x70, 0)
    await this.subject.settle?.()
    for (let i = 0; i < 4; i++) await Promise.resolve()
    if (this.device instanceof FakeDevice) this.device.pending = undefined
    this.guest.begin()
    this.queues = this.guest.queues
    this.damaged = false
    this.#added = 0
    this.#expected.clear()
    if (this.guest.status !== 15) throw new Error(`after a reset the status is ${this.guest.status}`)
  }

  saveAndRestore(): void {
    const state = JSON.parse(JSON.stringify(this.guest.transport.save()))
    this.guest.write(0x70, 0) // the old one does not live on in the same RAM
    this.device = this.subject.make()
    this.guest = this.#plug()
    this.guest.transport.restore(state)
  }

  /** A request by the rules; the driver's space for buffers is bounded, and so is their number. */
  add(): void {
    const index = this.random.below(this.queues.length)
    const queue = this.queues[index]
    if (this.#added++ > 200) return
    const parts = Array.from({ length: this.random.below(3) }, () =>
      this.random.bytes(this.random.below(200)),
    )
    const lengths = Array.from({ length: this.random.below(3) }, () => this.random.below(200))
    if (this.subject.request && this.random.chance(0.9)) {
      parts.unshift(this.subject.request())
      lengths.push(this.random.pick([1, 1, 21, 513]))
    }
    if (parts.length + lengths.length === 0) parts.push(this.random.bytes(8))
    let id: number
    try {
      id = queue.add(parts, lengths, this.random.chance(0.4))
    } catch {
      return // its ring is full
    }
    this.#expected.set(`${index} ${id}`, Buffer.concat(parts))
    if (this.random.chance(0.7)) this.guest.kick(index)
  }

  /** A request against the rules, by its descriptors. */
  addWrong(): void {
    const chain = Array.from(
      { length: 1 + this.random.below(4) },
      (): Descriptor => ({
        gpa: this.random.pick([
          0,
          0x1_0000,
          0x5_0000,
          RAM - 8,
          RAM,
          2 ** 32,
          2 ** 53,
          this.random.below(RAM),
        ]),
        length: this.random.pick([0, 1, 16, 17, 32, 160, 4096, 0x1_0000, RAM, 0xffff_ffff, 0xffff_fff0]),
        flags: this.random.below(8) & ~1,
      }),
    )
    const index = this.random.below(this.queues.length)
    try {
      this.queues[index].addDescriptors(chain)
    } catch {
      return
    }
    this.damaged = true
    this.guest.kick(index)
  }

  /** Damages a few bytes of a ring, or near one. */
  damage(): void {
    const { layout } = this.random.pick(this.queues)
    const base = this.random.pick([layout.descriptors, layout.driver, layout.device])
    for (let i = this.random.below(4); i >= 0; i--) {
      const value = this.random.pick([0, 1, 2, 4, 7, 0x80, 0xff, this.random.below(256)])
      this.ram.writeU8(base + this.random.below(this.random.pick([4, 64, 256])), value)
    }
    this.damaged = true
    this.guest.kick(this.random.below(this.queues.length))
  }

  register(): void {
    const offset = this.random.pick([
      0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64, 0x70, 0x80, 0x84, 0x90, 0xa0, 0xc0, 0xfc,
    ])
    const value = this.random.pick([0, 1, 2, 3, 8, 15, 16, 0xffff, 0xffff_ffff, this.random.next()])
    this.guest.write(offset, value, this.random.pick([4, 4, 4, 1, 2]))
    this.guest.write(0x100 + this.random.below(16), this.random.next() & 0xff, this.random.pick([1, 2, 4]))
    this.guest.read(this.random.below(0x200), this.random.pick([1, 2, 4]))
    this.damaged = true
  }

  /** Collects answers, and compares them where the device is one that echoes. */
  collect(): void {
    for (const [index, queue] of this.queues.entries()) {
      try {
        for (let used = queue.used(); used; used = queue.used()) this.#check(index, used.id, used.bytes)
      } catch (cause) {
        if (!this.damaged) throw cause
        this.#expected.clear() // the driver cannot make sense of a damaged ring
      }
      queue.wantInterrupts(this.random.chance(0.5), this.random.below(3))
      queue.kickWanted()
    }
  }

  #check(index: number, id: number, bytes: Uint8Array): void {
    this.used++
    const expected = this.#expected.get(`${index} ${id}`)
    if (this.damaged || !(this.device instanceof FakeDevice)) return
    if (!expected?.subarray(0, bytes.length).every((byte, i) => byte === bytes[i])) {
      throw new Error(`queue ${index} answered chain ${id} wrongly`)
    }
  }
}

/** A PCI function under accesses that mean little. */
function pciRound(random: Random, subject: Subject): void {
  const ram = new GuestRam(allocateGuestMemory(RAM))
  const device = subject.make()
  const pci = new VirtioPci({ device, ram })
  pci.function.plug({ interrupt: { set: () => {} }, message: () => {}, map: () => {} })
  const msiX = pci.function.bars[0]
  for (let step = 0; step < STEPS_PER_ROUND; step++) {
    const size = random.pick([1, 2, 4] as const)
    const value = random.pick([0, 1, 4, 11, 15, 16, 0xffff, 0xffff_ffff, random.next()])
    const offset = random.pick([0, 8, 12, 16, 20, 22, 24, 26, 28, 32, 36, 40, 48, 58, random.below(0x4000)])
    pci.mmioWrite(offset, random.chance(0.5) ? size : offset === 20 ? 1 : 2, value)
    if (random.chance(0.2)) pci.mmioWrite(0x3000 + 4 * random.below(5), 2, 0)
    pci.mmioRead(random.below(0x4000), size)
    pci.function.configWrite(random.below(256), size, value)
    pci.function.configRead(random.below(256), size)
    if (msiX.kind === 'memory') msiX.device.mmioWrite(random.below(0x1000), 4, value)
    if (random.chance(0.05)) ram.write(random.below(RAM - 64), random.bytes(64))
    subject.act(device)
    if (random.chance(0.01)) JSON.stringify(pci.save())
  }
}

async function step(random: Random, attacker: Attacker): Promise<void> {
  const action = random.below(100)
  if (action < 55) attacker.add()
  else if (action < 60) attacker.addWrong()
  else if (action < 65) attacker.damage()
  else if (action < 70) attacker.register()
  else if (action < 72) await attacker.begin()
  else if (action < 75) attacker.saveAndRestore()
  else if (action < 90) attacker.subject.act(attacker.device)
  else attacker.collect()
  // A driver that broke the rules notices, or goes on for a while.
  if (attacker.damaged && random.chance(0.3)) await attacker.begin()
  if (attacker.guest.status & NEEDS_RESET && random.chance(0.5)) await attacker.begin()
}

export interface RoundResult {
  readonly steps: number
  readonly used: number
}

export async function round(seed: number, steps = STEPS_PER_ROUND): Promise<RoundResult> {
  const random = new Random(seed)
  const clock = new ManualClock()
  const subject = random.pick(subjects(random, clock))
  const attacker = new Attacker(random, subject)
  await attacker.begin()
  for (let at = 0; at < steps; at++) {
    const begin = process.cpuUsage()
    try {
      await step(random, attacker)
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`Seed ${seed}, step ${at}: ${reason}`, { cause })
    }
    const { user, system } = process.cpuUsage(begin)
    const took = (user + system) / 1000
    if (took > SLOW_STEP) throw new Error(`Seed ${seed}, step ${at} took ${took.toFixed(0)} ms.`)
  }
  pciRound(random, subject)
  const { rss } = process.memoryUsage()
  if (rss > MEMORY_LIMIT)
    throw new Error(`Seed ${seed}: the process holds ${(rss / 2 ** 20).toFixed(0)} MiB.`)
  return { steps, used: attacker.used }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(Date.now() >>> 0) },
      rounds: { type: 'string' },
    },
  })
  const end = performance.now() + Number(values.seconds) * 1000
  const limit = values.rounds === undefined ? Infinity : Number(values.rounds)
  let seed = Number(values.seed)
  let rounds = 0
  let used = 0
  while (rounds < limit && performance.now() < end) {
    used += (await round(seed++)).used
    rounds++
  }
  const { rss } = process.memoryUsage()
  console.log(
    `${rounds} rounds from seed ${values.seed}: ${rounds * STEPS_PER_ROUND} steps, ${used} chains used, ${(rss / 2 ** 20).toFixed(0)} MiB; no failure`,
  )
}
