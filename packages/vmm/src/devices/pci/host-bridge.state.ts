/** The bridge's address register and its own configuration space. */
export interface HostBridgeState {
  version: 1
  address: number
  function: { version: 1; config: number[] }
}
