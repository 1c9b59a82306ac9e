/** Writes a little machine code for tests: what is the same in 32- and in 64-bit code, unless said otherwise. */

/** An address, or a label and what is added to it: `loop`, `patched+1`. */
export type Place = number | string

export const [EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI] = [0, 1, 2, 3, 4, 5, 6, 7] as const
export const ALU = { add: 0, or: 1, adc: 2, sbb: 3, and: 4, sub: 5, xor: 6, cmp: 7 } as const
export const CC = { o: 0, b: 2, ae: 3, z: 4, nz: 5, be: 6, s: 8, p: 10, l: 12, g: 15 } as const

const bytesOf = (value: number): number[] => [value, value >> 8, value >> 16, value >> 24].map((b) => b & 255)

export class MachineCode {
  readonly #start: number
  readonly #bytes: number[] = []
  readonly #labels = new Map<string, number>()
  readonly #fixes: { at: number; place: Place; relative: boolean }[] = []

  constructor(start: number) {
    this.#start = start
  }

  /** Address of the next byte. */
  get here(): number {
    return this.#start + this.#bytes.length
  }
  raw(...bytes: number[]): this {
    this.#bytes.push(...bytes)
    return this
  }
  word(value: number): this {
    return this.raw(...bytesOf(value))
  }
  label(name: string): this {
    this.#labels.set(name, this.here)
    return this
  }
  /** Fills up with NOPs to an address. */
  padTo(address: number): this {
    while (this.here < address) this.raw(0x90)
    return this
  }
  #fix(place: Place, relative: boolean): this {
    this.#fixes.push({ at: this.#bytes.length, place, relative })
    return this.word(0)
  }
  address(place: Place): this {
    return this.#fix(place, false)
  }

  mov(register: number, value: Place): this {
    return this.raw(0xb8 + register).address(value)
  }
  move(to: number, from: number): this {
    return this.raw(0x89, 0xc0 | (from << 3) | to)
  }
  alu(operation: number, to: number, from: number): this {
    return this.raw((operation << 3) | 1, 0xc0 | (from << 3) | to)
  }
  aluWith(operation: number, to: number, value: number): this {
    return this.raw(0x81, 0xc0 | (operation << 3) | to).word(value)
  }
  jump(to: Place): this {
    return this.raw(0xe9).#fix(to, true)
  }
  jumpIf(condition: number, to: Place): this {
    return this.raw(0x0f, 0x80 | condition).#fix(to, true)
  }
  call(to: Place): this {
    return this.raw(0xe8).#fix(to, true)
  }
  ret(): this {
    return this.raw(0xc3)
  }
  out(port: number): this {
    return this.raw(0xe6, port)
  }
  hlt(): this {
    return this.raw(0xf4)
  }
  /** Counts a register down and jumps while it is not zero. */
  loop(register: number, to: Place): this {
    return this.raw(0x83, 0xe8 | register, 1).jumpIf(CC.nz, to)
  }

  // ---- with an absolute address: 32-bit code ----

  store(to: Place, register: number): this {
    return this.raw(0x89, 0x05 | (register << 3)).address(to)
  }
  load(register: number, from: Place): this {
    return this.raw(0x8b, 0x05 | (register << 3)).address(from)
  }
  aluFrom(operation: number, register: number, from: Place): this {
    return this.raw((operation << 3) | 3, 0x05 | (register << 3)).address(from)
  }
  aluTo(operation: number, to: Place, register: number): this {
    return this.raw((operation << 3) | 1, 0x05 | (register << 3)).address(to)
  }
  storeByte(to: Place, value: number): this {
    return this.raw(0xc6, 0x05).address(to).raw(value)
  }
  storeByteOf(to: Place, register: number): this {
    return this.raw(0x88, 0x05 | (register << 3)).address(to)
  }

  addressOf(place: Place): number {
    if (typeof place === 'number') return place
    const [name, plus = '0'] = place.split('+') as [string, string?]
    const at = this.#labels.get(name)
    if (at === undefined) throw new Error(`no label ${name}`)
    return at + Number(plus)
  }
  /** Where it lies, and its bytes. */
  get made(): [number, number[]] {
    for (const { at, place, relative } of this.#fixes) {
      const value = this.addressOf(place) - (relative ? this.#start + at + 4 : 0)
      this.#bytes.splice(at, 4, ...bytesOf(value))
    }
    return [this.#start, this.#bytes]
  }
}
