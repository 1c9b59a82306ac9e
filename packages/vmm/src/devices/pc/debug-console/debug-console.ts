import type { AccessSize, PortDevice } from '../../../bus/port-bus.ts'
import type { ByteSink } from '../uart16550/uart16550.ts'

/** The debug console of Bochs and QEMU: what is written comes out; a read says 0xe9, that the console is there. */
export class DebugConsole implements PortDevice {
  readonly #output: ByteSink

  constructor({ output }: { output: ByteSink }) {
    this.#output = output
  }

  portRead(): number {
    return 0xe9
  }

  portWrite(_offset: number, _size: AccessSize, value: number): void {
    this.#output.write(value)
  }
}
