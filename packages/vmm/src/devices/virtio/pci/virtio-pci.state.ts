import type { MsiXState } from '../../pci/msi-x.state.ts'
import type { PciFunctionState } from '../../pci/pci-function.state.ts'
import type { VirtioCoreState } from '../virtio-core.state.ts'

export interface VirtioPciState {
  version: 1
  function: PciFunctionState
  msiX: MsiXState
  deviceFeatureSelect: number
  driverFeatureSelect: number
  queueSelect: number
  isr: number
  configVector: number
  queueVectors: number[]
  core: VirtioCoreState
}
