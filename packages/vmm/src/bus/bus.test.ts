import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MmioBus } from './mmio-bus.ts'
import { type AccessSize, PortBus } from './port-bus.ts'

function recorder(value = 0) {
  const log: string[] = []
  const device = {
    portRead: (offset: number, size: AccessSize) => log.push(`r${size}@${offset}`) * 0 + value + offset,
    portWrite: (offset: number, size: AccessSize, v: number) =>
      void log.push(`w${size}@${offset}=${v.toString(16)}`),
    mmioRead: (offset: number, size: AccessSize) => log.push(`r${size}@${offset}`) * 0 + value + offset,
    mmioWrite: (offset: number, size: AccessSize, v: number) =>
      void log.push(`w${size}@${offset}=${v.toString(16)}`),
  }
  return { log, device }
}

describe('port bus', () => {
  it('floats high where nothing answers, and drops writes', () => {
    const bus = new PortBus()
    assert.deepEqual(
      [1, 2, 4].map((size) => bus.read(0x123, size as AccessSize)),
      [0xff, 0xffff, 0xffff_ffff],
    )
    bus.write(0xffff, 4, 1)
  })
  it('splits wide accesses into the bytes that a device takes', () => {
    const bus = new PortBus()
    const { log, device } = recorder(0x10)
    bus.register({ name: 'a', base: 0x100, length: 3, device })
    assert.equal(bus.read(0x100, 4), 0xff12_1110)
    bus.write(0x100, 4, 0xdead_beef)
    assert.deepEqual(log, ['r1@0', 'r1@1', 'r1@2', 'w1@0=ef', 'w1@1=be', 'w1@2=ad'])
  })
  it('passes an access whole when the device takes its width', () => {
    const bus = new PortBus()
    const { log, device } = recorder()
    bus.register({ name: 'a', base: 0x100, length: 4, device, width: 4 })
    bus.write(0x100, 4, 0xffff_ffff)
    bus.write(0x102, 4, 0x1234_5678)
    assert.deepEqual(log, ['w4@0=ffffffff', 'w2@2=5678'])
  })
  it('refuses two devices on one port', () => {
    const bus = new PortBus()
    bus.register({ name: 'a', base: 0x100, length: 4, device: recorder().device })
    assert.throws(() => bus.register({ name: 'b', base: 0x103, length: 1, device: recorder().device }), /a's/)
  })
})

describe('port bus, movable ranges', () => {
  it('are nowhere until they are moved, and give way to what is registered', () => {
    const bus = new PortBus()
    const { device } = recorder(5)
    bus.registerMovable({ name: 'bar', length: 8, device })
    assert.equal(bus.read(0xc000, 1), 0xff)
    bus.relocate(device, 0xc000)
    assert.equal(bus.read(0xc001, 1), 6)
    bus.register({ name: 'fixed', base: 0xc001, length: 1, device: recorder(0x40).device })
    assert.equal(bus.read(0xc001, 1), 0x40)
    bus.relocate(device, undefined)
    assert.equal(bus.read(0xc000, 1), 0xff)
  })
})

describe('MMIO bus', () => {
  it('floats high where nothing answers', () => {
    assert.equal(new MmioBus().read(2 ** 40, 4), 0xffff_ffff)
  })
  it('gives the device the offset in its range', () => {
    const bus = new MmioBus()
    const { log, device } = recorder()
    bus.register({ name: 'a', base: 0xfec0_0000, length: 0x1000, device })
    bus.write(0xfec0_0010, 4, 7)
    assert.deepEqual(log, ['w4@16=7'])
  })
  it('splits an access that leaves the range', () => {
    const bus = new MmioBus()
    bus.register({ name: 'a', base: 0x1000, length: 2, device: recorder(1).device })
    assert.equal(bus.read(0x1000, 4), 0xffff_0201)
  })
  it('moves a device, and takes it off', () => {
    const bus = new MmioBus()
    const { device } = recorder(5)
    bus.register({ name: 'a', base: 0x1000, length: 4, device })
    bus.relocate(device, 0x2000)
    assert.equal(bus.read(0x1000, 1), 0xff)
    assert.equal(bus.read(0x2000, 1), 5)
    bus.relocate(device, undefined)
    assert.equal(bus.read(0x2000, 1), 0xff)
    bus.relocate(device, 0x1000)
    assert.equal(bus.read(0x1000, 1), 5)
  })
})
