import type { GuestRam } from '../../../memory/guest-memory.ts'
import type { RingFault, Segment } from './segments.ts'

/** Where a driver put a queue. */
export interface RingLayout {
  readonly size: number
  /** Descriptor area. */
  readonly descriptors: number
  /** Driver area: the available ring, or driver event suppression. */
  readonly driver: number
  /** Device area: the used ring, or device event suppression. */
  readonly device: number
}

export interface RingFeatures {
  readonly packed: boolean
  readonly indirect: boolean
  readonly eventIndex: boolean
}

/** A chain as it was read. */
export interface TakenChain {
  /** The head's index in a split ring, the buffer ID in a packed one. */
  readonly id: number
  /** Entries of the ring that it takes and, used, gives back. */
  readonly slots: number
  readonly readable: readonly Segment[]
  readonly writable: readonly Segment[]
}

/** Where a device is in a ring; all that a ring has to remember. */
export interface RingPosition {
  /** The next entry to be available. */
  next: number
  /** The next entry to be used. */
  used: number
  /** Entries used since the driver was last told. */
  untold: number
}

/** The device's side of a split or a packed ring. */
export interface Ring {
  readonly position: RingPosition
  /** Whether the driver made a chain available; also if something is wrong with it. */
  readonly hasNext: boolean
  take(): TakenChain | RingFault | undefined
  /** Takes back the last `take`. */
  untake(slots: number): void
  giveBack(id: number, slots: number, written: number): void
  /** Asks for notifications of further chains, or asks that there be none; the driver may send some yet. */
  wantKicks(wanted: boolean): void
  /** Whether the driver wants to know of what was used since it was asked last. */
  driverWantsInterrupt(): boolean
}

export type MakeRing = (ram: GuestRam, layout: RingLayout, features: RingFeatures) => Ring | RingFault
