/** Makes lines of the bytes that a serial port sends. */
export class Lines {
  #line = ''
  readonly #onLine: (line: string) => void

  constructor(onLine: (line: string) => void) {
    this.#onLine = onLine
  }

  take(byte: number): void {
    if (byte !== 0x0a) {
      this.#line += String.fromCharCode(byte)
      return
    }
    this.#onLine(this.#line)
    this.#line = ''
  }
}
