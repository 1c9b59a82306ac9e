import type { VirtqueueState } from './queue/virtqueue.state.ts'

export interface QueueRegistersState {
  size: number
  enabled: boolean
  /** Descriptor, driver and device area: low and high words. */
  addresses: number[]
  ring: VirtqueueState | null
}

/** What all transports have in common, with the device behind it. */
export interface VirtioCoreState {
  version: 1
  status: number
  driverFeatures: number[]
  configGeneration: number
  queues: QueueRegistersState[]
  device: { version: number }
}
