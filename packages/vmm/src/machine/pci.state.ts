import type { HostBridgeState } from '../devices/pci/host-bridge.state.ts'

/** The bus: its bridge, and the devices from slot 1 on. */
export interface PciBusState {
  version: 1
  bridge: HostBridgeState
  devices: { version: number }[]
}
