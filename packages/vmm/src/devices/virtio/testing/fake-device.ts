import type { Chain } from '../queue/chain.ts'
import type { DriverLink, VirtioDevice } from '../virtio-device.ts'

/** A device with three queues that gives each chain's readable bytes back, or holds chains while told so. */
export class FakeDevice implements VirtioDevice {
  readonly deviceId = 2
  readonly pciClass = 0x01_8000
  readonly features = [3, 9, 60]
  readonly queueSizes = [64, 16, 16]
  readonly config = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
  readonly log: string[] = []
  readonly held: Chain[] = []
  holds = false
  /** What `reset` and `resetQueue` return. */
  pending: Promise<void> | undefined
  driver: DriverLink | undefined

  attach(driver: DriverLink): void {
    this.driver = driver
  }

  start(): void {
    this.log.push('start')
    for (let index = 0; index < 3; index++) this.#serve(index)
  }

  notified(index: number): void {
    this.log.push(`notified ${index}`)
    this.#serve(index)
  }

  #serve(index: number): void {
    this.driver?.queue(index)?.serve((chain) => {
      if (this.holds) this.held.push(chain)
      else this.answer(chain)
      return true
    })
  }

  answer(chain: Chain): void {
    const bytes = new Uint8Array(Math.min(chain.readableBytes, 4096))
    chain.read(bytes)
    chain.complete(chain.write(bytes))
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    this.config.set(bytes, offset)
  }

  reset(): void | Promise<void> {
    this.log.push('reset')
    return this.pending
  }

  resetQueue(index: number): void | Promise<void> {
    this.log.push(`reset ${index}`)
    return this.pending
  }

  save(): { version: number } {
    return { version: 1 }
  }

  restore(): void {
    this.log.push('restore')
  }
}
