/** A function's configuration space. */
export interface PciFunctionState {
  version: 1
  config: number[]
}
