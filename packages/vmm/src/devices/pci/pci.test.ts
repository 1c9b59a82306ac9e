import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { AccessSize } from '../../bus/port-bus.ts'
import { HostBridge } from './host-bridge.ts'
import { MsiX } from './msi-x.ts'
import { type Bar, PciFunction } from './pci-function.ts'

const INERT = {
  mmioRead: () => 0,
  mmioWrite: () => {},
  portRead: () => 0,
  portWrite: () => {},
}
const MEMORY: Bar = { index: 0, kind: 'memory', length: 0x4000, device: INERT }
const PORTS: Bar = { index: 2, kind: 'io', length: 0x20, device: INERT }

function setup() {
  const log = { maps: [] as string[], messages: [] as number[][], line: false }
  const make = () => {
    const fn = new PciFunction({
      vendorId: 0x1234,
      deviceId: 0x5678,
      classCode: 0x01_0203,
      revision: 9,
      interrupt: true,
      bars: [MEMORY, PORTS],
    })
    const msiX = new MsiX(3)
    msiX.addTo(fn, 1)
    fn.onChange = () => msiX.flush()
    fn.plug({
      interrupt: { set: (asserted) => (log.line = asserted) },
      message: (address, data) => log.messages.push([address, data]),
      map: (bar, base) => {
        if (base !== undefined) log.maps.push(`${bar.index}@${base.toString(16)}`)
      },
    })
    return { fn, msiX }
  }
  return { ...make(), log, make }
}

describe('PCI function', () => {
  it('identifies itself, whatever software writes there', () => {
    const { fn } = setup()
    fn.configWrite(0, 4, 0)
    fn.configWrite(8, 4, 0xffff_ffff)
    assert.equal(fn.configRead(0, 4), 0x5678_1234)
    assert.equal(fn.configRead(8, 4), 0x0102_0309)
    assert.equal(fn.configRead(0x3d, 1), 1)
    assert.equal(fn.configRead(0x0e, 1), 0)
  })
  it('has BARs that are sized by writing ones, and none where there is none', () => {
    const { fn } = setup()
    for (const at of [0x10, 0x14, 0x18]) fn.configWrite(at, 4, 0xffff_ffff)
    assert.equal(fn.configRead(0x10, 4), 0xffff_c000)
    assert.equal(fn.configRead(0x14, 4), 0)
    assert.equal(fn.configRead(0x18, 4), 0xffff_ffe1)
  })
  it('is mapped where software puts it, while its space is enabled', () => {
    const { fn, log } = setup()
    fn.configWrite(0x10, 4, 0xe000_0000)
    fn.configWrite(0x18, 4, 0xc000)
    assert.deepEqual(log.maps, [])
    fn.configWrite(4, 2, 1)
    assert.deepEqual(log.maps, ['2@c000'])
    fn.configWrite(4, 2, 2)
    assert.deepEqual(log.maps, ['2@c000', '0@e0000000'])
  })
  it('asserts INTA# unless that is disabled, and says so in its status', () => {
    const { fn, log } = setup()
    fn.setInterrupt(true)
    assert.equal(log.line, true)
    assert.equal(fn.configRead(6, 2), 0x18)
    fn.configWrite(4, 2, 1 << 10)
    assert.equal(log.line, false)
    fn.configWrite(4, 2, 0)
    assert.equal(log.line, true)
  })
  it('continues from a saved state, of which only what is writable counts', () => {
    const { fn, make } = setup()
    fn.configWrite(0x10, 4, 0xe000_0000)
    fn.configWrite(4, 2, 6)
    const state = fn.save()
    state.config[0] = 0xff
    const other = make()
    other.fn.restore(state)
    assert.equal(other.fn.base(MEMORY), 0xe000_0000)
    assert.equal(other.fn.configRead(0, 4), 0x5678_1234)
  })
})

describe('MSI-X', () => {
  /** Vector 1 with an address and data, not masked. */
  function enabled() {
    const all = setup()
    const { fn, msiX } = all
    assert.equal(fn.configRead(0x34, 1), 0x40)
    assert.equal(fn.configRead(0x40, 4) & 0x7ff_00ff, 0x2_0011)
    assert.equal(fn.configRead(0x44, 4), 1)
    assert.equal(fn.configRead(0x48, 4), 0x801)
    fn.configWrite(4, 2, 4)
    fn.configWrite(0x42, 2, 0x8000)
    for (const [at, value] of [
      [16, 0xfee0_1000],
      [20, 0],
      [24, 0x4041],
      [28, 0],
    ])
      msiX.mmioWrite(at, 4, value)
    return all
  }
  it('sends what the table says', () => {
    const { log, msiX } = enabled()
    msiX.trigger(1)
    assert.deepEqual(log.messages, [[0xfee0_1000, 0x4041]])
    msiX.trigger(3)
    msiX.trigger(0xffff)
    assert.equal(log.messages.length, 1)
  })
  it('keeps a masked vector pending, and sends it once when it is not masked any more', () => {
    const { fn, log, msiX } = enabled()
    for (const [mask, unmask] of [
      [() => msiX.mmioWrite(28, 4, 1), () => msiX.mmioWrite(28, 4, 0)],
      [() => fn.configWrite(0x42, 2, 0xc000), () => fn.configWrite(0x42, 2, 0x8000)],
      [() => fn.configWrite(4, 2, 0), () => fn.configWrite(4, 2, 4)],
    ]) {
      log.messages.length = 0
      mask()
      msiX.trigger(1)
      msiX.trigger(1)
      assert.deepEqual([log.messages.length, msiX.mmioRead(0x800, 4)], [0, 2])
      unmask()
      assert.deepEqual([log.messages.length, msiX.mmioRead(0x800, 4)], [1, 0])
    }
  })
  it('has entries that are masked after reset, and no vectors beyond its table', () => {
    const { msiX } = setup()
    assert.equal(msiX.mmioRead(0x0c, 4), 1)
    msiX.mmioWrite(0x30, 4, 1)
    assert.equal(msiX.mmioRead(0x30, 4), 0)
    msiX.mmioWrite(0x800, 4, 0xff)
    assert.equal(msiX.mmioRead(0x800, 4), 0)
  })
  it('continues from a saved state', () => {
    const { fn, log, make, msiX } = enabled()
    msiX.mmioWrite(28, 4, 1)
    msiX.trigger(1)
    const other = make()
    other.msiX.restore(JSON.parse(JSON.stringify(msiX.save())))
    other.fn.restore(fn.save())
    assert.deepEqual(log.messages, [])
    other.msiX.mmioWrite(28, 4, 0)
    assert.equal(log.messages.length, 1)
  })
})

describe('PCI host bridge', () => {
  function bridge() {
    const host = new HostBridge()
    host.plug(3, setup().fn)
    const read = (address: number, offset = 0, size: AccessSize = 4) => {
      host.address.portWrite(0, 4, address)
      return host.data.portRead(offset, size) >>> 0
    }
    return { host, read }
  }
  it('selects a function by CONFIG_ADDRESS, and registers by that and the port', () => {
    const { read } = bridge()
    assert.equal(read(0x8000_1800), 0x5678_1234)
    assert.equal(read(0x8000_1800, 2, 2), 0x5678)
    assert.equal(read(0x8000_1808, 3, 1), 0x01)
    assert.equal(read(0x8000_0008) >>> 8, 0x06_0000)
  })
  it('answers with ones where nothing is: other slots, functions and buses, or no enable bit', () => {
    const { read } = bridge()
    for (const address of [0x8000_2000, 0x8000_1900, 0x8001_1800, 0x1800])
      assert.equal(read(address), 0xffff_ffff)
  })
  it('takes 32-bit accesses to CONFIG_ADDRESS alone', () => {
    const { host } = bridge()
    host.address.portWrite(0, 4, 0x8000_1803)
    host.address.portWrite(0, 1, 0)
    assert.equal(host.address.portRead(0, 4) >>> 0, 0x8000_1800)
    assert.equal(host.address.portRead(0, 2), 0xffff)
  })
  it('continues from a saved state', () => {
    const { host } = bridge()
    host.address.portWrite(0, 4, 0x8000_1800)
    const other = new HostBridge()
    other.restore(host.save())
    assert.equal(other.address.portRead(0, 4) >>> 0, 0x8000_1800)
  })
})
