export type AccessSize = 1 | 2 | 4

/** A device on the port bus. `offset` counts from the base of its range; values are unsigned. */
export interface PortDevice {
  portRead(offset: number, size: AccessSize): number
  portWrite(offset: number, size: AccessSize, value: number): void
}

export interface PortRange {
  name: string
  base: number
  length: number
  device: PortDevice
  /** The widest access that the device takes; wider ones are split. Default 1. */
  width?: AccessSize
}

const PORT_COUNT = 0x1_0000

/** The value of an access that nobody answers: the bus floats high. */
export function allOnes(size: AccessSize): number {
  return size === 4 ? 0xffff_ffff : (1 << (size * 8)) - 1
}

/** 64 Ki I/O ports. Unclaimed reads are all ones, unclaimed writes are dropped. */
export class PortBus {
  readonly #owner = new Uint8Array(PORT_COUNT)
  readonly #ranges: PortRange[] = []
  #movable: PortRange[] = []

  /** Claims a range. Overlap is a mistake in the list of parts. */
  register(range: PortRange): void {
    const { name, base, length } = range
    if (base < 0 || length < 1 || base + length > PORT_COUNT) throw new RangeError(`${name}: no such ports`)
    for (let port = base; port < base + length; port++) {
      const owner = this.#owner[port]
      if (owner !== 0)
        throw new RangeError(`${name}: port 0x${port.toString(16)} is ${this.#ranges[owner - 1].name}'s`)
    }
    if (this.#ranges.length === 255) throw new RangeError('too many port ranges')
    this.#owner.fill(this.#ranges.push(range), base, base + length)
  }

  /** Adds a device whose ports the guest chooses; until then it has none. Ranges that were registered come first. */
  registerMovable(range: Omit<PortRange, 'base'>): void {
    this.#movable.push({ ...range, base: NaN })
  }

  /** Gives a movable device other ports, or none. */
  relocate(device: PortDevice, base: number | undefined): void {
    this.#movable = this.#movable.map((r) => (r.device === device ? { ...r, base: base ?? NaN } : r))
  }

  read(port: number, size: AccessSize): number {
    const range = this.#claim(port, size)
    if (range) return range.device.portRead(port - range.base, size) >>> 0
    if (size === 1) return 0xff
    const half = (size >> 1) as 1 | 2
    return (this.read(port, half) | (this.read((port + half) & 0xffff, half) << (half * 8))) >>> 0
  }

  write(port: number, size: AccessSize, value: number): void {
    const range = this.#claim(port, size)
    if (range) {
      range.device.portWrite(port - range.base, size, value)
    } else if (size > 1) {
      const half = (size >> 1) as 1 | 2
      this.write(port, half, value & allOnes(half))
      this.write((port + half) & 0xffff, half, value >>> (half * 8))
    }
  }

  /** The range that takes the whole access, or undefined: then it is split, down to single bytes. */
  #claim(port: number, size: AccessSize): PortRange | undefined {
    const owner = this.#owner[port]
    const range = owner === 0 ? this.#find(port) : this.#ranges[owner - 1]
    if (!range) return undefined
    return size <= (range.width ?? 1) && port + size <= range.base + range.length ? range : undefined
  }

  #find(port: number): PortRange | undefined {
    return this.#movable.find((r) => port >= r.base && port < r.base + r.length)
  }
}
