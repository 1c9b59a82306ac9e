import type { VirtioCoreState } from '../virtio-core.state.ts'

export interface VirtioMmioState {
  version: 1
  deviceFeaturesSel: number
  driverFeaturesSel: number
  queueSel: number
  interruptStatus: number
  core: VirtioCoreState
}
