/** A chain that the device has and did not give back: its buffers as [gpa, length]. */
export interface ChainState {
  id: number
  slots: number
  readable: [number, number][]
  writable: [number, number][]
}

/** A virtqueue that is enabled; its place is its transport's to keep. */
export interface VirtqueueState {
  version: 1
  next: number
  used: number
  untold: number
  inFlight: ChainState[]
}
