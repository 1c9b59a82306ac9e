import type { AccessSize, PortDevice } from '../../../bus/port-bus.ts'

/** QEMU's `isa-debug-exit`: a write ends the machine with status `(value << 1) | 1`. */
export class DebugExit implements PortDevice {
  readonly #onExit: (status: number) => void

  constructor({ onExit }: { onExit: (status: number) => void }) {
    this.#onExit = onExit
  }

  portRead(): number {
    return 0
  }

  portWrite(_offset: number, _size: AccessSize, value: number): void {
    this.#onExit(((value << 1) | 1) >>> 0)
  }
}
