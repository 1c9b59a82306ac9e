/** Ports 0x92 and 0xCF9. */
export interface ResetControlState {
  version: 1
  portA: number
  resetControl: number
}
