// What is to be typed into the guest, with the UART's flow control: it takes what its queue holds, and says when it
// has room again. The source is paused while something waits here, so an endless input costs no memory.

const CTRL_D = 4
const LINE_FEED = 10

export interface InputSource {
  pause(): void
  resume(): void
}

export class SerialInput {
  readonly #send: (bytes: Uint8Array) => number
  readonly #source: InputSource
  #waiting: Uint8Array[] = []
  #last = LINE_FEED
  #sending = false

  /** `send` returns how many bytes were taken. */
  constructor(options: { send: (bytes: Uint8Array) => number; source: InputSource }) {
    this.#send = options.send
    this.#source = options.source
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    this.#last = bytes[bytes.length - 1]
    this.#waiting.push(bytes)
    this.room()
    if (this.#waiting.length > 0) this.#source.pause()
  }

  /** The UART has room; it may say so while it is being given input. */
  room(): void {
    if (this.#sending) return
    this.#sending = true
    this.#sendWaiting()
    this.#sending = false
    if (this.#waiting.length === 0) this.#source.resume()
  }

  #sendWaiting(): void {
    while (this.#waiting.length > 0) {
      const [first] = this.#waiting
      const taken = this.#send(first)
      if (taken < first.length) {
        this.#waiting[0] = first.subarray(taken)
        return
      }
      this.#waiting.shift()
    }
  }

  /**
   * The input is at its end: the guest's terminal is told so as a person would, by Ctrl-D at the beginning of a line.
   * After an unfinished line it takes two, for the first one only hands the line over.
   */
  end(): void {
    this.push(this.#last === LINE_FEED ? Uint8Array.of(CTRL_D) : Uint8Array.of(CTRL_D, CTRL_D))
  }

  /**
   * A pipe stays at its end, a terminal tells its end once: whoever reads next, after a program that read to the end,
   * has to be told again. So does a shell that was not at its prompt.
   */
  repeatEnd(): void {
    if (this.#waiting.length === 0) this.push(Uint8Array.of(CTRL_D))
  }
}
