import { type AccessSize, allOnes } from './port-bus.ts'

/** A device in guest-physical address space. `offset` counts from the base of its range; values are unsigned. */
export interface MmioDevice {
  mmioRead(offset: number, size: AccessSize): number
  mmioWrite(offset: number, size: AccessSize, value: number): void
}

export interface MmioRange {
  name: string
  base: number
  length: number
  device: MmioDevice
}

/** Guest-physical address space beside RAM. Unclaimed reads are all ones, unclaimed writes are dropped. */
export class MmioBus {
  #ranges: MmioRange[] = []

  register(range: MmioRange): void {
    const other = this.#ranges.find(
      (r) => range.base < r.base + r.length && r.base < range.base + range.length,
    )
    if (other) throw new RangeError(`${range.name}: overlaps ${other.name}`)
    this.#ranges.push(range)
  }

  /** Moves a device's range, or takes it off the bus (`base` undefined). A guest may do that: of two that overlap, the first wins. */
  relocate(device: MmioDevice, base: number | undefined): void {
    this.#ranges = this.#ranges.map((r) => (r.device === device ? { ...r, base: base ?? NaN } : r))
  }

  read(gpa: number, size: AccessSize): number {
    const range = this.#find(gpa)
    if (!range) return allOnes(size)
    if (gpa + size <= range.base + range.length) return range.device.mmioRead(gpa - range.base, size) >>> 0
    return this.#split(gpa, size)
  }

  write(gpa: number, size: AccessSize, value: number): void {
    const range = this.#find(gpa)
    if (!range) return
    if (gpa + size <= range.base + range.length) {
      range.device.mmioWrite(gpa - range.base, size, value)
    } else {
      for (let i = 0; i < size; i++) this.write(gpa + i, 1, (value >>> (8 * i)) & 0xff)
    }
  }

  #split(gpa: number, size: AccessSize): number {
    let value = 0
    for (let i = 0; i < size; i++) value |= this.read(gpa + i, 1) << (8 * i)
    return value >>> 0
  }

  #find(gpa: number): MmioRange | undefined {
    for (const range of this.#ranges) if (gpa >= range.base && gpa < range.base + range.length) return range
    return undefined
  }
}
