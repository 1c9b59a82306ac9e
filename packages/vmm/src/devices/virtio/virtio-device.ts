import type { GuestRam } from '../../memory/guest-memory.ts'
import type { Saveable } from '../../snapshot/version.ts'
import type { Virtqueue } from './queue/virtqueue.ts'

/** What a device sees of its driver, whatever the transport is. */
export interface DriverLink {
  readonly ram: GuestRam
  /** DRIVER_OK is set: queues may be used and the driver interrupted. */
  readonly isReady: boolean
  /** A queue by its index, while the driver has it enabled and `isReady`. Ask each time, since it may be reset. */
  queue(index: number): Virtqueue | undefined
  /** Whether a feature was negotiated. */
  has(feature: number): boolean
  /** Fields of `config` changed: the driver is told. */
  configChanged(): void
  /** The driver did what no driver may, and has to begin anew. */
  needsReset(reason: string): void
}

/**
 * A virtio device: all of it but how the driver finds it. It reaches guest RAM through its queues' chains alone.
 *
 * Requests may complete later: keep the chain, complete it and `signal` its queue when the back end is done; where the
 * back end has no room, stop popping and go on when there is. After a late completion look at the queue again: while
 * much is in flight `pop` gives nothing, and the driver does not notify twice.
 *
 * `reset` drops all chains; completing one after that does nothing, but the memory behind it is the driver's again. So a
 * device whose back end still writes to such memory returns a promise, and the driver sees the reset done after it.
 */
export interface VirtioDevice<State extends { version: number } = { version: number }>
  extends Saveable<State> {
  /** VIRTIO 1.2, "Device Types". */
  readonly deviceId: number
  /** Class, subclass and interface on a PCI bus. */
  readonly pciClass: number
  /** Bits of the device type's own features; those of rings are the transport's. */
  readonly features: readonly number[]
  /** The largest size of each queue: powers of 2. */
  readonly queueSizes: readonly number[]
  /** "Device Configuration Space", little-endian; fields may change, the length may not. */
  readonly config: Uint8Array
  /** The driver wrote there; what may not be written is to be ignored. */
  writeConfig?(offset: number, bytes: Uint8Array): void
  /** Called once, when the device is plugged in. */
  attach(driver: DriverLink): void
  /** The driver is ready, or a restored machine goes on: all queues are to be looked at. */
  start(): void
  /** The driver made chains available in a queue, or says so. */
  notified(index: number): void
  reset(): void | Promise<void>
  /** VIRTIO_F_RING_RESET: as `reset`, of one queue. Devices that keep chains need it. */
  resetQueue?(index: number): void | Promise<void>
}
