/** What a key after Ctrl-A asks for. */
export type ConsoleAction = 'end' | 'help'

const CTRL_A = 1

export const CONSOLE_HELP = [
  'Ctrl-A X       end the machine',
  'Ctrl-A H       this help',
  'Ctrl-A Ctrl-A  send Ctrl-A to the guest (also Ctrl-A A)',
] as const

/** Takes what a terminal sends apart into input for the guest and actions of ours, across chunks. */
export class EscapeKeys {
  #escaped = false

  /** What came, in order. */
  read(bytes: Uint8Array): (Uint8Array | ConsoleAction)[] {
    const found: (Uint8Array | ConsoleAction)[] = []
    let input: number[] = []
    for (const byte of bytes) {
      const action = this.#next(byte)
      if (typeof action === 'number') input.push(action)
      if (typeof action !== 'string') continue
      if (input.length > 0) found.push(Uint8Array.from(input))
      input = []
      found.push(action)
    }
    if (input.length > 0) found.push(Uint8Array.from(input))
    return found
  }

  #next(byte: number): number | ConsoleAction | undefined {
    if (!this.#escaped) {
      this.#escaped = byte === CTRL_A
      return this.#escaped ? undefined : byte
    }
    this.#escaped = false
    switch (byte === CTRL_A ? 'a' : String.fromCharCode(byte).toLowerCase()) {
      case 'a':
        return CTRL_A
      case 'x':
        return 'end'
      case 'h':
      case '?':
        return 'help'
      default:
        return undefined
    }
  }
}
